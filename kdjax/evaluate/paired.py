"""Two detectors on the same images: the difference of their AUCs, and whether it is more than chance."""

from typing import NamedTuple

import numpy as np

from kdjax.evaluate import statistics
from kdjax.evaluate.bootstrap import draw_parts, fitting
from kdjax.evaluate.delong import DeLong, delong_test
from kdjax.evaluate.resampling import resampled_metrics
from kdjax.evaluate.statistics import Interval


class Paired(NamedTuple):
    """A detector less another, on the same images.

    Attributes:
      auc: of the detector.
      baseline: of the other.
      difference: with the interval of the bootstrap over videos, or DeLong's where no videos are known.
      p_value: two-sided, of the same.
      delong: what DeLong's test says of the images, taken as independent.
    """

    auc: float
    baseline: float
    difference: Interval
    p_value: float
    delong: DeLong


def compare_scores(
    scores: np.ndarray,
    baseline: np.ndarray,
    labels: np.ndarray,
    videos: np.ndarray | None = None,
    *,
    resamples: int = statistics.RESAMPLES,
    seed: int = 0,
) -> Paired:
    """Compares two detectors' scores of the same images.

    Args:
      scores: float `[N]`, finite, the higher the more likely fake.
      baseline: float `[N]`, of the same images, in any unit.
      labels: int `[N]`, 0 real, 1 fake.
      videos: int `[N]`, ids, drawn by a bootstrap; None where images are independent.
      resamples: draws of it.
      seed: of the draws.

    Raises:
      ValueError: for shapes that do not go together or scores that are not finite.
    """
    delong = delong_test(scores, baseline, labels)
    if videos is None:
        return Paired(delong.first, delong.second, delong.difference, delong.p_value, delong)
    count = len(np.unique(videos))
    parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for draws in draw_parts(count, fitting(resamples, len(labels)), seed):
        for found, values in zip(parts, (scores, baseline), strict=True):
            found.append(
                resampled_metrics(values, labels, videos, draws, ("auc",), logits=True)["auc"]
            )
    resampled = [np.concatenate(found)[None] for found in parts]
    result = statistics.compare([delong.first], [delong.second], *resampled, seed=seed)
    return Paired(delong.first, delong.second, result.bootstrap, result.p_value, delong)
