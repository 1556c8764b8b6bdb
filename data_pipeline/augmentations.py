"""Augmentations on the device, as factories that a program names: `AUGMENTATIONS = {"jpeg": augmentations.jpeg}`.

Each returns `(image float32 [H, W, 3] in [0, 1], key, step) -> image` of one example; all qualities of an example are
given the same key, and so the same draw. Options are the arguments' defaults. `chain` puts several together. Drawn at a
`chance`, an example is left as it is otherwise.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from kdjax.checks import check_positive
from kdjax.data_pipeline import jpeg as codec
from kdjax.types import Array

Augmentation = Callable[[Array, Array, Array], Array]

GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in luma."""


def chain(*parts: Augmentation) -> Augmentation:
    """Returns an augmentation that applies several in turn, each with a key of its own."""

    def apply(image: Array, key: Array, step: Array) -> Array:
        for number, part in enumerate(parts):
            image = part(image, jax.random.fold_in(key, number), step)
        return image

    return apply


def jpeg(
    low: int = 30, high: int = 100, subsampling: str = "4:2:0", chance: float = 0.5
) -> Augmentation:
    """JPEG of a quality drawn evenly from `low` to `high`, both included; see `jpeg.jpeg`.

    Raises:
      ValueError: unless `1 <= low <= high <= 100` and the chance is in [0, 1].
    """
    if not 1 <= low <= high <= 100:
        raise ValueError(f"low={low} and high={high} must be 1 <= low <= high <= 100")

    def change(image: Array, key: Array) -> Array:
        quality = jax.random.randint(key, (), low, high + 1)
        return codec.jpeg(image, quality, subsampling=subsampling)

    return _at(chance, change)


def blur(largest: float = 2.0, chance: float = 0.5) -> Augmentation:
    """Gaussian blur, its standard deviation drawn evenly from 0 to `largest` pixels; edges mirrored (c b | a b c)."""
    check_positive("largest", largest)
    reach = max(1, round(3 * largest))

    def change(image: Array, key: Array) -> Array:
        sigma = jnp.maximum(largest * jax.random.uniform(key), 1e-3)
        places = jnp.arange(-reach, reach + 1, dtype=jnp.float32)
        weights = jnp.exp(-0.5 * (places / sigma) ** 2)
        weights = weights / weights.sum()
        for axis in (0, 1):
            widths = [(0, 0)] * 3
            widths[axis] = (reach, reach)
            padded = jnp.pad(image, widths, mode="reflect")
            size = image.shape[axis]
            shifted = [
                jax.lax.slice_in_dim(padded, k, k + size, axis=axis) for k in range(2 * reach + 1)
            ]
            image = jnp.tensordot(
                weights, jnp.stack(shifted), 1, precision=jax.lax.Precision.HIGHEST
            )
        return image

    return _at(chance, change)


def noise(largest: float = 0.05, chance: float = 0.5) -> Augmentation:
    """Gaussian noise, its standard deviation drawn evenly from 0 to `largest` (white is 1); clipped to [0, 1]."""
    check_positive("largest", largest)

    def change(image: Array, key: Array) -> Array:
        strength, drawn = jax.random.split(key)
        sigma = largest * jax.random.uniform(strength)
        return jnp.clip(image + sigma * jax.random.normal(drawn, image.shape), 0, 1)

    return _at(chance, change)


def colour(
    brightness: float = 0.2, contrast: float = 0.2, saturation: float = 0.2, chance: float = 0.5
) -> Augmentation:
    """Colours changed: `b + c (s x + (1 - s) grey(x) - 1/2) + 1/2`, clipped to [0, 1].

    `b` is drawn evenly from `-brightness` to `brightness`, `c` from `1 - contrast` to `1 + contrast`, `s` likewise.
    """

    def change(image: Array, key: Array) -> Array:
        drawn = jax.random.uniform(key, (3,), minval=-1, maxval=1)
        strengths = jnp.array([brightness, contrast, saturation])
        shift, gain, fill = drawn * strengths + jnp.array([0.0, 1.0, 1.0])
        grey = jnp.einsum("hwc,c->hw", image, jnp.array(GREY))[..., None]
        mixed = fill * image + (1 - fill) * grey
        return jnp.clip(shift + gain * (mixed - 0.5) + 0.5, 0, 1)

    return _at(chance, change)


def downscale(factors: tuple[int, ...] = (2, 4), chance: float = 0.5) -> Augmentation:
    """Shrunk by the mean of `f x f` pixels, enlarged again bilinearly; `f` of `factors`, which divide the sides."""

    def by(factor: int, image: Array) -> Array:
        height, width, channels = image.shape
        if height % factor or width % factor:
            raise ValueError(f"downscale: {factor} does not divide the image, {height} x {width}")
        small = image.reshape(height // factor, factor, width // factor, factor, channels).mean(
            (1, 3)
        )
        return jax.image.resize(small, image.shape, "bilinear")

    def change(image: Array, key: Array) -> Array:
        chosen = jax.random.randint(key, (), 0, len(factors))
        return jnp.stack([by(factor, image) for factor in factors])[chosen]

    return _at(chance, change)


def cutout(largest: float = 0.3, chance: float = 0.5) -> Augmentation:
    """A grey square, its side drawn evenly from 0 to `largest` of the image's, anywhere (DeVries & Taylor 2017)."""
    check_positive("largest", largest)

    def change(image: Array, key: Array) -> Array:
        height, width = image.shape[:2]
        side, down, across = jax.random.uniform(key, (3,))
        half = 0.5 * largest * side * min(height, width)
        rows = jnp.abs(jnp.arange(height) + 0.5 - down * height) < half
        columns = jnp.abs(jnp.arange(width) + 0.5 - across * width) < half
        return jnp.where((rows[:, None] & columns[None])[..., None], 0.5, image)

    return _at(chance, change)


def _at(chance: float, change: Callable[[Array, Array], Array]) -> Augmentation:
    """Returns an augmentation that changes a `chance` of the examples."""
    if not 0 <= chance <= 1:
        raise ValueError(f"chance={chance} must be in [0, 1]")

    def apply(image: Array, key: Array, step: Array) -> Array:
        del step
        whether, drawn = jax.random.split(key)
        changed = change(image, drawn).astype(image.dtype)
        return jnp.where(jax.random.uniform(whether) < chance, changed, image)

    return apply
