"""How sure a comparison of methods is: intervals over seeds, a bootstrap over seeds and videos, Holm's correction.

What is not defined (an interval of one seed, the AUC of one class) is NaN, as it is in the metrics.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from kdjax.checks import check_positive, check_rank

RESAMPLES = 5000
"""Draws of a bootstrap: its least p-value is 2 / (RESAMPLES + 1)."""

CONFIDENCE = 0.95
_CHUNK = 1000


class Interval(NamedTuple):
    """An estimate and the bounds around it; NaN where not defined."""

    estimate: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0; False of one that is not defined."""
        return self.low > 0 or self.high < 0


class Comparison(NamedTuple):
    """A method less its baseline, on the same seeds and the same test videos.

    Attributes:
      seeds: how many pairs there are.
      over_seeds: t-interval over the pairs' differences; NaN bounds of one pair.
      bootstrap: percentile interval over resampled seeds and videos.
      p_value: two-sided, of the bootstrap.
    """

    seeds: int
    over_seeds: Interval
    bootstrap: Interval
    p_value: float

    @property
    def sign(self) -> int:
        """1 or -1 where both intervals lie on that side of 0, else 0.

        The bootstrap knows the test videos but sees few seeds too narrowly; the t-interval knows nothing
        of the videos. Only what both say counts as shown.
        """
        if not (self.over_seeds.excludes_zero and self.bootstrap.excludes_zero):
            return 0
        return 1 if self.bootstrap.estimate > 0 else -1


NOTHING = Interval(float("nan"), float("nan"), float("nan"))


