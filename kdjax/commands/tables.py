"""The tables that commands print of runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdjax.data_pipeline.corruptions import names
from kdjax.evaluate.evaluation import OVERALL
from kdjax.evaluate.grouped import Summary, line_row
from kdjax.evaluate.intervals import evaluation_intervals
from kdjax.evaluate.membership import groups_of, read_membership
from kdjax.evaluate.runs import read_runs
from kdjax.evaluate.tables import HEADINGS, format_table, interval_text, qualities_of, result_rows
from kdjax.folder import RunFolder
from kdjax.train import checkpoint
from kdjax.train.calibration import Calibrated, calibration_lines, calibration_rows


def print_results(runs: Sequence[Path], split: str = "test") -> None:
    """Prints the table of some runs' metrics."""
    print(format_table(result_rows(runs, split=split, metrics=("accuracy", "auc", "eer"))))


INTERVALS = ("auc", "video_auc")
"""Metrics of runs that are printed with their interval."""


def print_intervals(runs: Sequence[Path], split: str) -> None:
    """Prints the AUC of some runs in each quality with intervals over videos, and that of each data set in one."""
    rows, groups = [], []
    for run in read_runs(runs, split):
        if run.evaluation is None:
            continue
        for quality in qualities_of([run]):
            found = evaluation_intervals(run.evaluation, quality, INTERVALS)
            texts = {HEADINGS[name]: interval_text(each) for name, each in found.items()}
            rows.append({"run": run.name, "quality": quality, **texts})
            for name, values in run.evaluation.per_dataset.get(quality, {}).items():
                row = {"run": run.name, "quality": quality, "data set": name}
                shown = ("accuracy", "auc", "eer", "video_auc")
                groups.append({**row, **{HEADINGS[metric]: values[metric] for metric in shown}})
    print("\n95 % intervals over videos:")
    print(format_table(rows))
    if groups:
        print("\nby data set:")
        print(format_table(groups))


def print_calibrations(found: Mapping[Path, Calibrated]) -> None:
    """Prints what calibrating some runs has found."""
    names = {folder: folder.resolve().name for folder in found}
    for folder, each in found.items():
        for line in calibration_lines(names[folder], each):
            print(line)
    print(
        format_table([row for f, each in found.items() for row in calibration_rows(names[f], each)])
    )
    for folder in found:
        print(RunFolder(folder).calibration)


def print_corruptions(runs: Sequence[Path], kinds: Sequence[str], split: str) -> None:
    """Prints the AUC of some runs under corruptions, a row for each run and kind; severity 0 is the image itself."""
    rows = []
    for run in read_runs(runs, split):
        metrics = run.evaluation.metrics if run.evaluation else {}
        clean = next(iter(metrics), "")
        for kind in kinds:
            found = [metrics.get(name, {}).get("auc") for name in (clean, *names(kind))]
            row: dict[str, Any] = {"run": run.name, "corruption": kind}
            row |= {str(severity): value for severity, value in enumerate(found)}
            known = [value for value in found[1:] if value is not None]
            rows.append({**row, "mean of 1 to 5": sum(known) / len(known) if known else None})
    print(f"AUC on {split} by severity:")
    print(format_table(rows))


def print_summary(sweep_folder: Path, runs: Sequence[Path]) -> None:
    """Prints a sweep's rows over their seeds, in the quality that the runs were trained on."""
    membership = read_membership(sweep_folder)
    trained = {tuple(checkpoint.read_config(run).student.qualities) for run in runs}
    (qualities,) = trained if len(trained) == 1 else (("several", "sets"),)
    quality = qualities[0] if len(qualities) == 1 else OVERALL
    groups = groups_of(read_runs(runs), membership)
    lines = Summary().lines(groups, membership.baseline, quality)
    compared = f", compared with {membership.baseline}" if membership.baseline else ""
    print(f"AUC on test, {quality}{compared}:")
    print(format_table([line_row(line) for line in lines]))
