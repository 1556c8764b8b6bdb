"""What tables of scores say: metrics with intervals by quality, forgery and data set, and comparisons."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from kdjax.checks import counted
from kdjax.evaluate.aligned import Aligned, align
from kdjax.evaluate.evaluation import OVERALL, Evaluation
from kdjax.evaluate.intervals import DRAWS, group_intervals, part_intervals
from kdjax.evaluate.metrics import one_class
from kdjax.evaluate.paired import Paired, compare_scores
from kdjax.evaluate.parts import Part, summarize_groups, summarize_parts, used_parts
from kdjax.evaluate.probabilities import probability
from kdjax.evaluate.scorerows import Scores
from kdjax.evaluate.statistics import RESAMPLES, Interval, holm

WITH_INTERVALS = (
    *("accuracy", "balanced_accuracy", "auc", "average_precision", "eer"),
    *("tpr_at_fpr_0.01", "tpr_at_fpr_0.001", "log_loss", "brier"),
)
OF_VIDEOS = ("video_accuracy", "video_auc", "video_average_precision", "video_eer")
OF_GROUPS = ("auc", "video_auc")
"""Metrics of a forgery and of a data set that are shown with intervals."""
SHOWN = (*WITH_INTERVALS, "calibration_error", *OF_VIDEOS, "video_max_auc", "video_top_auc")
"""Metrics that are shown of each detector, in this order."""


Bounded = dict[str, Interval]
"""Metrics with intervals, by name."""


class Compared(NamedTuple):
    """A detector less the first one, in one quality.

    Attributes:
      name: of the detector.
      quality: or `overall`.
      paired: the comparison.
      corrected: its p-value by Holm's correction over the detectors; NaN without one.
    """

    name: str
    quality: str
    paired: Paired
    corrected: float


class ScoreTables(NamedTuple):
    """What is known of some detectors, all on the same images.

    Attributes:
      aligned: the rows that it is known from.
      evaluations: by detector.
      intervals: `{detector: {quality or "overall": {metric: interval}}}`.
      by_forgery: `{detector: {quality or "overall": {kind: {metric: interval}}}}`, of a kind's fakes and all reals.
      by_dataset: likewise, of a data set's own images.
      compared: of every detector but the first.
      notes: what a reader should know, a line each.
    """

    aligned: Aligned
    evaluations: dict[str, Evaluation]
    intervals: dict[str, dict[str, Bounded]]
    by_forgery: dict[str, dict[str, dict[str, Bounded]]]
    by_dataset: dict[str, dict[str, dict[str, Bounded]]]
    compared: list[Compared]
    notes: list[str]


def score_tables(
    files: Sequence[Scores],
    *,
    resamples: int = DRAWS,
    comparison_resamples: int = RESAMPLES,
    seed: int = 0,
) -> ScoreTables:
    """Returns metrics, intervals and comparisons of detectors by their scores.

    Several are compared on the images that all of them scored, with the first one: by a bootstrap over videos where
    videos are named, else by DeLong's test of images; Holm's correction is over the detectors of a quality.

    Args:
      files: of `scorefile.read_scores`.
      resamples: draws of an interval.
      comparison_resamples: draws of a comparison.
      seed: of all draws.

    Raises:
      UserError: for tables that do not go together; see `aligned.align`.
    """
    aligned = align(files)
    notes = [*(note for file in files for note in file.notes), *_of_one_class(aligned)]
    if aligned.namesakes:
        notes.append(
            f"{counted(aligned.namesakes, 'name of a video is', 'names of videos are')} found in several data sets or "
            "forgeries, and counted as a video in each"
        )
    if len(files) > 1:
        left = ", ".join(
            f"{name} has {count} more"
            for name, count in zip(aligned.names, aligned.left_out, strict=True)
            if count
        )
        all_ = f"compared on the {len(aligned.labels)} rows that all tables have a score of"
        notes.append(f"{all_}: {left}" if left else f"{all_}, which are all of them")
    evaluations, intervals, by_forgery, by_dataset = {}, {}, {}, {}
    for number, name in enumerate(aligned.names):
        parts = _parts(aligned, number)
        options = {"logits": aligned.logits[number], "resamples": resamples, "seed": seed}
        evaluations[name] = _evaluate(aligned, number, parts)
        intervals[name] = {
            quality: part_intervals(used_parts(parts, quality), _with_intervals(aligned), **options)
            for quality in qualities(aligned)
        }
        by_forgery[name] = _by_group(aligned, parts, "forgery", **options)
        by_dataset[name] = _by_group(aligned, parts, "dataset", **options)
        area = evaluations[name].metrics[OVERALL]["auc"]
        if area < 0.5:
            notes.append(
                f"{name}: an AUC of {area:.3f} is worse than chance; do its scores, or its labels, mean real?"
            )
    compared = [
        each
        for quality in qualities(aligned)
        for each in _compare(aligned, quality, comparison_resamples, seed)
    ]
    return ScoreTables(aligned, evaluations, intervals, by_forgery, by_dataset, compared, notes)


def qualities(aligned: Aligned) -> list[str]:
    """Returns the qualities in the order in which they come, and `overall`, alone where there is one or none."""
    names = () if aligned.quality is None else aligned.quality.names
    present = [name for name in names if len(aligned.rows(name))]
    return [*present, OVERALL] if len(present) != 1 else present


def _of_one_class(aligned: Aligned) -> Iterator[str]:
    """Yields a line for what has one class alone: all, or a quality, or a data set."""
    if told := one_class(aligned.labels):
        yield told
        return
    for what, column in (("quality", aligned.quality), ("data set", aligned.dataset)):
        if column is None:
            continue
        for number, name in enumerate(column.names):
            own = aligned.labels[column.codes == number]
            if own.size and (told := one_class(own, f"rows of {what} {name}")):
                yield told


def _columns(aligned: Aligned, rows: np.ndarray) -> dict[str, np.ndarray]:
    alike = np.zeros(len(aligned.labels), np.int32)
    coded = {"forgery": aligned.forgery, "dataset": aligned.dataset}
    return {
        "labels": aligned.labels[rows],
        **{
            role: (alike if column is None else column.codes)[rows]
            for role, column in coded.items()
        },
        "video": aligned.videos[rows],
        "identity": np.full(len(rows), -1, np.int32),
        "index": aligned.images[rows],
    }


def _parts(aligned: Aligned, number: int) -> dict[str, Part]:
    """Returns the scores of a detector by quality; images of a quality in ascending order."""
    names = [name for name in qualities(aligned) if name != OVERALL] or [OVERALL]
    found = {}
    for name in names:
        rows = aligned.rows(name)
        rows = rows[np.argsort(aligned.images[rows], kind="stable")]
        found[name] = Part(aligned.scores[number][rows], _columns(aligned, rows))
    return found


def _evaluate(aligned: Aligned, number: int, parts: dict[str, Part]) -> Evaluation:
    """Returns an evaluation; where qualities have other images, its scores are those of all rows as one."""
    logits = aligned.logits[number]
    kinds = () if aligned.forgery is None else aligned.forgery.names
    metrics, per_forgery = summarize_parts(parts, kinds, logits=logits)
    groups = (
        {}
        if aligned.dataset is None
        else summarize_groups(parts, "dataset", aligned.dataset.names, logits=logits)
    )
    first = next(iter(parts.values())).columns
    if not all(
        np.array_equal(first[name], part.columns[name]) for part in parts.values() for name in first
    ):
        first = _columns(aligned, np.arange(len(aligned.labels)))
        parts = {OVERALL: Part(aligned.scores[number], first)}
    return Evaluation(
        {
            name: probability(part.scores, logits=logits).astype(np.float32)
            for name, part in parts.items()
        },
        dict(first),
        metrics,
        {} if aligned.forgery is None else per_forgery,
        per_dataset=groups,
    )


def _with_intervals(aligned: Aligned) -> tuple[str, ...]:
    return (*WITH_INTERVALS, *OF_VIDEOS) if aligned.has_videos else WITH_INTERVALS


def _by_group(
    aligned: Aligned, parts: dict[str, Part], role: str, **options: Any
) -> dict[str, dict[str, Bounded]]:
    """Returns metrics of each forgery, or data set, in each quality; nothing where no table names them."""
    column = getattr(aligned, role)
    if column is None:
        return {}
    names = OF_GROUPS if aligned.has_videos else OF_GROUPS[:1]
    return {
        quality: group_intervals(used_parts(parts, quality), role, column.names, names, **options)
        for quality in qualities(aligned)
    }


def _compare(aligned: Aligned, quality: str, resamples: int, seed: int) -> list[Compared]:
    rows = aligned.rows(quality)
    clustered = aligned.has_videos or len(np.unique(aligned.images[rows])) < len(rows)
    videos = aligned.videos[rows] if clustered else None
    found = [
        compare_scores(
            scores[rows],
            aligned.scores[0][rows],
            aligned.labels[rows],
            videos,
            resamples=resamples,
            seed=seed,
        )
        for scores in aligned.scores[1:]
    ]
    corrected = holm([each.p_value for each in found])
    return [
        Compared(name, quality, paired, value)
        for name, paired, value in zip(aligned.names[1:], found, corrected, strict=True)
    ]
