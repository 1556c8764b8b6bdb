"""Sweeps: a Python file yields overrides, each becomes a run, all end in one table."""

import importlib
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from kdjax import configs
from kdjax.checks import UserError, nearest
from kdjax.configs import sweeps
from kdjax.evaluate.evaluation import Evaluation
from kdjax.extensions import NOTHING, Extensions
from kdjax.folder import RunFolder
from kdjax.train.claim import check_claim, has_results
from kdjax.train.evaluation import evaluated
from kdjax.train.initial import check_plan
from kdjax.train.loop import train
from kdjax.train.programs import changes
from kdjax.train.sweep_results import Results, Run


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
        program = importlib.import_module(f"kdjax.configs.sweeps.{name}")
    elif configs.programs.is_program(name):
        program = configs.programs.load_program(name, "sweep")
    else:
        raise UserError(f"no sweep is called {name!r}; {nearest(name, sweeps.NAMES)}")
    try:
        rows = list(program.sweep())
    except (Exception, SystemExit) as error:
        raise UserError(f"sweep() of {name} fails: {error!r}") from error
    texts = ("config", "name")
    if not rows or not all(
        _is_row(row) and all(isinstance(row.get(key, ""), str) for key in texts) for row in rows
    ):
        raise UserError(f"sweep() of {name} must yield dicts such as {{'seed.student': 1}}")
    settings = getattr(program, "SETTINGS", {})
    if not _is_row(settings):
        raise UserError(f"SETTINGS of {name} must be a dict such as {{'seed.student': 1}}")
    flat = [dict(configs.flatten_mapping(row)) for row in rows]
    return Sweep(flat, dict(configs.flatten_mapping(settings)))


def _is_row(row: Any) -> bool:
    return isinstance(row, Mapping) and all(
        isinstance(key, str) and (not isinstance(value, Mapping) or _is_row(value))
        for key, value in row.items()
    )


def row_name(number: int, row: Mapping[str, Any]) -> str:
    """Returns what a row is called: its `name`, or its number and settings."""
    return str(row.get("name") or run_name(number, row))


def run_name(number: int, overrides: Mapping[str, Any]) -> str:
    """Returns the folder name of a row's run: its number and its name or settings, safe as a file name."""
    shown = {
        key: "+".join(map(str, value)) if isinstance(value, list | tuple) else value
        for key, value in overrides.items()
    }
    text = ",".join(f"{key}={value}" for key, value in shown.items() if value != "")
    text = str(overrides.get("name") or text)
    return f"{number:03d}-{re.sub(r'[^A-Za-z0-9=.,_-]+', '_', text)[:100]}".rstrip("-.")


def sweep(
    rows: Iterable[Mapping[str, Any]],
    spec: str,
    common: Mapping[str, Any],
    folder: Path,
    *,
    split: str = "test",
    seeds: int = 1,
    baseline: str = "",
    extensions: Extensions = NOTHING,
    accept_changes: bool = False,
) -> list[tuple[Path, Evaluation | None]]:
    """Trains and evaluates one run after the other; what is done already is not done again.

    Args:
      rows: overrides by run; a key `config` chooses another configuration than `spec`, by default with
        its network; a key `name` is what the row is called.
      spec: the configuration, `NAME[:NETWORK]`.
      common: overrides of all runs.
      folder: where the runs and `results.csv` go; with several seeds, or a baseline, `summary.csv` and
        `results.json` too.
      split: the split to evaluate on.
      seeds: runs of each row, with `seed.student` from the configured one on. All rows are run with a seed
        before any is with the next, so that a sweep that is cut off has whole tables.
      baseline: the row that others are compared with, by name or number; empty: none.
      extensions: the user's own, beside those of the configurations' programs.
      accept_changes: go on although a program has changed since some of the runs were trained.

    Returns:
      Each run's folder with its evaluation, None for a run that failed (its reason is in the table).
      What cannot be built is found, and said, before the first run starts.

    Raises:
      UserError: for an unknown key or a wrong value in any row, an unknown baseline, a wrong number of seeds, runs
        there of other settings or of a program that has changed, or when no row can be built; before the first run
        starts, and with what is there as it was.
    """
    table = list(rows)
    names = _row_names(table)
    reference = find_row(names, baseline) if baseline else ""
    planned = _plan(table, spec, common, folder, seeds, extensions)
    for run in planned:
        check_claim(run.folder, run.config)
        if not accept_changes:
            _check_program(run)
    # what cannot be built with one seed cannot with another
    hopeless = _hopeless(planned[: len(table)])
    lost = {run.row: hopeless[run.folder] for run in planned if run.folder in hopeless}
    results = Results(folder, names, table, split, reference, grouped=seeds > 1 or bool(baseline))
    for run in planned:
        evaluation, problem = None, lost.get(run.row, "")
        try:
            if not problem:
                train(run.config, run.folder, run.extensions)
                evaluation = evaluated(run.folder, split, run.extensions)
        except UserError as error:
            problem = str(error)
        results.add(run, evaluation, problem)
        # compiled programs of hundreds of runs do not fit into memory
        jax.clear_caches()
    return [(done.run.folder, done.evaluation) for done in results.done]


