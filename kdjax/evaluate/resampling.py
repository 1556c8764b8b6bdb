"""Metrics of many resamples of videos at once, each image weighing as often as its video was drawn.

A metric is that of `metrics.set_metrics` with these weights: shares and mean losses are quotients of forms that are
linear in the videos' weights, so a resample costs a product; curves are running sums over the images in the order of
their scores.
"""

from collections.abc import Sequence

import numpy as np
from scipy import special

from kdjax.evaluate.metrics import FALSE_ALARMS, THRESHOLD, detection_name
from kdjax.evaluate.probabilities import probability
from kdjax.evaluate.statistics import check_finite, resampled_auc

RATES = {detection_name(rate): rate for rate in FALSE_ALARMS}
LINEAR = (
    *("accuracy", "accuracy_real", "accuracy_fake", "balanced_accuracy"),
    *("log_loss", "brier"),
)
CURVES = ("auc", "average_precision", "eer", *RATES)
RESAMPLED = (*LINEAR, *CURVES)
"""Metrics that are resampled. The calibration error is not: that of a resample is larger by its smaller bins."""

_PAIRS = 4_000_000
"""Pairs of videos up to which the AUC is counted pair by pair."""

_CELLS = 4_000_000
"""Weights of images that are held at once."""


def resampled_metrics(
    scores: np.ndarray,
    labels: np.ndarray,
    videos: np.ndarray,
    draws: np.ndarray,
    names: Sequence[str] = RESAMPLED,
    *,
    threshold: float = THRESHOLD,
    logits: bool = False,
) -> dict[str, np.ndarray]:
    """Returns the metrics of every resample.

    Args:
      scores: float `[N]`, finite.
      labels: int `[N]`, 0 real, 1 fake.
      videos: int `[N]`; distinct ids stand for the columns of `draws` in ascending order.
      draws: `[R, V]`, of `statistics.video_draws`.
      names: which of `RESAMPLED`.
      threshold: what is called fake; see `metrics.binary_metrics`.
      logits: scores are any real numbers.

    Returns:
      `{name: float64 [R]}`; NaN where a class was not drawn.

    Raises:
      ValueError: scores are not finite, an unknown name, or `draws` is of another number of videos.
    """
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels)
    check_finite(scores)
    if unknown := sorted(set(names) - set(RESAMPLED)):
        raise ValueError(f"{unknown[0]!r} is not resampled; known: {', '.join(RESAMPLED)}")
    ids, place = np.unique(np.asarray(videos), return_inverse=True)
    if draws.ndim != 2 or draws.shape[1] != len(ids):
        raise ValueError(f"draws has shape {draws.shape} for {len(ids)} videos; [R, V] is expected")
    found: dict[str, np.ndarray] = {}
    if set(names) & set(LINEAR):
        chances = probability(scores, logits=logits)
        found |= _linear(chances, labels, place, draws, threshold)
    curves = set(names) & set(CURVES)
    if "auc" in curves and _pairs(labels, place) <= _PAIRS:
        found["auc"] = resampled_auc(scores, labels, place, draws)
        curves -= {"auc"}
    if curves:
        found |= _curves(scores, labels, place, draws)
    return {name: found[name] for name in names}


def _pairs(labels: np.ndarray, place: np.ndarray) -> int:
    return len(np.unique(place[labels == 0])) * len(np.unique(place[labels == 1]))


