"""Augmentations on the device, as factories: `data.augmentation=blur:largest=1+jpeg:low=20` names them.

Each returns `(image float32 [H, W, 3] in [0, 1], key, step) -> image` of one example; all qualities of an example are
given the same key, and so the same draw. Options are the arguments' defaults. `chain` puts several together. Drawn at a
`chance`, an example is left as it is otherwise.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

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
      ValueError: unless `1 <= low <= high <= 100`, for another subsampling, or a chance outside [0, 1].
    """
    if not 1 <= low <= high <= 100:
        raise ValueError(f"low={low} and high={high} must be 1 <= low <= high <= 100")
    codec.check_subsampling(subsampling)

    def change(image: Array, key: Array) -> Array:
        quality = jax.random.randint(key, (), low, high + 1)
        return codec.jpeg(image, quality, subsampling=subsampling)

    return _at(chance, change)


def blur(largest: float = 2.0, chance: float = 0.5) -> Augmentation:
    """Gaussian blur, its standard deviation drawn evenly from 0 to `largest` pixels; edges mirrored (c b | a b c)."""
    check_positive("largest", largest)
    reach = max(1, round(3 * largest))

    def change(image: Array, key: Array) -> Array:
        return blurred(image, largest * jax.random.uniform(key), reach)

    return _at(chance, change)


def blurred(image: Array, sigma: Array | float, reach: int) -> Array:
    """Returns an image `[H, W, 3]` after a Gaussian blur of `sigma` pixels, cut off at `reach`; edges mirrored."""
    sigma = jnp.maximum(sigma, 1e-3)

    def weights(length: int) -> Array:
        """Returns the blur of an axis as a matrix: what lies beyond the edges counts where it is mirrored from."""
        mirrored = np.pad(np.arange(length), reach, mode="reflect" if length > 1 else "edge")
        gaps = np.arange(length)[:, None] - (np.arange(length + 2 * reach)[None] - reach)
        near = np.where(np.abs(gaps) <= reach, 1.0, 0.0).astype(np.float32)
        bells = near * jnp.exp(-0.5 * (gaps.astype(np.float32) / sigma) ** 2)
        bells = bells / bells.sum(axis=1, keepdims=True)
        folded = (mirrored[:, None] == np.arange(length)[None]).astype(np.float32)
        return jnp.matmul(bells, folded, precision=jax.lax.Precision.HIGHEST)

    down, across = (weights(length) for length in image.shape[:2])
    return _on_both_axes(down, image, across)


def _on_both_axes(down: Array, image: Array, across: Array) -> Array:
    """Returns `down @ image @ across.T` of each channel."""
    return jnp.einsum("ih,hwc,jw->ijc", down, image, across, precision=jax.lax.Precision.HIGHEST)


def noise(largest: float = 0.05, chance: float = 0.5) -> Augmentation:
    """Gaussian noise, its standard deviation drawn evenly from 0 to `largest` (white is 1); clipped to [0, 1]."""
    check_positive("largest", largest)

    def change(image: Array, key: Array) -> Array:
        strength, drawn = jax.random.split(key)
        sigma = largest * jax.random.uniform(strength)
        return jnp.clip(image + sigma * jax.random.normal(drawn, image.shape), 0, 1)

    return _at(chance, change)


def colour(
    brightness: float = 0.2,
    contrast: float = 0.2,
    saturation: float = 0.2,
    hue: float = 0.05,
    chance: float = 0.5,
) -> Augmentation:
    """Colours changed: `b + c (s x + (1 - s) grey(x) - 1/2) + 1/2`, clipped to [0, 1], then turned in hue.

    `b` is drawn evenly from `-brightness` to `brightness`, `c` from `1 - contrast` to `1 + contrast`, `s` likewise; the
    hue of HSV is turned by up to `hue` of the circle either way.
    """

    def change(image: Array, key: Array) -> Array:
        drawn = jax.random.uniform(key, (4,), minval=-1, maxval=1)
        strengths = jnp.array([brightness, contrast, saturation, hue])
        shift, gain, fill, turn = drawn * strengths + jnp.array([0.0, 1.0, 1.0, 0.0])
        grey = jnp.einsum("hwc,c->hw", image, jnp.array(GREY))[..., None]
        mixed = fill * image + (1 - fill) * grey
        changed = jnp.clip(shift + gain * (mixed - 0.5) + 0.5, 0, 1)
        return turn_hue(changed, turn) if hue else changed

    return _at(chance, change)


