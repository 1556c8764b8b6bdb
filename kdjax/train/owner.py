"""Whose process trains in a run's folder: one at a time, over network file systems without locks too."""

import contextlib
import errno
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kdjax.checks import UserError
from kdjax.files import HeldError, write_text
from kdjax.folder import RunFolder

BEAT_SECONDS = 10.0
"""From one sign of life to the next."""

SILENT_BEATS = 3
"""Signs of life that must have failed to come before a process of another machine is taken for dead."""

NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
"""What a file system without locks answers."""


class Owner:
    """A process that trains in a folder, and shows that it lives by counting in a file there."""

    def __init__(self, path: Path) -> None:
        """Takes the file; `claim` writes it."""
        self._path, self._token, self._count = path, uuid.uuid4().hex, 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._show_life, daemon=True)

    def claim(self, *, locked: bool, say: Callable[[str], None]) -> None:
        """Takes the folder, from a process that is dead too.

        Args:
          locked: whether a lock is held, which no living process of this machine holds then.
          say: takes lines for the user.

        Raises:
          HeldError: when another process lives.
        """
        found = _read(self._path)
        if found:
            self._wait_for_silence(found, locked=locked, say=say)
        self._write()
        if not locked:
            # whoever else came now has written too by then, and the last one has it
            time.sleep(BEAT_SECONDS / 5)
            self.check()
        self._thread.start()

    def check(self) -> None:
        """Raises HeldError when another process has taken the folder, having thought this one dead."""
        found = _read(self._path)
        if found and found.get("token") != self._token:
            raise HeldError(
                f"{_name(found)} has taken {self._path.parent}: it came at the same moment, or this one showed no "
                f"life for {SILENT_BEATS * BEAT_SECONDS:.0f} seconds; it goes on there, and this one stops"
            )

    def release(self) -> None:
        """Lets go of the folder."""
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join()
        if _read(self._path).get("token") == self._token:
            self._path.unlink(missing_ok=True)

    def _wait_for_silence(
        self, found: dict[str, Any], *, locked: bool, say: Callable[[str], None]
    ) -> None:
        folder = self._path.parent
        if not (locked and found.get("boot") == _boot()):
            seconds = SILENT_BEATS * BEAT_SECONDS
            say(f"{folder}: waiting {seconds:.0f} seconds for a sign of life of {_name(found)}")
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(BEAT_SECONDS / 10)
                now = _read(self._path)
                if not now:
                    return
                if now != found:
                    raise HeldError(f"another process is training {folder}: {_name(now)}; wait")
        say(
            f"{folder}: {_name(found)} trained here and ended without a word; going on in its place"
        )

    def _write(self) -> None:
        self._count += 1
        host = {"host": socket.gethostname(), "pid": os.getpid(), "boot": _boot()}
        write_text(
            self._path, json.dumps({**host, "token": self._token, "beat": self._count}) + "\n"
        )

    def _show_life(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            # a disk that is full for a while must not end the signs for good
            with contextlib.suppress(OSError, UserError):
                self.check()
                self._write()


@contextlib.contextmanager
def owned(files: RunFolder, say: Callable[[str], None]) -> Iterator[Owner]:
    """Holds a run's folder for this process while the block runs.

    A lock of the system keeps processes of one machine apart, and ends with its process. Where the file system has
    none, or none that reaches other machines, a file tells host, process and a number that grows: another process
    waits for it to grow, and takes the folder where it does not. No clocks are compared.

    Args:
      files: of the run; the folder is there.
      say: takes lines for the user.

    Raises:
      HeldError: when another process trains there.
    """
    with files.lock.open("a") as file:
        locked = _lock(file, files)
        owner = Owner(files.owner)
        owner.claim(locked=locked, say=say)
        try:
            yield owner
        finally:
            owner.release()


def _lock(file: Any, files: RunFolder) -> bool:
    """Returns whether a lock is held now; False where there are none."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        return False
    except BlockingIOError as error:
        found = _read(files.owner)
        who = f": {_name(found)}" if found else ""
        raise HeldError(
            f"another process is training {files.path}{who}; wait for it to end"
        ) from error
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return False
    return True


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _name(found: dict[str, Any]) -> str:
    return f"process {found.get('pid')} on {found.get('host')}"


def _boot() -> str:
    """Returns what tells this machine from others of its name, and from itself before it was started anew."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()
