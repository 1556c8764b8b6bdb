"""Many independent items over several processes, each result kept so that a rerun goes on."""

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tqdm

from kdjax import checks
from kdjax.data_pipeline import beam, workers
from kdjax.data_pipeline.results import AGAIN, Result, load_result, save_result, write_whole

END = "\n"
"""What a kept key ends with."""

SECONDS = 600.0
"""What an item may take, unless its data set says otherwise."""


@dataclass(frozen=True)
class Work:
    """How a data set's items are worked through.

    Attributes:
      cache_dir: where finished results are kept; `None` keeps nothing. The caller gives another
        folder whenever the results would differ.
      workers: processes; 0 works in this one, where nothing ends an item that hangs.
      progress: whether to show how far it is.
      beam: options of an Apache Beam runner that works through the items first; `cache_dir` must be seen by all of its
        machines under the same path. Empty: none does.
    """

    cache_dir: Path | None = None
    workers: int = 0
    progress: bool = False
    beam: tuple[str, ...] = ()

    def run(
        self,
        function: Callable[[Any], Result],
        items: Sequence[Any],
        *,
        keys: Sequence[str],
        content: Callable[[Any], str] | None = None,
        lost: Callable[[str], Result] | None = None,
        seconds: Sequence[float] | None = None,
        light: bool = False,
        description: str = "items",
    ) -> Iterator[Result]:
        """Returns an iterator of `function(item)`, in the items' order whatever finishes first.

        Args:
          function: a module-level function of one picklable item; it must depend on nothing else.
          items: what to work on.
          keys: a distinct name for each item and its state. What follows a NUL character is not shown.
          content: a module-level function `item -> text` in ASCII that tells all that its result depends on, such as
            the hash of its files; results are kept under that, and it is asked again only when the item's key is
            another. Where it is empty the result is not kept. Without it results are kept under the key.
          lost: makes the result of an item that hangs or whose process dies, from the reason; it is not kept. Without
            it that ends the work.
          seconds: what each item may take.
          light: leaves arrays and bytes out of what is returned: they are kept, and nobody needs them now.
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
        tasks = [
            Task(function, item, key, self.cache_dir, content, light)
            for item, key in zip(items, keys, strict=True)
        ]
        results: Iterator[Result]
        allowed = seconds or [SECONDS] * len(tasks)
        if self.beam:
            beam.fill(finish, [task._replace(light=True) for task in tasks], allowed, self.beam)
        if self.workers == 0:
            results = map(finish, tasks)
        else:
            results = workers.pooled(finish, tasks, allowed, self.workers, partial(_lost, lost))
        return _shown(results, len(tasks), description) if self.progress else results


class Task(NamedTuple):
    """What a worker needs to finish an item; see `Work.run`."""

    function: Callable[[Any], Result]
    item: Any
    key: str
    folder: Path | None
    content: Callable[[Any], str] | None
    light: bool


def finish(task: Task) -> Result:
    """Takes the kept result or makes it; runs in a worker, or here when there are none."""
    try:
        key = _content_key(task)
        place = _place(task.folder, key, ".npz") if key else None
        result = load_result(place, key) if place is not None else None
        if result is None:
            result = task.function(task.item)
            again = result.pop(AGAIN, False)
            if place is not None and not again:
                save_result(place, key, result)
    except Exception as error:
        error.add_note(f"while working on {_shown_key(task.key)}")
        raise
    if task.light:
        return {k: v for k, v in result.items() if not isinstance(v, np.ndarray | bytes)}
    return result


def _content_key(task: Task) -> str:
    """Returns what the item's result is kept under; once it is known for an item's state, nothing is read again."""
    if task.content is None:
        return task.key
    place = _place(task.folder, task.key, ".key")
    if place is not None and place.is_file():
        kept = place.read_text("ascii", "replace")
        # without its end it was cut off by a machine that went down
        if kept.endswith(END):
            return kept.removesuffix(END)
    found = task.content(task.item)
    if place is not None and found:
        write_whole(place, f"{found}{END}".encode("ascii"))
    return found


def default_workers() -> int:
    """Returns a process for each processor that this process may use."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return count or 1


def _place(folder: Path | None, key: str, ending: str) -> Path | None:
    if folder is None:
        return None
    return folder / (
        hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:32] + ending
    )


def _lost(make: Callable[[str], Result] | None, task: Task, reason: str) -> Result:
    if make is not None:
        return make(reason)
    raise checks.UserError(
        f"{_shown_key(task.key)}: {reason}; the same command goes on from here, with fewer workers if it is given fewer"
    )


def _shown_key(key: str) -> str:
    """Returns what a person calls the item, without the state of its file."""
    return key.split("\0")[0]


def _shown(results: Iterator[Result], total: int, description: str) -> Iterator[Result]:
    """A bar on a terminal; elsewhere a line now and then. Either says how much is left."""
    if sys.stderr.isatty():
        yield from tqdm.tqdm(results, total=total, desc=description, file=sys.stderr)
        return
    begun = latest = time.monotonic()
    for done, result in enumerate(results, 1):
        now = time.monotonic()
        if done == total or now - latest > 10:
            left = (now - begun) / done * (total - done)
            more = f", about {duration(left)} left" if done < total else ""
            print(f"{description}: {done}/{total}{more}", file=sys.stderr, flush=True)
            latest = now
        yield result


def duration(seconds: float) -> str:
    """Returns seconds as a person says them."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
