"""A sweep at work: what is missing is trained and evaluated, one run after the other; what is done is read."""

import gc
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from kdjax.checks import UserError, first_line, kind_and_line
from kdjax.evaluate.evaluation import Evaluation
from kdjax.extensions import NOTHING, Extensions
from kdjax.files import HeldError
from kdjax.folder import RunFolder
from kdjax.train.claim import check_claim, has_results
from kdjax.train.evaluation import evaluated
from kdjax.train.initial import check_plan
from kdjax.train.loop import train
from kdjax.train.programs import changes
from kdjax.train.sweeps import known
from kdjax.train.sweeps.ledger import DONE, FAILED, STOPPED, Ledger
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
    work(runs, prepared.ledger, tables.write)
    placed = [prepared.ledger.placed(run) for run in runs]
    return [(run.folder, prepared.ledger.state(run).evaluation) for run in placed]


def begin(prepared: Prepared, runs: Sequence[Planned], *, retry: bool = False) -> None:
    """Finds what cannot be built, then notes the rows; with `retry`, forgets what failed before."""
    hopeless = find_hopeless(runs)
    prepared.remember()
    _note_hopeless(hopeless, runs, prepared.ledger)
    if retry:
        _forget_failures(runs, prepared.ledger, hopeless)


def work(runs: Sequence[Planned], ledger: Ledger, write: Callable[[], None]) -> None:
    """Trains and evaluates what is neither done, failed nor held by another process; writes the tables after each."""
    for planned in runs:
        began = False
        try:
            with ledger.claimed(planned) as mine:
                run = ledger.placed(planned)
                if mine and ledger.state(run, mine=True).name not in (DONE, FAILED):
                    began = True
                    _attempt(run, ledger)
        finally:
            if began:
                write()
                # compiled programs of hundreds of runs do not fit into memory; the cache on the disk keeps them
                jax.clear_caches()


def _attempt(run: Planned, ledger: Ledger) -> None:
    """Trains and evaluates a run and notes what came of it; only what is to stop the sweep is raised."""
    ledger.begin(run)
    try:
        train(run.config, run.folder, run.extensions)
        evaluated(run.folder, ledger.split, run.extensions)
    except HeldError as error:
        ledger.end(run, STOPPED)
        print(f"{run.folder.name}: {error}", file=sys.stderr)
    except Exception as error:
        trace = "" if isinstance(error, UserError) else traceback.format_exc()
        ledger.end(run, FAILED, problem_of(error), trace)
        details = f"; details in {ledger.trace(run)}" if trace else ""
        print(f"{run.folder.name} failed: {problem_of(error)}{details}", file=sys.stderr)
        # what the failed run has left on the devices
        traceback.clear_frames(error.__traceback__)
        gc.collect()
    except BaseException:
        ledger.end(run, STOPPED)
        raise
    else:
        ledger.end(run, DONE)


def problem_of(error: Exception) -> str:
    """Returns in one line why a run failed."""
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    text = str(error).lower()
    if isinstance(error, MemoryError) or "out of memory" in text or "resource_exhausted" in text:
        return f"out of memory; lower data.batch_size or data.image_size: {first_line(error)}"
    return kind_and_line(error)


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
