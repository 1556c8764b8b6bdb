"""Many independent items over several processes, each result kept so that a rerun goes on."""

import hashlib
import io
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tqdm

from kdjax import checks

Result = dict[str, Any]
"""What an item's function returns: NumPy arrays, bytes, and what JSON can hold."""

AHEAD = 4
"""Items handed out ahead per worker: enough to keep them busy, little to hold in memory."""


@dataclass(frozen=True)
class Work:
    """How a data set's items are worked through.

    Attributes:
      cache_dir: where finished results are kept; `None` keeps nothing. The caller gives another
        folder whenever the results would differ.
      workers: processes; 0 works in this one.
      progress: whether to show how far it is.
    """

    cache_dir: Path | None = None
    workers: int = 0
    progress: bool = False

    def run(
        self,
        function: Callable[[Any], Result],
        items: Sequence[Any],
        *,
        keys: Sequence[str],
        description: str = "items",
    ) -> Iterator[Result]:
        """Returns an iterator of `function(item)`, in the items' order whatever finishes first.

        Args:
          function: a module-level function of one picklable item; it must depend on nothing else.
          items: what to work on.
          keys: a distinct name for each item, under which its result is kept. What follows a NUL
            character, such as the state of a file, is not shown.
          description: shown with the progress.

        Raises:
          ValueError: keys are not distinct, or not one an item.
          checks.UserError: a worker died (most often for lack of memory). What the function itself
            raises comes through, with the item's key as a note.
        """
        if len(keys) != len(items) or len(set(keys)) != len(keys):
            raise ValueError(f"{len(items)} items need as many distinct keys, got {len(set(keys))}")
        if self.cache_dir is not None:
            self.cache_dir.mkdir(parents=True, exist_ok=True)
        places = [self._place(key) for key in keys]
        tasks = [(function, *task) for task in zip(items, keys, places, strict=True)]
        results = map(_finish, tasks) if self.workers == 0 else _pooled(tasks, self.workers)
        return _shown(results, len(tasks), description) if self.progress else results

    def _place(self, key: str) -> Path | None:
        if self.cache_dir is None:
            return None
        return self.cache_dir / (
            hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:32] + ".npz"
        )


def default_workers() -> int:
    """Returns a process for each processor this process may use, 0 if there is but one."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return 0 if count in (None, 1) else int(count)


def save_result(path: Path, key: str, result: Result) -> None:
    """Writes a result whole or not at all: to a temporary name first, then renamed."""
    arrays = {f"array/{k}": v for k, v in result.items() if isinstance(v, np.ndarray)}
    raw = {f"bytes/{k}": _as_array(v) for k, v in result.items() if isinstance(v, bytes)}
    rest = {k: v for k, v in result.items() if not isinstance(v, np.ndarray | bytes)}
    header = json.dumps({"key": key, "order": list(result), "rest": rest}).encode()
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, header=_as_array(header), **arrays, **raw)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(buffer.getvalue())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load_result(path: Path, key: str) -> Result | None:
    """Returns the kept result, or `None` if there is none that is whole and of this key."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            header = json.loads(archive["header"].tobytes())
            if header["key"] != key:
                return None
            stored = {name: archive[name] for name in archive.files if name != "header"}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    values = dict(header["rest"])
    for name, value in stored.items():
        kind, field = name.split("/", 1)
        values[field] = value.tobytes() if kind == "bytes" else value
    return {field: values[field] for field in header["order"]}


def _shown_key(key: str) -> str:
    """Returns what a person calls the item, without the state of its file."""
    return key.split("\0")[0]


def _as_array(raw: bytes) -> np.ndarray:
    return np.frombuffer(raw, np.uint8)


def _finish(task: tuple[Callable[[Any], Result], Any, str, Path | None]) -> Result:
    """Takes the kept result or makes it; runs in a worker, or here when there are none."""
    function, item, key, place = task
    kept = load_result(place, key) if place is not None else None
    if kept is not None:
        return kept
    try:
        result = function(item)
    except Exception as error:
        error.add_note(f"while working on {_shown_key(key)}")
        raise
    if place is not None:
        save_result(place, key, result)
    return result


def _start_worker() -> None:
    """Leaves Ctrl-C to the parent, takes one core, and ends when the parent has been killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _pooled(tasks: Sequence[tuple], workers: int) -> Iterator[Result]:
    # Spawned, since a fork of a process that has started JAX or dlib threads can hang.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    waiting: list[Future[Result]] = []
    remaining = iter(tasks)
    try:
        for position in range(len(tasks)):
            while len(waiting) < workers * AHEAD and (task := next(remaining, None)) is not None:
                waiting.append(executor.submit(_finish, task))
            try:
                yield waiting.pop(0).result()
            except BrokenProcessPool as error:
                raise checks.UserError(
                    f"a worker process died near {_shown_key(tasks[position][2])} (out of memory?); the same "
                    "command goes on from here, with fewer workers if it is given fewer"
                ) from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _shown(results: Iterator[Result], total: int, description: str) -> Iterator[Result]:
    """A bar on a terminal; elsewhere a line now and then."""
    if sys.stderr.isatty():
        yield from tqdm.tqdm(results, total=total, desc=description, file=sys.stderr)
        return
    latest = time.monotonic()
    for done, result in enumerate(results, 1):
        if done == total or time.monotonic() - latest > 10:
            print(f"{description}: {done}/{total}", file=sys.stderr, flush=True)
            latest = time.monotonic()
        yield result
