import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.losses import masked_mean

VALUES = np.arange(8, dtype=np.float32) ** 2
MASK = np.array([1, 1, 1, 0, 0, 0, 1, 0], np.float32)


def test_only_what_counts_is_averaged():
    np.testing.assert_allclose(masked_mean(VALUES, MASK), (0 + 1 + 4 + 36) / 4)
    np.testing.assert_allclose(masked_mean(VALUES, MASK.astype(bool)), (0 + 1 + 4 + 36) / 4)
    np.testing.assert_allclose(masked_mean(VALUES), VALUES.mean())


def test_nothing_that_counts_gives_zero_with_zero_gradient():
    value, grad = jax.value_and_grad(masked_mean)(VALUES, np.zeros(8, np.float32))
    assert value == 0
    np.testing.assert_array_equal(grad, np.zeros(8))


def test_nan_on_padding_does_not_count():
    values = jnp.where(MASK > 0, VALUES, jnp.nan)
    np.testing.assert_allclose(masked_mean(values, MASK), 41 / 4)


def test_the_mean_over_devices_is_the_mean_over_the_whole_batch():
    def local(values, mask):
        value, grad = jax.value_and_grad(masked_mean)(values, mask, "batch")
        return jax.lax.pmean(value, "batch"), grad / jax.lax.axis_size("batch")

    sharded = jax.pmap(local, axis_name="batch")
    value, grad = sharded(VALUES.reshape(4, 2), MASK.reshape(4, 2))
    np.testing.assert_allclose(value, np.full(4, 41 / 4))
    np.testing.assert_allclose(grad.reshape(-1), jax.grad(masked_mean)(VALUES, MASK))
    value, _ = sharded(VALUES.reshape(4, 2), np.zeros((4, 2), np.float32))
    np.testing.assert_array_equal(value, np.zeros(4))


def test_the_dtype_is_at_least_float32():
    assert masked_mean(jnp.ones(3, jnp.bfloat16)).dtype == jnp.float32
    with jax.enable_x64(True):
        assert masked_mean(jnp.ones(3, jnp.float64), jnp.ones(3, jnp.float32)).dtype == jnp.float64


def test_a_mask_of_another_length_is_refused():
    with pytest.raises(ValueError, match="mask"):
        masked_mean(VALUES, MASK[:3])
