"""The blocks of Inception-ResNets: branches of convolutions that are joined, reduced or added."""

from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from kdjax.models.convolution import max_pool
from kdjax.models.layers import BatchNorm, Conv
from kdjax.types import Array

EPSILON = 1e-3
"""Of all normalisations."""


class Part(NamedTuple):
    """One convolution: channels, kernel, step, and its padding (see `convolution.PADDINGS`)."""

    features: int
    size: int | tuple[int, int] = 1
    stride: int = 1
    padding: str = "symmetric"


Parts = tuple[Part, ...]
"""Convolutions one after the other."""


class Unit(nn.Module):
    """A convolution without bias, a normalisation and a ReLU.

    Attributes:
      part: the convolution.
      dtype: dtype it computes in.
      axis_name: device axis for the batch statistics.
    """

    part: Part
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[B, H, W, C]` to `[B, H', W', features]`."""
        features, size, stride, padding = self.part
        x = Conv(features, size, stride, self.dtype, padding, name="conv")(x)
        return nn.relu(BatchNorm(self.axis_name, epsilon=EPSILON, name="norm")(x, train=train))


class Reduction(nn.Module):
    """Branches at a stride of 2, and a max-pool beside them.

    Attributes:
      branches: the convolutions of each.
      dtype: dtype it computes in.
      axis_name: device axis for the batch statistics.
    """

    branches: tuple[Parts, ...]
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[B, H, W, C]` to `[B, (H - 1) // 2, (W - 1) // 2, D + C]`."""
        ends = _ends(x, self.branches, self.dtype, self.axis_name, train)
        pooled = max_pool(x, padding="valid").astype(ends[0].dtype)
        return jnp.concatenate([*ends, pooled], axis=-1)


class Block(nn.Module):
    """A residual block: `relu(x + scale * projection(branches(x)))`.

    Attributes:
      branches: the convolutions of each branch.
      scale: weight of what is added.
      relu: whether the ReLU is there.
      dtype: dtype it computes in.
      axis_name: device axis for the batch statistics.
    """

    branches: tuple[Parts, ...]
    scale: float
    relu: bool = True
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[B, H, W, C]` to the same shape."""
        ends = _ends(x, self.branches, self.dtype, self.axis_name, train)
        project = Conv(x.shape[-1], 1, dtype=self.dtype, use_bias=True, name="project_conv")
        y = project(jnp.concatenate(ends, axis=-1))
        y = x.astype(y.dtype) + self.scale * y
        return nn.relu(y) if self.relu else y


def _ends(
    x: Array, branches: tuple[Parts, ...], dtype: jnp.dtype, axis_name: str | None, train: bool
) -> list[Array]:
    """Returns the map at the end of each branch, whose units belong to the calling module."""
    ends = []
    for branch, parts in enumerate(branches, start=1):
        y = x
        for index, part in enumerate(parts, start=1):
            y = Unit(part, dtype, axis_name, name=f"branch{branch}_unit{index}")(y, train=train)
        ends.append(y)
    return ends