def _plan(
    rows: list[Mapping[str, Any]],
    spec: str,
    common: Mapping[str, Any],
    folder: Path,
    seeds: int,
    extensions: Extensions,
) -> list[Run]:
    """Returns the runs, all rows of a seed before the next; UserError for what cannot be configured."""
    if seeds < 1:
        raise UserError(f"--seeds={seeds} must be at least 1")
    name, _, network = spec.partition(":")
    if configs.programs.is_program(name):
        # what the sweep's program adds, rows of other configurations may use
        extensions = extensions.join(configs.program(name))
    planned = []
    for offset in range(seeds):
        for number, row in enumerate(rows):
            if seeds > 1 and "seed.student" in row:
                raise UserError(
                    f"row {number} of the sweep sets seed.student, which --seeds={seeds} does; leave one out"
                )
            name = row.get("config", spec)
            full = name if ":" in name or not network else f"{name}:{network}"
            own = {key: value for key, value in row.items() if key not in ("config", "name")}
            config, added = configs.read(full, {**common, **own}, extensions)
            config.seed.student += offset
            mark = f"-seed{config.seed.student}" if offset else ""
            place = folder / f"{run_name(number, row)}{mark}"
            planned.append(Run(number, config.seed.student, place, config, added))
    return planned


def _check_program(run: Run) -> None:
    """Raises UserError when a run was made by another version of its program: one table would mix both."""
    told = changes(run.folder, run.extensions) if has_results(run.folder) else ""
    if told:
        raise UserError(
            f"{told}: the table would mix both versions; give another --workdir, or --accept_changes where the change "
            "makes no difference, as new rows do"
        )


def _row_names(rows: list[Mapping[str, Any]]) -> list[str]:
    names = [row_name(number, row) for number, row in enumerate(rows)]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(
            f"two rows of the sweep are called {twice[0]!r}; give each a name of its own"
        )
    return names


def find_row(names: list[str], wanted: str) -> str:
    """Returns the row of a name or number.

    Raises:
      UserError: when there is none.
    """
    if wanted in names:
        return wanted
    if wanted.isdecimal():
        if int(wanted) < len(names):
            return names[int(wanted)]
        raise UserError(
            f"--baseline={wanted}: the sweep has rows 0 to {len(names) - 1}; name one of them"
        )
    raise UserError(f"--baseline={wanted}: no row is called so; {nearest(wanted, names)}")


def _hopeless(runs: Sequence[Run]) -> dict[Path, str]:
    """Returns why some runs cannot be built, and says so; UserError when that is none of them.

    A run that has begun was built once and is not asked again.
    """
    problems = {}
    for run in runs:
        try:
            if not RunFolder(run.folder).is_run:
                check_plan(run.config, run.extensions)
        except UserError as error:
            problems[run.folder] = str(error)
    if len(problems) == len(runs):
        raise UserError(next(iter(problems.values())))
    for folder, problem in problems.items():
        print(f"{folder.name} cannot be built and is left out: {problem}", file=sys.stderr)
    return problems
