"""What the ROC curve says: AUC, average precision, equal error rate, detections at a rate of false alarms.

A score is any number, the higher the more likely fake; a fake is a positive. Of one class alone everything is NaN.
"""

from typing import NamedTuple

import numpy as np
from sklearn import metrics as sklearn_metrics

from kdjax.checks import check_positive

NAN = float("nan")


class EqualError(NamedTuple):
    """Where false alarms are as frequent as misses.

    Attributes:
      rate: of both, in [0, 1].
      threshold: the one whose two rates lie nearest to each other; what scores above it is fake.
    """

    rate: float
    threshold: float


def has_both_classes(labels: np.ndarray) -> bool:
    """Returns whether there are a real and a fake among labels `[N]`."""
    return bool((labels == 0).any() and (labels == 1).any())


def area_under_curve(
    scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Returns the area under the ROC curve of scores and labels `[N]`, NaN of one class alone."""
    if not has_both_classes(labels):
        return NAN
    return float(sklearn_metrics.roc_auc_score(labels, scores, sample_weight=weights))


def average_precision(
    scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Returns the mean precision over the fakes, from the highest score down, NaN of one class alone."""
    if not has_both_classes(labels):
        return NAN
    return float(sklearn_metrics.average_precision_score(labels, scores, sample_weight=weights))


def equal_error(
    scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> EqualError:
    """Returns the rate at which false alarms are as frequent as misses, and a threshold for it.

    Along the ROC curve the false positive rate rises and the false negative rate falls. Between the
    last point where the first is smaller and the next one, both are taken as straight lines, and
    the rate is where they cross. (Equal scores are one step, so no threshold may lie in between.)
    The threshold is that of the nearer of the two points, half way between the scores on its sides.
    """
    if not has_both_classes(labels):
        return EqualError(NAN, NAN)
    false_positive, true_positive, lowest = sklearn_metrics.roc_curve(
        labels, scores, sample_weight=weights, drop_intermediate=False
    )
    excess = false_positive - (1 - true_positive)
    after = int(np.argmax(excess >= 0))
    before = after - 1
    share = -excess[before] / (excess[after] - excess[before])
    rate = false_positive[before] + share * (false_positive[after] - false_positive[before])
    nearer = after if excess[after] < -excess[before] else before
    return EqualError(float(rate), _below(lowest, nearer))


def _below(lowest: np.ndarray, point: int) -> float:
    """Returns a threshold above which the scores of a point of the curve lie and no others.

    `lowest` is the least score that is fake at each point, infinite at the first, where none is.
    """
    if point + 1 == len(lowest):
        return float(np.nextafter(lowest[point], -np.inf))
    upper, lower = float(lowest[point]), float(lowest[point + 1])
    middle = lower + (upper - lower) / 2 if point else lower
    return middle if lower < middle < upper else lower


def equal_error_rate(scores: np.ndarray, labels: np.ndarray) -> float:
    """Returns the rate of `equal_error`, NaN of one class alone."""
    return equal_error(scores, labels).rate


def detection_rate(
    scores: np.ndarray,
    labels: np.ndarray,
    false_alarms: float,
    weights: np.ndarray | None = None,
) -> float:
    """Returns the largest share of fakes that is found with at most a share of false alarms among reals.

    Nothing is interpolated: the rate is one that a threshold has. With fewer reals than
    `1 / false_alarms` that is the share of fakes that score higher than every real.

    Args:
      scores: float `[N]`.
      labels: int `[N]`.
      false_alarms: in (0, 1).
      weights: float `[N]` or None.

    Returns:
      The true positive rate; NaN of one class alone.
    """
    check_rate(false_alarms)
    if not has_both_classes(labels):
        return NAN
    false_positive, true_positive, _ = sklearn_metrics.roc_curve(
        labels, scores, sample_weight=weights, drop_intermediate=False
    )
    allowed = np.searchsorted(false_positive, false_alarms * (1 + 1e-12), "right")
    return float(true_positive[allowed - 1])


def check_rate(false_alarms: float) -> None:
    """Raises ValueError unless a rate of false alarms lies between 0 and 1."""
    if not 0 < false_alarms < 1:
        raise ValueError(f"false_alarms={false_alarms!r} must lie between 0 and 1, as 0.01")


def thinned_roc(
    scores: np.ndarray, labels: np.ndarray, max_points: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns false and true positive rates of the ROC curve; see `metrics.roc_points`."""
    check_positive("max_points", max_points - 1)
    if not has_both_classes(labels):
        return np.zeros(0), np.zeros(0)
    false_positive, true_positive, _ = sklearn_metrics.roc_curve(labels, scores)
    if len(false_positive) <= max_points:
        return false_positive, true_positive
    along = false_positive + true_positive
    picked = np.unique(np.searchsorted(along, np.linspace(0, along[-1], max_points)))
    return false_positive[picked], true_positive[picked]
