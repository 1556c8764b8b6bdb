"""How sure a metric is: bootstrap intervals that resample videos, frames of one coming and going together."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kdjax.checks import check_positive, check_rank, check_same_batch
from kdjax.data_pipeline.dataset import forgery_name
from kdjax.evaluate.bootstrap import bca_interval, draw_parts, fitting, left_out
from kdjax.evaluate.evaluation import Evaluation
from kdjax.evaluate.metrics import THRESHOLD, set_metrics
from kdjax.evaluate.parts import Part, distinct_videos, used_parts
from kdjax.evaluate.resampling import RATES, RESAMPLED, resampled_metrics
from kdjax.evaluate.statistics import CONFIDENCE, Interval, check_finite
from kdjax.evaluate.videos import POOLINGS, clusters_of, pool_videos

DRAWS = 1000
"""Resamples of an interval."""

ALARMS = 10
"""False alarms, in expectation, from which on the share of fakes found at their rate has an interval."""


def metric_intervals(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    videos: npt.ArrayLike,
    names: Sequence[str] = RESAMPLED,
    *,
    clusters: npt.ArrayLike | None = None,
    resamples: int = DRAWS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
    threshold: float = THRESHOLD,
    logits: bool = False,
) -> dict[str, Interval]:
    """Returns metrics with intervals of a bootstrap over videos (`bca_interval`).

    Each resample draws as many videos as there are, with replacement; equal seeds give equal intervals.

    Args:
      scores: float `[N]`, probability of fake.
      labels: int `[N]`, 0 real, 1 fake.
      videos: int `[N]`, ids.
      names: which of `resampling.RESAMPLED`, of frames; with `video_`, `video_max_` or `video_top_` before it,
        of videos (see `videos.pool_videos`).
      clusters: int `[N]`, what is drawn in place of videos, each of which is in one of them: the video in all its
        qualities, say.
      resamples: how many; fewer of more than 200 000 images (`fitting`).
      confidence: share of intervals that hold what they are of.
      seed: of the draws.
      threshold: what is called fake; see `metrics.binary_metrics`.
      logits: scores are any real numbers; see there.

    Returns:
      `{name: interval}`. Resamples that do not define a metric are left out; where they are more than half, or
      the set itself does not define it, the bounds are NaN. So are those of the share of fakes found at a rate of
      false alarms where fewer than `ALARMS` videos with reals are expected to show one.

    Raises:
      ValueError: for shapes that do not go together, scores that are not finite or an unknown name.
    """
    given = {
        "scores": np.asarray(scores, np.float64),
        "labels": np.asarray(labels),
        "videos": np.asarray(videos),
        "clusters": np.asarray(videos if clusters is None else clusters),
    }
    for name, array in given.items():
        check_rank(name, array, 1)
    check_same_batch(**given)
    check_positive("the number of scores", given["scores"].size)
    check_finite(given["scores"])
    measured = _measured(names, **given, threshold=threshold, logits=logits)
    return _bounds(
        [measured],
        given["clusters"],
        given["labels"],
        names,
        resamples=fitting(resamples, given["scores"].size),
        confidence=confidence,
        seed=seed,
    )


def part_intervals(
    parts: Sequence[Part], names: Sequence[str] = RESAMPLED, **options: Any
) -> dict[str, Interval]:
    """Returns `metric_intervals` of parts as one set; a video is drawn with its images in all parts.

    Args:
      parts: as of several qualities, in each of which an image is an example and a video a video.
      names: see `metric_intervals`.
      **options: likewise.
    """
    labels, clusters = (
        np.concatenate([part.columns[name] for part in parts]) for name in ("labels", "video")
    )
    scores = np.concatenate([part.scores for part in parts])
    videos = distinct_videos(parts)
    return metric_intervals(scores, labels, videos, names, clusters=clusters, **options)


def group_intervals(
    parts: Sequence[Part],
    column: str,
    known: Sequence[str],
    names: Sequence[str] = RESAMPLED,
    **options: Any,
) -> dict[str, dict[str, Interval]]:
    """Returns `part_intervals` of each group of the examples.

    Args:
      parts: see `part_intervals`.
      column: of the parts that tells groups apart; `forgery`: the fakes of each kind against all reals.
      known: names of the groups by number.
      names: see `metric_intervals`.
      **options: likewise.
    """
    is_kind = column == "forgery"
    present = [
        part.columns[column][part.columns["labels"] == 1] if is_kind else part.columns[column]
        for part in parts
    ]
    return {
        forgery_name(known, number): part_intervals(
            [
                part.against_reals([number]) if is_kind else part.of_group(column, number)
                for part in parts
            ],
            names,
            **options,
        )
        for number in np.unique(np.concatenate(present)).tolist()
    }


def mean_intervals(
    parts: Sequence[Part],
    names: Sequence[str] = RESAMPLED,
    *,
    resamples: int = DRAWS,
    seed: int = 0,
) -> dict[str, Interval]:
    """Returns the mean of metrics over parts that hold the same images, with intervals.

    Each resample draws videos once, with their images in all parts: `mean_q metric(q)`, which is not the metric of
    all parts pooled (`part_intervals`), where one threshold has to serve them all.

    Raises:
      ValueError: for parts of other images.
    """
    columns = parts[0].columns
    for part in parts[1:]:
        for name in ("labels", "video"):
            if not np.array_equal(part.columns[name], columns[name]):
                raise ValueError(f"parts differ in {name}; a mean is over the same images in each")
    measured = [
        _measured(
            names,
            np.asarray(part.scores, np.float64),
            columns["labels"],
            columns["video"],
            columns["video"],
        )
        for part in parts
    ]
    count = fitting(resamples, len(parts) * len(columns["labels"]))
    return _bounds(measured, columns["video"], columns["labels"], names, resamples=count, seed=seed)


def evaluation_parts(evaluation: Evaluation, quality: str) -> list[Part]:
    """Returns the scores of an evaluation in a quality; those in all of its qualities overall."""
    parts = {name: Part(each, evaluation.columns) for name, each in evaluation.scores.items()}
    return used_parts(parts, quality)


def evaluation_intervals(
    evaluation: Evaluation, quality: str, names: Sequence[str] = RESAMPLED, **options: Any
) -> dict[str, Interval]:
    """Returns `part_intervals` of a stored evaluation in one quality, or `overall`."""
    return part_intervals(evaluation_parts(evaluation, quality), names, **options)


Measured = tuple[dict[str, float], Callable[[np.ndarray], dict[str, np.ndarray]]]
"""Metrics of a set, and what gives them of resamples `[R, V]`, `[R]` each."""


def _measured(
    names: Sequence[str],
    scores: np.ndarray,
    labels: np.ndarray,
    videos: np.ndarray,
    clusters: np.ndarray,
    **options: Any,
) -> Measured:
    levels: dict[str, list[str]] = {}
    for name in names:
        level = _level(name)
        levels.setdefault(level, []).append(name.removeprefix(level))
    sets = {level: _at_level(level, scores, labels, videos, clusters) for level in levels}
    observed = {
        level + name: value
        for level, (values, classes, _) in sets.items()
        for name, value in set_metrics(values, classes, **options).items()
    }

    def measure(draws: np.ndarray) -> dict[str, np.ndarray]:
        return {
            level + name: values
            for level, each in levels.items()
            for name, values in resampled_metrics(*sets[level], draws, each, **options).items()
        }

    return observed, measure


def _bounds(
    measured: Sequence[Measured],
    clusters: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    *,
    resamples: int,
    seed: int,
    confidence: float = CONFIDENCE,
) -> dict[str, Interval]:
    """Returns the intervals of each metric's mean over what was measured on the same clusters."""
    count = len(np.unique(clusters))

    def mean_of(draws: np.ndarray) -> dict[str, np.ndarray]:
        found = [measure(draws) for _, measure in measured]
        return {name: np.mean([each[name] for each in found], axis=0) for name in names}

    parts = [mean_of(draws) for draws in draw_parts(count, resamples, seed)]
    without = mean_of(left_out(count, seed))
    reals = len(np.unique(clusters[labels == 0]))
    found = {}
    for name in names:
        estimate = float(np.mean([observed[name] for observed, _ in measured]))
        if RATES.get(name.removeprefix(_level(name)), math.inf) * reals < ALARMS:
            found[name] = Interval(estimate, math.nan, math.nan)
            continue
        draws = np.concatenate([part[name] for part in parts])
        found[name] = bca_interval(
            estimate, draws, without[name], confidence=confidence, sample=count
        )
    return found


def _level(name: str) -> str:
    """Returns what stands before the name of a metric of videos; nothing of one of frames."""
    levels = [f"video_{pooling}_" for pooling in POOLINGS] + ["video_"]
    return next((level for level in levels if name.startswith(level)), "")


def _at_level(
    level: str,
    scores: np.ndarray,
    labels: np.ndarray,
    videos: np.ndarray,
    clusters: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns scores and labels of frames or videos, and which cluster each is in."""
    if not level:
        return scores, labels, clusters
    pooling = level.removeprefix("video_").removesuffix("_") or "mean"
    pooled, classes, ids = pool_videos(scores, labels, videos, pooling)
    return pooled, classes, clusters_of(ids, videos, clusters)
