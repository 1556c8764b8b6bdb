"""Metrics of a binary detector, computed once over a whole set, never averaged over batches."""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sklearn_metrics
from sklearn.exceptions import UndefinedMetricWarning

from kdjax.checks import UserError, check_rank, check_same_batch
from kdjax.evaluate.curves import (
    area_under_curve,
    average_precision,
    detection_rate,
    equal_error,
    has_both_classes,
    thinned_roc,
)
from kdjax.evaluate.neighbours import recall_at
from kdjax.evaluate.probabilities import calibration_error, probability

THRESHOLD = 0.5
FALSE_ALARMS = (0.01, 0.001)
"""Rates of false alarms at which the share of fakes that are found is given."""


_ROUNDING = 1e-5
_NAN = float("nan")


def binary_metrics(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    mask: npt.ArrayLike | None = None,
    weights: npt.ArrayLike | None = None,
    embeddings: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    threshold: float = THRESHOLD,
    logits: bool = False,
) -> dict[str, float]:
    """Returns the metrics of one set of examples.

    A metric that the set does not define is NaN, which is written to JSON as null: of one class alone
    all but the accuracies, the accuracy on an absent class, the neighbours of a single example. One
    class alone is warned of.

    Args:
      scores: float `[N]`, probability of fake.
      labels: int `[N]`, 0 real, 1 fake.
      mask: `[N]`, 0 where the example is padding; such rows count nowhere and may hold anything.
      weights: float `[N]`, how much an example counts, at least 0; None: each counts 1.
      embeddings: float `[N, D]`, pooled features; without them there is no R@k.
      groups: int `[N]`; examples of one group are never each other's neighbours.
      threshold: a probability; what scores above it is called fake.
      logits: scores are any real numbers, the higher the more likely fake. Curves are of them as they
        are; where a probability is needed it is their logistic function.

    Returns:
      `accuracy` (at 0.5 fake by the argmax of two logits), `accuracy_real`, `accuracy_fake`,
      `balanced_accuracy`, `auc`, `average_precision`, `eer` and `eer_threshold` (in units of the
      scores), `log_loss` (in nats), `brier`, `calibration_error`, `tpr_at_fpr_0.01`,
      `tpr_at_fpr_0.001` and, with embeddings, `recall_at_1`, `recall_at_5`, `recall_at_10`.

    Raises:
      UserError: no example is left, or scores or embeddings are not finite.
      ValueError: wrong shapes, labels beside 0 and 1, scores beside [0, 1] that are no logits,
        negative weights.
    """
    given = _select(scores, labels, mask, weights, embeddings, groups)
    _check_values(given["scores"], given["labels"], logits=logits)
    warn_of_one_class(given["labels"])
    return set_metrics(**given, threshold=threshold, logits=logits)


def one_class(labels: np.ndarray, what: str = "examples") -> str:
    """Returns a line that says so where all labels are of one class, an empty one elsewhere."""
    if has_both_classes(labels):
        return ""
    kind = "fake" if labels.size and labels[0] else "real"
    told = f"all {labels.size} {what} are" if labels.size != 1 else f"1 of 1 {what} is"
    return (
        f"{told} {kind}: what takes both classes, as the AUC, is not "
        "defined (nan); evaluate on a set that has both"
    )


def warn_of_one_class(labels: np.ndarray, what: str = "examples") -> None:
    """Warns, for the caller's caller, where all labels are of one class."""
    if told := one_class(labels, what):
        warnings.warn(told, UndefinedMetricWarning, stacklevel=3)


