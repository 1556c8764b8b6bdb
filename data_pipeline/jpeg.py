"""JPEG as a function of images: on the device, under any transformation of JAX, with gradients.

Baseline JPEG (ITU-T T.81, 1992) as libjpeg does it: the colour transform of JFIF, chroma halved by the mean of four,
8 x 8 DCT, the tables of Annex K scaled by the quality, and chroma enlarged again by a triangle. What is lost is lost
by rounding and clipping; entropy coding loses nothing and is left out. Rounding passes gradients as if it were not
there (straight through), clipping none.
"""

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.signal import dct_matrix
from kdjax.types import Array

LUMINANCE = np.array(
    [
        *(16, 11, 10, 16, 24, 40, 51, 61), *(12, 12, 14, 19, 26, 58, 60, 55),
        *(14, 13, 16, 24, 40, 57, 69, 56), *(14, 17, 22, 29, 51, 87, 80, 62),
        *(18, 22, 37, 56, 68, 109, 103, 77), *(24, 35, 55, 64, 81, 104, 113, 92),
        *(49, 64, 78, 87, 103, 121, 120, 101), *(72, 92, 95, 98, 112, 100, 103, 99),
    ],
    np.float32,
).reshape(8, 8)  # fmt: skip
"""Table K.1 of T.81."""

