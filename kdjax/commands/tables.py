"""The tables that commands print of runs."""

from collections.abc import Sequence
from pathlib import Path

from kdjax.evaluate.evaluation import OVERALL
from kdjax.evaluate.grouped import Summary, line_row
from kdjax.evaluate.membership import groups_of, read_membership
from kdjax.evaluate.runs import read_runs
from kdjax.evaluate.tables import format_table, result_rows
from kdjax.train import checkpoint


def print_results(runs: Sequence[Path], split: str = "test") -> None:
    """Prints the table of some runs' metrics."""
    print(format_table(result_rows(runs, split=split, metrics=("accuracy", "auc", "eer"))))


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
