"""SIGTERM as an exception: whatever a command is doing, it ends in one line and an exit status of its own."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from kdjax.checks import Terminated

TERMINATED = 75
"""Exit status after SIGTERM: `EX_TEMPFAIL`, by which a batch system can tell what is to be started again."""


@contextlib.contextmanager
def terminable(*, wanted: bool = True) -> Iterator[None]:
    """Lets SIGTERM raise `Terminated` while the block runs: a run at its start-up too, which has nothing to save yet.

    In a thread other than the main one, or where a program handles SIGTERM itself, nothing changes.
    """
    main = threading.current_thread() is threading.main_thread()
    if not (wanted and main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL):
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise Terminated
