import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.linalg import expm

from kdjax.transforms import gradients, rotation

rng = np.random.default_rng(0)
matrix_of = jax.jit(rotation.rotation_matrix, static_argnames="method")
objective = jax.jit(rotation.rotation_objective, static_argnames=("method", "form"))


def free_matrix(size, norm, seed=0):
    """A free matrix whose `W - W^T` has this 2-norm."""
    free = np.random.default_rng(seed).normal(size=(size, size))
    return free * norm / np.linalg.norm(free - free.T, 2)


def from_identity(matrix):
    matrix = np.float64(matrix)
    return np.abs(matrix.T @ matrix - np.eye(len(matrix))).max()


def assert_rotation(matrix):
    assert from_identity(matrix) < 1e-5
    sign, log = np.linalg.slogdet(np.float64(matrix))
    assert sign == 1
    assert abs(log) < 1e-3


def cosine(first, second):
    first, second = (np.float64(x).reshape(len(x), -1) for x in (first, second))
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first * second).sum(axis=1) / lengths


@pytest.mark.parametrize("norm", [0.0, 1e-4, 0.7, 3.0, 10.0, 100.0])
def test_it_is_the_exponential_of_scipy(norm):
    free = free_matrix(24, norm)
    got = matrix_of(jnp.float32(free))
    assert got.dtype == jnp.float32
    assert_rotation(got)
    # A rotation by an angle of 100 cannot be more exact than the angle in float32.
    np.testing.assert_allclose(got, expm(free - free.T), atol=1e-5 if norm <= 10 else 1e-4)
    with jax.enable_x64(True):
        got = matrix_of(jnp.asarray(free))
        assert got.dtype == jnp.float64
        np.testing.assert_allclose(got, expm(free - free.T), atol=1e-12)


@pytest.mark.parametrize("norm", [0.0, 1.0, 50.0])
def test_cayley_is_its_formula(norm):
    free = free_matrix(24, norm)
    skew, eye = free - free.T, np.eye(24)
    got = matrix_of(jnp.float32(free), method="cayley")
    assert_rotation(got)
    np.testing.assert_allclose(got, np.linalg.inv(eye - skew) @ (eye + skew), atol=1e-5)


@pytest.mark.parametrize("method", rotation.METHODS)
@pytest.mark.parametrize("size", [1, 2, 5])
def test_it_starts_at_the_identity_with_a_gradient(method, size):
    zeros = jnp.zeros((size, size))
    np.testing.assert_array_equal(matrix_of(zeros, method=method), np.eye(size))
    weights = np.float32(np.arange(size**2).reshape(size, size))
    grad = jax.grad(lambda w: jnp.sum(matrix_of(w, method=method) * weights))(zeros)
    expected = (weights - weights.T) * (2 if method == "cayley" else 1)
    np.testing.assert_allclose(grad, expected, atol=1e-5)


@pytest.mark.parametrize("norm", [0.05, 2.0])
@pytest.mark.parametrize("method", rotation.METHODS)
def test_gradients_of_the_matrix_are_those_of_its_values(method, norm):
    with jax.enable_x64(True):
        free = jnp.asarray(free_matrix(4, norm))
        check_grads(functools.partial(matrix_of, method=method), (free,), 1, modes=["rev"])


@pytest.mark.parametrize("norm", [0.5, 10.0])
def test_gradients_in_float32_are_those_of_float64(norm):
    weights = rng.normal(size=(48, 48))
    slope = jax.jit(
        jax.grad(lambda w: jnp.sum(rotation.rotation_matrix(w) * weights.astype(w.dtype)))
    )
    with jax.enable_x64(True):
        expected = np.asarray(slope(jnp.asarray(free_matrix(48, norm))))
    got = slope(jnp.float32(free_matrix(48, norm)))
    np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


def optimise(size, steps, rate, method="expm", seed=0):
    """SGD on the objective, with new gradients at every step."""
    keys = jax.random.split(jax.random.key(seed), steps)

    def step(free, key):
        grads, target = jax.random.normal(key, (2, 4, size))
        slope = jax.grad(rotation.rotation_objective)(free, grads, target, method=method)
        return free - rate * slope, None

    return jax.jit(lambda free: jax.lax.scan(step, free, keys)[0])(jnp.zeros((size, size)))


