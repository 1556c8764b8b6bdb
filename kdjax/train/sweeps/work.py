"""A sweep at work: what is missing is trained and evaluated, group by group; what is done is read."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kdjax.checks import UserError
from kdjax.defaults import GROUP
from kdjax.evaluate.evaluation import Evaluation
from kdjax.extensions import NOTHING, Extensions
from kdjax.folder import RunFolder
from kdjax.train.claim import check_claim, has_results
from kdjax.train.initial import check_plan
from kdjax.train.programs import changes
from kdjax.train.sweeps import known
from kdjax.train.sweeps.attempts import problem_of, work
from kdjax.train.sweeps.ledger import FAILED, Ledger
from kdjax.train.sweeps.plan import Planned, plan_runs
from kdjax.train.sweeps.rows import find_row, shard
from kdjax.train.sweeps.tables import Tables

WHOLE = (1, 1)
"""The share that is all of a sweep."""


class Prepared(NamedTuple):
    """A sweep that was checked and has not begun.

    Attributes:
      runs: all runs, those of other shares too.
      baseline: the name of the row that others are compared with; empty: none was named.
      ledger: knows what became of the runs.
    """

    runs: list[Planned]
    baseline: str
    ledger: Ledger

    def remember(self) -> None:
        """Notes the rows in the sweep's folder, beside those that are there."""
        ledger = self.ledger
        with ledger.locked():
            known.remember(
                ledger.folder, self.runs, ledger.split, self.baseline, ledger.has_something
            )

    def removed(self) -> list[str]:
        """Returns the folders of the runs that are there and that the sweep's file has no more."""
        folder, planned = self.ledger.folder, {run.folder.name for run in self.runs}
        there = [entry for row in known.read(folder).rows for entry in row.runs]
        names = {entry.folder.name for entry in (*there, *known.strays(folder))
                 if self.ledger.has_something(entry)}  # fmt: skip
        return sorted(names - planned)


def prepare(
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
) -> Prepared:
    """Checks a sweep against what its folder has, and writes nothing; arguments and errors as of `sweep`."""
    runs = plan_runs(rows, spec, common, folder, seeds=seeds, extensions=extensions)
    names = list(dict.fromkeys(run.name for run in runs))
    reference = find_row(names, baseline) if baseline else ""
    for run in runs:
        check_claim(run.folder, run.config)
        if not accept_changes:
            _check_program(run)
    return Prepared(runs, reference, Ledger(folder, split))


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
    share: tuple[int, int] = WHOLE,
    retry: bool = False,
    group: int = GROUP,
) -> list[tuple[Path, Evaluation | None]]:
    """Trains and evaluates one run after the other; what is done already is read, not done again.

    Several processes on one folder divide the runs: what another one works on is passed over.

    Args:
      rows: overrides by run; a key `config` chooses another configuration than `spec`, by default with
        its network; a key `name` is what the row is called.
      spec: the configuration, `NAME[:NETWORK]`.
      common: overrides of all runs.
      folder: where the runs and the tables go.
      split: the split to evaluate on.
      seeds: runs of each row, with `seed.student` from the configured one on. All rows are run with a seed
        before any is with the next, so that a sweep that is cut off has whole tables.
      baseline: the row that others are compared with, by name or number; empty: the one that was named last.
      extensions: the user's own, beside those of the configurations' programs.
      accept_changes: go on although a program has changed since some of the runs were trained.
      share: the first number of these, from 1 on, of as many shares of the runs as the second.
      retry: also what failed before.
      group: runs at most that are trained side by side on one stream of batches, where they differ in numbers only.

    Returns:
      The folders of the share's runs with their evaluations, None for a run that failed (its reason is in the
      table) or that another process works on. What cannot be built is found, and said, before the first run starts.

    Raises:
      UserError: for an unknown key or a wrong value in any row, rows that are one, an unknown baseline, a wrong number
        of seeds, runs there of other settings or of a program that has changed, or when no row can be built; before the
        first run starts, and with what is there as it was.
    """
    prepared = prepare(
        rows,
        spec,
        common,
        folder,
        split=split,
        seeds=seeds,
        baseline=baseline,
        extensions=extensions,
        accept_changes=accept_changes,
    )
    runs = shard(prepared.runs, share)
    begin(prepared, runs, retry=retry)
    tables = Tables(prepared.ledger)
    tables.write()
    work(runs, prepared.ledger, tables.write, group=group)
    placed = [prepared.ledger.placed(run) for run in runs]
    return [(run.folder, prepared.ledger.state(run).evaluation) for run in placed]


def begin(prepared: Prepared, runs: Sequence[Planned], *, retry: bool = False) -> None:
    """Finds what cannot be built, then notes the rows; with `retry`, forgets what failed before."""
    hopeless = find_hopeless(runs)
    prepared.remember()
    _note_hopeless(hopeless, runs, prepared.ledger)
    if retry:
        _forget_failures(runs, prepared.ledger, hopeless)


def _check_program(run: Planned) -> None:
    """Raises UserError when a run was made by another version of its program: one table would mix both."""
    told = changes(run.folder, run.extensions) if has_results(run.folder) else ""
    if told:
        raise UserError(
            f"{told}: the table would mix both versions; give another --workdir, or --accept_changes where the change "
            "makes no difference, as new rows do"
        )


def find_hopeless(runs: Sequence[Planned]) -> dict[str, str]:
    """Returns why some rows cannot be built, by key; UserError when that is none of them. Writes nothing.

    What cannot be built with one seed cannot with another. A run that has begun was built once and is not asked again.
    """
    first = {run.key: run for run in reversed(runs)}
    problems: dict[str, Exception] = {}
    for run in reversed(first.values()):
        try:
            if not RunFolder(run.folder).is_run:
                check_plan(run.config, run.extensions)
        except Exception as error:
            problems[run.key] = error
    if runs and len(problems) == len(first):
        raise next(iter(problems.values()))
    return {key: problem_of(error) for key, error in problems.items()}


def _forget_failures(runs: Sequence[Planned], ledger: Ledger, hopeless: Mapping[str, str]) -> None:
    """Forgets which runs failed, so that they are tried again; says so where none has."""
    failed = [run for run in runs if ledger.state(run).name == FAILED and run.key not in hopeless]
    for run in failed:
        ledger.forget(run)
    if not failed:
        print("--retry: no run that can be built has failed", file=sys.stderr)


def _note_hopeless(problems: Mapping[str, str], runs: Sequence[Planned], ledger: Ledger) -> None:
    """Notes and says what cannot be built, and forgets that what was never begun could not be before."""
    for run in runs:
        problem = problems.get(run.key, "")
        if RunFolder(run.folder).is_run:
            continue
        if problem:
            ledger.fail(run, problem)
        elif ledger.state(run).name == FAILED:
            ledger.forget(run)
    names = {run.key: run.name for run in runs}
    for key, problem in problems.items():
        print(f"{names[key]} cannot be built and is left out: {problem}", file=sys.stderr)