CHROMINANCE = np.full((8, 8), 99, np.float32)
CHROMINANCE[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
"""Table K.2 of T.81."""

TO_YCC = np.array(
    [[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]],
    np.float32,
)
"""Red, green and blue to luma and the two differences, of JFIF 1.02."""

TO_RGB = np.array([[1, 0, 1.402], [1, -0.344136286, -0.714136286], [1, 1.772, 0]], np.float32)

SUBSAMPLINGS = ("4:2:0", "4:4:4")


def jpeg(images: Array, quality: Array | float, *, subsampling: str = "4:2:0") -> Array:
    """Returns images as they come back from JPEG.

    Args:
      images: float `[..., H, W, 3]` in [0, 1], RGB; they are rounded to 8 bits first. Any size: edges are repeated up
        to whole blocks, as libjpeg does.
      quality: 1 (worst) to 100, as of the Independent JPEG Group; a number, or one for each image `[...]`.
      subsampling: `4:2:0`, of half the resolution in colour, or `4:4:4`.

    Returns:
      float of the dtype and shape of `images`: multiples of 1/255 in [0, 1]. Inside it is computed in float32.

    Raises:
      ValueError: for another shape or subsampling.
    """
    if images.ndim < 3 or images.shape[-1] != 3 or 0 in images.shape[-3:]:
        raise ValueError(f"images must be [..., H, W, 3]; they are {list(images.shape)}")
    if subsampling not in SUBSAMPLINGS:
        raise ValueError(f"subsampling={subsampling!r} must be one of: {', '.join(SUBSAMPLINGS)}")
    height, width = images.shape[-3:-1]
    step = 2 if subsampling == "4:2:0" else 1
    samples = _round(255.0 * images.astype(jnp.float32))
    planes = _round(
        _colours(samples, TO_YCC) + _to_rank(np.array([0.0, 128.0, 128.0]), images.ndim)
    )
    planes = jnp.clip(_pad(planes, 8 * step), 0, 255)
    luma, chroma = planes[..., :1], planes[..., 1:]
    if step == 2:
        chroma = _halve(chroma)
    luma = _lose(luma, quality_table(LUMINANCE, quality))
    chroma = _lose(chroma, quality_table(CHROMINANCE, quality))
    # what lies beyond the image has no part in it
    chroma = chroma[..., : -(-height // step), : -(-width // step), :]
    if step == 2:
        chroma = _double(chroma)
    luma, chroma = luma[..., :height, :width, :], chroma[..., :height, :width, :]
    planes = jnp.concatenate([luma, chroma - 128.0], axis=-1)
    return (jnp.clip(_round(_colours(planes, TO_RGB)), 0, 255) / 255.0).astype(images.dtype)


def quality_table(base: np.ndarray, quality: Array | float) -> Array:
    """Returns a quantization table scaled by a quality, as the Independent JPEG Group scales it.

    `clip(floor((base * s + 50) / 100), 1, 255)`; `s` is `floor(5000 / quality)` below 50, `200 - 2 quality` from there.

    Args:
      base: `[8, 8]`.
      quality: whole numbers 1 to 100, of any shape; others are rounded and clipped.

    Returns:
      float32 `[..., 8, 8]`.
    """
    whole = jnp.clip(jnp.round(jnp.asarray(quality, jnp.float32)), 1, 100)[..., None, None]
    scale = jnp.where(whole < 50, jnp.floor(5000.0 / whole), 200.0 - 2.0 * whole)
    return jnp.clip(jnp.floor((_to_rank(base, scale.ndim) * scale + 50.0) / 100.0), 1, 255)


def _colours(planes: Array, matrix: np.ndarray) -> Array:
    return jnp.einsum("...c,dc->...d", planes, matrix, precision=jax.lax.Precision.HIGHEST)


def _to_rank(x: Array | np.ndarray, rank: int) -> Array:
    """Returns x in float32 with leading axes of 1 up to a rank: JAX may be told to promote none."""
    return jnp.asarray(x, jnp.float32).reshape((1,) * (rank - x.ndim) + x.shape)


def _round(x: Array) -> Array:
    """Rounds halves up, with the gradient of the identity."""
    return x + jax.lax.stop_gradient(jnp.floor(x + 0.5) - x)


def _pad(planes: Array, multiple: int) -> Array:
    height, width = planes.shape[-3:-1]
    widths = [(0, 0)] * (planes.ndim - 3)
    widths += [(0, -height % multiple), (0, -width % multiple), (0, 0)]
    return jnp.pad(planes, widths, mode="edge")


def _halve(planes: Array) -> Array:
    """Returns the mean of each 2 x 2 samples, rounded down after adding 1 and 2 quarters in turns, left to right."""
    *batch, height, width, channels = planes.shape
    sums = planes.reshape(*batch, height // 2, 2, width // 2, 2, channels).sum(axis=(-4, -2))
    bias = _to_rank(1 + np.arange(width // 2)[:, None] % 2, sums.ndim)
    exact = sums / 4.0
    return exact + jax.lax.stop_gradient(jnp.floor((sums + bias) / 4.0) - exact)


def _lose(planes: Array, table: Array) -> Array:
    """Returns planes `[..., H, W, C]` after quantization of their 8 x 8 blocks by `table` `[..., 8, 8]`."""
    *batch, height, width, channels = planes.shape
    blocks = planes.reshape(*batch, height // 8, 8, width // 8, 8, channels) - 128.0
    matrix = jnp.asarray(dct_matrix(8), jnp.float32)
    precise = jax.lax.Precision.HIGHEST
    steps = _to_rank(table[..., None, :, None, :, None], blocks.ndim)
    found = jnp.einsum("ij,...ajbkc,lk->...aiblc", matrix, blocks, matrix, precision=precise)
    scaled = found / steps
    # libjpeg rounds halves away from zero
    whole = jnp.sign(scaled) * jnp.floor(jnp.abs(scaled) + 0.5)
    found = (scaled + jax.lax.stop_gradient(whole - scaled)) * steps
    back = jnp.einsum("ji,...ajbkc,kl->...aiblc", matrix, found, matrix, precision=precise)
    return jnp.clip(_round(back.reshape(planes.shape) + 128.0), 0, 255)


def _double(planes: Array) -> Array:
    """Returns planes of twice the size: three quarters of the nearest sample and one of the next, in both directions.

    Sums of sixteenths are rounded down after adding 8 in even columns and 7 in odd ones.
    """
    rows = _between(planes, axis=-3)
    both = _between(rows, axis=-2)
    bias = _to_rank(8 - np.arange(both.shape[-2])[:, None] % 2, both.ndim)
    exact = both / 16.0
    return exact + jax.lax.stop_gradient(jnp.floor((both + bias) / 16.0) - exact)


def _between(planes: Array, axis: int) -> Array:
    """Returns `3 nearest + next` of each half step along an axis; at the ends the nearest is the next as well."""
    count = planes.shape[axis]
    before = jnp.take(planes, np.maximum(np.arange(count) - 1, 0), axis=axis)
    after = jnp.take(planes, np.minimum(np.arange(count) + 1, count - 1), axis=axis)
    both = jnp.stack([3.0 * planes + before, 3.0 * planes + after], axis=axis)
    shape = list(planes.shape)
    shape[axis] = 2 * count
    return both.reshape(shape)
