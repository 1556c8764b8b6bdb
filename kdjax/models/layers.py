"""Layers that every network shares: convolution, batch normalisation, a linear head."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from kdjax.models.convolution import convolve
from kdjax.models.depthwise import depthwise_convolve
from kdjax.types import Array

he_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
"""He's normal initialisation over the outputs, what torchvision uses for its ResNets."""


def he_per_channel(key: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """He's normal initialisation of depthwise kernels `[k, k, C]`: variance `2 / k^2`."""
    return (2.0 / (shape[0] * shape[1])) ** 0.5 * jax.random.normal(key, shape, dtype)


def parameter_dtype(dtype: jnp.dtype) -> jnp.dtype:
    """Returns the dtype of parameters and statistics: float32, or float64 for a float64 network."""
    return jnp.promote_types(dtype, jnp.float32)


def compute_dtype(dtype: jnp.dtype, *arrays: Array) -> jnp.dtype:
    """Returns `dtype`, or float64 if one of the arrays is: what comes in double stays double."""
    double = any(array.dtype == jnp.float64 for array in arrays)
    return jnp.dtype(jnp.float64) if double else jnp.dtype(dtype)


class Conv(nn.Module):
    """A convolution over NHWC maps, by default without bias and padded alike on every side.

    Attributes:
      features: number of output channels.
      size: side of the square kernel, or its rows and columns.
      stride: step over rows and columns.
      dtype: dtype it computes in; the kernel is stored as `parameter_dtype(dtype)`.
      padding: `symmetric` (PyTorch's), `same` (TensorFlow's) or `valid`, see `convolution.PADDINGS`.
      use_bias: whether a bias is added.
      dilation: distance of the kernel's entries on the map.
    """

    features: int
    size: int | tuple[int, int]
    stride: int = 1
    dtype: jnp.dtype = jnp.float32
    padding: str = "symmetric"
    use_bias: bool = False
    dilation: int = 1

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[B, H, W, C]` to `[B, H', W', features]`."""
        rows, columns = (self.size, self.size) if isinstance(self.size, int) else self.size
        shape = (rows, columns, x.shape[-1], self.features)
        stored = parameter_dtype(self.dtype)
        kernel = self.param("kernel", he_fan_out, shape, stored)
        dtype = compute_dtype(self.dtype, x, kernel)
        y = convolve(
            x.astype(dtype),
            kernel.astype(dtype),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
        )
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), stored)
            y = y + bias.astype(dtype)[None, None, None]
        return y


class DepthwiseConv(nn.Module):
    """A convolution of every channel with a kernel `[k, k, C]` of its own, without bias.

    Attributes:
      size: side of the kernels.
      stride: step over rows and columns.
      dtype: dtype it computes in.
      padding: as of `Conv`.
      form: `auto`, `shift` or `lax`, see `depthwise.depthwise_convolve`.
    """

    size: int
    stride: int = 1
    dtype: jnp.dtype = jnp.float32
    padding: str = "symmetric"
    form: str = "auto"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[B, H, W, C]` to `[B, H', W', C]`."""
        shape = (self.size, self.size, x.shape[-1])
        kernel = self.param("kernel", he_per_channel, shape, parameter_dtype(self.dtype))
        dtype = compute_dtype(self.dtype, x, kernel)
        return depthwise_convolve(
            x.astype(dtype),
            kernel.astype(dtype),
            stride=self.stride,
            padding=self.padding,
            form=self.form,
        )


class BatchNorm(nn.Module):
    """Batch normalisation, by default as in torchvision: eps 1e-5, running statistics with momentum 0.9.

    Statistics are taken and stored in float32 (float64 for float64 maps) and averaged over
    `axis_name`. The running variance is the biased one, as in Flax; PyTorch's is not.

    Attributes:
      axis_name: device axis that the batch is spread over, or None.
      scale_init: initialiser of the scale.
      epsilon: added to the variance.
      momentum: weight of the old running statistics in the new ones.
      use_scale: whether there is a scale to learn.
    """

    axis_name: str | None = None
    scale_init: Callable = nn.initializers.ones
    epsilon: float = 1e-5
    momentum: float = 0.9
    use_scale: bool = True

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Normalises `[B, H, W, C]` by the batch's statistics (`train`) or by the running ones."""
        dtype, shape = parameter_dtype(x.dtype), x.shape[-1:]
        scale = jnp.ones(shape, dtype)
        if self.use_scale:
            scale = self.param("scale", self.scale_init, shape, dtype)
        bias = self.param("bias", nn.initializers.zeros, shape, dtype)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, dtype)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, dtype)
        if train:
            axis_name = None if self.is_initializing() else self.axis_name
            mean, var = batch_moments(x, axis_name)
            if not self.is_initializing():
                for running, now in ((running_mean, mean), (running_var, var)):
                    now = now.astype(running.value.dtype)
                    running.value = self.momentum * running.value + (1 - self.momentum) * now
        else:
            mean, var = running_mean.value, running_var.value
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
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


class SqueezeExcite(nn.Module):
    """Multiplies each channel by a gate computed from all channels' means.

    See "Squeeze-and-Excitation Networks" by Hu et al., 2018 (https://arxiv.org/abs/1709.01507).

    Attributes:
      squeezed: number of channels between the two 1 x 1 convolutions `reduce` and `expand`.
      activation: between them.
      gate: after them.
      dtype: dtype it computes in.
    """

    squeezed: int
    activation: Callable[[Array], Array] = nn.relu
    gate: Callable[[Array], Array] = nn.sigmoid
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[B, H, W, C]` to the same shape."""
        y = pool(x)[:, None, None].astype(x.dtype)
        y = Conv(self.squeezed, 1, dtype=self.dtype, use_bias=True, name="reduce")(y)
        y = self.activation(y)
        y = Conv(x.shape[-1], 1, dtype=self.dtype, use_bias=True, name="expand")(y)
        return x * self.gate(y)


def pool(x: Array) -> Array:
    """Returns the mean `[B, C]` over the positions of `[B, H, W, C]`, at least in float32."""
    return jnp.mean(x, axis=(1, 2), dtype=parameter_dtype(x.dtype))