@pytest.mark.parametrize("method", rotation.METHODS)
def test_it_is_a_rotation_after_a_thousand_steps(method):
    free = optimise(64, 1000, rate=5.0, method=method)
    assert np.linalg.norm(free - free.T, 2) > 5
    assert_rotation(matrix_of(free, method=method))


@pytest.mark.parametrize(
    "method",
    [pytest.param(name, marks=pytest.mark.every) for name in rotation.METHODS],
)
def test_a_large_one_is_a_rotation_after_twenty_steps(method):
    free = optimise(1024, 20, rate=100.0, method=method)
    # at most the largest singular value, which LAPACK was seen to crash on at this size
    assert np.linalg.norm(free - free.T) / 32 > 5
    assert_rotation(matrix_of(free, method=method))


def test_channels_are_multiplied_at_every_position():
    features, matrix = rng.normal(size=(2, 3, 2, 5)), rng.normal(size=(4, 4))
    expected = features.copy()
    for place in np.ndindex(2, 3, 2):
        expected[place][:4] = matrix @ features[place][:4]
    got = rotation.rotate(jnp.float32(features), jnp.float32(matrix))
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    got = rotation.rotate(jnp.float32(features[:, 0, 0]), jnp.float32(matrix))
    np.testing.assert_allclose(got, expected[:, 0, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [4, 9, 30])
def test_flat_multiplies_the_first_entries_channel_by_channel(size):
    features, matrix = rng.normal(size=(2, 3, 2, 5)), rng.normal(size=(size, size))
    expected = features.copy()
    places = [(y, x, c) for c in range(5) for y in range(3) for x in range(2)][:size]
    for example in range(2):
        old = np.array([features[example][place] for place in places])
        for place, value in zip(places, matrix @ old, strict=True):
            expected[example][place] = value
        entries = rotation.rotated_entries(jnp.float32(features), size, axis="flat")
        np.testing.assert_array_equal(entries[example], np.float32(old))
    got = rotation.rotate(jnp.float32(features), jnp.float32(matrix), axis="flat")
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("axis", "size"), [("channel", 3), ("channel", 5), ("flat", 11)])
def test_the_transpose_brings_a_gradient_back_as_backpropagation_does(axis, size):
    features, arrived = jnp.float32(rng.normal(size=(2, 2, 3, 2, 5)))
    matrix = matrix_of(jnp.float32(free_matrix(size, 2.0)))
    turn = functools.partial(rotation.rotate, axis=axis)
    seen, back = jax.vjp(lambda m: turn(m, matrix), features)
    np.testing.assert_allclose(turn(arrived, matrix.T), back(arrived)[0], atol=1e-5)
    np.testing.assert_allclose(turn(seen, matrix.T), features, atol=1e-5)


def test_bfloat16_features_are_multiplied_in_float32():
    features = jnp.bfloat16(rng.normal(size=(3, 16)))
    matrix = matrix_of(jnp.float32(free_matrix(16, 2.0)))
    got = rotation.rotate(features, matrix)
    wide = rotation.rotate(features.astype(jnp.float32), matrix)
    np.testing.assert_array_equal(got, wide.astype(jnp.bfloat16))


@pytest.mark.parametrize("shape", [(5, 6), (5, 3, 2, 6)])
@pytest.mark.parametrize("method", rotation.METHODS)
def test_the_objective_is_its_definition(shape, method):
    grads, target = rng.normal(size=(2, *shape))
    free = free_matrix(6, 2.0)
    matrix = np.float64(matrix_of(jnp.float32(free), method=method))
    back = np.einsum("ji,...j->...i", matrix, grads)
    args = [jnp.float32(x) for x in (free, grads, target)]
    got = objective(*args, method=method)
    np.testing.assert_allclose(got, -cosine(back, target).mean(), rtol=1e-5)
    got = objective(*args, method=method, form="squared")
    np.testing.assert_allclose(got, ((back - target) ** 2).sum() / 5, rtol=1e-5)