def turn_hue(image: Array, turn: Array) -> Array:
    """Returns an image `[H, W, 3]` with the hue of HSV turned by `turn` of the circle; greys stay."""
    red, green, blue = (image[..., channel] for channel in range(3))
    value = image.max(axis=-1)
    chroma = value - image.min(axis=-1)
    safe = jnp.where(chroma > 0, chroma, 1.0)
    # the six sixths of the circle, counted from red
    sixth = jnp.where(
        value == red,
        (green - blue) / safe,
        jnp.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    turned = sixth + 6 * turn
    gaps = [(turned + start) % 6 for start in (5, 3, 1)]
    shares = [jnp.clip(jnp.minimum(gap, 4 - gap), 0, 1) for gap in gaps]
    return jnp.stack([value - chroma * share for share in shares], axis=-1)


def resized_crop(smallest: float = 0.5, ratio: float = 4 / 3, chance: float = 0.5) -> Augmentation:
    """A part of the image, enlarged bilinearly to the image's size.

    Its area is drawn evenly from `smallest` to 1 of the whole, its height by its width from `1 / ratio` to `ratio`,
    evenly by logarithm, its place evenly.

    Raises:
      ValueError: unless `0 < smallest <= 1 <= ratio`.
    """
    if not 0 < smallest <= 1 <= ratio:
        raise ValueError(
            f"smallest={smallest} and ratio={ratio} must be 0 < smallest <= 1 <= ratio"
        )

    def change(image: Array, key: Array) -> Array:
        area, shape, *places = jax.random.uniform(key, (4,))
        size = jnp.sqrt(smallest + (1 - smallest) * area)
        stretch = jnp.exp(0.5 * (2 * shape - 1) * jnp.log(ratio))
        shares = (jnp.minimum(1, size * stretch), jnp.minimum(1, size / stretch))
        down, across = (
            _interpolation(length, share, (1 - share) * place)
            for length, share, place in zip(image.shape[:2], shares, places, strict=True)
        )
        return _on_both_axes(down, image, across)

    return _at(chance, change)


def _interpolation(length: int, share: Array, start: Array) -> Array:
    """Returns weights `[length, length]` that enlarge the `share` of an axis from `start` on to its whole length."""
    centres = length * start + share * (jnp.arange(length) + 0.5) - 0.5
    centres = jnp.clip(centres, 0, length - 1)
    return jnp.maximum(0.0, 1.0 - jnp.abs(centres[:, None] - jnp.arange(length)[None]))


def downscale(factors: tuple[int, ...] = (2, 4), chance: float = 0.5) -> Augmentation:
    """Shrunk by the mean of `f x f` pixels, enlarged again bilinearly; `f` of `factors`, each as likely.

    Edges are repeated up to a multiple of `f`.

    Raises:
      ValueError: for no factor, or one below 1.
    """
    if not factors or min(factors) < 1:
        raise ValueError(f"factors={factors} must be whole numbers of at least 1")

    def change(image: Array, key: Array) -> Array:
        chosen = jax.random.randint(key, (), 0, len(factors))
        return jnp.stack([shrunk(image, factor) for factor in factors])[chosen]

    return _at(chance, change)


def shrunk(image: Array, factor: int) -> Array:
    """Returns an image `[H, W, 3]` shrunk by the mean of `factor x factor` pixels and enlarged again bilinearly."""
    height, width, channels = image.shape
    widths = ((0, -height % factor), (0, -width % factor), (0, 0))
    padded = jnp.pad(image, widths, mode="edge")
    down, across = (size // factor for size in padded.shape[:2])
    small = padded.reshape(down, factor, across, factor, channels).mean((1, 3))
    return jax.image.resize(small, padded.shape, "bilinear")[:height, :width]


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


SHIPPED: Mapping[str, Callable[..., Augmentation]] = {
    "blur": blur,
    "colour": colour,
    "cutout": cutout,
    "downscale": downscale,
    "jpeg": jpeg,
    "noise": noise,
    "resized_crop": resized_crop,
}
"""Those that `data.augmentation` may name."""

MOVING = ("resized_crop",)
"""Those after which pixels are no longer where they were."""
