"""Locks that end with their process, however it ends."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ATTEMPTS, PAUSE = 10, 0.02
"""How often, and after how many seconds, a lock is tried again that somebody may only have looked at."""


@contextlib.contextmanager
def lock(path: Path, *, wait: bool) -> Iterator[bool]:
    """Holds a lock file, waiting for it if told to; yields whether it is held."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        yield _take(file, wait=wait)


def is_locked(path: Path) -> bool:
    """Returns whether a process holds a lock file."""
    if not path.exists():
        return False
    try:
        import fcntl

        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        return False
    return False


def _take(file: Any, *, wait: bool) -> bool:
    try:
        import fcntl
    except ImportError:
        return True
    for _ in range(ATTEMPTS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            time.sleep(PAUSE)
        except OSError:
            # a file system without locks: the lock of the run's own folder is left
            return True
        else:
            return True
    return False