def mean_interval(
    values: npt.ArrayLike,
    *,
    confidence: float = CONFIDENCE,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """Returns the mean and Student's t-interval, `mean +- t * s / sqrt(n)`, s with n - 1 degrees of freedom.

    Args:
      values: float `[n]`, one a seed. A NaN among them makes all three NaN; of one value only the mean is
        defined, of none nothing.
      confidence: share of intervals that hold the true mean.
      limits: what the mean can be, (0, 1) of an AUC; bounds beyond are cut there.
    """
    array = np.asarray(values, np.float64)
    check_rank("values", array, 1)
    if not array.size or not np.isfinite(array).all():
        return NOTHING
    mean = float(array.mean())
    if array.size == 1:
        return Interval(mean, float("nan"), float("nan"))
    quantile = float(stats.t.ppf((1 + confidence) / 2, array.size - 1))
    half = quantile * float(array.std(ddof=1)) / array.size**0.5
    return Interval(mean, max(mean - half, limits[0]), min(mean + half, limits[1]))


def weighted_auc(
    scores: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> float:
    """Returns the area under the ROC curve of weighted examples, ties counting half.

    `sum_f w_f (sum_{r: s_r < s_f} w_r + 1/2 sum_{r: s_r = s_f} w_r) / (sum_f w_f sum_r w_r)` over fakes f and
    reals r, by one sort.

    Args:
      scores: float `[N]`, finite.
      labels: int `[N]`, 0 real, 1 fake.
      weights: float `[N]`, at least 0; None for 1.

    Returns:
      The AUC; NaN where a class has no weight.
    """
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels)
    check_finite(scores)
    values, place = np.unique(scores, return_inverse=True)
    mass = np.ones(len(scores)) if weights is None else np.asarray(weights, np.float64)
    fake = np.bincount(place, weights=mass * (labels == 1), minlength=len(values))
    real = np.bincount(place, weights=mass * (labels == 0), minlength=len(values))
    total = fake.sum() * real.sum()
    if not total > 0:
        return float("nan")
    return float(fake @ (np.cumsum(real) - real / 2) / total)


def video_draws(videos: int, *, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Returns how often each of `videos` videos is in each resample, float32 `[resamples, videos]`."""
    check_positive("videos", videos)
    check_positive("resamples", resamples)
    rng = np.random.default_rng([seed, 1])
    counts = rng.multinomial(videos, np.full(videos, 1 / videos), size=resamples)
    return counts.astype(np.float32)


def resampled_auc(
    scores: npt.ArrayLike, labels: npt.ArrayLike, videos: npt.ArrayLike, draws: np.ndarray
) -> np.ndarray:
    """Returns the AUC of every resample, each image weighing as often as its video was drawn.

    The AUC is a quotient of forms in the videos' weights, `w' M w / ((w' f) (w' r))`, where `M[v, u]` counts
    the fakes of video v that score higher than the reals of video u (ties half): M is counted once, and a
    resample is a product with it. All sums are of halves and exact, whatever the order.

    Args:
      scores: float `[N]`, finite.
      labels: int `[N]`, 0 real, 1 fake.
      videos: int `[N]`; distinct ids stand for the columns of `draws` in ascending order.
      draws: `[R, V]`, of `video_draws`.

    Returns:
      float64 `[R]`; NaN where a class was not drawn.

    Raises:
      ValueError: scores are not finite, or `draws` is of another number of videos.
    """
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels)
    check_finite(scores)
    ids, place = np.unique(np.asarray(videos), return_inverse=True)
    if draws.ndim != 2 or draws.shape[1] != len(ids):
        raise ValueError(f"draws has shape {draws.shape} for {len(ids)} videos; [R, V] is expected")
    fake, real = (np.bincount(place[labels == label], minlength=len(ids)) for label in (1, 0))
    rows, columns = np.flatnonzero(fake), np.flatnonzero(real)
    wins = _wins(scores, labels, place, rows, columns)
    # float32 holds halves exactly up to 2^23
    largest = float(draws.max(initial=0)) * float(fake.sum()) * float(real.max(initial=0))
    kind = np.float32 if largest < 2**22 else np.float64
    wins, fake, real = wins.astype(kind), fake.astype(kind), real.astype(kind)
    found = np.full(len(draws), np.nan)
    for start in range(0, len(draws), _CHUNK):
        drawn = draws[start : start + _CHUNK]
        products = (drawn[:, rows] @ wins).astype(np.float64) * drawn[:, columns]
        weights = (drawn @ fake).astype(np.float64) * (drawn @ real)
        present = weights > 0
        found[start : start + _CHUNK][present] = products.sum(axis=1)[present] / weights[present]
    return found


def _wins(
    scores: np.ndarray, labels: np.ndarray, place: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Returns how many pairs of each fake and real video are in the right order, `[rows, columns]`."""
    is_fake = labels == 1
    fakes, owners = scores[is_fake], np.searchsorted(rows, place[is_fake])
    found = np.zeros((len(rows), len(columns)))
    for column, video in enumerate(columns):
        reals = np.sort(scores[~is_fake & (place == video)])
        below = np.searchsorted(reals, fakes, "left") + np.searchsorted(reals, fakes, "right")
        found[:, column] = np.bincount(owners, weights=below / 2, minlength=len(rows))
    return found


def compare(
    method: npt.ArrayLike,
    baseline: npt.ArrayLike,
    method_draws: np.ndarray,
    baseline_draws: np.ndarray,
    *,
    seed: int = 0,
) -> Comparison:
    """Compares two methods by the hierarchical paired bootstrap over seeds and test videos.

    Each resample draws as many seeds as there are, with replacement, and one set of videos for both methods
    and all seeds; its statistic is the mean over the drawn seeds of `AUC(method) - AUC(baseline)` on the
    drawn videos. The interval holds the middle 95 % of the resamples. The p-value is twice the smaller share
    of resamples on either side of 0, each share counted with one more on that side, at most 1: of identical
    methods it is 1.

    Args:
      method: float `[S]`, the AUC by seed on all videos.
      baseline: float `[S]`, of the same seeds in the same order.
      method_draws: float `[S, R]`, the AUC by seed and resample (`resampled_auc`).
      baseline_draws: float `[S, R]`, on the same resamples.
      seed: of the draw of seeds; equal seeds give equal results.

    Returns:
      The comparison. Resamples without an AUC are left out; if they are more than half, or an AUC on all
      videos is not defined, interval and p-value are NaN.

    Raises:
      ValueError: for shapes that do not go together, or no seed.
    """
    pairs = np.asarray(method, np.float64) - np.asarray(baseline, np.float64)
    check_rank("method", pairs, 1)
    check_positive("the number of seeds", pairs.size)
    if method_draws.shape != baseline_draws.shape or len(method_draws) != pairs.size:
        raise ValueError(
            f"draws have shapes {method_draws.shape} and {baseline_draws.shape} for {pairs.size} seeds; "
            "both must be [S, R]"
        )
    differences = method_draws - baseline_draws
    count, resamples = differences.shape
    rng = np.random.default_rng([seed, 2, count])
    chosen = rng.multinomial(count, np.full(count, 1 / count), size=resamples).T
    statistic = (chosen * differences).sum(axis=0) / count
    kept = statistic[np.isfinite(statistic)]
    over_seeds = mean_interval(pairs)
    estimate = over_seeds.estimate
    if not np.isfinite(estimate) or 2 * kept.size < resamples:
        nothing = Interval(estimate, float("nan"), float("nan"))
        return Comparison(count, over_seeds, nothing, float("nan"))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(kept, (tail, 1 - tail))
    sides = min(np.count_nonzero(kept <= 0), np.count_nonzero(kept >= 0))
    p_value = min(1.0, 2 * (1 + int(sides)) / (1 + kept.size))
    return Comparison(count, over_seeds, Interval(estimate, float(low), float(high)), p_value)


def paired_bootstrap(
    method: npt.ArrayLike,
    baseline: npt.ArrayLike,
    labels: npt.ArrayLike,
    videos: npt.ArrayLike,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Returns `compare` of two methods' scores `[S, N]` on the same images: one row a seed.

    Args:
      method: float `[S, N]`, finite; one row a seed.
      baseline: float `[S, N]`, of the same seeds and images.
      labels: int `[N]`, 0 real, 1 fake.
      videos: int `[N]`, ids.
      resamples: draws.
      seed: of all draws.
    """
    both = [np.asarray(scores, np.float64) for scores in (method, baseline)]
    draws = video_draws(len(np.unique(np.asarray(videos))), resamples=resamples, seed=seed)
    observed = [[weighted_auc(row, labels) for row in scores] for scores in both]
    resampled = [
        np.stack([resampled_auc(row, labels, videos, draws) for row in scores]) for scores in both
    ]
    return compare(observed[0], observed[1], resampled[0], resampled[1], seed=seed)


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns Holm's step-down corrected p-values, in the order given.

    The k-th smallest of m is multiplied by `m - k + 1`, never below the one before it, at most 1. A NaN, of
    a comparison that was not made, stays NaN and is not counted in m.
    """
    array = np.asarray(p_values, np.float64)
    found = np.full(array.shape, np.nan)
    order = [index for index in np.argsort(array, kind="stable") if np.isfinite(array[index])]
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * float(array[index])))
        found[index] = largest
    return found.tolist()


def check_finite(scores: np.ndarray) -> None:
    """Raises ValueError unless all scores are finite."""
    bad = int(np.count_nonzero(~np.isfinite(scores)))
    if bad:
        raise ValueError(f"{bad} of {scores.size} scores are not finite; an AUC needs all of them")
