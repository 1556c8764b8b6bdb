"""Metrics of a binary detector, computed once over a whole set, never averaged over batches."""

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sklearn_metrics
from sklearn.neighbors import NearestNeighbors

from kdjax.checks import UserError, check_positive, check_rank, check_same_batch

THRESHOLD = 0.5
_ROUNDING = 1e-5


def binary_metrics(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    mask: npt.ArrayLike | None = None,
    embeddings: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
) -> dict[str, float]:
    """Returns the metrics of one set of examples.

    A metric that the set does not define (AUC and EER of one class alone, the accuracy on an absent
    class, the neighbour of a single example) is NaN, which is written to JSON as null.

    Args:
      scores: float `[N]`, probability of fake.
      labels: int `[N]`, 0 real, 1 fake.
      mask: `[N]`, 0 where the example is padding; such rows count nowhere and may hold anything.
      embeddings: float `[N, D]`, pooled features; without them there is no `recall_at_1`.
      groups: int `[N]`; examples of one group are never each other's neighbours.

    Returns:
      `accuracy` (fake where the score exceeds 0.5, which is the argmax of two logits),
      `accuracy_real`, `accuracy_fake`, `auc`, `eer` and, with embeddings, `recall_at_1`, each in
      [0, 1].

    Raises:
      UserError: no example is left, or scores or embeddings are not finite.
      ValueError: wrong shapes, labels beside 0 and 1, scores beside [0, 1].
    """
    scores, labels, embeddings, groups = _select(scores, labels, mask, embeddings, groups)
    _check_values(scores, labels)
    correct = (scores > THRESHOLD) == (labels == 1)
    found = {
        "accuracy": float(correct.mean()),
        "accuracy_real": _mean(correct[labels == 0]),
        "accuracy_fake": _mean(correct[labels == 1]),
        "auc": area_under_curve(scores, labels),
        "eer": equal_error_rate(scores, labels),
    }
    if embeddings is not None:
        found["recall_at_1"] = recall_at_1(embeddings, labels, groups=groups)
    return found


def area_under_curve(scores: np.ndarray, labels: np.ndarray) -> float:
    """Returns the area under the ROC curve of scores and labels `[N]`, NaN of one class alone."""
    if not _has_both_classes(labels):
        return float("nan")
    return float(sklearn_metrics.roc_auc_score(labels, scores))


def equal_error_rate(scores: np.ndarray, labels: np.ndarray) -> float:
    """Returns the rate at which false alarms are as frequent as misses, NaN of one class alone.

    Along the ROC curve the false positive rate rises and the false negative rate falls. Between the
    last point where the first is smaller and the next one, both are taken as straight lines, and
    the rate is where they cross. (Equal scores are one step, so no threshold may lie in between.)
    """
    if not _has_both_classes(labels):
        return float("nan")
    false_positive, true_positive, _ = sklearn_metrics.roc_curve(
        labels, scores, drop_intermediate=False
    )
    excess = false_positive - (1 - true_positive)
    after = int(np.argmax(excess >= 0))
    before = after - 1
    share = -excess[before] / (excess[after] - excess[before])
    return float(false_positive[before] + share * (false_positive[after] - false_positive[before]))


def recall_at_1(
    embeddings: np.ndarray, labels: np.ndarray, *, groups: np.ndarray | None = None
) -> float:
    """Returns the share of examples whose nearest neighbour has their class.

    `R@1 = 1/N sum_i I(label of the nearest neighbour of x_i, label of x_i)` (ADD, supplement,
    Eq. 12 with k = 1), by Euclidean distance and never the example itself. With `groups`, other
    members of an example's group are passed over too: among images in several qualities the nearest
    neighbour would else be the same image in another quality, of the right class by construction.

    Args:
      embeddings: float `[N, D]`.
      labels: int `[N]`.
      groups: int `[N]` or None.

    Returns:
      The share over the examples that have a neighbour; NaN if none has.
    """
    count = len(labels)
    largest = 1 if groups is None else int(np.unique(groups, return_counts=True)[1].max())
    wanted = min(largest, count - 1)
    if wanted < 1:
        return float("nan")
    search = NearestNeighbors(n_neighbors=wanted).fit(embeddings)
    neighbours = search.kneighbors(return_distance=False)
    if groups is None:
        return float(np.mean(labels[neighbours[:, 0]] == labels))
    foreign = groups[neighbours] != groups[:, None]
    nearest = neighbours[np.arange(count), foreign.argmax(axis=1)]
    return _mean((labels[nearest] == labels)[foreign.any(axis=1)])