def test_the_objective_turns_the_matrix_alone():
    free, grads, target = (
        jnp.float32(x) for x in (free_matrix(6, 1.0), *rng.normal(size=(2, 5, 6)))
    )
    by_free, by_grads, by_target = jax.grad(objective, (0, 1, 2))(free, grads, target)
    assert jnp.abs(by_free).max() > 1e-3
    np.testing.assert_array_equal(by_grads, np.zeros((5, 6)))
    np.testing.assert_array_equal(by_target, np.zeros((5, 6)))
    matrix, back = jax.vjp(rotation.rotation_matrix, free)
    by_matrix = jax.grad(gradients.alignment)(matrix, grads, target)
    np.testing.assert_allclose(back(by_matrix)[0], by_free, atol=1e-6)


@pytest.mark.parametrize("form", gradients.FORMS)
def test_gradients_of_the_objective_are_those_of_its_values(form):
    with jax.enable_x64(True):
        free, grads, target = free_matrix(4, 1.0), *rng.normal(size=(2, 3, 4))
        check_grads(lambda w: objective(w, grads, target, form=form), (free,), 1, modes=["rev"])


@pytest.mark.parametrize("form", gradients.FORMS)
def test_masked_examples_and_zero_vectors_are_left_out(form):
    free = jnp.float32(free_matrix(6, 1.0))
    grads, target = np.float32(rng.normal(size=(2, 6, 2, 6)))
    slope = jax.jit(jax.value_and_grad(functools.partial(rotation.rotation_objective, form=form)))
    value, grad = slope(free, grads[:3], target[:3])
    grads[3], target[4], grads[5], target[5] = 0, 0, np.nan, np.inf
    for mask in (np.array([1, 1, 1, 1, 1, 0], np.float32), np.arange(6) < 5):
        got, by = slope(free, grads, target, mask=mask)
        np.testing.assert_allclose(got, value, rtol=1e-5)
        # float32, whose unit in the last place is relative to what is subtracted: the largest entries
        np.testing.assert_allclose(by, grad, rtol=1e-6, atol=1e-6 * np.abs(grad).max())
    got, by = slope(free, grads, target, mask=np.isin(np.arange(6), (3, 4)))
    assert got == 0
    np.testing.assert_array_equal(by, np.zeros((6, 6)))
    assert np.isnan(slope(free, grads, target)[0])


def test_the_cosine_of_two_gradients_has_no_scale():
    first, second = rng.normal(size=(2, 4, 3, 2))
    first[2] = 0
    expected = cosine(np.where(first == 0, 1, first), second)
    for scale in (1.0, 1e-25, 1e25):
        got, valid = gradients.gradient_cosine(jnp.float32(first * scale), jnp.float32(second))
        np.testing.assert_array_equal(valid, [True, True, False, True])
        np.testing.assert_allclose(got[valid], expected[valid], rtol=1e-5)
        assert got[2] == 0
    _, valid = gradients.gradient_cosine(first, second, mask=np.array([0, 1, 1, 1]))
    np.testing.assert_array_equal(valid, [False, True, False, True])
    grad = jax.grad(lambda x: gradients.gradient_cosine(x, second)[0].sum())(jnp.float32(first))
    assert jnp.isfinite(grad).all()


def test_the_target_is_the_mean_or_the_mean_of_gradients_of_one_norm():
    first, second = rng.normal(size=(2, 4, 3)) * np.array([1, 100]).reshape(2, 1, 1)
    mean = (first + second) / 2
    got = gradients.gradient_target([jnp.float32(first), jnp.float32(second)])
    np.testing.assert_allclose(got, mean, rtol=1e-5, atol=1e-6)
    got = gradients.gradient_target([jnp.float32(first), jnp.float32(second)], one_norm=True)
    units = first / np.linalg.norm(first) + second / np.linalg.norm(second)
    np.testing.assert_allclose(got, np.linalg.norm(mean) * units / 2, rtol=1e-5, atol=1e-5)
    mask, masked = np.array([1, 0, 1, 1]), first.copy()
    masked[1] = np.nan
    got = gradients.gradient_target([masked, second], one_norm=True, mask=mask)
    kept = gradients.gradient_target([first[mask > 0], second[mask > 0]], one_norm=True)
    np.testing.assert_allclose(got[mask > 0], kept, rtol=1e-5)
    np.testing.assert_array_equal(got[1], np.zeros(3))


