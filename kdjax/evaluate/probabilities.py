"""Whether a probability means what it says: shares of fakes by predicted probability."""

from typing import NamedTuple

import numpy as np
from scipy import special

from kdjax.checks import check_positive

BINS = 15
"""Bins of equal width between 0 and 1, as in Guo et al., 'On Calibration of Modern Neural Networks' (2017)."""


class Reliability(NamedTuple):
    """What is in each bin of predicted probabilities.

    Attributes:
      edges: float `[bins + 1]`; a bin holds its upper edge, the first its lower one too.
      mass: float `[bins]`, how many examples, or their weight.
      predicted: float `[bins]`, their mean probability of fake; NaN in an empty bin.
      observed: float `[bins]`, the share of fakes among them; NaN in an empty bin.
    """

    edges: np.ndarray
    mass: np.ndarray
    predicted: np.ndarray
    observed: np.ndarray


def bin_of(scores: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Returns the bin of each probability, int of the same shape."""
    return np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], scores)


def reliability(
    scores: np.ndarray,
    labels: np.ndarray,
    *,
    bins: int = BINS,
    weights: np.ndarray | None = None,
) -> Reliability:
    """Returns predicted and observed shares of fakes in bins of equal width.

    Args:
      scores: float `[N]`, probability of fake.
      labels: int `[N]`.
      bins: how many.
      weights: float `[N]` or None.
    """
    check_positive("bins", bins)
    place = bin_of(scores, bins)
    weights = np.ones(len(scores)) if weights is None else weights
    mass, predicted, observed = (
        np.bincount(place, weights=weights * values, minlength=bins)
        for values in (np.ones(len(scores)), scores, labels == 1)
    )
    with np.errstate(invalid="ignore"):
        return Reliability(np.linspace(0, 1, bins + 1), mass, predicted / mass, observed / mass)


def calibration_error(
    scores: np.ndarray,
    labels: np.ndarray,
    *,
    bins: int = BINS,
    weights: np.ndarray | None = None,
) -> float:
    """Returns the expected calibration error, `sum_b n_b / N |share of fakes in b - mean score in b|`.

    It is of the probability of fake in [0, 1], not of the predicted class' own in [0.5, 1].
    """
    found = reliability(scores, labels, bins=bins, weights=weights)
    gaps = np.nan_to_num(np.abs(found.predicted - found.observed))
    return float(gaps @ found.mass / found.mass.sum())


def probability(scores: np.ndarray, *, logits: bool) -> np.ndarray:
    """Returns scores as probabilities of fake: the logistic function of logits, others cut at 0 and 1."""
    return special.expit(scores) if logits else np.clip(scores, 0, 1)
