"""The inverted residual block of MobileNets: expand 1 x 1, convolve depthwise, project 1 x 1."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from kdjax.models.layers import BatchNorm, Conv, DepthwiseConv, SqueezeExcite
from kdjax.types import Array

Activation = Callable[[Array], Array]


class Row(NamedTuple):
    """One inverted residual.

    Attributes:
      features: channels that come out.
      expansion: factor by which the channels grow first; None leaves the expansion out.
      stride: step of the depthwise convolution.
      size: side of the depthwise kernels.
      squeeze: whether squeeze-and-excitation follows the depthwise convolution.
      activation: after expansion and depthwise convolution.
    """

    features: int
    expansion: float | None
    stride: int = 1
    size: int = 3
    squeeze: bool = False
    activation: Activation = nn.relu6


class InvertedResidual(nn.Module):
    """Expands, convolves depthwise, projects; the input is added where the shapes allow it.

    Attributes:
      row: what it does.
      padding: see `convolution.PADDINGS`.
      epsilon: of the normalisations.
      momentum: of the normalisations.
      dtype: dtype it computes in.
      depthwise: form of the depthwise convolution.
      axis_name: device axis for the batch statistics.
    """

    row: Row
    padding: str = "symmetric"
    epsilon: float = 1e-5
    momentum: float = 0.9
    dtype: jnp.dtype = jnp.float32
    depthwise: str = "auto"
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[B, H, W, C]` to `[B, H/stride, W/stride, features]`."""
        row = self.row

        def norm(y: Array, name: str) -> Array:
            layer = BatchNorm(
                self.axis_name, epsilon=self.epsilon, momentum=self.momentum, name=name
            )
            return layer(y, train=train)

        y = x
        if row.expansion is not None:
            expanded = divisible(row.expansion * x.shape[-1])
            y = Conv(expanded, 1, dtype=self.dtype, name="expand_conv")(y)
            y = row.activation(norm(y, "expand_norm"))
        y = DepthwiseConv(
            row.size, row.stride, self.dtype, self.padding, self.depthwise, name="depthwise_conv"
        )(y)
        y = row.activation(norm(y, "depthwise_norm"))
        if row.squeeze:
            squeezed = divisible(y.shape[-1] / 4)
            gate = nn.hard_sigmoid
            y = SqueezeExcite(squeezed, gate=gate, dtype=self.dtype, name="squeeze")(y)
        y = norm(Conv(row.features, 1, dtype=self.dtype, name="project_conv")(y), "project_norm")
        return y + x.astype(y.dtype) if y.shape == x.shape else y


def divisible(channels: float) -> int:
    """Returns the nearest multiple of 8, one more where that takes away over a tenth of the channels."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest
