"""JPEG as a function of images: on the device, under any transformation of JAX, with gradients.

Baseline JPEG (ITU-T T.81, 1992) with the integer arithmetic of libjpeg: the colour transform of JFIF, chroma halved by
the mean of four, 8 x 8 DCT in 13-bit fixed point, the tables of Annex K scaled by the quality, and chroma enlarged
again by a triangle. What is lost is lost by rounding and clipping; entropy coding loses nothing and is left out.

Values are those of libjpeg, bit by bit. Derivatives are those of the same function without rounding (straight through):
the transform and its inverse then cancel, and what is left is linear: colours, chroma halved and enlarged, and nothing
from samples that were clipped. They say nothing of what quantization took away.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.data_pipeline.jpeg_dct import dequantized, quantized
from kdjax.types import Array

LUMINANCE = np.array(
    [
        *(16, 11, 10, 16, 24, 40, 51, 61), *(12, 12, 14, 19, 26, 58, 60, 55),
        *(14, 13, 16, 24, 40, 57, 69, 56), *(14, 17, 22, 29, 51, 87, 80, 62),
        *(18, 22, 37, 56, 68, 109, 103, 77), *(24, 35, 55, 64, 81, 104, 113, 92),
        *(49, 64, 78, 87, 103, 121, 120, 101), *(72, 92, 95, 98, 112, 100, 103, 99),
    ],
    np.int32,
).reshape(8, 8)  # fmt: skip
"""Table K.1 of T.81."""

CHROMINANCE = np.full((8, 8), 99, np.int32)
CHROMINANCE[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]
"""Table K.2 of T.81."""

TO_YCC = np.array([[0.299, 0.587, 0.114], [-0.16874, -0.33126, 0.5], [0.5, -0.41869, -0.08131]])
"""Red, green and blue to luma and the two differences, of JFIF 1.02."""

TO_RGB = np.array([[1, 0, 1.402], [1, -0.34414, -0.71414], [1, 1.772, 0]])

SUBSAMPLINGS = ("4:2:0", "4:4:4")


def jpeg(images: Array, quality: Array | float, *, subsampling: str = "4:2:0") -> Array:
    """Returns images as they come back from JPEG.

    Args:
      images: float `[..., H, W, 3]` in [0, 1], RGB; they are rounded to 8 bits first. Any size: edges are repeated up
        to whole blocks, as libjpeg does.
      quality: 1 (worst) to 100, as of the Independent JPEG Group; a number, or one for each image `[...]`.
      subsampling: `4:2:0`, of half the resolution in colour, or `4:4:4`.

    Returns:
      float of the dtype and shape of `images`: multiples of 1/255 in [0, 1]. Inside it is computed in float32, which
      holds these integers exactly, and int32. The derivative is 1 through every rounding; by `quality` it is 0.

    Raises:
      ValueError: for another shape or subsampling.
    """
    if images.ndim < 3 or images.shape[-1] != 3 or 0 in images.shape[-3:]:
        raise ValueError(f"images must be [..., H, W, 3]; they are {list(images.shape)}")
    check_subsampling(subsampling)
    height, width = images.shape[-3:-1]
    step = 2 if subsampling == "4:2:0" else 1
    samples = _clip(_round(255.0 * images.astype(jnp.float32)))
    planes = _to_ycc(samples)
    luma, chroma = planes[..., :1], planes[..., 1:]
    if step == 2:
        # libjpeg repeats columns before it halves, and rows afterwards
        chroma = _halve(_pad(chroma, 2, 16))
    luma = _lose(luma, quality_table(LUMINANCE, quality))
    chroma = _lose(chroma, quality_table(CHROMINANCE, quality))
    # what lies beyond the image has no part in it
    chroma = chroma[..., : -(-height // step), : -(-width // step), :]
    if step == 2:
        chroma = _double(chroma) if chroma.shape[-2] > 2 else _repeat(chroma)
    planes = jnp.concatenate([luma, chroma[..., :height, :width, :]], axis=-1)
    return (_clip(_to_rgb(planes)) / 255.0).astype(images.dtype)


def check_subsampling(subsampling: str) -> None:
    """Raises ValueError unless chroma can be subsampled so."""
    if subsampling not in SUBSAMPLINGS:
        raise ValueError(f"subsampling={subsampling!r} must be one of: {', '.join(SUBSAMPLINGS)}")


def quality_table(base: np.ndarray, quality: Array | float) -> Array:
    """Returns a quantization table scaled by a quality, as the Independent JPEG Group scales it.

    `clip(floor((base * s + 50) / 100), 1, 255)`; `s` is `floor(5000 / quality)` below 50, `200 - 2 quality` from there.

    Args:
      base: `[8, 8]`.
      quality: whole numbers 1 to 100, of any shape; others are rounded and clipped.

    Returns:
      int32 `[..., 8, 8]`.
    """
    rounded = jnp.round(jnp.asarray(quality, jnp.float32))
    whole = jnp.clip(rounded, 1, 100).astype(jnp.int32)[..., None, None]
    scale = jnp.where(whole < 50, 5000 // whole, 200 - 2 * whole)
    return jnp.clip((_to_rank(base, scale.ndim) * scale + 50) // 100, 1, 255)


def straight_through(
    smooth: Callable[[Array], Array],
) -> Callable[[Callable[..., Array]], Callable[..., Array]]:
    """Returns a decorator: the function's values, the derivative in its first argument of `smooth`, which is linear.

    The function takes int32 and gives int32; what it becomes takes and gives float32 that are whole numbers.
    """

    def decorate(exact: Callable[..., Array]) -> Callable[..., Array]:
        @jax.custom_jvp
        def both(x: Array, *others: Array) -> Array:
            # a fused multiply-add before may be off by its last bit
            return exact(jnp.round(x).astype(jnp.int32), *others).astype(x.dtype)

        @both.defjvp
        def derivative(
            primals: tuple[Array, ...], tangents: tuple[Array, ...]
        ) -> tuple[Array, Array]:
            return both(*primals), smooth(tangents[0])

        return both

    return decorate


def _round(x: Array) -> Array:
    """Rounds halves up, with the derivative of the identity."""
    return x + jax.lax.stop_gradient(jnp.floor(x + 0.5) - x)


def _clip(x: Array) -> Array:
    """Returns x in [0, 255]; the derivative is 1 at both ends."""
    return jnp.where(x < 0, 0.0, jnp.where(x > 255, 255.0, x))


def _fixed(numbers: np.ndarray) -> np.ndarray:
    """Returns numbers in 16-bit fixed point, halves rounded away from zero."""
    return (np.sign(numbers) * np.floor(np.abs(numbers) * 65536 + 0.5)).astype(np.int32)


def _mix(planes: Array, matrix: np.ndarray) -> list[Array]:
    """Returns the channels of `matrix @ planes`."""
    parts = [planes[..., channel] for channel in range(3)]
    return [
        sum((part * weight for part, weight in zip(parts, row, strict=True)), start=0 * parts[0])
        for row in matrix
    ]


@straight_through(lambda x: jnp.stack(_mix(x, TO_YCC.astype(np.float32)), axis=-1))
def _to_ycc(samples: Array) -> Array:
    """Returns luma and differences, these with 128 added, in [0, 255]; halves of differences are rounded down."""
    luma, blue, red = _mix(samples, _fixed(TO_YCC))
    middle = (128 << 16) + (1 << 15) - 1
    return jnp.stack([luma + (1 << 15), blue + middle, red + middle], axis=-1) >> 16


@straight_through(lambda x: jnp.stack(_mix(x, TO_RGB.astype(np.float32)), axis=-1))
def _to_rgb(planes: Array) -> Array:
    """Returns red, green and blue, not clipped yet."""
    luma, blue, red = planes[..., 0], planes[..., 1] - 128, planes[..., 2] - 128
    fixed, half = _fixed(TO_RGB), 1 << 15
    added = [
        fixed[0, 2] * red + half,
        fixed[1, 1] * blue + fixed[1, 2] * red + half,
        fixed[2, 1] * blue + half,
    ]
    return luma[..., None] + (jnp.stack(added, axis=-1) >> 16)


def _pad(planes: Array, rows: int, columns: int) -> Array:
    """Returns planes whose edges are repeated up to a multiple of so many rows and columns."""
    height, width = planes.shape[-3:-1]
    widths = [(0, 0)] * (planes.ndim - 3)
    widths += [(0, -height % rows), (0, -width % columns), (0, 0)]
    return jnp.pad(planes, widths, mode="edge")


def _sum_of_four(planes: Array) -> Array:
    *batch, height, width, channels = planes.shape
    return planes.reshape(*batch, height // 2, 2, width // 2, 2, channels).sum(axis=(-4, -2))


@straight_through(lambda x: _sum_of_four(x) / 4)
def _halve(planes: Array) -> Array:
    """Returns the mean of each 2 x 2 samples, rounded down after adding 1 and 2 quarters in turns, left to right."""
    sums = _sum_of_four(planes)
    return (sums + _to_rank(1 + np.arange(sums.shape[-2])[:, None] % 2, sums.ndim)) >> 2


def _lose(planes: Array, table: Array) -> Array:
    """Returns planes `[..., H, W, C]` after quantization of their 8 x 8 blocks by `table` `[..., 8, 8]`."""
    height, width = planes.shape[-3:-1]
    return _clip(_transform(_pad(planes, 8, 8), table))[..., :height, :width, :]


@straight_through(lambda x: x)
def _transform(planes: Array, table: Array) -> Array:
    return dequantized(quantized(planes - 128, table), table) + 128


@straight_through(lambda x: _triangle(x) / 16)
def _double(planes: Array) -> Array:
    """Returns planes of twice the size: three quarters of the nearest sample and one of the next, in both directions.

    Sums of sixteenths are rounded down after adding 8 in even columns and 7 in odd ones.
    """
    both = _triangle(planes)
    return (both + _to_rank(8 - np.arange(both.shape[-2])[:, None] % 2, both.ndim)) >> 4


def _triangle(planes: Array) -> Array:
    return _between(_between(planes, axis=-3), axis=-2)


def _between(planes: Array, axis: int) -> Array:
    """Returns `3 nearest + next` of each half step along an axis; at the ends the nearest is the next as well."""
    count = planes.shape[axis]
    before = jnp.take(planes, np.maximum(np.arange(count) - 1, 0), axis=axis)
    after = jnp.take(planes, np.minimum(np.arange(count) + 1, count - 1), axis=axis)
    both = jnp.stack([3 * planes + before, 3 * planes + after], axis=axis)
    shape = list(planes.shape)
    shape[axis] = 2 * count
    return both.reshape(shape)


def _repeat(planes: Array) -> Array:
    """Returns each sample twice in both directions: libjpeg's way where colour has no more than two columns."""
    return jnp.repeat(jnp.repeat(planes, 2, axis=-3), 2, axis=-2)


def _to_rank(x: Array | np.ndarray, rank: int) -> Array:
    """Returns x in int32 with leading axes of 1 up to a rank: JAX may be told to promote none."""
    return jnp.asarray(x, jnp.int32).reshape((1,) * (rank - x.ndim) + x.shape)
