"""What the report's tables and cards say, as plain values for the template."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from kdjax.data_pipeline.builders.schema import encode_png
from kdjax.evaluate import figures
from kdjax.evaluate.grouped import Group, Line, Summary
from kdjax.evaluate.metrics import THRESHOLD
from kdjax.evaluate.page.table import Row, Table, number, text
from kdjax.evaluate.runs import Run, describe
from kdjax.evaluate.samples import Sample
from kdjax.types import LABELS, QUALITIES


def overview(run: Run, position: int) -> dict[str, Any]:
    """Returns what stands for a run all over the page, and what is missing in it."""
    return {"name": run.name, "style": figures.line_style(position), "notes": run.notes}


def overview_table(runs: Sequence[Run]) -> Table:
    """Returns what a reader wants to know of each run first."""
    heads = ("method", "network", "trained on", "teacher", "steps", "evaluated at")
    rows = []
    for position, run in enumerate(runs):
        facts = describe(run)
        evaluated = run.evaluation.step if run.evaluation else None
        cells = [text(facts[name]) for name in ("method", "network", "qualities", "teacher")]
        cells += [number(facts["steps"], "%d"), number(evaluated, "%d")]
        rows.append(Row(position, run.name, cells))
    return Table("What the runs are", "run", heads, rows, frozenset(range(4)))


def learnt_table(runs: Sequence[Run]) -> Table:
    """Returns what the learning curves come to: where validation was best, and what was logged last."""
    heads = (
        "best validation AUC",
        "at step",
        "best validation acc",
        "last training acc",
        "last loss",
    )
    rows = []
    for position, run in enumerate(runs):
        validated = [line for line in run.validation if "auc" in line]
        best = max(validated, key=lambda line: line["auc"], default={})
        accuracies = [line["accuracy"] for line in run.validation if "accuracy" in line]
        last = run.train[-1] if run.train else {}
        cells = [
            number(best.get("auc")),
            number(best.get("step"), "%d"),
            number(max(accuracies, default=None)),
            number(last.get("accuracy")),
            number(last.get("loss"), "%.4g"),
        ]
        rows.append(Row(position, run.name, cells))
    return Table("What the learning curves come to", "run", heads, rows)


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
                # -1 where nobody knows
                "identities": len(np.setdiff1d(run.evaluation.columns["identity"], [-1])),
                "runs": [],
            },
        )
        entry["runs"].append(run.name)
    return list(found.values())


def grouped_tables(
    groups: Sequence[Group], baseline: str, qualities: Sequence[str], summary: Summary
) -> dict[str, list[Line]]:
    """Returns the lines of rows over their seeds in each quality; nothing where no row has two seeds."""
    if not baseline and all(len(group.runs) < 2 for group in groups):
        return {}
    return {quality: summary.lines(groups, baseline, quality) for quality in qualities}


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
