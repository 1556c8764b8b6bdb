"""Child processes that are watched: what hangs is ended, what dies is replaced, and either is said."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import cv2

AHEAD = 4
"""Items handed out ahead per worker: enough to keep them busy, little to hold in memory."""

MEMORY = 4 * 2**30
"""Bytes that one item may ask for beyond what its process has at its start."""

ATTEMPTS = 2
"""How often an item is tried whose process dies: another item's memory may have been the reason."""


class LostError(Exception):
    """The process of an item is gone; the text says why in one clause."""


class Worker:
    """A child process that does one task after the other; a lost one is replaced at the next task."""

    def __init__(self) -> None:
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._closed = False

    def call(self, function: Callable[[Any], Any], task: Any, seconds: float) -> Any:
        """Returns `function(task)`, run in the child; what that raises comes through.

        Raises:
          LostError: it took longer than `seconds`, or its process died.
        """
        connection = self._start()
        try:
            connection.send((function, task))
            if not connection.poll(seconds):
                raise LostError(f"took longer than {seconds:.0f} s and was ended")
            done, value = connection.recv()
        except (EOFError, OSError) as error:
            self.stop()
            raise LostError("its process died (out of memory, or a fault of a decoder)") from error
        except LostError:
            self.stop()
            raise
        if not done:
            raise value
        return value

    def close(self) -> None:
        """Ends the child, whatever it is at, for good; a call that is on its way raises LostError."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()

    def stop(self) -> None:
        """Ends the child, whatever it is at; by the thread that calls it."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.join()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _start(self) -> Connection:
        with self._lock:
            if self._closed:
                raise LostError("the work has ended")
            if self._process is None or not self._process.is_alive() or self._connection is None:
                self.stop()
                # Spawned, since a fork of a process that has started JAX or dlib threads can hang.
                context = multiprocessing.get_context("spawn")
                self._connection, theirs = context.Pipe()
                self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
                self._process.start()
                theirs.close()
            return self._connection


def pooled(
    function: Callable[[Any], Any],
    tasks: Sequence[Any],
    seconds: Sequence[float],
    count: int,
    lost: Callable[[Any, str], Any],
) -> Iterator[Any]:
    """Yields `function(task)` for each task, in their order whatever finishes first, from `count` processes.

    Args:
      function: a module-level function.
      tasks: picklable.
      seconds: that each may take.
      count: processes.
      lost: `(task, reason) -> result` for a task that hangs, or whose process dies again and again.
    """
    idle: list[Worker] = [Worker() for _ in range(count)]
    workers = list(idle)

    def work(position: int) -> Any:
        worker = idle.pop()
        try:
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    return worker.call(function, tasks[position], seconds[position])
                except LostError as error:
                    if attempt == ATTEMPTS or "took longer" in str(error):
                        return lost(tasks[position], str(error))
        finally:
            idle.append(worker)
        return None

    executor = ThreadPoolExecutor(count)
    waiting: list[Future[Any]] = []
    handed = 0
    try:
        for _ in tasks:
            while len(waiting) < count * AHEAD and handed < len(tasks):
                waiting.append(executor.submit(work, handed))
                handed += 1
            yield waiting.pop(0).result()
    except Exception:
        # what is on its way is kept
        executor.shutdown(wait=True, cancel_futures=True)
        raise
    finally:
        for worker in workers:
            worker.close()
        executor.shutdown(wait=True, cancel_futures=True)
        for worker in workers:
            worker.stop()


def _serve(connection: Connection) -> None:
    """Does tasks until nobody asks for more; runs in the child."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
    threading.Thread(target=_follow_parent, daemon=True).start()
    _limit_memory()
    with suppress(EOFError, OSError):
        while True:
            function, task = connection.recv()
            try:
                answer = (True, function(task))
            except Exception as error:
                answer = (False, error)
            connection.send(answer)


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _limit_memory() -> None:
    """Lets this process ask for `MEMORY` more bytes, where the system can hold it to that."""
    try:
        import resource

        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[0])
    except (ImportError, OSError, ValueError):
        return
    limit = pages * resource.getpagesize() + MEMORY
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
