"""The maps between a student's features and a teacher's, against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.methods import projectors
from kdjax.methods.projectors import NonLocal, Stack

rng = np.random.default_rng(0)


def normalized(x):
    centred = x - x.mean(axis=(0, 1, 2))
    return centred / np.sqrt((centred**2).mean(axis=(0, 1, 2)) + 1e-5)


def convolved(x, kernel):
    """3 x 3, stride 1, zeros around."""
    height, width = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = [
        padded[:, row : row + height, column : column + width] @ kernel[row, column]
        for row in range(3)
        for column in range(3)
    ]
    return sum(windows)


@pytest.mark.slow
def test_a_stack_normalises_and_rectifies_where_it_should():
    stack, x = Stack(3, (1, 3), 5), rng.normal(size=(4, 6, 6, 3))
    params = jax.device_get(projectors.init_stack(jax.random.key(0), stack, 3))
    assert set(params) == {"conv1", "conv2", "conv3", "norm1", "norm3"}
    expected = x
    for number in (1, 2, 3):
        layer = params[f"conv{number}"]
        expected = convolved(expected, np.float64(layer["kernel"])) + layer.get("bias", 0.0)
        if number in (1, 3):
            norm = params[f"norm{number}"]
            expected = np.maximum(normalized(expected) * norm["scale"] + norm["bias"], 0)
    got = jax.jit(projectors.apply_stack, static_argnums=0)(stack, params, jnp.float32(x))
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    narrow = projectors.apply_stack(stack, params, jnp.bfloat16(x))
    assert narrow.dtype == jnp.float32


def test_embeddings_are_linear_maps_of_length_one():
    head = projectors.init_linear(jax.random.key(0), 7, 3)
    head = {**head, "bias": jnp.array([0.5, -1.0, 2.0])}
    x = rng.normal(size=(2, 4, 7))
    expected = x @ np.float64(head["kernel"]) + np.float64(head["bias"])
    np.testing.assert_allclose(projectors.apply_linear(head, jnp.float32(x)), expected, rtol=1e-5)
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(projectors.embed(head, jnp.float32(x)), expected, rtol=1e-5)


def test_attention_over_positions_is_that_of_the_formula():
    x = rng.normal(size=(2, 3, 3, 16))
    params = jax.device_get(NonLocal().init(jax.random.key(1), jnp.zeros((1, 2, 2, 16)))["params"])
    # closed, it changes nothing
    np.testing.assert_allclose(NonLocal().apply({"params": params}, jnp.float32(x)), x, rtol=1e-6)
    params["gate"] = np.float32(0.7)
    kernels = {name: np.float64(params[name]) for name in ("query", "key", "value")}
    assert {name: kernel.shape for name, kernel in kernels.items()} == {
        **dict.fromkeys(("query", "key"), (16, 2)),
        "value": (16, 16),
    }
    rows = x.reshape(2, 9, 16)
    # how near this norm is to the largest singular value is asked below
    norms = [float(projectors.largest_singular_value(params[name])) for name in kernels]
    query, key, value = (
        rows @ (kernel / norm) for kernel, norm in zip(kernels.values(), norms, strict=True)
    )
    scores = np.exp(query @ key.transpose(0, 2, 1))
    scores /= scores.sum(axis=-1, keepdims=True)
    expected = x + 0.7 * (scores @ value).reshape(x.shape)
    got = jax.jit(NonLocal().apply)({"params": params}, jnp.float32(x))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(16, 2), (64, 8), (512, 64), (64, 64)])
def test_the_largest_singular_value_is_met_from_below(shape):
    for matrix in rng.normal(size=(3, *shape)):
        exact = np.linalg.norm(matrix, 2)
        got = float(projectors.largest_singular_value(jnp.float32(matrix)))
        assert 0.98 * exact <= got <= 1.00001 * exact


def test_its_gradient_is_the_product_of_its_vectors():
    left, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    right, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    matrix = left[:, :4] @ np.diag([3.0, 1.0, 0.5, 0.2]) @ right.T
    got = jax.grad(projectors.largest_singular_value)(jnp.float32(matrix))
    np.testing.assert_allclose(got, np.outer(left[:, 0], right[:, 0]), atol=1e-5)
    zero = jax.grad(projectors.largest_singular_value)(jnp.zeros((6, 4)))
    assert np.isfinite(zero).all()
