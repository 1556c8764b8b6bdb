"""Ctrl-C and SIGTERM while a run trains: the step in hand is finished and saved, and nothing done is lost."""

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from kdjax.checks import Terminated

Item = TypeVar("Item")


class Interruption:
    """Whether the user, or the machine's owner, has asked the run to stop.

    Attributes:
      number: the signal that asked; 0: none did.
      at_once: whether it was asked for twice, and nothing more is to be done.
    """

    def __init__(self) -> None:
        """Starts with nothing asked."""
        self.number = 0
        self.at_once = False

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Notes the first signal; the second one stops at once.

        Raises:
          KeyboardInterrupt: on the second signal, as `error_of` gives it.
        """
        del frame
        if self.number:
            self.at_once = True
            raise error_of(number)
        self.number = number
        # os.write, because a handler may run in the middle of a print
        os.write(2, b"\nstopping after this step; once more stops at once\n")

    def between(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yields items, and raises what ends the run where that was asked for meanwhile."""
        for item in items:
            if self.number:
                raise error_of(self.number)
            yield item


def error_of(number: int) -> KeyboardInterrupt:
    """Returns what ends a run after a signal: `Terminated` after SIGTERM, `KeyboardInterrupt` after Ctrl-C."""
    return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()


@contextmanager
def catch_signals(interruption: Interruption | None = None) -> Iterator[Interruption]:
    """Yields what Ctrl-C and SIGTERM set while the block runs; in a thread other than the main one, nothing does.

    Args:
      interruption: what they set; None: one that is made here.
    """
    interruption = interruption or Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before: dict[signal.Signals, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            # a shell's background job is started with SIGINT ignored, and stays so
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, interruption.ask)
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
