"""What became of each run of a sweep: who holds it, whether it is done, why it failed.

The runs' own folders say what is done. What they cannot say lies beside them in `.sweep/`: a lock for each run, and a
note of how its last attempt ended. All of it may be read while others write.
"""

import contextlib
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from kdjax.checks import UserError
from kdjax.evaluate.evaluation import Evaluation
from kdjax.files import read_json, write_json, write_text
from kdjax.folder import RunFolder
from kdjax.models.weights.runs import last_step
from kdjax.train.checkpoint import best_step, read_config
from kdjax.train.claim import has_results
from kdjax.train.sweeps.known import OWN, Entry
from kdjax.train.sweeps.locks import is_locked, lock
from kdjax.train.sweeps.plan import FOLDER, Planned, settings_of

DONE, RUNNING, FAILED, STOPPED, MISSING = "done", "running", "failed", "stopped", "missing"
"""States of a run: evaluated; held by a process; failed with a reason; begun, and held by none; not begun."""

KEPT = ("most_together", "deaths", "died_at")
"""What is known of a run over its attempts."""


class State(NamedTuple):
    """What is known of a run.

    Attributes:
      name: `done`, `running`, `failed`, `stopped` or `missing`.
      problem: why it failed.
      seconds: how long its attempts have taken together; of one that is running, those before.
      since: when the attempt at work began, seconds since the epoch; 0 where there is none.
      evaluation: what was found, of a run that is done.
    """

    name: str
    problem: str = ""
    seconds: float = 0.0
    since: float = 0.0
    evaluation: Evaluation | None = None


Place = TypeVar("Place", Entry, Planned)


