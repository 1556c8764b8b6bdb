import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kdjax import losses

cross_entropy, kd = jax.jit(losses.cross_entropy), jax.jit(losses.kd)
rng = np.random.default_rng(0)
STUDENT, TEACHER = rng.normal(size=(2, 7, 3)) * 3
LABELS = np.array([0, 1, 2, 0, 1, 2, 0])


def softmax(x):
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def kd_reference(student, teacher, temperature):
    p, q = softmax(teacher / temperature), softmax(student / temperature)
    return temperature**2 * (p * np.log(p / q)).sum(axis=-1)


def test_cross_entropy_is_the_negative_log_probability():
    expected = -np.log(softmax(STUDENT)[np.arange(7), LABELS])
    got = cross_entropy(jnp.float32(STUDENT), LABELS)
    assert got.shape == (7,)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0])
def test_kd_is_the_scaled_divergence(temperature):
    got = kd(jnp.float32(STUDENT), jnp.float32(TEACHER), temperature=temperature)
    expected = kd_reference(STUDENT, TEACHER, temperature)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5 * expected.mean())
    with jax.enable_x64(True):
        got = kd(jnp.asarray(STUDENT), jnp.asarray(TEACHER), temperature=temperature)
        assert got.dtype == jnp.float64
        np.testing.assert_allclose(got, expected, rtol=1e-11)


def test_kd_of_equal_logits_is_zero():
    np.testing.assert_array_equal(kd(TEACHER, TEACHER, temperature=4.0), np.zeros(7))


def test_gradients_are_those_of_the_values():
    with jax.enable_x64(True):
        student, teacher = jnp.asarray(STUDENT), jnp.asarray(TEACHER)
        check_grads(lambda x: cross_entropy(x, LABELS), (student,), 1)
        check_grads(lambda x, y: kd(x, y, temperature=4.0), (student, teacher), 1)


def test_gradient_of_kd_is_the_difference_of_the_tempered_probabilities():
    grad = jax.grad(lambda x: kd(x, TEACHER, temperature=4.0).sum())(STUDENT)
    np.testing.assert_allclose(grad, 4 * (softmax(STUDENT / 4) - softmax(TEACHER / 4)), atol=1e-5)


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_huge_logits_give_finite_values_and_gradients(size):
    student, teacher = jnp.float32([[size, -size], [0, 0]]), jnp.float32([[-size, size], [0, 0]])
    labels = jnp.array([1, 1])
    for loss in (
        lambda x: cross_entropy(x, labels),
        lambda x: kd(x, teacher, temperature=4.0),
    ):
        assert jnp.isfinite(loss(student)).all()
        assert jnp.isfinite(jax.grad(lambda x, loss=loss: loss(x).sum())(student)).all()


def test_bfloat16_logits_are_taken_in_float32():
    student = jnp.bfloat16(STUDENT)
    got = cross_entropy(student, LABELS)
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, cross_entropy(student.astype(jnp.float32), LABELS))
    assert kd(student, student, temperature=1.0).dtype == jnp.float32


def test_the_temperature_may_be_traced():
    compiled = jax.jit(lambda t: kd(STUDENT, TEACHER, temperature=t))
    np.testing.assert_allclose(compiled(4.0), kd_reference(STUDENT, TEACHER, 4.0), rtol=1e-5)


@pytest.mark.parametrize("temperature", [0, -1.0])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature"):
        losses.kd(STUDENT, TEACHER, temperature=temperature)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="student_logits"):
        losses.kd(STUDENT, TEACHER[:3], temperature=1.0)
    with pytest.raises(ValueError, match="leading axes"):
        losses.cross_entropy(jnp.asarray(STUDENT), LABELS[:3])
    with pytest.raises(ValueError, match="labels"):
        losses.cross_entropy(jnp.asarray(STUDENT), np.zeros((7, 1), int))
