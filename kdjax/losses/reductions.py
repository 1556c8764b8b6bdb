"""What all losses share: the dtype they compute in, and means over masked, sharded batches."""

import jax
import jax.numpy as jnp

from kdjax.checks import check_same_shape
from kdjax.types import Array

FLOOR = 1e-12
"""Lower bound of every norm and denominator."""


def at_least_float32(x: Array) -> Array:
    """Returns `x` in float32, or in float64 if it is float64."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def masked_mean(values: Array, mask: Array | None = None, axis_name: str | None = None) -> Array:
    """Returns the mean over the examples whose mask is not 0, ready to be averaged over devices.

        sum(mask * values) / (psum(sum(mask)) / number of devices)

    so that `pmean` of it over `axis_name` is the mean over the whole batch, and the `pmean` of its
    gradients is the gradient of that mean, however unevenly the mask is spread over the devices.

    Args:
      values: float `[B]`, of this device.
      mask: float or bool `[B]`, or None if all count.
      axis_name: device axis of the batch, or None.

    Returns:
      A scalar of at least float32; 0 if no example of the whole batch counts.
    """
    values = at_least_float32(values)
    if mask is None:
        return jnp.mean(values)
    check_same_shape(values=values, mask=mask)
    mask = mask.astype(values.dtype)
    total = jnp.sum(jnp.where(mask > 0, values, 0.0) * mask)
    count = jnp.sum(mask)
    if axis_name is not None:
        count = jax.lax.pmean(count, axis_name)
    return total / jnp.where(count > 0, count, 1.0)
