"""Corruptions of test images, five severities each, made of the best stored quality while a network is evaluated.

Severities are fixed numbers in pixels and grey levels of the stored image, so that two networks see the same pixels;
noise is drawn for each example, alike for every network and growing with the severity.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.checks import check_choice
from kdjax.data_pipeline.augment import to_float
from kdjax.data_pipeline.augmentations import blurred, shrunk
from kdjax.data_pipeline.compression import compress_clip
from kdjax.data_pipeline.dataset import Dataset
from kdjax.data_pipeline.jpeg import jpeg
from kdjax.data_pipeline.loader import evaluation_batches
from kdjax.types import Array, Batch

SEVERITIES: Mapping[str, tuple[float, ...]] = {
    "jpeg": (90, 70, 50, 30, 10),
    "h264": (23, 28, 33, 38, 43),
    "blur": (0.5, 1.0, 1.5, 2.0, 3.0),
    "noise": (0.01, 0.02, 0.04, 0.07, 0.1),
    "resize": (2, 3, 4, 5, 6),
}
"""JPEG quality at 4:2:0; crf of H.264, each image a film of one frame; Gaussian blur in pixels, noise as a share of
white, both as standard deviations; by how much the image is shrunk before it is enlarged again."""

KINDS = tuple(SEVERITIES)

REACH = 9
"""Pixels after which blur is cut off: three standard deviations of the strongest."""


def names(kind: str) -> tuple[str, ...]:
    """Returns the names of a kind's severities, `blur-1` (mildest) to `blur-5`."""
    return tuple(f"{kind}-{number + 1}" for number in range(len(SEVERITIES[kind])))


def corrupt(images: np.ndarray, index: np.ndarray, kind: str, severity: int) -> np.ndarray:
    """Returns corrupted images.

    Args:
      images: uint8, or float in [0, 1] that are rounded to 8 bits first, `[B, S, S, 3]`.
      index: int32 `[B]`, of which the noise is drawn.
      kind: one of `KINDS`.
      severity: 1 (mildest) to 5.

    Returns:
      uint8 `[B, S, S, 3]`.

    Raises:
      ValueError: for another kind or severity.
    """
    check_choice("kind", kind, KINDS)
    check_choice("severity", severity, range(1, len(SEVERITIES[kind]) + 1))
    strength = SEVERITIES[kind][severity - 1]
    levels = images if images.dtype == np.uint8 else np.round(255 * images).astype(np.uint8)
    if kind == "h264":
        return np.concatenate([compress_clip(image[None], int(strength)) for image in levels])
    # the factor is a shape; all else is traced and compiled once a kind
    fixed = int(strength) if kind == "resize" else 0
    return np.asarray(_compiled(kind, fixed)(levels, index, strength))


@functools.lru_cache(maxsize=16)
def _compiled(kind: str, factor: int) -> Callable[..., Array]:
    def noisy(image: Array, index: Array, strength: Array) -> Array:
        key = jax.random.fold_in(jax.random.key(0), index)
        return jnp.clip(image + strength * jax.random.normal(key, image.shape), 0, 1)

    one: Mapping[str, Callable[[Array, Array, Array], Array]] = {
        "jpeg": lambda image, index, strength: jpeg(image, strength),
        "blur": lambda image, index, strength: blurred(image, strength, REACH),
        "noise": noisy,
        "resize": lambda image, index, strength: shrunk(image, factor),
    }

    def apply(images: Array, index: Array, strength: Array) -> Array:
        found = jax.vmap(one[kind], in_axes=(0, 0, None))(to_float(images), index, strength)
        return jnp.round(255 * found).astype(jnp.uint8)

    return jax.jit(apply)


class _Corrupted(Mapping[str, Any]):
    """Images of a batch by name, each made when it is asked for: all at once would be 26 batches in memory."""

    def __init__(self, quality: str, images: np.ndarray, index: np.ndarray, kinds: Sequence[str]):
        self._quality, self._images, self._index = quality, images, index
        self._makers = {
            name: (kind, number + 1) for kind in kinds for number, name in enumerate(names(kind))
        }

    def __getitem__(self, name: str) -> np.ndarray:
        if name == self._quality:
            return self._images
        return corrupt(self._images, self._index, *self._makers[name])

    def __iter__(self) -> Iterator[str]:
        return iter((self._quality, *self._makers))

    def __len__(self) -> int:
        return 1 + len(self._makers)


def corrupted_batches(dataset: Dataset, kinds: Sequence[str], **options: Any) -> Iterator[Batch]:
    """Yields what `loader.evaluation_batches` yields in the best quality, with its corruptions by name beside it."""
    best = dataset.qualities[0]
    for batch in evaluation_batches(dataset, (best,), **options):
        images = _Corrupted(best, batch["image"][best], batch["index"], kinds)
        yield {**batch, "image": images}
