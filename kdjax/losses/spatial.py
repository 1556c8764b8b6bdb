"""Bringing two feature maps of different height and width to one grid."""

import jax.numpy as jnp
import numpy as np
from jax.lax import Precision

from kdjax.checks import check_choice, check_rank
from kdjax.losses.reductions import at_least_float32
from kdjax.types import Array


def match_spatial(student: Array, teacher: Array, *, reduce: str = "mean") -> tuple[Array, Array]:
    """Returns both maps pooled to the smaller height and the smaller width of the two.

    Args:
      student: float `[B, H, W, C]`.
      teacher: float `[B, H', W', C']`.
      reduce: as in `pool_to`.

    Raises:
      ValueError: if one is not a map of four axes.
    """
    check_rank("student", student, 4)
    check_rank("teacher", teacher, 4)
    size = min(student.shape[1], teacher.shape[1]), min(student.shape[2], teacher.shape[2])
    return pool_to(student, size, reduce=reduce), pool_to(teacher, size, reduce=reduce)


def pool_to(x: Array, size: tuple[int, int], *, reduce: str = "mean") -> Array:
    """Returns a map pooled to `size`, by the area that each old cell shares with each new one.

    Where the sizes divide, this is the plain pooling of whole blocks.

    Args:
      x: float `[B, H, W, C]`.
      size: new height and width, neither larger than the old.
      reduce: "mean" for maps, "sum" for densities, whose total it keeps.

    Returns:
      `[B, height, width, C]`, at least float32 unless `x` has that size already.

    Raises:
      ValueError: for an unknown `reduce`, or a size larger than the map's.
    """
    check_rank("x", x, 4)
    check_choice("reduce", reduce, ("mean", "sum"))
    if tuple(x.shape[1:3]) == tuple(size):
        return x
    if size[0] > x.shape[1] or size[1] > x.shape[2]:
        raise ValueError(f"cannot pool {tuple(x.shape[1:3])} to the larger {tuple(size)}")
    x = at_least_float32(x)
    down = jnp.asarray(_overlaps(x.shape[1], size[0], reduce), x.dtype)
    across = jnp.asarray(_overlaps(x.shape[2], size[1], reduce), x.dtype)
    return jnp.einsum("ij,bjkc,lk->bilc", down, x, across, precision=Precision.HIGHEST)


def _overlaps(old: int, new: int, reduce: str) -> np.ndarray:
    """Returns `[new, old]`: the share of each old cell in each new one, summing to 1 by `reduce`."""
    edges = np.arange(new + 1) * old
    starts, ends = edges[:-1, None], edges[1:, None]
    cells = np.arange(old)[None] * new
    shared = np.clip(np.minimum(ends, cells + new) - np.maximum(starts, cells), 0, None)
    return shared / (new if reduce == "sum" else old)
