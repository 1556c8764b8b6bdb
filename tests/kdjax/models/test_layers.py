import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.models.layers import (
    BatchNorm,
    Classifier,
    Conv,
    DepthwiseConv,
    SqueezeExcite,
    batch_moments,
)

MAP = np.random.default_rng(0).normal(3.0, 2.0, size=(8, 3, 2, 4)).astype(np.float32)


def normalise(x, train, variables=None, axis_name=None):
    module = BatchNorm(axis_name)
    if variables is None:
        variables = module.init(jax.random.key(0), x, train=False)
    return module.apply(variables, x, train=train, mutable=["batch_stats"])


def test_training_normalises_by_the_batch_and_moves_the_running_statistics():
    y, state = normalise(MAP, train=True)
    mean, var = MAP.mean((0, 1, 2)), MAP.var((0, 1, 2))
    np.testing.assert_allclose(y, (MAP - mean) / np.sqrt(var + 1e-5), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state["batch_stats"]["mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(state["batch_stats"]["var"], 0.9 + 0.1 * var, rtol=1e-5)


def test_evaluation_normalises_by_the_running_statistics_and_keeps_them():
    variables = {
        "params": {"scale": jnp.full(4, 3.0), "bias": jnp.full(4, -1.0)},
        "batch_stats": {"mean": jnp.full(4, 2.0), "var": jnp.full(4, 4.0)},
    }
    y, state = normalise(MAP, False, variables)
    np.testing.assert_allclose(y, 3 * (MAP - 2) / np.sqrt(4 + 1e-5) - 1, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(state["batch_stats"]["mean"], variables["batch_stats"]["mean"])


def test_four_devices_share_one_set_of_statistics():
    module = BatchNorm("batch")
    variables = BatchNorm().init(jax.random.key(0), MAP, train=False)
    run = lambda x: module.apply(variables, x, train=True, mutable=["batch_stats"])  # noqa: E731
    y, state = jax.pmap(run, axis_name="batch")(MAP.reshape(4, 2, 3, 2, 4))
    expected, whole = normalise(MAP, train=True)
    np.testing.assert_allclose(y.reshape(MAP.shape), expected, rtol=1e-5, atol=1e-6)
    for name in ("mean", "var"):
        for device in range(4):
            np.testing.assert_allclose(
                state["batch_stats"][name][device], whole["batch_stats"][name], rtol=1e-6
            )


def test_a_constant_map_has_finite_gradients():
    grad = jax.grad(lambda x: normalise(x, train=True)[0].sum())(jnp.full((2, 2, 2, 1), 7.0))
    assert jnp.isfinite(grad).all()


def test_moments_of_bfloat16_are_taken_in_float32():
    mean, var = batch_moments(jnp.bfloat16(MAP))
    assert mean.dtype == var.dtype == jnp.float32
    y, state = normalise(jnp.bfloat16(MAP), train=True)
    assert y.dtype == jnp.bfloat16
    assert state["batch_stats"]["mean"].dtype == jnp.float32


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float64])
def test_parameters_are_at_least_float32(dtype):
    with jax.enable_x64(True):
        stored = jnp.promote_types(dtype, jnp.float32)
        module = Conv(5, 3, dtype=dtype)
        variables = module.init(jax.random.key(0), jnp.zeros((1, 4, 4, 3), dtype))
        assert variables["params"]["kernel"].dtype == stored
        assert module.apply(variables, jnp.zeros((1, 4, 4, 3), dtype)).dtype == dtype
        head = Classifier(2)
        variables = head.init(jax.random.key(0), jnp.zeros((1, 3), dtype))
        assert head.apply(variables, jnp.zeros((1, 3), dtype)).dtype == stored


def test_kernels_start_with_the_variance_of_he_over_the_outputs():
    kernel = Conv(64, 3).init(jax.random.key(0), jnp.zeros((1, 4, 4, 16)))["params"]["kernel"]
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (9 * 64)), rtol=0.02)


def test_epsilon_momentum_and_a_missing_scale_are_those_given():
    module = BatchNorm(epsilon=0.5, momentum=0.7, use_scale=False)
    variables = module.init(jax.random.key(0), MAP, train=False)
    assert set(variables["params"]) == {"bias"}
    y, state = module.apply(variables, MAP, train=True, mutable=["batch_stats"])
    mean, var = MAP.mean((0, 1, 2)), MAP.var((0, 1, 2))
    np.testing.assert_allclose(y, (MAP - mean) / np.sqrt(var + 0.5), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state["batch_stats"]["var"], 0.7 + 0.3 * var, rtol=1e-5)


def test_a_convolutions_bias_is_added_to_every_position():
    module = Conv(2, 1, use_bias=True)
    params = {"kernel": jnp.zeros((1, 1, 4, 2)), "bias": jnp.array([3.0, -1.0])}
    y = module.apply({"params": params}, MAP)
    np.testing.assert_array_equal(y, np.broadcast_to([3.0, -1.0], (8, 3, 2, 2)))


def test_a_depthwise_convolution_keeps_the_channels_apart():
    kernel = np.random.default_rng(1).normal(size=(3, 3, 4)).astype(np.float32)
    y = DepthwiseConv(3).apply({"params": {"kernel": kernel}}, MAP)
    padded = np.pad(MAP, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for row in range(3):
        for column in range(2):
            window = padded[:, row : row + 3, column : column + 3]
            expected = (window * kernel).sum((1, 2))
            np.testing.assert_allclose(y[:, row, column], expected, rtol=1e-4, atol=1e-5)


def test_squeeze_and_excite_gates_each_channel_by_all_means():
    module = SqueezeExcite(3)
    params = module.init(jax.random.key(0), MAP)["params"]
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)
    hidden = MAP.mean((1, 2)) @ params["reduce"]["kernel"][0, 0] + params["reduce"]["bias"][None]
    gate = np.maximum(hidden, 0) @ params["expand"]["kernel"][0, 0] + params["expand"]["bias"][None]
    expected = MAP / (1 + np.exp(-np.asarray(gate)))[:, None, None]
    np.testing.assert_allclose(module.apply({"params": params}, MAP), expected, rtol=1e-4)
