"""Results of several runs as rows, and rows as text for a terminal."""

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from kdjax.evaluate.evaluation import OVERALL
from kdjax.evaluate.runs import Run, describe, read_runs
from kdjax.evaluate.statistics import Interval
from kdjax.types import QUALITIES

METRICS = {
    "accuracy": "acc",
    "auc": "AUC",
    "eer": "EER",
    "recall_at_1": "R@1",
    "video_auc": "video AUC",
}
"""Metrics that are shown, with the heading of their column."""

HEADINGS = {
    **METRICS,
    "balanced_accuracy": "balanced acc",
    "average_precision": "AP",
    "tpr_at_fpr_0.01": "TPR at 1 % FPR",
    "tpr_at_fpr_0.001": "TPR at 0.1 % FPR",
    "log_loss": "log loss",
    "brier": "Brier",
    "calibration_error": "calibration error",
    "video_accuracy": "video acc",
    "video_average_precision": "video AP",
    "video_eer": "video EER",
    "video_max_auc": "video AUC (max)",
    "video_top_auc": "video AUC (top)",
}
"""What tables of scores show beside them."""

LOWER_IS_BETTER = frozenset({"eer"})


def qualities_of(runs: Sequence[Run]) -> list[str]:
    """Returns every quality that any of the runs was evaluated on, best first, `overall` last."""
    found = {name for run in runs if run.evaluation for name in run.evaluation.metrics}
    known = [name for name in (*QUALITIES, OVERALL) if name in found]
    return [*known[:-1], *sorted(found - set(known)), *known[-1:]] if known else sorted(found)


def metric(run: Run, quality: str, name: str) -> float | None:
    """Returns a metric of a run, None where it has none or it is not defined."""
    if run.evaluation is None:
        return None
    value = run.evaluation.metrics.get(quality, {}).get(name, math.nan)
    return value if math.isfinite(value) else None


def best_runs(values: Sequence[float | None], *, lower: bool = False) -> list[bool]:
    """Returns which values are the best of a column as shown, with three decimals.

    Equal values are all best; a column with fewer than two values has no best.
    """
    shown = [None if value is None else round(value, 3) for value in values]
    present = [value for value in shown if value is not None]
    if len(present) < 2:
        return [False] * len(shown)
    best = min(present) if lower else max(present)
    return [value == best for value in shown]


def result_rows(
    paths: Sequence[str | os.PathLike[str]],
    *,
    split: str = "test",
    metrics: Sequence[str] = ("accuracy", "auc"),
) -> list[dict[str, Any]]:
    """Returns one row a run for `format_table`: what it is, then its metrics by quality.

    Raises:
      UserError: a folder is not a run.
    """
    runs = read_runs(paths, split)
    qualities = qualities_of(runs)
    rows = []
    for run in runs:
        facts = describe(run)
        row = {"run": run.name, **{name: facts[name] for name in ("method", "network", "steps")}}
        for quality in qualities:
            for name in metrics:
                row[f"{quality} {METRICS[name]}"] = metric(run, quality, name)
        rows.append(row)
    return rows


def interval_text(interval: Interval) -> str:
    """Returns an estimate with its bounds as text; nothing where it is not defined.

    >>> interval_text(Interval(0.91234, 0.88, 0.94)), interval_text(Interval(0.5, float("nan"), float("nan")))
    ('0.912 [0.880, 0.940]', '0.500')
    """
    if not math.isfinite(interval.estimate):
        return ""
    bounds = f" [{interval.low:.3f}, {interval.high:.3f}]" if math.isfinite(interval.low) else ""
    return f"{interval.estimate:.3f}{bounds}"


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns rows as aligned text; columns in order of appearance, numbers to the right.

    What is missing or not a number is `-`; characters that would steer a terminal are dropped.

    >>> print(format_table([{"run": "kd", "c40 AUC": 0.81}, {"run": "alone", "c40 AUC": None}]))
    run    c40 AUC
    -----  -------
    kd       0.810
    alone        -
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if not columns:
        return ""
    cells = [[_cell(row.get(name)) for name in columns] for row in rows]
    numeric = [
        all(isinstance(row.get(name), int | float | None) for row in rows) for name in columns
    ]
    heads = [_cell(name) for name in columns]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    lines = [heads, ["-" * width for width in widths], *cells]
    return "\n".join(
        "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in lines
    )


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3f}" if math.isfinite(value) else "-"
    text = "" if value is None else "".join(filter(str.isprintable, str(value)))
    return text or "-"
