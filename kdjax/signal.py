"""Array functions on images that networks and data share: the cosine transform and what is built on it."""

import functools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax.lax import Precision

from kdjax.checks import check_non_negative, check_rank
from kdjax.types import Array

__all__ = ["dct2", "high_pass", "idct2"]


def dct2(x: Array) -> Array:
    """Returns the orthonormal DCT-II over the two spatial axes.

        X(u, v) = a(u, H) a(v, W) sum_{y, x} x(y, x) cos(pi (2y + 1) u / 2H) cos(pi (2x + 1) v / 2W)
        a(0, N) = sqrt(1 / N),  a(k, N) = sqrt(2 / N) otherwise

    Both transforms are matrix products at the highest precision, whatever the platform's default.

    Args:
      x: `[B, H, W, C]`.

    Returns:
      `[B, H, W, C]`, at least float32, in the units of `x`: row `u` and column `v` of each channel.

    Raises:
      ValueError: unless `x` has four axes.
    """
    return _both_axes(x, dct_matrix)


def idct2(x: Array) -> Array:
    """Returns the inverse of `dct2`, of the same shapes and dtypes."""
    return _both_axes(x, lambda length: dct_matrix(length).T)


def high_pass(x: Array, *, rho: float | Array = 0.33) -> Array:
    """Returns images without their low frequencies.

        x_F = idct2(0 where u / H + v / W < rho, else dct2(x))                (TOKD, Eq. 1)

    Args:
      x: `[B, H, W, C]`; TOKD gives it in [0, 1] and normalises afterwards.
      rho: size of the triangle at the top left that is set to 0; 0 keeps all, more than 2 nothing.

    Returns:
      `[B, H, W, C]`, at least float32.

    Raises:
      ValueError: unless `x` has four axes and `rho` is at least 0.

    See "Local Relation Learning for Face Forgery Detection" by Chen et al., 2021
    (https://arxiv.org/abs/2105.02577), whose `rho` this is, and "Two-in-one Knowledge Distillation for
    Efficient Facial Forgery Detection" by Zhou et al., 2023 (https://arxiv.org/abs/2302.10437).
    """
    check_rank("x", x, 4)
    if isinstance(rho, int | float):
        check_non_negative("rho", rho)
    height, width = x.shape[1:3]
    # whole numbers: where rho * H is one too, rounding must not decide what lies on the edge
    place = np.arange(height)[:, None] * width + np.arange(width)[None] * height
    low = place < rho * height * width * (1 - 1e-6)
    return idct2(jnp.where(low[None, :, :, None], 0.0, dct2(x)))


def _both_axes(x: Array, matrix: Callable[[int], np.ndarray]) -> Array:
    """Returns `matrix(H) @ x @ matrix(W).T` of each channel."""
    check_rank("x", x, 4)
    x = jnp.asarray(x)
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    down, across = (jnp.asarray(matrix(length), x.dtype) for length in x.shape[1:3])
    x = jnp.einsum("uy,byxc->buxc", down, x, precision=Precision.HIGHEST)
    return jnp.einsum("vx,buxc->buvc", across, x, precision=Precision.HIGHEST)


@functools.cache
def dct_matrix(length: int) -> np.ndarray:
    """Returns the orthonormal DCT-II of `length` points as a float64 matrix, a frequency a row."""
    frequency, place = np.arange(length)[:, None], np.arange(length)[None]
    matrix = np.cos(np.pi * (2 * place + 1) * frequency / (2 * length)) * np.sqrt(2 / length)
    matrix[0] /= np.sqrt(2)
    return matrix
