"""What a run writes while it trains: JSON lines, TensorBoard events, a line or a bar for the reader."""

import json
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tensorboardX import SummaryWriter
from tqdm import tqdm

from kdjax.files import read_json_lines, write_text
from kdjax.folder import RunFolder


class RunLog:
    """Appends metrics to a run's files; timings, which no two runs share, go to a file of their own.

    Attributes:
      validated: the steps that were validated before.
    """

    def __init__(
        self, run: Path, *, start_step: int, silent: bool = False, validated: bool | None = None
    ) -> None:
        """Opens the logs; lines of steps after `start_step`, which will be trained again, are dropped.

        With `silent`, of a host that is not the first, they are read alone.
        Where `start_step` is not `validated`, its line of a validation is dropped too; None: nothing is known of that.
        """
        self._folder = run
        files = RunFolder(run)
        self.validated: set[float] = set()
        for path in (files.metrics, files.timings):
            kept = [row for row in read_json_lines(path) if _step(row) <= start_step]
            if validated is False:
                # written by a process that ended before it could save what the validation changed
                kept = [row for row in kept if not _validates(row, start_step)]
            self.validated |= {_step(row) for row in kept if row.get("kind") == "validation"}
            if not silent:
                write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
        nowhere = Path(os.devnull)
        self._metrics = (nowhere if silent else files.metrics).open("a", encoding="utf-8")
        self._timings = (nowhere if silent else files.timings).open("a", encoding="utf-8")
        self._events = SummaryWriter(
            str(files.tensorboard), purge_step=start_step + 1, write_to_disk=not silent
        )

    def write(self, kind: str, step: int, epoch: float, values: Mapping[str, Any]) -> None:
        """Adds one line of `kind` `train` or `validation`."""
        numbers = {name: _finite(value) for name, value in values.items()}
        row = {"step": step, "epoch": round(epoch, 4), "kind": kind, **numbers}
        self._metrics.write(json.dumps(row) + "\n")
        self._metrics.flush()
        for name, value in numbers.items():
            if value is not None:
                self._events.add_scalar(f"{kind}/{name}", value, step)

    def write_timing(self, step: int, values: Mapping[str, float]) -> None:
        """Adds one line to the timings."""
        self._timings.write(json.dumps({"step": step, **values}) + "\n")
        self._timings.flush()

    def close(self) -> None:
        """Closes the files."""
        self._metrics.close()
        self._timings.close()
        self._events.close()


def _step(row: Mapping[str, Any]) -> float:
    step = row.get("step")
    return step if isinstance(step, int | float) else math.inf


def _validates(row: Mapping[str, Any], step: int) -> bool:
    return row.get("kind") == "validation" and _step(row) == step


def _finite(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def say(text: str) -> None:
    """Prints a line where there is no bar yet."""
    print(text, file=sys.stderr, flush=True)


class News(NamedTuple):
    """What is shown of a student when a line of its log was written."""

    loss: float
    images_per_second: float


class Progress:
    """A bar on a terminal, a plain line every few seconds otherwise."""

    def __init__(
        self,
        description: str,
        total: int,
        start: int = 0,
        *,
        every: float = 10.0,
        silent: bool = False,
    ) -> None:
        """Starts at `start` of `total` steps; `every` is the seconds between plain lines; `silent` shows nothing."""
        self._description, self._total, self._every = description, total, every
        self._count, self._text, self._said = start, "", time.monotonic()
        self._bar, self._silent = None, silent
        if sys.stderr.isatty() and not silent:
            self._bar = tqdm(total=total, initial=start, desc=description, dynamic_ncols=True)

    def advance(self, count: int = 1, text: str = "") -> None:
        """Counts steps done; `text` replaces what is shown beside them when given."""
        self._count += count
        self._text = text or self._text
        if self._bar is not None:
            self._bar.update(count)
            if text:
                self._bar.set_postfix_str(text, refresh=False)
        elif time.monotonic() - self._said >= self._every or self._count == self._total:
            self._said = time.monotonic()
            self.say(f"{self._description}: {self._count}/{self._total} {self._text}".rstrip())

    def start(self, count: int) -> None:
        """Says how many steps were done before."""
        self._count = count
        if self._bar is not None:
            self._bar.initial = self._bar.n = count
            self._bar.refresh()

    def follow(self, count: int, news: Sequence["News | None"]) -> None:
        """Shows that so many steps are done, where there is news of one or several students at them."""
        told = [each for each in news if each is not None]
        if told:
            losses = sorted({f"{each.loss:.4g}": each.loss for each in told}.values())
            loss = f"{losses[0]:.4g}" + (f" to {losses[-1]:.4g}" if len(losses) > 1 else "")
            students = f"{len(news)} students, " if len(news) > 1 else ""
            rate = sum(each.images_per_second for each in told)
            self.advance(count - self._count, f"{students}loss {loss}, {rate:.0f} images/s")

    def say(self, text: str) -> None:
        """Prints a line without disturbing the bar."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        elif not self._silent:
            say(text)

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()