def _linear(
    chances: np.ndarray,
    labels: np.ndarray,
    place: np.ndarray,
    draws: np.ndarray,
    threshold: float,
) -> dict[str, np.ndarray]:
    """Returns shares and mean losses of every resample."""
    fake = (labels == 1).astype(np.float64)
    correct = (chances > threshold) == (labels == 1)
    # as scikit-learn's log loss: a probability of 0 is the least that there is
    least = np.finfo(np.float64).eps
    kept = np.clip(chances, least, 1 - least)
    losses = -special.xlogy(fake, kept) - special.xlogy(1 - fake, 1 - kept)
    sums = _by_video(
        [1 - fake, fake, correct * (1 - fake), correct * fake, losses, (chances - fake) ** 2],
        place,
        draws,
    )
    reals, fakes, right_reals, right_fakes, loss, squares = sums
    count = reals + fakes
    with np.errstate(invalid="ignore", divide="ignore"):
        found = {
            "accuracy": (right_reals + right_fakes) / count,
            "accuracy_real": right_reals / reals,
            "accuracy_fake": right_fakes / fakes,
            "balanced_accuracy": (right_reals / reals + right_fakes / fakes) / 2,
            "log_loss": loss / count,
            "brier": squares / count,
        }
    both = (reals > 0) & (fakes > 0)
    alone = ("accuracy", "accuracy_real", "accuracy_fake")
    return {
        name: values if name in alone else np.where(both, values, np.nan)
        for name, values in found.items()
    }


def _by_video(
    values: Sequence[np.ndarray], place: np.ndarray, draws: np.ndarray
) -> list[np.ndarray]:
    """Returns the sum of each column of values over the images of every resample, `[R]` each."""
    table = np.stack(
        [np.bincount(place, weights=each, minlength=draws.shape[1]) for each in values], axis=1
    )
    rows = max(1, _CELLS // draws.shape[1])
    parts = [draws[start : start + rows] @ table for start in range(0, len(draws), rows)]
    return list(np.concatenate(parts).T)


def _curves(
    scores: np.ndarray, labels: np.ndarray, place: np.ndarray, draws: np.ndarray
) -> dict[str, np.ndarray]:
    """Returns what the ROC curve of every resample says."""
    order = np.argsort(-scores, kind="stable")
    falls = np.flatnonzero(np.diff(scores[order]))
    ends = np.append(falls, len(order) - 1)
    owner, fake = place[order], (labels[order] == 1)
    # float32 counts exactly up to 2^24
    largest = float(draws.max(initial=0)) * len(scores)
    kind = np.float32 if largest < 2**24 else np.float64
    rows = max(1, _CELLS // len(order))
    parts = [
        _curves_of(draws[start : start + rows].astype(kind)[:, owner], fake, ends)
        for start in range(0, len(draws), rows)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in CURVES}


def _curves_of(weights: np.ndarray, fake: np.ndarray, ends: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the same of weights `[R, N]` in descending order of the scores, steps of equal ones ending at `ends`."""
    drawn = weights.cumsum(axis=1)[:, ends]
    fakes = (weights * fake).cumsum(axis=1)[:, ends].astype(np.float64)
    reals = drawn - fakes
    real, false = reals[:, -1:], fakes[:, -1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        alarms, hits, precision = reals / real, fakes / false, fakes / drawn
    start = np.zeros_like(alarms[:, :1])
    alarms, hits = np.hstack([start, alarms]), np.hstack([start, hits])
    gained = np.diff(hits)
    across = np.diff(alarms)
    found = {
        "auc": (across * (hits[:, :-1] + np.diff(hits) / 2)).sum(axis=1),
        "average_precision": np.where(gained > 0, gained * precision, 0).sum(axis=1),
        "eer": _equal_error(alarms, hits),
    }
    for name, rate in RATES.items():
        within = (alarms <= rate * (1 + 1e-12)).sum(axis=1) - 1
        found[name] = np.take_along_axis(hits, within[:, None], 1)[:, 0]
    both = (real > 0)[:, 0] & (false > 0)[:, 0]
    return {name: np.where(both, values, np.nan) for name, values in found.items()}


def _equal_error(alarms: np.ndarray, hits: np.ndarray) -> np.ndarray:
    """Returns the rate of `curves.equal_error` of each row's curve."""
    excess = alarms + hits - 1
    after = np.maximum((excess >= 0).argmax(axis=1), 1)[:, None]
    low, high, left, right = (
        np.take_along_axis(values, place, 1)[:, 0]
        for values in (excess, alarms)
        for place in (after - 1, after)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return left - low / (high - low) * (right - left)
