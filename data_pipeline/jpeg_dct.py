"""The 8 x 8 cosine transform of JPEG in integers, and quantization: values that libjpeg has too, bit by bit.

One dimension is the algorithm of Loeffler, Ligtenberg and Moschytz, "Practical fast 1-D DCT algorithms with 11
multiplications" (1989), its constants rounded to 13 bits. Its integers are exact until the shift at the end of a pass;
so a pass is a product with the integer matrix that the algorithm makes of the unit vectors, and the inverse's is its
transpose.
"""

import functools
import math

import jax.numpy as jnp
import numpy as np

from kdjax.types import Array

BITS = 13
"""Of the constants; between the passes 2 bits are kept, and the transform in two dimensions is 8 times orthonormal."""


@functools.cache
def fixed_matrix() -> np.ndarray:
    """Returns the algorithm as an integer matrix `[8, 8]`, a frequency a row: 8192 times a DCT-II of length sqrt(8)."""

    def fixed(number: float) -> int:
        return round(number * (1 << BITS))

    def cosine(k: int) -> float:
        return float(np.sqrt(2) * np.cos(k * np.pi / 16))

    x = np.eye(8, dtype=np.int64)
    sums, gaps = x[:4] + x[:3:-1], x[:4] - x[:3:-1]
    outer, inner = sums[0] + sums[3], sums[1] + sums[2]
    across, between = sums[0] - sums[3], sums[1] - sums[2]
    turned = fixed(cosine(6)) * (across + between)
    found = np.zeros((8, 8), np.int64)
    found[0], found[4] = (outer + inner) << BITS, (outer - inner) << BITS
    found[2] = turned + fixed(cosine(2) - cosine(6)) * across
    found[6] = turned - fixed(cosine(2) + cosine(6)) * between
    # the odd half: four gaps, four sums of two of them, one of all
    first, second, third, last = gaps[3], gaps[2], gaps[1], gaps[0]
    c1, c3, c5, c7 = (cosine(k) for k in (1, 3, 5, 7))
    whole = fixed(c3) * (first + second + third + last)
    ends, middle = fixed(c7 - c3) * (first + last), -fixed(c1 + c3) * (second + third)
    left = whole - fixed(c3 + c5) * (first + third)
    right = whole - fixed(c3 - c5) * (second + last)
    found[7] = fixed(c3 + c5 - c1 - c7) * first + ends + left
    found[5] = fixed(c1 + c3 - c5 + c7) * second + middle + right
    found[3] = fixed(c1 + c3 + c5 - c7) * third + middle + left
    found[1] = fixed(c1 + c3 - c5 - c7) * last + ends + right
    return found.astype(np.int32)


def quantized(samples: Array, table: Array) -> Array:
    """Returns the whole multiples of a table's steps that are nearest to the transform of 8 x 8 blocks.

    Args:
      samples: int32 `[..., H, W, C]` in [-128, 127]; H and W are multiples of 8.
      table: int32 `[..., 8, 8]`, a step a frequency; with leading axes of the samples or none.

    Returns:
      int32 `[..., H, W, C]`; halves are rounded away from zero.
    """
    matrix = fixed_matrix()
    found = _pass(_pass(samples, matrix, -2, BITS - 2), matrix, -3, BITS + 2)
    steps = 8 * _tiled(table, found)
    return jnp.sign(found) * ((jnp.abs(found) + (steps >> 1)) // steps)


def dequantized(multiples: Array, table: Array) -> Array:
    """Returns the samples of quantized blocks, as `quantized` takes them, not clipped."""
    matrix = fixed_matrix().T
    found = multiples * _tiled(table, multiples)
    return _pass(_pass(found, matrix, -3, BITS - 2), matrix, -2, BITS + 5)


def _tiled(table: Array, planes: Array) -> Array:
    """Returns a table `[..., 8, 8]` repeated over planes `[..., H, W, C]`, with one channel."""
    height, width = planes.shape[-3:-1]
    full = table.reshape((1,) * (planes.ndim - 1 - table.ndim) + table.shape)
    repeats = (1,) * (full.ndim - 2) + (height // 8, width // 8)
    return jnp.tile(full, repeats)[..., None]


def _pass(x: Array, matrix: np.ndarray, axis: int, shift: int) -> Array:
    """Returns the product of a matrix with each eight elements along an axis, shifted with rounding."""
    split = x.ndim + axis
    grouped = x.reshape(*x.shape[:split], x.shape[split] // 8, 8, math.prod(x.shape[split + 1 :]))
    found = jnp.einsum("kn,...nc->...kc", jnp.asarray(matrix), grouped)
    return ((found + (1 << (shift - 1))) >> shift).reshape(x.shape)
