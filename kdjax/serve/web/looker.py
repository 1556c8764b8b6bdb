"""Has files looked at in a process of its own (`child`), which may be stopped at any time."""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from kdjax.serve.looking import Ended, Sight
from kdjax.serve.options import Options
from kdjax.serve.spec import Spec
from kdjax.serve.web import wire
from kdjax.serve.web.limits import Limits

FILES_A_PROCESS = 50
"""After which a new one begins, so that nothing of one file is left for long."""

START_SECONDS = 120.0
"""A process may need before its first word, on a busy machine."""

BYTES_A_READ = 1 << 20


class StoppedError(Exception):
    """Whoever asked does not want it any more."""


class _TimeOverError(Exception):
    """The process has had its time."""


class Looker:
    """One process at a time, and a new one where that is gone."""

    def __init__(self, spec: Spec, limits: Limits) -> None:
        """Takes what the detector needs of faces; starts nothing yet."""
        self._spec, self._limits = spec, limits
        self._process: subprocess.Popen[bytes] | None = None
        self._files = 0
        self._held = bytearray()

    def look(
        self, path: Path, options: Options, is_wanted: Callable[[], bool]
    ) -> Iterator[Sight | Ended]:
        """Yields what is seen of a file, and `Ended` as the last, which tells why where it was not seen to its end.

        Args:
          path: of the file.
          options: how faces are found.
          is_wanted: asked now and then; once not, the process is stopped.

        Raises:
          StoppedError: it was not wanted any more.
        """
        fresh = self._process is None or self._process.poll() is not None or not self._files
        process = self.start()
        end = time.monotonic() + self._limits.seconds + (START_SECONDS if fresh else 0)
        done = False
        try:
            assert process.stdin is not None  # noqa: S101 it was started with a pipe
            process.stdin.write(wire.order(path, options._asdict()))
            process.stdin.flush()
            while not done:
                seen = wire.read(lambda count: self._take(count, end, is_wanted), self._side)
                done = isinstance(seen, Ended)
                yield seen
        except _TimeOverError:
            yield Ended(
                problem=f"not done after {self._limits.seconds} s, the most that is allowed"
            )
        except (OSError, EOFError):
            yield Ended(
                problem="what decodes it ended: more memory than is allowed "
                f"({self._limits.memory_megabytes} MB), or a fault in it"
            )
        except wire.BrokenMessageError:
            yield Ended(problem="what decodes it said what cannot be understood")
        finally:
            self._files += 1
            if not done or self._files >= FILES_A_PROCESS:
                self.close()

    @property
    def _side(self) -> int:
        return self._spec.stored_size

    def start(self) -> "subprocess.Popen[bytes]":
        """Returns the process; it takes seconds to begin, so it may be started before there is a file."""
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        given = {
            "spec": self._spec.to_json(),
            "memory_megabytes": self._limits.memory_megabytes,
            # of the processor, by all its threads
            "seconds": self._limits.seconds * FILES_A_PROCESS * (os.cpu_count() or 1),
        }
        self._process = subprocess.Popen(  # noqa: S603 this very package
            [sys.executable, "-P", "-m", "kdjax.serve.web.child"]
            if _is_installed()
            else [sys.executable, "-m", "kdjax.serve.web.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        self._files = 0
        self._held.clear()
        assert self._process.stdin is not None  # noqa: S101 it was started with a pipe
        with contextlib.suppress(OSError):
            self._process.stdin.write(json.dumps(given).encode() + b"\n")
        return self._process

    def _take(self, count: int, end: float, is_wanted: Callable[[], bool]) -> bytes:
        """Returns so many bytes of what the process writes."""
        assert self._process is not None and self._process.stdout is not None  # noqa: S101, PT018
        file = self._process.stdout.fileno()
        while len(self._held) < count:
            if not is_wanted():
                raise StoppedError
            left = end - time.monotonic()
            if left <= 0:
                raise _TimeOverError
            ready, _, _ = select.select([file], [], [], min(left, 0.5))
            if ready:
                more = os.read(file, BYTES_A_READ)
                if not more:
                    raise EOFError
                self._held += more
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken

    def close(self) -> None:
        """Ends the process, whatever it does."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        process.wait()


def _is_installed() -> bool:
    """Returns whether the package is found without the current folder."""
    import kdjax

    return Path(kdjax.__file__).resolve().parents[1] != Path.cwd().resolve()
