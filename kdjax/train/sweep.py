"""Sweeps: a Python file yields overrides, each becomes a run, all end in one table."""

import csv
import importlib
import io
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

import configs
from configs import sweeps
from kdjax.checks import UserError, nearest
from kdjax.evaluate.evaluation import Evaluation
from kdjax.files import write_text
from kdjax.train.evaluation import evaluate_run
from kdjax.train.initial import check_plan
from kdjax.train.loop import train


class Sweep(NamedTuple):
    """What a sweep's file says.

    Attributes:
      rows: overrides, one dict a run.
      settings: overrides of all runs, which the command line may change.
    """

    rows: list[dict[str, Any]]
    settings: dict[str, Any]


def read_sweep(name: str) -> Sweep:
    """Returns what a shipped sweep or the user's own file says: its `sweep()`, and `SETTINGS` if it has any.

    Raises:
      UserError: when it cannot be used or yields something else.
    """
    if name in sweeps.NAMES:
        program = importlib.import_module(f"configs.sweeps.{name}")
    elif name.endswith(".py"):
        program = configs.load_program(Path(name), "sweep")
    else:
        raise UserError(f"no sweep is called {name!r}; {nearest(name, sweeps.NAMES)}")
    try:
        rows = list(program.sweep())
    except (Exception, SystemExit) as error:
        raise UserError(f"sweep() of {name} fails: {error!r}") from error
    if not rows or not all(_is_row(row) and isinstance(row.get("config", ""), str) for row in rows):
        raise UserError(f"sweep() of {name} must yield dicts such as {{'seed.student': 1}}")
    settings = getattr(program, "SETTINGS", {})
    if not _is_row(settings):
        raise UserError(f"SETTINGS of {name} must be a dict such as {{'seed.student': 1}}")
    return Sweep([dict(row) for row in rows], dict(settings))


def _is_row(row: Any) -> bool:
    return isinstance(row, Mapping) and all(isinstance(key, str) for key in row)


def run_name(number: int, overrides: Mapping[str, Any]) -> str:
    """Returns the folder name of a sweep's run: its number and its settings, safe as a file name."""
    shown = {
        key: "+".join(map(str, value)) if isinstance(value, list | tuple) else value
        for key, value in overrides.items()
    }
    text = ",".join(f"{key}={value}" for key, value in shown.items() if value != "")
    return f"{number:03d}-{re.sub(r'[^A-Za-z0-9=.,_-]+', '_', text)[:100]}".rstrip("-.")


def sweep(
    rows: Iterable[Mapping[str, Any]],
    spec: str,
    common: Mapping[str, Any],
    folder: Path,
    *,
    split: str = "test",
) -> list[tuple[Path, Evaluation | None]]:
    """Trains and evaluates one run after the other; what is done already is not done again.

    Args:
      rows: overrides by run; a key `config` chooses another configuration than `spec`, by default with
        its network.
      spec: the configuration, `NAME[:NETWORK]`.
      common: overrides of all runs.
      folder: where the runs and `results.csv` go.
      split: the split to evaluate on.

    Returns:
      Each run's folder with its evaluation, None for a run that failed (its reason is in the table).
      What cannot be built is found, and said, before the first run starts.

    Raises:
      UserError: for an unknown key or a wrong value in any row, or when no row can be built; before the
        first run starts.
    """
    planned = []
    network = spec.partition(":")[2]
    for number, row in enumerate(rows):
        own = {key: value for key, value in row.items() if key != "config"}
        name = row.get("config", spec)
        config = configs.load(name if ":" in name else f"{name}:{network}", common)
        for key, value in own.items():
            configs.override(config, key, value)
        planned.append((folder / run_name(number, row), row, config))
    hopeless = _hopeless({run: config for run, _, config in planned})
    results: list[tuple[Path, Evaluation | None]] = []
    table = []
    for run, row, config in planned:
        evaluation, problem = None, hopeless.get(run, "")
        try:
            if not problem:
                train(config, run)
                evaluation = evaluate_run(run, split=split)
        except UserError as error:
            problem = str(error)
        results.append((run, evaluation))
        table.append({"run": run.name, **row, **_flat(evaluation), "problem": problem})
        write_text(folder / "results.csv", to_csv(table))
    return results


def _hopeless(configurations: Mapping[Path, ConfigDict]) -> dict[Path, str]:
    """Returns why some runs cannot be built, and says so; UserError when that is none of them.

    A run that has begun was built once and is not asked again.
    """
    problems = {}
    for run, config in configurations.items():
        try:
            if not (run / "config.json").exists():
                check_plan(config)
        except UserError as error:
            problems[run] = str(error)
    if len(problems) == len(configurations):
        raise UserError(next(iter(problems.values())))
    for run, problem in problems.items():
        print(f"{run.name} cannot be built and is left out: {problem}", file=sys.stderr)
    return problems


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
