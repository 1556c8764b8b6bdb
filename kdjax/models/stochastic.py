"""What networks draw in training: dropout and stochastic depth, one draw an example."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from kdjax.types import Array

EXAMPLES = "examples"
"""Collection that tells a network in training which examples it sees: `id`, int32 `[B]`."""


def example_keys(module: nn.Module, count: int) -> Array:
    """Returns one random key an example `[B]`, for dropout and stochastic depth.

    An example's key depends on its place in the batch of all devices, `id` of the collection
    `examples`, so that any number of devices draws the same. Without that collection its place in
    this batch is taken.
    """
    own = jnp.arange(count, dtype=jnp.int32)
    ids = module.get_variable(EXAMPLES, "id", own)
    return jax.vmap(jax.random.fold_in, (None, 0))(module.make_rng("dropout"), ids)


def dropout(x: Array, rate: float, keys: Array | None, number: int) -> Array:
    """Returns `[B, ...]` with a share `rate` of each example's entries 0 and the others grown.

    Args:
      x: float `[B, ...]`.
      rate: probability of an entry to be dropped, in [0, 1).
      keys: `example_keys`; None drops nothing.
      number: tells the draws of one network from each other.
    """
    return _drop(x, x.shape[1:], rate, keys, number)


def drop_path(x: Array, rate: float, keys: Array | None, number: int) -> Array:
    """Stochastic depth: whole examples of a residual branch are dropped. Arguments as of `dropout`.

    See "Deep Networks with Stochastic Depth" by Huang et al., 2016 (https://arxiv.org/abs/1603.09382).
    """
    return _drop(x, (1,) * (x.ndim - 1), rate, keys, number)


def _drop(x: Array, shape: tuple[int, ...], rate: float, keys: Array | None, number: int) -> Array:
    if not 0 <= rate < 1:
        raise ValueError(f"a drop rate must be in [0, 1), got {rate}")
    if keys is None or rate == 0:
        return x

    def draw(key: Array) -> Array:
        return jax.random.bernoulli(jax.random.fold_in(key, number), 1 - rate, shape)

    return jnp.where(jax.vmap(draw)(keys), x / (1 - rate), jnp.zeros((), x.dtype))
