"""A sweep in several processes of one machine: each works as one process alone would, and their locks divide the runs.

The process that starts them trains nothing and touches no accelerator. It says what has ended, writes the tables, notes
which run a process had in hand when it died, and starts another in its place.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import kdjax
from kdjax.checks import UserError
from kdjax.train.interrupt import error_of
from kdjax.train.sweeps.ledger import DONE, FAILED, Ledger, State
from kdjax.train.sweeps.plan import Planned
from kdjax.train.sweeps.shares import environment_of, on_cores
from kdjax.train.sweeps.status import describe, duration

LOGS = "jobs"
"""The folder in a sweep's that has what its processes say."""

PAUSE = 0.5
"""Seconds between two looks at what has changed."""

ENDED = (0, 2)
"""Exit codes of a process that went over all its runs."""

Start = Callable[[int], subprocess.Popen[bytes]]
"""Starts worker number 0, 1, ..."""


class Stop:
    """Passes on the signals that ask a process to stop."""

    def __init__(self) -> None:
        """Starts with nothing asked, by the signal's number, and nobody to tell."""
        self.asked = 0
        self.processes: list[subprocess.Popen[bytes]] = []

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Notes a signal and passes it on."""
        del frame
        self.asked = number
        for process in self.processes:
            # one that has ended meanwhile has nothing to stop
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)


@contextlib.contextmanager
def _passing_signals() -> Iterator[Stop]:
    stop, before = Stop(), {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            # a shell's background job is started with SIGINT ignored, and stays so
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, stop.ask)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check_jobs(jobs: int) -> None:
    """Raises UserError unless there is at least one process."""
    if jobs < 1:
        raise UserError(f"--jobs={jobs} must be at least 1")


def command(words: Sequence[str]) -> list[str]:
    """Returns the command `kdjax` of some words, as this very interpreter runs it.

    What lies in the current folder is not taken for a library, as it is not for the command that a user gives.
    """
    root = Path(kdjax.__file__).resolve().parents[1]
    safe = ["-P"] if root != Path.cwd().resolve() else []
    return [sys.executable, *safe, "-m", "kdjax", *words]


def starter(words: Sequence[str], folder: Path, jobs: int) -> Start:
    """Returns what starts a worker: the command `kdjax` of these words, with its share of the machine."""

    def start(worker: int) -> subprocess.Popen[bytes]:
        path = folder / LOGS / f"{worker + 1}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as log, on_cores(worker, jobs):
            return subprocess.Popen(  # noqa: S603 this very command
                command([*words, f"--worker={worker + 1}/{jobs}"]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment_of(worker, jobs, os.environ),
                # a Ctrl-C comes once, from here, and not a second time from the terminal
                start_new_session=True,
            )

    return start


def check_first(words: Sequence[str]) -> None:
    """Has one process find what cannot be built, note and say it.

    Raises:
      UserError: with its reason, when it refuses the sweep.
    """
    done = subprocess.run(  # noqa: S603 this very command
        command([*words, "--worker=check"]), stderr=subprocess.PIPE, check=False
    )
    said = done.stderr.decode("utf-8", "replace")
    lines = said.strip().splitlines()
    if done.returncode == ENDED[1] and lines:
        raise UserError(lines[-1].removeprefix("kdjax: error: "))
    if done.returncode:
        last = f": {lines[-1]}" if lines else ""
        raise UserError(f"the process that checks the rows {ending(done.returncode)}{last}")
    print(said, end="", file=sys.stderr, flush=True)


class _Worker(NamedTuple):
    number: int
    process: subprocess.Popen[bytes]


def supervise(
    start: Start, jobs: int, runs: Sequence[Planned], ledger: Ledger, write: Callable[[], None]
) -> None:
    """Starts workers and returns when all have gone over the runs; writes the tables as runs end.

    Args:
      start: starts one.
      jobs: how many at a time.
      runs: what they work on.
      ledger: knows what became of it.
      write: writes the tables.

    Raises:
      KeyboardInterrupt: after SIGINT, or `Terminated` after SIGTERM, when all have stopped.
      UserError: when a worker cannot even begin.
    """
    with _passing_signals() as stop:
        states = [ledger.state(run) for run in runs]
        workers: list[_Worker] = []
        for number in range(min(jobs, max(1, sum(map(_is_open, states))))):
            workers.append(_Worker(number, start(number)))
            stop.processes.append(workers[-1].process)
        lost = ""
        while workers:
            time.sleep(PAUSE)
            for worker in [each for each in workers if each.process.poll() is not None]:
                workers.remove(worker)
                stop.processes.remove(worker.process)
                code = worker.process.returncode
                if stop.asked or code in ENDED:
                    continue
                if _note_dead(worker, runs, ledger):
                    workers.append(_Worker(worker.number, start(worker.number)))
                    stop.processes.append(workers[-1].process)
                else:
                    lost = f"process {worker.number + 1} {ending(code)} before it began a run"
            states = _look(states, runs, ledger, write)
        if stop.asked:
            raise error_of(stop.asked)
        if lost and any(map(_is_open, states)):
            raise UserError(f"{lost}; see {ledger.folder / LOGS}")


def _is_open(state: State) -> bool:
    return state.name not in (DONE, FAILED)


def _note_dead(worker: _Worker, runs: Sequence[Planned], ledger: Ledger) -> bool:
    """Notes as failed what a process had in hand when it died; returns whether there was anything.

    Of a group nobody knows which run was to blame: all go on in smaller ones.
    """
    reason = f"its process {ending(worker.process.returncode)}"
    log = f"{LOGS}/{worker.number + 1}.log"
    held = ledger.worked_on(worker.process.pid)
    for run in runs:
        if run.digest in held and ledger.together(run) > 1:
            ledger.part(run)
        elif run.digest in held:
            ledger.fail(run, f"{reason}; see {log}")
    return bool(held)


def ending(code: int) -> str:
    """Returns how a process ended, from its exit code."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    often = " (as by the system when memory runs out: fewer --jobs, a smaller data.batch_size)"
    return f"was killed by {name}{often if -code == signal.SIGKILL else ''}"


def _look(
    before: list[State], runs: Sequence[Planned], ledger: Ledger, write: Callable[[], None]
) -> list[State]:
    """Returns the states as they are now; says which runs have ended, and then writes the tables."""
    after = [
        state if not _is_open(state) else ledger.state(ledger.placed(run))
        for state, run in zip(before, runs, strict=True)
    ]
    ended = [
        (run, new)
        for run, old, new in zip(runs, before, after, strict=True)
        if _is_open(old) and not _is_open(new)
    ]
    for run, state in ended:
        what = f"{state.name} after {duration(state.seconds) or 'no time'}"
        problem = f": {state.problem}" if state.problem else ""
        name = ledger.placed(run).folder.name
        print(f"{name} ({run.name}, seed {run.seed}) {what}{problem}", flush=True)
    if ended:
        write()
        print(describe(after), flush=True)
    return after
