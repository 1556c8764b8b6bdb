import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kdjax.losses.features import (
    attention_transfer,
    center,
    fitnet,
    normalized_distance,
    pairwise,
    vid,
)

rng = np.random.default_rng(0)
STUDENT, TEACHER = rng.normal(size=(2, 3, 4, 2, 5))
LARGE, WIDE = rng.normal(size=(3, 8, 4, 5)), rng.normal(size=(3, 4, 2, 7))
LOG_SCALE = np.array([-20.0, -2.0, 0.0, 3.0, 40.0])
LABELS, CENTERS = np.array([1, 0, 1]), rng.normal(size=(2, 5))
POOLED = STUDENT.mean(axis=(1, 2))


def blocks(x):
    """A map of twice the height and width, averaged over 2 x 2."""
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))


def attention(x, power):
    vector = (np.abs(x) ** power).mean(axis=-1).reshape(len(x), -1)
    return vector / np.sqrt((vector**2).sum(axis=1, keepdims=True))


def fitnet_reference(student, teacher):
    return ((student - teacher) ** 2).reshape(len(student), -1).mean(axis=1)


def attention_reference(student, teacher, power=2):
    return ((attention(student, power) - attention(teacher, power)) ** 2).mean(axis=1)


def vid_reference(mean, log_scale, teacher):
    variance = np.logaddexp(0, log_scale) + 1e-5
    likelihood = (teacher - mean) ** 2 / (2 * variance) + np.log(variance) / 2
    return likelihood.reshape(len(mean), -1).mean(axis=1)


def distance_reference(student, teacher):
    products = (student * teacher).reshape(len(student), -1).sum(axis=1)
    norms = [np.sqrt((x**2).reshape(len(x), -1).sum(axis=1)) for x in (student, teacher)]
    return 2 - 2 * products / (norms[0] * norms[1])


def pairwise_reference(a, b):
    return ((a - b) ** 2).sum(axis=-1)


def center_reference(features, centers):
    return ((features - centers[LABELS]) ** 2).sum(axis=-1) / 2


def center_of_labels(features, centers):
    return center(features, LABELS, centers)


CASES = {
    "fitnet": (fitnet, fitnet_reference, (STUDENT, TEACHER)),
    "fitnet_pooled": (fitnet, fitnet_reference, (POOLED, POOLED[::-1])),
    "attention": (attention_transfer, attention_reference, (STUDENT, WIDE)),
    "vid": (vid, vid_reference, (STUDENT, LOG_SCALE, TEACHER)),
    "vid_pooled": (vid, vid_reference, (POOLED, LOG_SCALE, POOLED[::-1])),
    "distance": (normalized_distance, distance_reference, (STUDENT, TEACHER)),
    "distance_pooled": (normalized_distance, distance_reference, (POOLED, POOLED[::-1])),
    "pairwise": (pairwise, pairwise_reference, (POOLED, POOLED[::-1])),
    "center": (center_of_labels, center_reference, (POOLED, CENTERS)),
}


MAPS = [name for name in CASES if not name.endswith("_pooled")]
COMPILED = {name: jax.jit(loss) for name, (loss, _, _) in CASES.items()}


def grad_of_sum(loss):
    return jax.jit(jax.value_and_grad(lambda *inputs: loss(*inputs).sum()))


GRADS = {name: grad_of_sum(loss) for name, (loss, _, _) in CASES.items()}


@pytest.mark.parametrize("name", CASES)
def test_values_are_those_of_the_formula(name):
    _, reference, inputs = CASES[name]
    expected = reference(*inputs)
    got = COMPILED[name](*map(np.float32, inputs))
    assert got.shape == (3,)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    with jax.enable_x64(True):
        got = COMPILED[name](*inputs)
        assert got.dtype == jnp.float64
        np.testing.assert_allclose(got, expected, rtol=1e-11)


@pytest.mark.parametrize("name", MAPS)
def test_compiling_changes_nothing(name):
    loss, _, inputs = CASES[name]
    inputs = [np.float32(x) for x in inputs]
    np.testing.assert_allclose(COMPILED[name](*inputs), loss(*inputs), rtol=1e-5)


@pytest.mark.parametrize("name", MAPS)
def test_gradients_are_those_of_the_values(name):
    inputs = CASES[name][2]
    with jax.enable_x64(True):
        check_grads(COMPILED[name], tuple(map(jnp.asarray, inputs)), 1)


@pytest.mark.parametrize("power", [1, 1.5, 3, 4])
def test_attention_takes_any_power_of_the_size(power):
    got = attention_transfer(np.float32(STUDENT), np.float32(TEACHER), power=power)
    np.testing.assert_allclose(got, attention_reference(STUDENT, TEACHER, power), rtol=1e-5)


