"""Ctrl-C and SIGTERM as exceptions that get through: whatever a command does, it ends in one line and its status."""

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

from kdjax.checks import Terminated

TERMINATED = 75
"""Exit status after SIGTERM: `EX_TEMPFAIL`, by which a batch system can tell what is to be started again."""

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""

AGAIN_SECONDS = 0.1

PATIENCE_SECONDS = 10.0
"""For how long JAX may finish what it is at: a compilation, or the file of a compiled program."""

_abandoned = False

_Raised = dict[int, type[KeyboardInterrupt]]


@contextlib.contextmanager
def stoppable(*, terminated: bool = True) -> Iterator[None]:
    """Lets Ctrl-C raise `KeyboardInterrupt` and SIGTERM `Terminated` while the block runs, until one gets through.

    Python raises in whatever it happens to do, and passes over what is raised in a callback of the garbage collector
    (JAX has one) or in a library's `except:`. So it is raised again every tenth of a second, except while something
    cleans up after it. Within JAX it is not raised for `PATIENCE_SECONDS`: what it compiles would go on in a thread,
    and the program that it keeps would be cut off. In a thread other than the main one, or where a program handles a
    signal itself, nothing changes.

    Args:
      terminated: whether SIGTERM is meant too; otherwise it ends the process as it does by default.
    """
    raised: _Raised = {signal.SIGINT: KeyboardInterrupt}
    defaults: dict[int, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGALRM: signal.SIG_DFL,
    }
    if terminated:
        raised[signal.SIGTERM] = Terminated
    main = threading.current_thread() is threading.main_thread()
    ours = [number for number in raised if main and signal.getsignal(number) is defaults[number]]
    if not ours or signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
        yield
        return
    ours.append(signal.SIGALRM)
    ask, report = _asking(raised), sys.unraisablehook
    for number in ours:
        signal.signal(number, ask)
    sys.unraisablehook = _without_stops(report)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.unraisablehook = report
        for number in ours:
            signal.signal(number, defaults[number])


def _asking(raised: _Raised) -> Callable[[int, FrameType | None], None]:
    """Returns what handles the signals, and the timer's too."""
    asked: type[KeyboardInterrupt] = KeyboardInterrupt
    since = 0.0

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked, since
        if number in raised:
            asked, since = raised[number], since or time.monotonic()
            signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS, AGAIN_SECONDS)
        elif isinstance(sys.exception(), asked):
            return
        if time.monotonic() < since + PATIENCE_SECONDS and _is_in_jax(frame):
            return
        raise asked

    return ask


def _is_in_jax(frame: FrameType | None) -> bool:
    while frame:
        if str(frame.f_globals.get("__name__")).partition(".")[0] == "jax":
            return True
        frame = frame.f_back
    return False


def _without_stops(report: Callable[..., Any]) -> Callable[["sys.UnraisableHookArgs"], None]:
    """Returns what reports exceptions that Python passes over, but for those which are raised again."""

    def pass_over(unraisable: "sys.UnraisableHookArgs") -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            report(unraisable)

    return pass_over


@contextlib.contextmanager
def left_to_others() -> Iterator[None]:
    """Lets Ctrl-C raise `KeyboardInterrupt` once, as Python does, while the block runs.

    For what handles the signal by itself, ends its work, and only then raises the signal again, as uvicorn does: raised
    again and again, it would come while that is still taken down, or after it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def silence_late_calls() -> None:
    """Has nothing printed of calls into an event loop that is closed by then.

    TensorStore makes them, from its own threads, where one of several reads or writes of a checkpoint has failed and
    nobody waits for the others: what failed is raised, and told in one line.
    """
    report = sys.unraisablehook

    def pass_over(unraisable: "sys.UnraisableHookArgs") -> None:
        # what C calls has no frame before its own
        trace = unraisable.exc_traceback
        called = trace.tb_frame.f_code.co_name if trace is not None else ""
        if not (unraisable.exc_type is RuntimeError and called == "call_soon_threadsafe"):
            report(unraisable)

    sys.unraisablehook = pass_over


def abandon() -> None:
    """Has `leave` end the process without taking Python down."""
    global _abandoned
    _abandoned = True


def leave(status: int) -> NoReturn:
    """Ends the process; one that was interrupted, or `abandon`ed, without taking Python down.

    XLA may still compile in a thread, and taking its client away from it is a segmentation fault in place of the
    status. What comes now is too late to change the status: SIGTERM is passed over.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if not _abandoned and status not in (TERMINATED, INTERRUPTED):
        sys.exit(status)
    for process in multiprocessing.active_children():
        process.terminate()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
