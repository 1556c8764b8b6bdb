"""Small trained maps between a student's features and a teacher's: stacks of convolutions, regressors."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from kdjax.losses import at_least_float32, unit_vectors
from kdjax.models.layers import BatchNorm, Conv, parameter_dtype
from kdjax.types import Array, PyTree

HIGHEST = jax.lax.Precision.HIGHEST


class Stack(nn.Module):
    """3 x 3 convolutions, with normalisation and ReLU after those that `activated` names (from 1).

    Normalised by the batch alone: a projector has no inference, so no running statistics either.

    Attributes:
      layers: number of convolutions.
      activated: which are followed by normalisation and ReLU.
      width: channels of each.
      size: side of the kernels.
      axis_name: device axis for the batch statistics.
    """

    layers: int
    activated: tuple[int, ...]
    width: int
    size: int = 3
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[B, H, W, C]` to `[B, H, W, width]`."""
        x = at_least_float32(x)
        for number in range(1, self.layers + 1):
            x = Conv(self.width, self.size, dtype=x.dtype, name=f"conv{number}")(x)
            if number in self.activated:
                x = nn.relu(BatchNorm(self.axis_name, name=f"norm{number}")(x, train=True))
        return x


def init_stack(rng: Array, stack: Stack, channels: int) -> PyTree:
    """Returns the parameters of a stack on maps of so many channels."""
    return stack.init(rng, jnp.zeros((1, 4, 4, channels)))["params"]


def apply_stack(stack: Stack, params: PyTree, x: Array) -> Array:
    """Returns the projected map; the running statistics that its layers keep are thrown away."""
    dtype = parameter_dtype(x.dtype)
    fresh = {
        f"norm{number}": {
            "mean": jnp.zeros(stack.width, dtype),
            "var": jnp.ones(stack.width, dtype),
        }
        for number in stack.activated
    }
    found, _ = stack.apply({"params": params, "batch_stats": fresh}, x, mutable=["batch_stats"])
    return found


def init_linear(rng: Array, inputs: int, outputs: int) -> PyTree:
    """Returns kernel and bias of a linear map."""
    example = jnp.zeros((1, inputs))
    return nn.Dense(outputs, param_dtype=example.dtype).init(rng, example)["params"]


def apply_linear(head: PyTree, features: Array) -> Array:
    """Returns a linear map of the last axis, in at least float32 and full precision."""
    features = at_least_float32(features)
    width = head["bias"].shape[0]
    dense: Any = nn.Dense(width, dtype=features.dtype, precision=HIGHEST)
    return dense.apply({"params": head}, features)


def embed(head: PyTree, features: Array) -> Array:
    """Returns `[..., width]`: a linear map of `[..., D]`, then length 1."""
    return unit_vectors(apply_linear(head, features))


class NonLocal(nn.Module):
    """Self-attention over positions, added with a learned gate that starts at 0.

    Queries and keys have an eighth of the channels; all three 1 x 1 convolutions have their kernels
    divided by their largest singular value, as "Self-Attention Generative Adversarial Networks"
    by Zhang et al., 2019 (https://arxiv.org/abs/1805.08318) does.
    """

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[B, H, W, C]` to the same shape."""
        x = at_least_float32(x)
        batch, height, width, channels = x.shape
        rows = x.reshape(batch, height * width, channels)
        narrow = max(1, channels // 8)
        query, key, value = (
            jnp.matmul(rows, self._kernel(name, channels, size, x.dtype), precision=HIGHEST)
            for name, size in (("query", narrow), ("key", narrow), ("value", channels))
        )
        scores = jnp.einsum("bic,bjc->bij", query, key, precision=HIGHEST)
        mixed = jnp.einsum("bij,bjc->bic", jax.nn.softmax(scores), value, precision=HIGHEST)
        gate = self.param("gate", nn.initializers.zeros, (), parameter_dtype(x.dtype))
        return x + gate * mixed.reshape(x.shape)

    def _kernel(self, name: str, inputs: int, outputs: int, dtype: Any) -> Array:
        shape = (inputs, outputs)
        kernel = self.param(name, nn.initializers.lecun_normal(), shape, parameter_dtype(dtype))
        return kernel / jnp.maximum(largest_singular_value(kernel), 1e-12)


def largest_singular_value(matrix: Array, steps: int = 32) -> Array:
    """Returns the spectral norm of `[M, N]` by power iteration; its gradient is that of `u^T matrix v`.

    It comes from below: within 2 % for random matrices of up to 2048 rows, whose values lie close together.
    """
    held = jax.lax.stop_gradient(matrix)

    def improve(_: Array, right: Array) -> Array:
        return unit_vectors(jnp.matmul(left_of(right), held, precision=HIGHEST))

    def left_of(right: Array) -> Array:
        return unit_vectors(jnp.matmul(held, right, precision=HIGHEST))

    right = jax.lax.fori_loop(0, steps, improve, jnp.ones(matrix.shape[1], matrix.dtype))
    return jnp.einsum("m,mn,n->", left_of(right), matrix, right, precision=HIGHEST)