@pytest.mark.parametrize("power", [1, 1.5, 2])
def test_an_entry_of_zero_is_not_pulled_by_attention(power):
    student = np.float32(STUDENT)
    student[:, 0] = 0
    loss = functools.partial(attention_transfer, power=power)
    grad = np.asarray(grad_of_sum(loss)(student, np.float32(TEACHER))[1])
    assert not grad[:, 0].any()
    assert grad[:, 1:].any()


@pytest.mark.parametrize("name", ["fitnet", "attention", "vid", "distance"])
@pytest.mark.parametrize("larger", [0, -1])
def test_the_larger_map_is_averaged_to_the_smaller(name, larger):
    _, reference, inputs = CASES[name]
    inputs = [*inputs[:larger], LARGE] if larger else [LARGE, *inputs[1:]]
    pooled = [*inputs[:larger], blocks(LARGE)] if larger else [blocks(LARGE), *inputs[1:]]
    got = COMPILED[name](*map(np.float32, inputs))
    np.testing.assert_allclose(got, reference(*pooled), rtol=1e-5)


def test_maps_are_averaged_for_pairs_and_centers():
    got = COMPILED["pairwise"](np.float32(STUDENT), np.float32(LARGE))
    expected = pairwise_reference(POOLED, LARGE.mean(axis=(1, 2)))
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    got = COMPILED["center"](np.float32(STUDENT), np.float32(CENTERS))
    np.testing.assert_allclose(got, center_reference(POOLED, CENTERS), rtol=1e-5)


@pytest.mark.parametrize("name", ["attention", "distance"])
@pytest.mark.parametrize("size", [1e-6, 1e6, 1e25])
def test_directions_do_not_depend_on_the_scale(name, size):
    _, reference, (student, teacher) = CASES[name]
    value, grad = GRADS[name](np.float32(student * size), np.float32(teacher))
    np.testing.assert_allclose(value, reference(student, teacher).sum(), rtol=1e-5)
    _, expected = GRADS[name](np.float32(student), np.float32(teacher))
    np.testing.assert_allclose(grad * np.float32(size), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["attention", "distance"])
@pytest.mark.parametrize("size", [0.0, 1e-30])
def test_what_has_no_direction_gets_no_gradient(name, size):
    student, teacher = CASES[name][2]
    value, grad = GRADS[name](np.float32(student * size), np.float32(teacher))
    np.testing.assert_allclose(value, 3 if name == "distance" else 3 / 8, rtol=1e-5)
    np.testing.assert_array_equal(grad, np.zeros(student.shape))


@pytest.mark.parametrize("name", ["fitnet", "attention", "distance", "pairwise"])
def test_what_is_equal_costs_nothing_and_gets_no_gradient(name):
    student = np.float32(CASES[name][2][0])
    value, grad = GRADS[name](student, student)
    np.testing.assert_allclose(value, 0, atol=1e-12)
    np.testing.assert_allclose(grad, np.zeros(student.shape), atol=1e-6)


@pytest.mark.parametrize("name", MAPS)
def test_bfloat16_is_taken_in_float32(name):
    narrow = [jnp.bfloat16(x) for x in CASES[name][2]]
    got = COMPILED[name](*narrow)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, COMPILED[name](*map(np.float32, narrow)), rtol=1e-6)


@pytest.mark.parametrize("log_scale", [-1e4, 1e4])
def test_an_extreme_variance_has_finite_gradients(log_scale):
    inputs = np.float32(POOLED), np.full(5, log_scale, np.float32), np.float32(POOLED + 1)
    value, grads = jax.jit(jax.value_and_grad(lambda *x: vid(*x).sum(), (0, 1, 2)))(*inputs)
    assert np.isfinite(value)
    assert all(np.isfinite(grad).all() for grad in grads)


def test_what_cannot_be_matched_is_refused():
    for match, call in {
        "adapter": lambda: fitnet(STUDENT, WIDE),
        "equal": lambda: fitnet(POOLED, POOLED[:, :2]),
        "axes": lambda: fitnet(POOLED[0], POOLED[0]),
        "shapes must be equal, got student": lambda: fitnet(STUDENT, POOLED),
        "leading axes": lambda: attention_transfer(STUDENT, TEACHER[:2]),
        "student": lambda: attention_transfer(POOLED, TEACHER),
        "power": lambda: attention_transfer(STUDENT, TEACHER, power=0.5),
        "log_scale": lambda: vid(POOLED, LOG_SCALE[:2], POOLED),
        "got mean": lambda: vid(POOLED, LOG_SCALE, POOLED[:2]),
        "channels": lambda: normalized_distance(STUDENT, WIDE),
        "features_b": lambda: pairwise(POOLED, POOLED[0]),
        "features_a": lambda: pairwise(STUDENT, WIDE),
        "wide": lambda: center(POOLED, LABELS, CENTERS[:, :2]),
        "centers": lambda: center(POOLED, LABELS, CENTERS[0]),
        "labels": lambda: center(POOLED, LABELS[:2], CENTERS),
    }.items():
        with pytest.raises(ValueError, match=match):
            call()
