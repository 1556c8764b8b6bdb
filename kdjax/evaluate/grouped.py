"""Runs of one row with several seeds as one line: mean and interval, and the difference to a baseline."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kdjax.evaluate import statistics
from kdjax.evaluate.evaluation import OVERALL, Evaluation
from kdjax.evaluate.statistics import Comparison, Interval


class Group(NamedTuple):
    """The evaluated runs of one row, by seed."""

    name: str
    runs: Mapping[int, Evaluation]


class Line(NamedTuple):
    """What several seeds of a row say in one quality.

    Attributes:
      name: of the row.
      seeds: how many runs have an evaluation.
      auc: mean and t-interval over seeds.
      is_baseline: whether others are compared with it.
      comparison: with the baseline, on the seeds of both; None without any, or on other images.
      corrected: its p-value by Holm's correction over the lines; NaN without a comparison.
    """

    name: str
    seeds: int
    auc: Interval
    is_baseline: bool
    comparison: Comparison | None
    corrected: float


class Summary:
    """Summarises groups again and again while they grow; a run's resamples are computed once."""

    def __init__(self, *, resamples: int = statistics.RESAMPLES) -> None:
        """Takes the number of resamples of the bootstrap."""
        self._resamples = resamples
        self._draws: dict[int, np.ndarray] = {}
        self._found: dict[tuple[str, int, str], tuple[Evaluation, np.ndarray]] = {}

    def lines(self, groups: Sequence[Group], baseline: str, quality: str) -> list[Line]:
        """Returns a line for each group, compared with the group of the name `baseline` if there is one."""
        reference = next((group for group in groups if group.name == baseline), None)
        compared = [
            None
            if reference is None or group is reference
            else self._compare(group, reference, quality)
            for group in groups
        ]
        corrected = statistics.holm([each.p_value if each else math.nan for each in compared])
        return [
            Line(
                group.name,
                len(group.runs),
                statistics.mean_interval(
                    [auc_of(run, quality) for run in group.runs.values()], limits=(0.0, 1.0)
                ),
                group is reference,
                comparison,
                value,
            )
            for group, comparison, value in zip(groups, compared, corrected, strict=True)
        ]

    def _compare(self, group: Group, reference: Group, quality: str) -> Comparison | None:
        common = sorted(set(group.runs) & set(reference.runs))
        evaluations = [side.runs[seed] for side in (group, reference) for seed in common]
        first = evaluations[0] if evaluations else None
        if first is None or not all(same_images(first, other, quality) for other in evaluations):
            return None
        observed = [
            [auc_of(side.runs[seed], quality) for seed in common] for side in (group, reference)
        ]
        resampled = [
            np.stack([self._resample(side, seed, quality) for seed in common])
            for side in (group, reference)
        ]
        return statistics.compare(observed[0], observed[1], resampled[0], resampled[1])

    def _resample(self, group: Group, seed: int, quality: str) -> np.ndarray:
        key, run = (group.name, seed, quality), group.runs[seed]
        found = self._found.get(key)
        if found is None or found[0] is not run:
            names = _qualities(run, quality)
            # an image in several qualities is several examples; its video is drawn with all of them
            scores = np.concatenate([run.scores[name] for name in names])
            labels, videos = (np.tile(run.columns[c], len(names)) for c in ("labels", "video"))
            count = len(np.unique(videos))
            if count not in self._draws:
                self._draws[count] = statistics.video_draws(count, resamples=self._resamples)
            found = run, statistics.resampled_auc(scores, labels, videos, self._draws[count])
            self._found[key] = found
        return found[1]


def auc_of(run: Evaluation, quality: str) -> float:
    """Returns the test AUC in a quality, NaN where it is not defined."""
    return run.metrics.get(quality, {}).get("auc", math.nan)


def _qualities(run: Evaluation, quality: str) -> tuple[str, ...]:
    return tuple(run.scores) if quality == OVERALL else (quality,)


def same_images(first: Evaluation, other: Evaluation, quality: str) -> bool:
    """Returns whether two evaluations have scores of the same images, and an AUC, in a quality."""
    return all(
        np.array_equal(first.columns[name], other.columns[name])
        for name in ("labels", "video", "index")
    ) and all(
        set(_qualities(first, quality)) == set(_qualities(run, quality)) <= set(run.scores)
        for run in (first, other)
    )


def line_to_json(line: Line) -> dict[str, Any]:
    """Returns a line as JSON values: what is not defined is null."""
    found: dict[str, Any] = {"seeds": line.seeds, "auc": _interval(line.auc)}
    if line.comparison is not None:
        found |= {
            "difference": line.comparison.bootstrap.estimate,
            "paired_seeds": line.comparison.seeds,
            "bootstrap": _interval(line.comparison.bootstrap)[1:],
            "over_seeds": _interval(line.comparison.over_seeds)[1:],
            "p_value": _finite(line.comparison.p_value),
            "p_holm": _finite(line.corrected),
            "shown": line.comparison.sign,
        }
    return found


def _interval(interval: Interval) -> list[float | None]:
    return [_finite(value) for value in interval]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def line_row(line: Line) -> dict[str, Any]:
    """Returns a line as a row for `format_table` and for summary.csv."""
    row: dict[str, Any] = {
        "row": line.name,
        "seeds": line.seeds,
        "AUC": line.auc.estimate,
        "low": line.auc.low,
        "high": line.auc.high,
    }
    comparison = line.comparison
    nothing = statistics.NOTHING
    bootstrap = nothing if comparison is None else comparison.bootstrap
    over_seeds = nothing if comparison is None else comparison.over_seeds
    return {
        **row,
        "difference": bootstrap.estimate,
        "bootstrap low": bootstrap.low,
        "bootstrap high": bootstrap.high,
        "over seeds low": over_seeds.low,
        "over seeds high": over_seeds.high,
        "p": math.nan if comparison is None else comparison.p_value,
        "p (Holm)": line.corrected,
    }
