import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kdjax import losses
from kdjax.losses import logits

cross_entropy, kd = jax.jit(losses.cross_entropy), jax.jit(losses.kd)
tempered_softmax, logit_mse = jax.jit(logits.tempered_softmax), jax.jit(logits.logit_mse)
soft_label = jax.jit(logits.soft_label)
rng = np.random.default_rng(0)
STUDENT, TEACHER = rng.normal(size=(2, 7, 3)) * 3
VIEWS = rng.normal(size=(2, 7, 3)) * 3
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


def soft_label_reference(student, views, temperature, mix):
    target = mix * softmax(views / temperature).mean(axis=0) + (1 - mix) * np.eye(3)[LABELS]
    return -(target * np.log(softmax(student))).sum(axis=-1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_tempered_softmax_is_the_probability_of_the_other_classes(temperature):
    expected = 1 - softmax(STUDENT / temperature)[np.arange(7), LABELS]
    got = tempered_softmax(jnp.float32(STUDENT), LABELS, temperature=temperature)
    assert got.shape == (7,)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_tempered_softmax_keeps_the_digits_of_a_small_loss():
    got = tempered_softmax(jnp.float32([[0.0, 40.0]]), np.array([1]), temperature=1.0)
    np.testing.assert_allclose(got, np.exp(-40), rtol=1e-5)


def test_logit_mse_is_the_mean_over_the_classes():
    got = logit_mse(jnp.float32(STUDENT), jnp.float32(TEACHER))
    assert got.shape == (7,)
    np.testing.assert_allclose(got, ((STUDENT - TEACHER) ** 2).mean(axis=-1), rtol=1e-5)


def test_kd_tends_to_half_of_logit_mse_of_centred_logits():
    student, teacher = (x - x.mean(axis=-1, keepdims=True) for x in (STUDENT, TEACHER))
    with jax.enable_x64(True):
        got = kd(jnp.asarray(student), jnp.asarray(teacher), temperature=1e5)
        np.testing.assert_allclose(got, logit_mse(student, teacher) / 2, rtol=1e-3)


@pytest.mark.parametrize(("temperature", "mix"), [(1.0, 0.5), (4.0, 0.3), (0.5, 1.0)])
def test_soft_label_mixes_the_mean_of_the_views_with_the_label(temperature, mix):
    options = {"temperature": temperature, "mix": mix}
    got = soft_label(jnp.float32(STUDENT), jnp.float32(VIEWS), LABELS, **options)
    assert got.shape == (7,)
    assert got.dtype == jnp.float32
    expected = soft_label_reference(STUDENT, VIEWS, **options)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    one = soft_label(jnp.float32(STUDENT), jnp.float32(VIEWS[0]), LABELS, **options)
    expected = soft_label_reference(STUDENT, VIEWS[:1], **options)
    np.testing.assert_allclose(one, expected, rtol=1e-5)


def test_soft_label_without_views_is_the_cross_entropy():
    got = soft_label(jnp.float32(STUDENT), VIEWS, LABELS, temperature=2.0, mix=0.0)
    np.testing.assert_allclose(got, cross_entropy(jnp.float32(STUDENT), LABELS), rtol=1e-6)


def test_compiling_changes_nothing():
    student, views = np.float32(STUDENT), np.float32(VIEWS)
    for compiled, plain, inputs, options in (
        (tempered_softmax, logits.tempered_softmax, (student, LABELS), {"temperature": 3.0}),
        (logit_mse, logits.logit_mse, (student, views[0]), {}),
        (
            *(soft_label, logits.soft_label),
            *((student, views, LABELS), {"temperature": 3.0, "mix": 0.4}),
        ),
    ):
        np.testing.assert_allclose(
            compiled(*inputs, **options), plain(*inputs, **options), rtol=1e-6
        )


def test_kd_of_equal_logits_is_zero():
    np.testing.assert_array_equal(kd(TEACHER, TEACHER, temperature=4.0), np.zeros(7))


def test_gradients_are_those_of_the_values():
    with jax.enable_x64(True):
        student, teacher = jnp.asarray(STUDENT), jnp.asarray(TEACHER)
        check_grads(lambda x: cross_entropy(x, LABELS), (student,), 1)
        check_grads(lambda x, y: kd(x, y, temperature=4.0), (student, teacher), 1)
        check_grads(lambda x: tempered_softmax(x, LABELS, temperature=2.0), (student,), 1)
        check_grads(logit_mse, (student, teacher), 1)
        check_grads(
            lambda x, y: soft_label(x, y, LABELS, temperature=2.0, mix=0.4),
            (student, jnp.asarray(VIEWS)),
            1,
        )


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
        lambda x: tempered_softmax(x, labels, temperature=4.0),
        lambda x: soft_label(x, teacher, labels, temperature=4.0, mix=0.5),
        lambda x: soft_label(teacher, x, labels, temperature=4.0, mix=0.5),
    ):
        assert jnp.isfinite(loss(student)).all()
        grad = jax.jit(jax.grad(lambda x, loss=loss: loss(x).sum()))(student)
        assert jnp.isfinite(grad).all()


