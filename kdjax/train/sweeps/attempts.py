"""Runs of a sweep at work: groups side by side, evaluated as they end; what became of each is noted."""

import contextlib
import gc
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import jax

from kdjax.checks import UserError, first_line, kind_and_line
from kdjax.defaults import GROUP
from kdjax.files import HeldError
from kdjax.train.evaluation import evaluated
from kdjax.train.loop import Member, train_group
from kdjax.train.sweeps.ledger import DONE, FAILED, STOPPED, Ledger
from kdjax.train.sweeps.plan import Planned, groups

DEATHS = 2
"""Processes that may die at a run before it has failed; a machine that goes away kills one, too."""


def work(
    runs: Sequence[Planned], ledger: Ledger, write: Callable[[], None], *, group: int = GROUP
) -> None:
    """Trains and evaluates what is neither done, failed nor held by another process; writes the tables after each.

    Args:
      runs: the runs, those of groups trained side by side.
      ledger: knows what became of them.
      write: writes the tables.
      group: runs of a group at most; 1: each is trained alone.
    """
    for members in groups(runs, group):
        began = False
        try:
            with contextlib.ExitStack() as held:
                mine = []
                for planned in members:
                    claimed = held.enter_context(ledger.claimed(planned))
                    run = ledger.placed(planned)
                    if claimed and ledger.state(run, mine=True).name not in (DONE, FAILED):
                        mine.append(run)
                began = bool(mine)
                for part in _parts(_survivors(mine, ledger), ledger):
                    attempt(part, ledger)
        finally:
            if began:
                write()
                # compiled programs of hundreds of runs do not fit into memory; the cache on the disk keeps them
                jax.clear_caches()


def _survivors(runs: Sequence[Planned], ledger: Ledger) -> list[Planned]:
    """Returns runs without those that processes have died of; these are noted as failed, so that the rest goes on."""
    found = []
    for run in runs:
        if ledger.count_death(run) < DEATHS:
            found.append(run)
            continue
        problem = f"{DEATHS} processes in turn died at it, at the same step"
        ledger.fail(run, problem)
        print(f"{run.folder.name} failed: {problem}; --retry tries it again", file=sys.stderr)
    return found


def _parts(runs: Sequence[Planned], ledger: Ledger) -> list[list[Planned]]:
    """Returns a group, in smaller ones where a process died of it."""
    for run in runs:
        if ledger.together(run) > 1:
            ledger.part(run)
    parts: list[list[Planned]] = []
    for run in runs:
        most = ledger.most_together(run) or len(runs)
        if parts and len(parts[-1]) < min(
            most, *(ledger.most_together(each) or most for each in parts[-1])
        ):
            parts[-1].append(run)
        else:
            parts.append([run])
    return parts


def attempt(runs: Sequence[Planned], ledger: Ledger) -> None:
    """Trains and evaluates runs that form a group, and notes what came of it; only what is to stop the sweep is raised.

    Those that found no room in memory are tried again when the others have ended, in a smaller group.
    """
    together = len(runs)
    for run in runs:
        ledger.begin(run, together)
    try:
        outcomes: list[Any] = _trained(runs)
        left = [run for run, found in zip(runs, outcomes, strict=True) if _lacks_memory(found)]
        for run, found in zip(runs, outcomes, strict=True):
            if together == 1 or not _lacks_memory(found):
                _finish(run, found, ledger)
    except BaseException:
        for run in runs:
            if ledger.together(run) == together:
                ledger.end(run, STOPPED)
        raise
    if together > 1 and left:
        gc.collect()
        size = max(1, min(len(left), together // 2))
        print(
            f"{len(left)} of {together} students found no room in memory; they follow, {size} at a time",
            file=sys.stderr,
        )
        for start in range(0, len(left), size):
            attempt(left[start : start + size], ledger)


def _trained(runs: Sequence[Planned]) -> list[Any]:
    """Returns what `train_group` returns; an error of all of them for each."""
    try:
        return train_group([Member(run.config, run.folder, run.extensions) for run in runs])
    except Exception as error:
        return [error] * len(runs)


def _finish(run: Planned, outcome: Any, ledger: Ledger) -> None:
    """Evaluates a run that was trained, and notes its end."""
    try:
        if isinstance(outcome, Exception):
            raise outcome
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
    else:
        ledger.end(run, DONE)


def _lacks_memory(outcome: Any) -> bool:
    text = str(outcome).lower()
    return isinstance(outcome, MemoryError) or (
        isinstance(outcome, Exception)
        and not isinstance(outcome, UserError)
        and ("out of memory" in text or "resource_exhausted" in text)
    )


def problem_of(error: Exception) -> str:
    """Returns in one line why a run failed."""
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    if _lacks_memory(error):
        return f"out of memory; lower data.batch_size or data.image_size: {first_line(error)}"
    return kind_and_line(error)
