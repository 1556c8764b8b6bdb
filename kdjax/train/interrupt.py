"""Ctrl-C and SIGTERM while a run trains: the step in hand is finished and saved, and nothing done is lost."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from kdjax.checks import Terminated


class Interruption:
    """Whether the user, or the machine's owner, has asked the run to stop."""

    def __init__(self) -> None:
        """Starts with nothing asked."""
        self.asked = False
        self._number = 0

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Notes the first signal; the second one stops at once.

        Raises:
          KeyboardInterrupt: on the second signal, as `error` gives it.
        """
        del frame
        self._number = number
        if self.asked:
            raise self.error()
        self.asked = True
        # os.write, because a handler may run in the middle of a print
        os.write(2, b"\nstopping after this step; once more stops at once\n")

    def error(self) -> KeyboardInterrupt:
        """Returns what ends the run: `Terminated` after SIGTERM, `KeyboardInterrupt` after Ctrl-C."""
        return Terminated() if self._number == signal.SIGTERM else KeyboardInterrupt()

    def check(self) -> None:
        """Raises what ends the run when that was asked for: between the batches of a validation."""
        if self.asked:
            raise self.error()


@contextmanager
def catch_signals() -> Iterator[Interruption]:
    """Yields what Ctrl-C and SIGTERM set while the block runs; in a thread other than the main one, nothing does."""
    interruption = Interruption()
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