def test_bfloat16_logits_are_taken_in_float32():
    student = jnp.bfloat16(STUDENT)
    got = cross_entropy(student, LABELS)
    assert got.dtype == jnp.float32
    np.testing.assert_array_equal(got, cross_entropy(student.astype(jnp.float32), LABELS))
    wide = student.astype(jnp.float32)
    options = {"temperature": 2.0, "mix": 0.5}
    for narrow, expected in (
        (kd(student, student, temperature=1.0), jnp.zeros(7)),
        (logit_mse(student, student + 1), logit_mse(wide, (student + 1).astype(jnp.float32))),
        (
            tempered_softmax(student, LABELS, temperature=2.0),
            tempered_softmax(wide, LABELS, temperature=2.0),
        ),
        (
            soft_label(student, student, LABELS, **options),
            soft_label(wide, wide, LABELS, **options),
        ),
    ):
        assert narrow.dtype == jnp.float32
        np.testing.assert_array_equal(narrow, expected)


def test_the_temperature_may_be_traced():
    compiled = jax.jit(lambda t: kd(STUDENT, TEACHER, temperature=t))
    np.testing.assert_allclose(compiled(4.0), kd_reference(STUDENT, TEACHER, 4.0), rtol=1e-5)


@pytest.mark.parametrize("temperature", [0, -1.0])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature"):
        losses.kd(STUDENT, TEACHER, temperature=temperature)
    with pytest.raises(ValueError, match="temperature"):
        logits.tempered_softmax(STUDENT, LABELS, temperature=temperature)
    with pytest.raises(ValueError, match="temperature"):
        logits.soft_label(STUDENT, TEACHER, LABELS, temperature=temperature, mix=0.5)


@pytest.mark.parametrize("mix", [-0.1, 1.1, float("nan")])
def test_a_share_outside_0_to_1_is_refused(mix):
    with pytest.raises(ValueError, match="mix"):
        logits.soft_label(STUDENT, TEACHER, LABELS, temperature=1.0, mix=mix)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="student_logits"):
        losses.kd(STUDENT, TEACHER[:3], temperature=1.0)
    with pytest.raises(ValueError, match="leading axes"):
        losses.cross_entropy(jnp.asarray(STUDENT), LABELS[:3])
    with pytest.raises(ValueError, match="labels"):
        losses.cross_entropy(jnp.asarray(STUDENT), np.zeros((7, 1), int))
    with pytest.raises(ValueError, match="labels"):
        logits.tempered_softmax(STUDENT, LABELS[:3], temperature=1.0)
    with pytest.raises(ValueError, match="student_logits"):
        logits.logit_mse(STUDENT, TEACHER[:, :2])
    for others in (TEACHER[:3], TEACHER[:, :2], VIEWS[:, :3], VIEWS[None]):
        with pytest.raises(ValueError, match="other_logits"):
            logits.soft_label(STUDENT, others, LABELS, temperature=1.0, mix=0.5)
