"""What the report's tables and cards say, as plain values for the template."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdjax.data_pipeline.builders.schema import encode_png
from kdjax.evaluate import figures
from kdjax.evaluate.grouped import Group, Line, Summary
from kdjax.evaluate.metrics import THRESHOLD
from kdjax.evaluate.runs import Run, describe
from kdjax.evaluate.samples import Sample
from kdjax.evaluate.tables import LOWER_IS_BETTER, METRICS, best_runs, metric, qualities_of
from kdjax.types import LABELS, QUALITIES

REPORT_RESAMPLES = 2000
"""Draws of the report's bootstraps: fewer than the sweep's own, in four qualities at once."""


def overview(run: Run, position: int) -> dict[str, Any]:
    """Returns what a reader wants to know of a run first, and what is missing in it."""
    evaluated = run.evaluation.step if run.evaluation else None
    return {
        "name": run.name,
        "style": figures.line_style(position),
        "notes": run.notes,
        "evaluated": evaluated,
        **describe(run),
    }


def evaluated_data(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Returns what the runs were evaluated on, once for each different set."""
    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        if run.evaluation is None:
            continue
        facts, counts = run.evaluation.dataset, run.evaluation.counts
        entry = found.setdefault(
            repr((sorted(facts.items(), key=str), counts)),
            {
                "facts": facts,
                "counts": counts,
                "videos": len(np.unique(run.evaluation.columns["video"])),
                "identities": len(np.unique(run.evaluation.columns["identity"])),
                "runs": [],
            },
        )
        entry["runs"].append(run.name)
    return list(found.values())


def results_table(runs: Sequence[Run]) -> dict[str, Any]:
    """Returns the table of metrics: qualities and their metrics across, runs down."""
    columns = [
        (quality, name)
        for quality in qualities_of(runs)
        for name in METRICS
        if any(metric(run, quality, name) is not None for run in runs)
    ]
    values = [[metric(run, *column) for column in columns] for run in runs]
    best = [
        best_runs([row[position] for row in values], lower=name in LOWER_IS_BETTER)
        for position, (_, name) in enumerate(columns)
    ]
    groups = list(dict.fromkeys(quality for quality, _ in columns))
    return {
        "groups": [(group, sum(quality == group for quality, _ in columns)) for group in groups],
        "heads": [METRICS[name] for _, name in columns],
        "rows": [
            [(value, best[across][down]) for across, value in enumerate(row)]
            for down, row in enumerate(values)
        ],
    }


def grouped_tables(
    groups: Sequence[Group], baseline: str, qualities: Sequence[str]
) -> dict[str, list[Line]]:
    """Returns the lines of rows over their seeds in each quality; nothing where no row has two seeds."""
    if not baseline and all(len(group.runs) < 2 for group in groups):
        return {}
    summary = Summary(resamples=REPORT_RESAMPLES)
    return {quality: summary.lines(groups, baseline, quality) for quality in qualities}


def forgery_table(runs: Sequence[Run]) -> dict[str, Any]:
    """Returns the table of AUC by kind of forgery: kinds across, runs down within each quality."""
    entries = [run.evaluation.per_forgery if run.evaluation else {} for run in runs]
    kinds = list(dict.fromkeys(kind for entry in entries for row in entry.values() for kind in row))
    groups = [
        (quality, [[_auc(entry, quality, kind) for kind in kinds] for entry in entries])
        for quality in qualities_of(runs)
    ]
    return {"kinds": kinds, "groups": groups}


def _auc(entry: Mapping[str, Any], quality: str, kind: str) -> float | None:
    value = entry.get(quality, {}).get(kind, {}).get("auc", np.nan)
    return value if np.isfinite(value) else None


def sample_card(sample: Sample, runs: Sequence[Run]) -> dict[str, Any]:
    """Returns one sample: its images as data addresses, and each run's verdict in each quality."""
    known = [name for name in QUALITIES if name in sample.images]
    shown = [*known, *(name for name in sample.images if name not in known)]
    mask = sample.mask
    if mask is not None:
        mask = mask.reshape(mask.shape[:2]) if mask.any() else None
    return {
        "index": sample.index,
        "label": LABELS[sample.label],
        "kind": sample.forgery if sample.label else "",
        "images": [(name, data_address(sample.images[name])) for name in shown],
        "mask": None if mask is None else data_address(mask),
        "rows": [[_verdict(sample, run, quality) for quality in shown] for run in runs],
    }


def _verdict(sample: Sample, run: Run, quality: str) -> tuple[float, bool] | None:
    """Returns a run's score and whether it is right; None if the run did not score this image."""
    if run.evaluation is None or quality not in run.evaluation.scores:
        return None
    columns = run.evaluation.columns
    found = np.flatnonzero((columns["index"] == sample.index) & (columns["labels"] == sample.label))
    if not len(found):
        return None
    score = float(run.evaluation.scores[quality][found[0]])
    return score, (score > THRESHOLD) == bool(sample.label)


def data_address(image: np.ndarray) -> str:
    """Returns a uint8 image, RGB `[H, W, 3]` or grey `[H, W]`, as a PNG in an address of its own."""
    return f"data:image/png;base64,{base64.b64encode(encode_png(image)).decode('ascii')}"
