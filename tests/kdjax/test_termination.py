import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
import types

import pytest

from kdjax import termination
from kdjax.checks import Terminated
from kdjax.termination import stoppable

WAIT = 5.0
pytestmark = pytest.mark.filterwarnings("error")


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0.001)


def run_until_terminated(work):
    with pytest.raises(Terminated), stoppable():
        work()


class Dropped:
    """An object that is told to stop while Python drops it, where what is raised is passed over."""

    def __del__(self):
        terminate()


def dropping():
    Dropped()


def excepting():
    with contextlib.suppress(BaseException):
        terminate()


@pytest.mark.parametrize("passing_over", [dropping, excepting])
def test_a_signal_that_was_passed_over_is_raised_again(passing_over, capsys):
    begun = time.monotonic()

    def work():
        passing_over()
        time.sleep(WAIT)

    run_until_terminated(work)
    assert time.monotonic() - begun < WAIT / 2
    assert capsys.readouterr().err == ""
    time.sleep(3 * termination.AGAIN_SECONDS)


def test_what_cleans_up_after_a_signal_is_let_finish():
    done = []

    def work():
        try:
            terminate()
        finally:
            time.sleep(3 * termination.AGAIN_SECONDS)
            done.append(True)

    run_until_terminated(work)
    assert done


@pytest.mark.parametrize(("patience", "finished"), [(10.0, True), (0.2, False)])
def test_jax_is_let_finish_what_it_is_at_for_a_while(patience, finished, monkeypatch):
    monkeypatch.setattr(termination, "PATIENCE_SECONDS", patience)
    done = []
    inside = {"__name__": "jax.compiler", "terminate": terminate, "time": time, "done": done}

    def work():
        exec("terminate(); time.sleep(0.6); done.append(True)", inside)
        time.sleep(WAIT)

    run_until_terminated(work)
    assert bool(done) == finished


def test_nothing_is_changed_where_a_program_handles_the_signal_itself():
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with stoppable():
            terminate()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]


def test_handlers_are_those_of_before_behind_the_block():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    before = [*map(signal.getsignal, numbers), sys.unraisablehook]
    with stoppable():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert [*map(signal.getsignal, numbers), sys.unraisablehook] == before


@pytest.mark.parametrize("status", [0, 2, 75, 130])
def test_a_process_ends_with_the_status_and_what_it_printed(status):
    program = f"print('said'); from kdjax.termination import leave; leave({status})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (status, b"said\n")


def test_an_interrupted_process_runs_nothing_at_its_exit_that_a_thread_may_still_need():
    program = (
        "import atexit; from kdjax.termination import leave; atexit.register(print, 'at exit'); "
    )
    for status, said in ((0, b"at exit\n"), (75, b"")):
        done = subprocess.run(
            [sys.executable, "-c", f"{program}leave({status})"], capture_output=True, check=False
        )
        assert (done.returncode, done.stdout) == (status, said)


def test_a_signal_that_comes_when_all_is_done_changes_no_status():
    program = (
        "import atexit, os, signal; from kdjax.termination import leave; "
        "atexit.register(os.kill, os.getpid(), signal.SIGTERM); leave(0)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_what_is_called_too_late_is_not_told_of(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)
    termination.silence_late_calls()
    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(RuntimeError) as late:
        loop.call_soon_threadsafe(print)

    def unraisable(kind, trace):
        return types.SimpleNamespace(exc_type=kind, exc_value=None, exc_traceback=trace)

    # as C calls it, whose own frames are none of Python's
    sys.unraisablehook(unraisable(RuntimeError, late.tb.tb_next))
    assert told == []
    for kind, trace in ((RuntimeError, late.tb), (KeyError, late.tb.tb_next), (RuntimeError, None)):
        sys.unraisablehook(unraisable(kind, trace))
    assert len(told) == 3


def test_what_handles_the_signal_itself_may_raise_it_again_and_it_comes_once():
    """As uvicorn does when it has shut down: what is raised again later would change the command's status."""
    with stoppable(terminated=False):
        ours = signal.getsignal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), termination.left_to_others():
            signal.raise_signal(signal.SIGINT)
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        assert signal.getsignal(signal.SIGINT) is ours
        time.sleep(3 * termination.AGAIN_SECONDS)
