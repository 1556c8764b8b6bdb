"""Layers that every network shares: convolution, batch normalisation, a linear head."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from kdjax.models.convolution import convolve
from kdjax.types import Array

he_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
"""He's normal initialisation over the outputs, what torchvision uses for its ResNets."""


def parameter_dtype(dtype: jnp.dtype) -> jnp.dtype:
    """Returns the dtype of parameters and statistics: float32, or float64 for a float64 network."""
    return jnp.promote_types(dtype, jnp.float32)


def compute_dtype(dtype: jnp.dtype, *arrays: Array) -> jnp.dtype:
    """Returns `dtype`, or float64 if one of the arrays is: what comes in double stays double."""
    double = any(array.dtype == jnp.float64 for array in arrays)
    return jnp.dtype(jnp.float64) if double else jnp.dtype(dtype)


class Conv(nn.Module):
    """A convolution without bias over NHWC maps, padded by the same number of zeros on every side.

    Attributes:
      features: number of output channels.
      size: side of the square kernel.
      stride: step over rows and columns.
      dtype: dtype it computes in; the kernel is stored as `parameter_dtype(dtype)`.
    """

    features: int
    size: int
    stride: int = 1
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[B, H, W, C]` to `[B, H', W', features]`, padded by `(size - 1) // 2`."""
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", he_fan_out, shape, parameter_dtype(self.dtype))
        dtype = compute_dtype(self.dtype, x, kernel)
        return convolve(x.astype(dtype), kernel.astype(dtype), stride=self.stride)


class BatchNorm(nn.Module):
    """Batch normalisation as in torchvision: eps 1e-5, running statistics with momentum 0.9.

    Statistics are taken and stored in float32 (float64 for float64 maps) and averaged over
    `axis_name`. The running variance is the biased one, as in Flax; PyTorch's is not.

    Attributes:
      axis_name: device axis that the batch is spread over, or None.
      scale_init: initialiser of the scale.
    """

    axis_name: str | None = None
    scale_init: Callable = nn.initializers.ones

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Normalises `[B, H, W, C]` by the batch's statistics (`train`) or by the running ones."""
        dtype, shape = parameter_dtype(x.dtype), x.shape[-1:]
        scale = self.param("scale", self.scale_init, shape, dtype)
        bias = self.param("bias", nn.initializers.zeros, shape, dtype)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, dtype)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, dtype)
        if train:
            axis_name = None if self.is_initializing() else self.axis_name
            mean, var = batch_moments(x, axis_name)
            if not self.is_initializing():
                for running, now in ((running_mean, mean), (running_var, var)):
                    running.value = 0.9 * running.value + 0.1 * now.astype(running.value.dtype)
        else:
            mean, var = running_mean.value, running_var.value
        factor = scale * jax.lax.rsqrt(var + 1e-5)
        offset = bias - mean * factor
        y = x.astype(dtype) * factor[None, None, None] + offset[None, None, None]
        return y.astype(x.dtype)


def batch_moments(x: Array, axis_name: str | None = None) -> tuple[Array, Array]:
    """Returns mean and biased variance `[C]` of `[B, H, W, C]` over the batch of all devices."""
    x = x.astype(parameter_dtype(x.dtype))
    mean = jnp.mean(x, axis=(0, 1, 2))
    mean_square = jnp.mean(x * x, axis=(0, 1, 2))
    if axis_name is not None:
        mean, mean_square = jax.lax.pmean((mean, mean_square), axis_name)
    return mean, jnp.maximum(mean_square - mean * mean, 0.0)


class Classifier(nn.Module):
    """The linear head; logits are float32 (float64 for float64 features) in every network."""

    num_classes: int

    @nn.compact
    def __call__(self, pooled: Array) -> Array:
        """Maps `[B, D]` to `[B, num_classes]`."""
        dtype = parameter_dtype(pooled.dtype)
        kernel_init, shape = nn.initializers.lecun_normal(), (pooled.shape[-1], self.num_classes)
        kernel = self.param("kernel", kernel_init, shape, dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.num_classes,), dtype)
        return pooled.astype(dtype) @ kernel + bias[None]
