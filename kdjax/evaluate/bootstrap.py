"""Resamples of videos, and bounds by them: bias-corrected, accelerated, and wide enough for few videos."""

import math
from collections.abc import Iterator

import numpy as np
from scipy import special, stats

from kdjax.checks import check_positive
from kdjax.evaluate.statistics import CONFIDENCE, Interval, video_draws

_GROUPS = 200

_FEWEST, _IMAGES = 200, 200_000_000
"""Resamples that are made however many images there are; images of all resamples up to which none are saved."""

_PART = 20_000_000
"""Counts of videos that are drawn at once."""


def draw_parts(videos: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yields `statistics.video_draws` of all resamples in parts that fit into memory."""
    check_positive("resamples", resamples)
    rows = max(1, _PART // videos)
    for part, start in enumerate(range(0, resamples, rows)):
        yield video_draws(videos, resamples=min(rows, resamples - start), seed=seed + 7919 * part)


def fitting(resamples: int, rows: int) -> int:
    """Returns how many resamples of so many images are made: fewer of very many, whose intervals are narrow."""
    return min(resamples, max(_FEWEST, _IMAGES // rows))


def left_out(videos: int, seed: int = 0) -> np.ndarray:
    """Returns draws that leave out one group of videos each: one video, or one of at most 200 random groups."""
    groups = min(videos, _GROUPS, max(_PART // videos, 20))
    member = np.random.default_rng([seed, 3]).permutation(videos) % groups
    return (member != np.arange(groups)[:, None]).astype(np.float32)


def bca_interval(
    estimate: float,
    draws: np.ndarray,
    without: np.ndarray,
    *,
    confidence: float = CONFIDENCE,
    sample: float = math.inf,
) -> Interval:
    """Returns the bias-corrected and accelerated interval of a bootstrap.

    See 'Better Bootstrap Confidence Intervals' by Efron (JASA 1987). Its bounds are the quantiles
    `Phi(b + (b + z) / (1 - a (b + z)))` of the draws, z of the normal distribution: `b = Phi^-1(share of draws
    below the estimate)`, draws equal to it counting half, and `a = sum u^3 / (6 (sum u^2)^1.5)`, u the mean of
    `without` less each. With b = a = 0 it is the percentile interval, which is too narrow near the ends of a
    metric's range. Of few videos it would be too narrow still: z is `sqrt(n / (n - 1))` times Student's quantile of
    n - 1 degrees of freedom ('What Teachers Should Know About the Bootstrap' by Hesterberg, 2015).

    Args:
      estimate: on all videos.
      draws: float `[R]`, on the resamples.
      without: float `[G]`, each without a group of videos.
      confidence: share of intervals that hold what they are of.
      sample: n, how many videos there are; infinite for z as it is.

    Returns:
      The interval; NaN bounds where the estimate or most draws are not defined, or n is 1.
    """
    kept = draws[np.isfinite(draws)]
    if not math.isfinite(estimate) or 2 * kept.size < draws.size or sample < 2:
        return Interval(estimate, float("nan"), float("nan"))
    below = (np.count_nonzero(kept < estimate) + np.count_nonzero(kept <= estimate)) / 2
    bias = special.ndtri((below + 0.5) / (kept.size + 1))
    known = without[np.isfinite(without)]
    spread = known.mean() - known if known.size else np.zeros(1)
    scale = 6 * (spread @ spread) ** 1.5
    bend = (spread**3).sum() / scale if scale > 0 else 0.0
    level = (1 + confidence) / 2
    z = special.ndtri(level)
    if math.isfinite(sample):
        z = float(stats.t.ppf(level, sample - 1)) * math.sqrt(sample / (sample - 1))
    normal = bias + z * np.array([-1, 1])
    bent = 1 - bend * normal
    # of two or three videos z may lie beyond the pole, where the quantile is the last
    levels = np.where(
        bent > 0, special.ndtr(bias + normal / np.where(bent > 0, bent, 1)), normal > 0
    )
    low, high = np.quantile(kept, levels, method="weibull")
    return Interval(estimate, float(low), float(high))
