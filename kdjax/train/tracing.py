"""What a run's steps spend their time on: a trace of some of them, and a word when they wait for data."""

from pathlib import Path
from typing import Any

import jax

from kdjax.checks import UserError

STARVED = 0.9
"""Share of an interval that reading and sending batches takes where the devices wait for them."""

PATIENCE = 3
"""Intervals in a row after which that is said."""


class Trace:
    """Traces the steps `START:STOP`, as they are numbered in the log, for TensorBoard or Perfetto."""

    def __init__(self, steps: str, folder: Path) -> None:
        """Takes which steps, an empty text for none, and where the trace goes.

        Raises:
          UserError: unless START and STOP are whole numbers from 1 on, STOP not below START.
        """
        self._start, self._stop = _parse(steps) if steps else (0, 0)
        self._folder, self._running = folder, False

    def check(self, total_steps: int) -> None:
        """Raises UserError where a run of so many steps never comes to the first one."""
        if self._start > total_steps:
            raise UserError(
                f"--profile begins at step {self._start}, and the run has {total_steps}"
            )

    def before(self, step: int) -> None:
        """Starts where this step is the first, or the first that is trained since the run goes on."""
        if self._start <= step <= self._stop and not self._running:
            jax.profiler.start_trace(str(self._folder), create_perfetto_trace=True)
            self._running = True

    def after(self, step: int, result: Any) -> bool:
        """Ends after the last step, whose result is waited for; returns whether it did."""
        if not self._running or step < self._stop:
            return False
        jax.block_until_ready(result)
        self.close()
        return True

    def close(self) -> None:
        """Writes what was traced, where it still runs."""
        if self._running:
            self._running, self._start, self._stop = False, 0, 0
            jax.profiler.stop_trace()


def _parse(steps: str) -> tuple[int, int]:
    start, _, stop = steps.partition(":")
    if start.isdecimal() and stop.isdecimal() and 1 <= int(start) <= int(stop):
        return int(start), int(stop)
    raise UserError(
        f"--profile={steps} must be START:STOP, the first and the last step to trace, such as 50:60"
    )


class Starvation:
    """Says once when the devices wait for data."""

    def __init__(self) -> None:
        """Starts with nothing said."""
        self._count, self._said = 0, False

    def watch(self, seconds: float, input_seconds: float) -> str:
        """Returns what is to be said after an interval of so many seconds, mostly nothing."""
        self._count = self._count + 1 if input_seconds > STARVED * seconds else 0
        if self._said or self._count < PATIENCE:
            return ""
        self._said = True
        return (
            f"reading takes {input_seconds / seconds:.0%} of the time, so the devices wait for data: raise "
            "data.threads or data.workers, or prepare the data with --encoding=raw"
        )
