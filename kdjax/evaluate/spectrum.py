"""What compression takes from the spectrum of real and of fake images (ADD, Fig. 1)."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from kdjax.checks import UserError, check_positive
from kdjax.types import LABELS, Batch

LUMA = (0.299, 0.587, 0.114)


class SpectrumDifference(NamedTuple):
    """How much weaker each frequency is after compression.

    Attributes:
      maps: `{"real" | "fake": float64 [H, W]}` in decibels, positive where the reference is
        stronger. As in the paper's figure the order is that of the plain transform: frequency 0 in
        the corners, the highest in the middle.
      counts: how many images each map is the mean of; a class without images has no map.
      reference: name of the quality compared with.
      quality: name of the compressed quality.
    """

    maps: dict[str, np.ndarray]
    counts: dict[str, int]
    reference: str
    quality: str


def log_magnitude(images: np.ndarray) -> np.ndarray:
    """Returns the log-magnitude spectrum of uint8 RGB images, in decibels.

    `20 log10(|F(u, v)| + floor)`, `F` the two-dimensional DFT of the luma in [0, 1]. The floor is
    the magnitude that rounding to 8 bits gives by itself, `sqrt(H W / 12) / 255`, so that what no
    file can hold does not count.

    Args:
      images: uint8 `[B, H, W, 3]`.

    Returns:
      float64 `[B, H, W]`.
    """
    grey = images @ np.asarray(LUMA) / 255
    floor = np.sqrt(grey.shape[1] * grey.shape[2] / 12) / 255
    return 20 * np.log10(np.abs(np.fft.fft2(grey)) + floor)


def spectrum_difference(
    batches: Iterable[Batch],
    *,
    reference: str = "raw",
    quality: str = "c40",
    limit: int = 1000,
) -> SpectrumDifference:
    """Returns how the log-magnitude spectra of two qualities differ, in the mean over images.

    The difference of logarithms is a ratio, so every frequency is measured against its own
    strength; plain magnitudes would show the strong low frequencies alone. (The paper gives no
    formula for its "normalized spectrum differences".)

    Args:
      batches: batches with both qualities; rows whose `mask` is 0 are left out.
      reference: the quality compared with.
      quality: the compressed quality.
      limit: how many images of each class to read at most.

    Raises:
      UserError: there is no image.
      ValueError: a batch lacks one of the two qualities.
    """
    check_positive("limit", limit)
    sums: dict[str, np.ndarray] = {}
    counts = dict.fromkeys(LABELS, 0)
    for batch in batches:
        absent = [name for name in (reference, quality) if name not in batch["image"]]
        if absent:
            raise ValueError(f"the batch holds {', '.join(batch['image'])}, not {absent[0]!r}")
        labels = np.asarray(batch["label"])
        kept = np.asarray(batch.get("mask", np.ones(len(labels)))) > 0
        for label, name in enumerate(LABELS):
            rows = np.flatnonzero(kept & (labels == label))[: limit - counts[name]]
            if len(rows):
                pair = (np.asarray(batch["image"][key])[rows] for key in (reference, quality))
                before, after = (log_magnitude(images).sum(axis=0) for images in pair)
                sums[name] = sums.get(name, 0) + before - after
                counts[name] += len(rows)
        if min(counts.values()) >= limit:
            break
    if not sums:
        raise UserError("no image to take a spectrum of: the split is empty; choose another split")
    maps = {name: total / counts[name] for name, total in sums.items()}
    return SpectrumDifference(maps, counts, reference, quality)


def radial_profile(spectrum: np.ndarray, *, bins: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean of an unshifted spectrum over rings of equal distance from frequency 0.

    Args:
      spectrum: `[H, W]`, frequency 0 at the corner.
      bins: how many rings between 0 and 0.5 cycles a pixel; frequency 0 itself and the corners
        beyond 0.5 are left out.

    Returns:
      Middle of each ring in cycles a pixel and the mean there, `[K]` each; empty rings are dropped.
    """
    rows, columns = (np.fft.fftfreq(size) for size in spectrum.shape)
    radius = np.hypot(rows[:, None], columns[None, :])
    ring = np.ceil(radius * 2 * bins).astype(int)
    inside = (ring >= 1) & (ring <= bins)
    count = np.bincount(ring[inside], minlength=bins + 1)
    total = np.bincount(ring[inside], weights=spectrum[inside], minlength=bins + 1)
    filled = np.flatnonzero(count)
    return (filled - 0.5) / (2 * bins), total[filled] / count[filled]
