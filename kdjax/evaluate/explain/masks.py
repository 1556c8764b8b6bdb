"""How much of the heat falls where an image is known to be forged, and how sure that is."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kdjax.checks import check_rank, check_same_batch, check_same_shape
from kdjax.evaluate.bootstrap import bca_interval, draw_parts, fitting, left_out
from kdjax.evaluate.intervals import DRAWS
from kdjax.evaluate.statistics import CONFIDENCE, NOTHING, Interval

TIE = 1 - 1e-6
"""Share of the largest heat from which on a pixel is as hot: enlarging leaves plateaus."""


class Inside(NamedTuple):
    """What of each image's heat lies in its mask, float64 `[N]` each; NaN where there is no mask, or no heat.

    Attributes:
      share: of the heat, `sum_{i in mask} L_i / sum_i L_i`.
      pointing: 1 where the hottest pixel lies inside; of several equally hot ones the share that does.
      area: share of the pixels that the mask covers: what heat that is even everywhere has of `share`, and in
        expectation a random pixel of `pointing`. Known of cold images too.
      elsewhere: what of the heat lies in the masks of other videos' images, in their mean: as much as in `share`, if
        it lies where masks mostly do and knows nothing of this image's. NaN where no other video has a mask.
    """

    share: np.ndarray
    pointing: np.ndarray
    area: np.ndarray
    elsewhere: np.ndarray


def heat_inside(
    heat: npt.ArrayLike, masks: npt.ArrayLike, videos: npt.ArrayLike | None = None
) -> Inside:
    """Returns how much heat falls inside masks.

    Args:
      heat: float `[N, H, W]`, at least 0.
      masks: `[N, H, W]`, where a pixel was forged: bool, or uint8 above 127.
      videos: int `[N]`, ids: the masks of a video's frames are much alike, and no `elsewhere` of each other. None:
        each image is one of its own.

    Raises:
      ValueError: for shapes that do not go together, other masks, or heat that is negative or not finite.

    The pointing game is that of "Top-down Neural Attention by Excitation Backprop" by Zhang et al., 2016
    (https://arxiv.org/abs/1608.00507), without its tolerance of 15 pixels.
    """
    values, inside = np.asarray(heat, np.float64), np.asarray(masks)
    check_rank("heat", values, 3)
    check_same_shape(heat=values, masks=inside)
    if not (np.isfinite(values) & (values >= 0)).all():
        raise ValueError("heat must be finite and at least 0")
    if inside.dtype not in (bool, np.uint8):
        raise ValueError(f"masks must be bool, or uint8 up to 255, not {inside.dtype}")
    inside = inside if inside.dtype == bool else inside > 127
    videos = np.arange(len(values)) if videos is None else np.asarray(videos)
    check_same_batch(heat=values, videos=videos)
    area = inside.mean(axis=(1, 2)) if values.size else np.zeros(len(values))
    largest = values.max(axis=(1, 2), initial=0.0)
    masked = area > 0
    known = masked & (largest > 0)
    # scaled before it is summed: heat may be as small as numbers get
    scaled = values / np.where(largest > 0, largest, 1.0)[:, None, None]
    hottest = scaled >= TIE
    ids, place = np.unique(videos, return_inverse=True)
    own = np.zeros((len(ids), *inside.shape[1:]))
    np.add.at(own, place, inside)
    others = (own.sum(axis=0) - own)[place]
    strange = masked.sum() - np.bincount(place, masked, len(ids))[place]
    with np.errstate(invalid="ignore", divide="ignore"):
        elsewhere = (scaled * others).sum(axis=(1, 2)) / scaled.sum(axis=(1, 2)) / strange
        share = (scaled * inside).sum(axis=(1, 2)) / scaled.sum(axis=(1, 2))
        pointing = (hottest & inside).sum(axis=(1, 2)) / hottest.sum(axis=(1, 2))
    return Inside(
        np.where(known, share, np.nan),
        np.where(known, pointing, np.nan),
        np.where(masked, area, np.nan),
        np.where(known & (strange > 0), elsewhere, np.nan),
    )


def clustered_mean(
    values: npt.ArrayLike,
    clusters: npt.ArrayLike,
    *,
    resamples: int = DRAWS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Interval:
    """Returns the mean of images with the interval of a bootstrap over videos (`bootstrap.bca_interval`).

    Args:
      values: float `[N]`; those that are NaN are left out.
      clusters: int `[N]`, the video of each image: its images are drawn together.
      resamples: how many.
      confidence: share of intervals that hold what they are of.
      seed: of the draws.

    Returns:
      The interval; NaN of no value, NaN bounds of one video alone. Of the difference of two networks on the same
      images, it is the paired one.

    Raises:
      ValueError: for shapes that do not go together.
    """
    array, videos = np.asarray(values, np.float64), np.asarray(clusters)
    check_rank("values", array, 1)
    check_same_batch(values=array, clusters=videos)
    kept = np.isfinite(array)
    if not kept.any():
        return NOTHING
    array, (ids, place) = array[kept], np.unique(videos[kept], return_inverse=True)
    table = np.stack([np.bincount(place, array), np.bincount(place)], axis=1)

    def means(draws: np.ndarray) -> np.ndarray:
        sums = draws @ table
        found: np.ndarray = sums[:, 0] / sums[:, 1]
        return found

    number = len(ids)
    drawn = [means(draws) for draws in draw_parts(number, fitting(resamples, array.size), seed)]
    return bca_interval(
        float(array.mean()),
        np.concatenate(drawn),
        means(left_out(number, seed)) if number > 1 else np.zeros(0),
        confidence=confidence,
        sample=number,
    )
