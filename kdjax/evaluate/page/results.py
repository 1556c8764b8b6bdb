"""The page's tables of metrics: by quality with intervals, by kind of forgery, at the ends of the ROC curve."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kdjax.evaluate.evaluation import OVERALL
from kdjax.evaluate.grouped import Line
from kdjax.evaluate.intervals import evaluation_intervals
from kdjax.evaluate.page.table import Cell, Row, Table, bounded, number
from kdjax.evaluate.runs import Run
from kdjax.evaluate.statistics import Interval
from kdjax.evaluate.tables import (
    HEADINGS,
    LOWER_IS_BETTER,
    METRICS,
    best_runs,
    metric,
    qualities_of,
)

WITH_INTERVALS = ("auc", "accuracy", "video_auc")
"""Metrics that have their interval; that of the EER takes as long as all of these ten times."""

SHOWN = ("auc", "accuracy", "video_auc", "eer", "recall_at_1")

OPERATING = ("auc", "average_precision", "eer", "tpr_at_fpr_0.01", "tpr_at_fpr_0.001")
"""What the ROC and DET curves say in numbers."""

Intervals = Mapping[tuple[int, str], Mapping[str, Interval]]
"""Of a run, by its number, in a quality."""


def run_intervals(runs: Sequence[Run]) -> Intervals:
    """Returns the intervals over videos of every run in every quality that it has scores in."""
    found = {}
    for position, run in enumerate(runs):
        if run.evaluation is None or not len(run.evaluation.columns["labels"]):
            continue
        known = [*run.evaluation.scores, *([OVERALL] if run.evaluation.scores else [])]
        for quality in dict.fromkeys(known):
            found[position, quality] = evaluation_intervals(run.evaluation, quality, WITH_INTERVALS)
    return found


def result_tables(runs: Sequence[Run], intervals: Intervals) -> list[Table]:
    """Returns a table of metrics for each quality: runs down, the best of each column marked."""
    return [
        _table(runs, quality, f"Results: {quality}", SHOWN, intervals)
        for quality in qualities_of(runs)
    ]


def operating_tables(runs: Sequence[Run]) -> list[Table]:
    """Returns a table for each quality of what its ROC and DET curves say; those that no run has are left out."""
    tables = [
        _table(runs, quality, f"ROC and DET in numbers: {quality}", OPERATING, {})
        for quality in qualities_of(runs)
    ]
    return [table for table in tables if table.heads]


def _table(
    runs: Sequence[Run], quality: str, caption: str, names: Sequence[str], intervals: Intervals
) -> Table:
    columns = [n for n in names if any(metric(run, quality, n) is not None for run in runs)]
    values = [[metric(run, quality, name) for name in columns] for run in runs]
    best = [
        best_runs([row[place] for row in values], lower=name in LOWER_IS_BETTER)
        for place, name in enumerate(columns)
    ]
    rows = []
    for position, (run, row) in enumerate(zip(runs, values, strict=True)):
        own = intervals.get((position, quality), {})
        cells = [
            _cell(value, own.get(name), mark="best" if best[place][position] else "")
            for place, (name, value) in enumerate(zip(columns, row, strict=True))
        ]
        rows.append(Row(position, run.name, cells))
    heads = [{**HEADINGS, **METRICS}[name] for name in columns]
    return Table(caption, "run", heads, rows)


def _cell(value: float | None, interval: Interval | None, *, mark: str) -> Cell:
    """Returns what the evaluation says; the interval, made anew of its scores, beside it."""
    if value is None or interval is None or not math.isfinite(interval.low):
        return number(value, mark=mark)
    return bounded(Interval(value, interval.low, interval.high), mark=mark)


def forgery_tables(runs: Sequence[Run]) -> list[Table]:
    """Returns a table of AUC by kind of forgery for each quality: kinds across, runs down."""
    entries = [run.evaluation.per_forgery if run.evaluation else {} for run in runs]
    kinds = list(dict.fromkeys(kind for entry in entries for row in entry.values() for kind in row))
    if not kinds:
        return []
    return [
        Table(
            f"AUC by kind of forgery: {quality}",
            "run",
            kinds,
            [
                Row(place, run.name, [_heat(_auc(entry, quality, kind)) for kind in kinds])
                for place, (run, entry) in enumerate(zip(runs, entries, strict=True))
            ],
        )
        for quality in qualities_of(runs)
        if any(entry.get(quality) for entry in entries)
    ]


def _auc(entry: Mapping[str, Any], quality: str, kind: str) -> float:
    return float(entry.get(quality, {}).get(kind, {}).get("auc", math.nan))


def _heat(value: float) -> Cell:
    cell = number(value, mark="below" if value < 0.5 else "")
    return cell if cell.value is None else cell._replace(strength=round(abs(value - 0.5) * 160))


def seed_tables(grouped: Mapping[str, Sequence[Line]]) -> list[Table]:
    """Returns a table for each quality of rows over their seeds, and their differences to the baseline."""
    compares = any(line.comparison for lines in grouped.values() for line in lines)
    heads = ["seeds", "AUC"]
    heads += ["difference", "over seeds", "p", "p (Holm)"] if compares else []
    return [
        Table(
            f"Rows over their seeds: {quality}",
            "row",
            heads,
            [
                Row(None, _named(line), [*_of_seeds(line), *(_compared(line) if compares else [])])
                for line in lines
            ],
        )
        for quality, lines in grouped.items()
    ]


def _named(line: Line) -> str:
    return f"{line.name} (baseline)" if line.is_baseline else line.name


def _of_seeds(line: Line) -> list[Cell]:
    return [number(line.seeds, "%d"), bounded(line.auc)]


def _compared(line: Line) -> list[Cell]:
    comparison = line.comparison
    if comparison is None:
        return [Cell()] * 4
    return [
        bounded(comparison.bootstrap, "%+.3f", mark="best" if comparison.sign else ""),
        bounded(comparison.over_seeds, "%+.3f"),
        number(comparison.p_value),
        number(line.corrected),
    ]
