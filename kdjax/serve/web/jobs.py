"""What is asked of the detector: a queue with an end, one worker, results that are kept for a while."""

import contextlib
import queue
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdjax.serve.options import Options
from kdjax.serve.web.limits import Limits

WAITING, WORKING, DONE, FAILED = "waiting", "working", "done", "failed"


@dataclass
class Job:
    """A file to judge.

    Attributes:
      path: where it lies here; a name of our own.
      name: what whoever sent it calls it, only to be shown.
      options: how it is judged.
      id: names it; nobody guesses it.
      state: `waiting`, `working`, `done` or `failed`.
      frames: looked through so far.
      result: what came out, as JSON values.
      page: the same as a page.
      problem: why it failed; one clause.
      wanted: whether anybody waits for it.
      changed: when its state changed, on the clock that never goes back.
    """

    path: Path
    name: str
    options: Options
    id: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    state: str = WAITING
    frames: int = 0
    result: list[dict[str, Any]] | None = None
    page: str = ""
    problem: str = ""
    wanted: bool = True
    changed: float = field(default_factory=time.monotonic)


class FullError(Exception):
    """As many files lie here as may."""


class Jobs:
    """Judges one file after the other in a thread.

    Every file has a place from before its first byte is read until it is judged, so what lies on the disk has an end.
    """

    def __init__(self, judge: Callable[[Job], None], limits: Limits) -> None:
        """Takes what judges: it sets `frames`, `result` and `page`."""
        self._judge, self._limits = judge, limits
        self._places = threading.BoundedSemaphore(limits.waiting)
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._known: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="judge", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def place(self) -> Any:
        """Yields what takes the job, once its file is here; the place is given back if that never comes.

        Raises:
          FullError: there is none.
        """
        if not self._places.acquire(blocking=False):
            raise FullError
        taken = False

        def take(job: Job) -> None:
            nonlocal taken
            taken = True
            with self._lock:
                self._known[job.id] = job
                self._forget()
            self._queue.put(job)

        try:
            yield take
        finally:
            if not taken:
                self._places.release()

    def find(self, name: str) -> Job | None:
        """Returns a job by its id; None where there is none, or no longer."""
        with self._lock:
            self._forget()
            return self._known.get(name)

    def position(self, job: Job) -> int:
        """Returns how many are before it."""
        with self._lock:
            before = 0
            for each in self._known.values():
                if each is job:
                    return before
                before += each.state in (WAITING, WORKING)
        return 0

    def drop(self, job: Job) -> None:
        """Forgets a job, and stops it where it is worked on."""
        job.wanted = False
        with self._lock:
            self._known.pop(job.id, None)

    def close(self) -> None:
        """Stops all of them, and waits for the worker."""
        with self._lock:
            for job in self._known.values():
                job.wanted = False
        self._queue.put(None)
        self._thread.join()

    def _forget(self) -> None:
        """Drops results that are old, or too many."""
        ended = [each for each in self._known.values() if each.state in (DONE, FAILED)]
        since = time.monotonic() - self._limits.kept_seconds
        for number, job in enumerate(reversed(ended)):
            if number >= self._limits.kept or job.changed < since:
                del self._known[job.id]

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            self._set(job, WORKING)
            try:
                if job.wanted:
                    self._judge(job)
                self._set(job, DONE)
            # the next ones are judged all the same
            except Exception as error:
                job.problem = (
                    job.problem or f"{type(error).__name__}: {error}".splitlines()[0][:300]
                )
                self._set(job, FAILED)
            finally:
                with contextlib.suppress(OSError):
                    job.path.unlink(missing_ok=True)
                self._places.release()

    def _set(self, job: Job, state: str) -> None:
        with self._lock:
            job.state, job.changed = state, time.monotonic()
