"""Sweeps: a Python file yields overrides, each becomes a run, all end in one table."""

import csv
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import configs
from kdjax.checks import UserError
from kdjax.evaluate.evaluation import Evaluation
from kdjax.files import write_text
from kdjax.train.evaluation import evaluate_run
from kdjax.train.loop import train


def read_sweep(path: Path) -> list[dict[str, Any]]:
    """Returns the overrides that the file's `sweep()` yields, one dict a run.

    Raises:
      UserError: when the file cannot be used or yields something else.
    """
    program = configs.load_program(path, "sweep")
    try:
        rows = list(program.sweep())
    except (Exception, SystemExit) as error:
        raise UserError(f"sweep() of {path} fails: {error!r}") from error
    if not rows or not all(
        isinstance(row, Mapping)
        and all(isinstance(key, str) for key in row)
        and isinstance(row.get("config", ""), str)
        for row in rows
    ):
        raise UserError(f"sweep() of {path} must yield dicts such as {{'seed.student': 1}}")
    return [dict(row) for row in rows]


def run_name(number: int, overrides: Mapping[str, Any]) -> str:
    """Returns the folder name of a sweep's run: its number and its settings, safe as a file name."""
    text = ",".join(f"{key}={value}" for key, value in overrides.items())
    return f"{number:03d}-{re.sub(r'[^A-Za-z0-9=.,_-]+', '_', text)[:100]}".rstrip("-.")


def sweep(
    rows: Iterable[Mapping[str, Any]],
    spec: str,
    common: Mapping[str, str],
    folder: Path,
    *,
    split: str = "test",
) -> list[tuple[Path, Evaluation | None]]:
    """Trains and evaluates one run after the other; what is done already is not done again.

    Args:
      rows: overrides by run; a key `config` chooses another configuration than `spec`.
      spec: the configuration, `NAME[:NETWORK]`.
      common: overrides of all runs.
      folder: where the runs and `results.csv` go.
      split: the split to evaluate on.

    Returns:
      Each run's folder with its evaluation, None for a run that failed (its reason is in the table).

    Raises:
      UserError: for an unknown key or a wrong value in any row, before the first run starts.
    """
    planned = []
    for number, row in enumerate(rows):
        own = {key: value for key, value in row.items() if key != "config"}
        config = configs.load(row.get("config", spec), common)
        for key, value in own.items():
            configs.override(config, key, value)
        planned.append((folder / run_name(number, row), row, config))
    results: list[tuple[Path, Evaluation | None]] = []
    table = []
    for run, row, config in planned:
        evaluation, problem = None, ""
        try:
            train(config, run)
            evaluation = evaluate_run(run, split=split)
        except UserError as error:
            problem = str(error)
        results.append((run, evaluation))
        table.append({"run": run.name, **row, **_flat(evaluation), "problem": problem})
        write_text(folder / "results.csv", to_csv(table))
    return results


def _flat(evaluation: Evaluation | None) -> dict[str, Any]:
    if evaluation is None:
        return {}
    return {
        f"{quality}/{name}": value
        for quality, values in evaluation.metrics.items()
        for name, value in values.items()
    }


def to_csv(rows: list[dict[str, Any]]) -> str:
    """Returns rows as comma-separated values; columns in order of appearance."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