class Ledger:
    """A sweep's folder, as far as it concerns who does what."""

    def __init__(self, folder: Path, split: str = "test") -> None:
        """Takes the sweep's folder, which need not exist, and the split that is evaluated."""
        self.folder, self.split = folder, split
        self._notes = folder / OWN / "runs"
        self._read: dict[Path, tuple[tuple[int, int], Evaluation]] = {}

    def state(self, run: Entry | Planned, *, mine: bool = False) -> State:
        """Returns what is known of a run; of a planned one, results of other settings are none of its.

        Args:
          run: the run.
          mine: whether this process holds it.
        """
        note, files = self._note(run.digest), RunFolder(run.folder)
        seconds = _number(note.get("seconds"))
        evaluation = self._evaluation(run.folder)
        if evaluation is not None and (isinstance(run, Entry) or _is_of(run)):
            return State(DONE, "", seconds, 0.0, evaluation)
        if not mine and is_locked(self._lock(run.digest)):
            return State(RUNNING, "", seconds, _number(note.get("since")))
        if note.get("state") == FAILED:
            return State(FAILED, str(note.get("problem", "")), seconds)
        return State(STOPPED if files.is_run else MISSING, "", seconds)

    def has_something(self, run: Entry) -> bool:
        """Returns whether there is anything of a run that would be missed."""
        return has_results(run.folder) or self._note(run.digest).get("state") == FAILED

    def _evaluation(self, run: Path) -> Evaluation | None:
        """Returns the evaluation of a finished run's best weights; what was read is not read again."""
        files = RunFolder(run)
        if not (files.is_finished and files.has_evaluation(self.split)):
            return None
        try:
            status = (files.evaluation / f"{self.split}.json").stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if run not in self._read or self._read[run][0] != stamp:
                self._read[run] = stamp, Evaluation.load(files.evaluation, self.split)
            found = self._read[run][1]
        except (OSError, UserError):
            return None
        return found if found.step == best_step(run) else None

    def _lock(self, digest: str) -> Path:
        return self._notes / f"{digest}.lock"

    def _note(self, digest: str) -> dict[str, Any]:
        path = self._notes / f"{digest}.json"
        try:
            found = read_json(path, "a sweep") if path.is_file() else {}
        except UserError:
            found = {}
        return found if isinstance(found, dict) else {}

    def begin(self, run: Planned, together: int = 1) -> None:
        """Notes that this process works on a run, in a group of so many."""
        now = {"since": time.time(), "process": os.getpid(), "host": socket.gethostname()}
        self._write(run.digest, {"state": RUNNING, "together": together, **now})

    def together(self, run: Planned) -> int:
        """Returns how many runs were in the group that it was begun in and that has not ended with a word."""
        note = self._note(run.digest)
        return int(_number(note.get("together"), 1)) if note.get("state") == RUNNING else 1

    def most_together(self, run: Planned) -> int:
        """Returns how many runs its group may have; 0: any number."""
        return int(_number(self._note(run.digest).get("most_together")))

    def part(self, run: Planned) -> None:
        """Notes that the process of its group died: the next one has half as many runs, in case one was to blame."""
        most = max(1, self.together(run) // 2)
        self._write(run.digest, {"state": STOPPED, "most_together": most})

    def count_death(self, run: Planned) -> int:
        """Returns how many processes in turn have died at a run that they trained alone, and that got no further.

        To be asked once by whoever holds it now, before it begins.
        """
        note = self._note(run.digest)
        if note.get("state") != RUNNING or self.together(run) > 1:
            return 0
        step = last_step(RunFolder(run.folder).checkpoints)
        before = int(_number(note.get("deaths"))) if note.get("died_at") == step else 0
        self._write(run.digest, {"state": STOPPED, "deaths": before + 1, "died_at": step})
        return before + 1

    def end(self, run: Planned, state: str, problem: str = "", trace: str = "") -> None:
        """Notes how this process's attempt has ended, with the trace of what nobody foresaw."""
        took = time.time() - _number(self._note(run.digest).get("since"), time.time())
        self._write(run.digest, {"state": state, "problem": problem}, max(0.0, took))
        if trace:
            write_text(self.trace(run), trace)
        else:
            self.trace(run).unlink(missing_ok=True)

    def trace(self, run: Planned) -> Path:
        """Returns where the trace of a run's failure is kept."""
        return self._notes / f"{run.digest}.txt"

    def fail(self, run: Planned, problem: str) -> None:
        """Notes that a run failed without an attempt of this process; what another's took is added."""
        note = self._note(run.digest)
        took = time.time() - _number(note.get("since"), time.time())
        self._write(run.digest, {"state": FAILED, "problem": problem}, took)

    def forget(self, run: Planned) -> None:
        """Forgets that a run failed."""
        self._write(run.digest, {"state": STOPPED, "deaths": 0})

    def _write(self, digest: str, note: Mapping[str, Any], took: float = 0.0) -> None:
        before = self._note(digest)
        kept: dict[str, Any] = {"seconds": _number(before.get("seconds")) + took}
        kept |= {name: before[name] for name in KEPT if name in before}
        write_json(self._notes / f"{digest}.json", {**kept, **note})

    def worked_on(self, process: int) -> set[str]:
        """Returns the hashes of the runs that a process of this machine had begun and not ended."""
        notes = {path.stem: self._note(path.stem) for path in self._notes.glob("*.json")}
        wanted = (RUNNING, process, socket.gethostname())
        return {
            digest
            for digest, note in notes.items()
            if (note.get("state"), note.get("process"), note.get("host")) == wanted
        }

    @contextlib.contextmanager
    def claimed(self, run: Planned) -> Iterator[bool]:
        """Holds a run for this process; yields whether it could, or another process has it."""
        with lock(self._lock(run.digest), wait=False) as mine:
            yield mine

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the tables and the list of rows for this process, waiting for its turn."""
        with lock(self.folder / OWN / "lock", wait=True):
            yield

    def placed(self, run: Place) -> Place:
        """Returns a run with its folder as it is now: another process may have begun it under another number."""
        if not FOLDER.fullmatch(run.folder.name):
            return run
        there = sorted(path for path in self.folder.glob(f"*-{run.digest}") if path.is_dir())
        return run._replace(folder=there[0]) if there else run


def _number(value: Any, default: float = 0.0) -> float:
    return float(value) if isinstance(value, int | float) else default


def _is_of(run: Planned) -> bool:
    """Returns whether a folder's results are of a run's settings as they are asked for now."""
    try:
        return settings_of(read_config(run.folder)) == settings_of(run.config)
    except UserError:
        return False
