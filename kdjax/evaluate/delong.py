"""DeLong's variance of AUCs on the same images, and his test between two of them.

See 'Comparing the Areas under Two or More Correlated Receiver Operating Characteristic Curves' by DeLong, DeLong and
Clarke-Pearson (Biometrics 1988), by midranks as in 'Fast Implementation of DeLong's Algorithm' by Sun and Xu (IEEE
Signal Processing Letters 2014). Images are taken as independent: where several are of one video, the bootstrap over
videos (`statistics.paired_bootstrap`) is what to believe.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from kdjax.checks import check_rank
from kdjax.evaluate.curves import has_both_classes
from kdjax.evaluate.statistics import CONFIDENCE, Interval, check_finite

NAN = float("nan")


class DeLong(NamedTuple):
    """What DeLong's test says of two detectors on the same images.

    Attributes:
      first: AUC of the first.
      second: AUC of the second.
      difference: first less second, with the normal interval around it.
      z: difference by its standard error; NaN where that is 0.
      p_value: two-sided; 1 of detectors that order all images alike.
    """

    first: float
    second: float
    difference: Interval
    z: float
    p_value: float


def auc_covariance(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Returns AUCs and their covariance matrix.

    With midranks `T` among all m fakes and n reals, and `T_f`, `T_r` within the two classes:
    `V_i = (T(x_i) - T_f(x_i)) / n` of fakes, `V_j = 1 - (T(y_j) - T_r(y_j)) / m` of reals; the AUC is the
    mean of either, the covariance `S_f / m + S_r / n` with their sample covariances.

    Args:
      scores: float `[K, N]`, of K detectors on the same images, finite; higher is more likely fake.
      labels: int `[N]`, 0 real, 1 fake.

    Returns:
      AUC `[K]` and covariance `[K, K]`; NaN where a class has no image, the covariance also where one has
      a single image.

    Raises:
      ValueError: for scores that are not finite, or shapes that do not go together.
    """
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels)
    check_rank("scores", scores, 2)
    if labels.shape != scores.shape[1:]:
        raise ValueError(
            f"labels have shape {labels.shape} for scores {scores.shape}; [N] is expected"
        )
    check_finite(scores)
    count = len(scores)
    if not has_both_classes(labels):
        return np.full(count, NAN), np.full((count, count), NAN)
    is_fake = labels == 1
    fakes, reals = int(is_fake.sum()), int((~is_fake).sum())
    ranks = stats.rankdata(scores, axis=1)
    of_fakes = (ranks[:, is_fake] - stats.rankdata(scores[:, is_fake], axis=1)) / reals
    of_reals = 1 - (ranks[:, ~is_fake] - stats.rankdata(scores[:, ~is_fake], axis=1)) / fakes
    if min(fakes, reals) < 2:
        return of_fakes.mean(axis=1), np.full((count, count), NAN)
    covariance = np.atleast_2d(np.cov(of_fakes)) / fakes + np.atleast_2d(np.cov(of_reals)) / reals
    return of_fakes.mean(axis=1), covariance


def delong_interval(
    scores: npt.ArrayLike, labels: npt.ArrayLike, *, confidence: float = CONFIDENCE
) -> Interval:
    """Returns the AUC and an interval by DeLong's variance, normal in the log-odds of the AUC.

    `logit(A) +- z s / (A (1 - A))`, back through the logistic function: unlike `A +- z s` it stays within
    [0, 1]. Of an AUC of 0 or 1 the variance is 0 and says nothing: the bounds are NaN.

    Args:
      scores: float `[N]`, finite.
      labels: int `[N]`.
      confidence: share of intervals that hold the true AUC.
    """
    (area,), ((variance,),) = auc_covariance(np.asarray(scores, np.float64)[None], labels)
    if not (variance > 0 and 0 < area < 1):
        return Interval(float(area), NAN, NAN)
    half = stats.norm.ppf((1 + confidence) / 2) * math.sqrt(variance) / (area * (1 - area))
    low, high = special.expit(special.logit(area) + half * np.array([-1, 1]))
    return Interval(float(area), float(low), float(high))


def delong_test(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    confidence: float = CONFIDENCE,
) -> DeLong:
    """Compares the AUCs of two detectors on the same images.

    Args:
      first: float `[N]`, finite.
      second: float `[N]`, of the same images.
      labels: int `[N]`.
      confidence: of the interval.

    Returns:
      The comparison; NaN where the set does not define it.
    """
    both = [np.asarray(scores, np.float64) for scores in (first, second)]
    areas, covariance = auc_covariance(np.stack(both), labels)
    one, other = map(float, areas)
    difference = one - other
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    # of two that order alike, rounding leaves a crumb of either sign
    if variance <= 1e-14 * float(np.trace(covariance)):
        alike = difference == 0
        interval = Interval(difference, 0.0, 0.0) if alike else Interval(difference, NAN, NAN)
        return DeLong(one, other, interval, NAN, 1.0 if alike else NAN)
    error = math.sqrt(variance)
    half = float(stats.norm.ppf((1 + confidence) / 2)) * error
    z = difference / error
    return DeLong(
        one,
        other,
        Interval(difference, difference - half, difference + half),
        z,
        float(2 * stats.norm.sf(abs(z))),
    )