def video_auc(scores: np.ndarray, labels: np.ndarray, videos: np.ndarray) -> float:
    """Returns the AUC of videos, each scored by the mean over its frames; NaN of one class alone.

    Args:
      scores: float `[N]`, by frame.
      labels: int `[N]`.
      videos: int `[N]`, ids. An id that carries both labels counts as two videos.
    """
    keys, members = np.unique(np.stack([videos, labels], axis=1), axis=0, return_inverse=True)
    members = members.reshape(-1)
    means = np.bincount(members, weights=scores) / np.bincount(members)
    return area_under_curve(means, keys[:, 1])


def roc_points(
    scores: npt.ArrayLike, labels: npt.ArrayLike, *, max_points: int = 200
) -> tuple[np.ndarray, np.ndarray]:
    """Returns false and true positive rates of the ROC curve, at most `max_points` of its corners.

    The points are spread evenly along the curve, its two ends included. Of one class alone there is
    no curve: both arrays are empty.
    """
    check_positive("max_points", max_points - 1)
    scores, labels, _, _ = _select(scores, labels, None, None, None)
    _check_values(scores, labels)
    if not _has_both_classes(labels):
        return np.zeros(0), np.zeros(0)
    false_positive, true_positive, _ = sklearn_metrics.roc_curve(labels, scores)
    if len(false_positive) <= max_points:
        return false_positive, true_positive
    along = false_positive + true_positive
    picked = np.unique(np.searchsorted(along, np.linspace(0, along[-1], max_points)))
    return false_positive[picked], true_positive[picked]


def _select(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    mask: npt.ArrayLike | None,
    embeddings: npt.ArrayLike | None,
    groups: npt.ArrayLike | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Returns scores (float64), labels, embeddings and groups without their masked rows."""
    given = {"scores": np.asarray(scores, np.float64), "labels": np.asarray(labels)}
    optional = {"mask": mask, "embeddings": embeddings, "groups": groups}
    given.update({name: np.asarray(value) for name, value in optional.items() if value is not None})
    for name, array in given.items():
        check_rank(name, array, 2 if name == "embeddings" else 1)
    check_same_batch(**given)
    if "mask" in given:
        kept = given.pop("mask") > 0
        given = {name: array[kept] for name, array in given.items()}
    if given["labels"].size == 0:
        raise UserError(
            "no example to evaluate: the split is empty or all of it is padding; "
            "choose another split or prepare the data set again"
        )
    points = given.get("embeddings")
    if points is not None and not np.isfinite(points).all():
        raise UserError(f"the pooled features {_DIVERGED}")
    return given["scores"], given["labels"], points, given.get("groups")


_DIVERGED = (
    "hold values that are not finite: the network has diverged; "
    "evaluate an earlier checkpoint or train with a lower learning rate"
)


def _check_values(scores: np.ndarray, labels: np.ndarray) -> None:
    bad = int(np.count_nonzero(~np.isfinite(scores)))
    if bad:
        raise UserError(f"the scores ({bad} of {scores.size}) {_DIVERGED}")
    if scores.min() < -_ROUNDING or scores.max() > 1 + _ROUNDING:
        raise ValueError(
            f"scores lie in [{scores.min():g}, {scores.max():g}]; "
            "probabilities in [0, 1] are expected"
        )
    strange = np.setdiff1d(labels, [0, 1])
    if strange.size:
        raise ValueError(f"labels hold {strange[:5].tolist()}; 0 (real) and 1 (fake) are allowed")


def _has_both_classes(labels: np.ndarray) -> bool:
    return bool((labels == 0).any() and (labels == 1).any())


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