def set_metrics(
    scores: np.ndarray,
    labels: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    embeddings: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    threshold: float = THRESHOLD,
    logits: bool = False,
) -> dict[str, float]:
    """Returns `binary_metrics` of arrays that are known to be right, without a warning."""
    chances = probability(scores, logits=logits)
    called = chances > threshold
    correct = called == (labels == 1)
    both = has_both_classes(labels)
    error = equal_error(scores, labels, weights)
    shared: dict[str, Any] = {"sample_weight": weights}
    found = {
        "accuracy": float(np.average(correct, weights=weights)),
        "accuracy_real": _mean(correct, weights, labels == 0),
        "accuracy_fake": _mean(correct, weights, labels == 1),
        "balanced_accuracy": float(
            sklearn_metrics.balanced_accuracy_score(labels, called, **shared)
        )
        if both
        else _NAN,
        "auc": area_under_curve(scores, labels, weights),
        "average_precision": average_precision(scores, labels, weights),
        "eer": error.rate,
        "eer_threshold": error.threshold,
        "log_loss": sklearn_metrics.log_loss(labels, chances, **shared) if both else _NAN,
        "brier": sklearn_metrics.brier_score_loss(labels, chances, **shared) if both else _NAN,
        "calibration_error": calibration_error(chances, labels, weights=weights) if both else _NAN,
    }
    found |= {
        detection_name(rate): detection_rate(scores, labels, rate, weights) for rate in FALSE_ALARMS
    }
    if embeddings is not None:
        recalls = recall_at(embeddings, labels, groups=groups, weights=weights)
        found |= {f"recall_at_{k}": value if both else _NAN for k, value in recalls.items()}
    return {name: float(value) for name, value in found.items()}


def detection_name(false_alarms: float) -> str:
    """Returns the name of the share of fakes found at a rate of false alarms."""
    return f"tpr_at_fpr_{false_alarms:g}"


def roc_points(
    scores: npt.ArrayLike, labels: npt.ArrayLike, *, max_points: int = 200
) -> tuple[np.ndarray, np.ndarray]:
    """Returns false and true positive rates of the ROC curve, at most `max_points` of its corners.

    The points are spread evenly along the curve, its two ends included. Of one class alone there is
    no curve: both arrays are empty.
    """
    given = _select(scores, labels, None, None, None, None)
    _check_values(given["scores"], given["labels"], logits=False)
    return thinned_roc(given["scores"], given["labels"], max_points)


def _select(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    mask: npt.ArrayLike | None,
    weights: npt.ArrayLike | None,
    embeddings: npt.ArrayLike | None,
    groups: npt.ArrayLike | None,
) -> dict[str, np.ndarray]:
    """Returns what is given by name, scores and weights in float64, without rows that count nowhere."""
    given = {"scores": np.asarray(scores, np.float64), "labels": np.asarray(labels)}
    optional = {"mask": mask, "weights": weights, "embeddings": embeddings, "groups": groups}
    given.update({name: np.asarray(value) for name, value in optional.items() if value is not None})
    for name, array in given.items():
        check_rank(name, array, 2 if name == "embeddings" else 1)
    check_same_batch(**given)
    kept = np.ones(given["scores"].shape, bool)
    if "mask" in given:
        kept &= given.pop("mask") > 0
    if "weights" in given:
        given["weights"] = given["weights"].astype(np.float64)
        counted = given["weights"][kept]
        if not (np.isfinite(counted).all() and (counted >= 0).all()):
            raise ValueError("weights must be finite and at least 0")
        kept &= given["weights"] > 0
    given = {name: array[kept] for name, array in given.items()}
    if given["labels"].size == 0:
        raise UserError(
            "no example to evaluate: the split is empty or all of it is padding; "
            "choose another split or prepare the data set again"
        )
    points = given.get("embeddings")
    if points is not None and not np.isfinite(points).all():
        raise UserError(f"the pooled features {_DIVERGED}")
    return given


_DIVERGED = (
    "hold values that are not finite: the network has diverged; "
    "evaluate an earlier checkpoint or train with a lower learning rate"
)


def _check_values(scores: np.ndarray, labels: np.ndarray, *, logits: bool) -> None:
    bad = int(np.count_nonzero(~np.isfinite(scores)))
    if bad:
        raise UserError(f"the scores ({bad} of {scores.size}) {_DIVERGED}")
    if not logits and (scores.min() < -_ROUNDING or scores.max() > 1 + _ROUNDING):
        raise ValueError(
            f"scores lie in [{scores.min():g}, {scores.max():g}]; "
            "probabilities in [0, 1] are expected, or logits=True"
        )
    strange = np.setdiff1d(labels, [0, 1])
    if strange.size:
        raise ValueError(f"labels hold {strange[:5].tolist()}; 0 (real) and 1 (fake) are allowed")


def _mean(values: np.ndarray, weights: np.ndarray | None, chosen: np.ndarray) -> float:
    if not chosen.any():
        return _NAN
    return float(np.average(values[chosen], weights=None if weights is None else weights[chosen]))
