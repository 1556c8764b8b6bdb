"""Where programs that XLA has compiled are kept, so that the next process does not compile them again."""

import hashlib
import os
import platform
import stat
from collections.abc import MutableMapping
from pathlib import Path

VARIABLE = "JAX_COMPILATION_CACHE_DIR"
"""JAX's own variable: set, it decides; empty, nothing is kept."""

SWITCH = "JAX_ENABLE_COMPILATION_CACHE"
"""JAX's switch of the whole; `OFF` are the words that turn it off."""

OFF = ("0", "f", "false", "n", "no", "off")

SHORTEST = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
"""JAX's variable for what is not worth keeping; its own 1 s leaves out much of a run's start."""


def keep_programs(environment: MutableMapping[str, str] = os.environ) -> str:
    """Has this process, and those that it starts, keep compiled programs; returns why it cannot, or nothing.

    JAX reads the variable when it is imported, so this comes before. Where the variable is set, or JAX's cache is
    switched off (`SWITCH`), nothing is done. Who can write into the folder decides what this
    machine runs: one of another user, or that others may write into, is not used.

    Args:
      environment: the process' variables.
    """
    if VARIABLE in environment or environment.get(SWITCH, "").lower() in OFF:
        return ""
    try:
        folder = default_folder(environment)
        own = folder.parents[1]
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in (own, folder.parent, folder):
            path.mkdir(mode=0o700, exist_ok=True)
            # the first may be a link, to a larger disk say; within it nobody else can make one
            found = path.stat() if path == own else path.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                return f"{path} is not a folder of yours"
            if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return f"others may write into {path}; chmod 700 {path}"
        if not os.access(folder, os.W_OK | os.X_OK):
            return f"{folder} cannot be written"
    except OSError as error:
        return f"{error.filename or folder}: {error.strerror or error}"
    except RuntimeError:
        return "there is no home folder"
    environment[VARIABLE] = str(folder)
    environment.setdefault(SHORTEST, "0.2")
    return ""


def default_folder(environment: MutableMapping[str, str]) -> Path:
    """Returns `~/.cache/kdjax/xla/PROCESSOR`: programs for a CPU use what it can, and a home may be many machines'."""
    base = environment.get("XDG_CACHE_HOME", "")
    cache = Path(base) if os.path.isabs(base) else Path.home() / ".cache"
    return cache / "kdjax" / "xla" / _processor()


def _processor() -> str:
    """Returns a name for what programs for this CPU may rely on."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    wanted = ("model name", "flags", "Features", "CPU implementer", "CPU part")
    first = {line.split(":")[0].strip(): line for line in reversed(lines)}
    told = [platform.machine(), platform.processor(), *(first.get(key, "") for key in wanted)]
    return f"{platform.machine()}-{hashlib.sha256(chr(10).join(told).encode()).hexdigest()[:12]}"