def test_four_devices_give_what_one_gives():
    free = jnp.float32(free_matrix(3, 1.0))
    grads, other = np.float32(rng.normal(size=(2, 8, 3)))
    mask = np.array([1, 1, 1, 0, 0, 0, 1, 0], np.float32)

    def step(grads, other, mask, axis_name=None):
        target = gradients.gradient_target(
            [grads, other], one_norm=True, mask=mask, axis_name=axis_name
        )
        return jax.value_and_grad(rotation.rotation_objective)(
            free, grads, target, mask=mask, axis_name=axis_name
        )

    value, grad = jax.jit(step)(grads, other, mask)
    split = [x.reshape(4, 2, *x.shape[1:]) for x in (grads, other, mask)]
    values, by = jax.pmap(functools.partial(step, axis_name="batch"), axis_name="batch")(*split)
    np.testing.assert_allclose(values.mean(), value, rtol=1e-5)
    np.testing.assert_allclose(by.mean(axis=0), grad, atol=1e-6)


def distil(rate, steps=300, seed=0):
    """A linear backbone under two heads that want nearly opposite features; cosines by step."""
    draw = np.random.default_rng(seed)
    images, wanted = draw.normal(size=(32, 20)), draw.normal(size=(20, 8))
    noise = 0.3 * draw.normal(size=(2, 32, 8))
    teachers = jnp.float32(np.stack([images @ wanted, -images @ wanted]) + noise)
    images = jnp.float32(images)

    def step(state, place):
        backbone, free = state
        matrices = [rotation.rotation_matrix(w) for w in free]
        features = images @ backbone
        seen = [
            2 * (rotation.rotate(features, r) - t) for r, t in zip(matrices, teachers, strict=True)
        ]
        arrived = [rotation.rotate(g, r.T) for g, r in zip(seen, matrices, strict=True)]
        target = gradients.gradient_target(arrived)
        slopes = [
            jax.grad(rotation.rotation_objective)(w, g, target)
            for w, g in zip(free, seen, strict=True)
        ]
        free = free - rate * 0.995**place * jnp.stack(slopes)
        backbone = backbone - 1e-4 * images.T @ (arrived[0] + arrived[1])
        return (backbone, free), gradients.gradient_cosine(*arrived)[0].mean()

    start = jnp.float32(draw.normal(size=(20, 8)) / 10), jnp.zeros((2, 8, 8))
    (_, free), cosines = jax.jit(lambda s: jax.lax.scan(step, s, jnp.arange(steps)))(start)
    return np.asarray(cosines), free


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_conflicting_gradients_come_to_agree(seed):
    cosines, free = distil(rate=0.05, seed=seed)
    assert cosines[0] < -0.2
    assert cosines[-50:].mean() > 0
    for matrix in (matrix_of(w) for w in free):
        assert_rotation(matrix)
    alone, _ = distil(rate=0.0, seed=seed)
    assert alone[-50:].mean() < -0.2


def test_wrong_arguments_are_refused():
    features, matrix = jnp.ones((2, 3, 2, 5)), jnp.eye(4)
    for match, call in {
        "square": lambda: rotation.rotation_matrix(jnp.ones((3, 2))),
        "method": lambda: rotation.rotation_matrix(matrix, method="qr"),
        "rotation of 6 entries": lambda: rotation.rotate(features, jnp.eye(6)),
        "rotation of 31 entries": lambda: rotation.rotate(features, jnp.eye(31), axis="flat"),
        "axis=": lambda: rotation.rotate(features, matrix, axis="row"),
        "matrix has shape": lambda: rotation.rotate(features, matrix[0]),
        "at least 2 axes": lambda: rotation.rotate(features[0, 0, 0], matrix),
        "4 axes": lambda: rotation.rotate(features[0], matrix, axis="flat"),
        "shapes": lambda: rotation.rotation_objective(matrix, features, features[:1]),
        "form": lambda: rotation.rotation_objective(matrix, features, features, form="dot"),
        "entries a position": lambda: rotation.rotation_objective(matrix, features, features),
        "mask": lambda: gradients.gradient_cosine(features, features, mask=np.ones((2, 1))),
        "leading axes": lambda: gradients.gradient_cosine(features, features, mask=np.ones(3)),
    }.items():
        with pytest.raises(ValueError, match=match):
            call()
