"""What benchmarks share: machine, alternating repeats, time budget, results that survive a cut."""

import importlib.metadata
import json
import os
import platform
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "chex", "numpy", "torch")

Work = Callable[[], None]
"""One repeat of what is timed; it returns when the device is done."""

Rows = dict[str, Callable[[], Mapping[str, Any]]]
"""What measures each row, by the row's name."""


def machine() -> dict[str, Any]:
    """Returns processor, cores, devices and versions; nothing that tells where the machine is."""
    devices = jax.local_devices()
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "backend": jax.default_backend(),
        "devices": [device.device_kind for device in devices],
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
    }


def usable_cores() -> int:
    """Returns the number of cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def load_average() -> float:
    """Returns the machine's load over the last minute: a row taken under others' load says so."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else -1.0


def alternate(
    works: Mapping[str, Work], repeats: int, *, warm_up: int = 1
) -> dict[str, list[float]]:
    """Times the works in turn, so that a change in the machine's load meets all of them alike.

    Args:
      works: what is timed, by name.
      repeats: timed rounds.
      warm_up: rounds before them that are not counted (compilation, caches).

    Returns:
      Seconds of each repeat, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(warm_up + repeats):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def summary(values: list[float]) -> dict[str, Any]:
    """Returns median, quartiles, least and number of the values, to four significant digits."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    return {
        "median": significant(middle),
        "quartiles": [significant(low), significant(high)],
        "least": significant(min(values)),
        "repeats": len(values),
    }


def ratio(numerator: list[float], denominator: list[float]) -> dict[str, Any]:
    """Returns the summary of the ratios within each round: what slows a whole round cancels."""
    pairs = zip(numerator, denominator, strict=True)
    return summary([above / below for above, below in pairs])


def significant(value: float) -> float:
    """Returns the number to four significant digits."""
    return float(f"{value:.4g}")


class Memory:
    """Looks at the memory of a process every half second, in a thread."""

    def __init__(self, process: int) -> None:
        """Begins."""
        self._file, self._seen = Path(f"/proc/{process}/status"), list[float]()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._end.wait(0.5):
            line = re.findall(r"VmRSS:\s+(\d+) kB", self._file.read_text())
            self._seen.append(round(int(line[0]) / 1000))

    def close(self) -> list[float]:
        """Returns megabytes in turn."""
        self._end.set()
        self._thread.join()
        return self._seen or [0.0]


def quarter(values: Sequence[float]) -> Sequence[float]:
    """Returns the first quarter of the values, one at least."""
    return values[: max(1, len(values) // 4)]


class Budget:
    """The seconds a benchmark may take, from its construction on."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts the clock."""
        self._clock = clock
        self._end = clock() + seconds

    def remaining(self) -> float:
        """Returns the seconds left; negative when overrun."""
        return self._end - self._clock()


class Results:
    """Rows in a JSON file that is whole after every row, however the benchmark ends."""

    def __init__(self, path: Path, title: str) -> None:
        """Writes the file with the machine and no rows."""
        self.path = path
        self._content: dict[str, Any] = {"title": title, "machine": machine(), "rows": []}
        self._write()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows so far."""
        return self._content["rows"]

    def add(self, name: str, **values: Any) -> None:
        """Adds a row, writes the file and prints the row."""
        row = {"name": name, **values, "load": load_average()}
        self.rows.append(row)
        self._write()
        print(json.dumps(row), flush=True)

    def skip(self, name: str, reason: str) -> None:
        """Adds a row that says what was left out and why."""
        self.add(name, skipped=reason)

    def failures(self) -> list[str]:
        """Returns the names of the checks that did not hold."""
        return [row["name"] for row in self.rows if row.get("passed") is False]

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(self.path.name + ".part")
        temporary.write_text(json.dumps(self._content, indent=1) + "\n")
        os.replace(temporary, self.path)


def run_rows(
    rows: Rows,
    results: Results,
    budget: Budget,
    *,
    reserve: float = 0.0,
) -> None:
    """Runs the rows while the budget lasts; one that fails or is left out is written down as such.

    A row is started when the longest row so far, and `reserve` seconds at least, still fit.
    """
    longest = reserve
    for name, row in rows.items():
        left = budget.remaining()
        if left < longest:
            results.skip(
                name,
                f"{max(left, 0):.0f} s of the time budget left, a row may take {longest:.0f} s",
            )
            continue
        start = time.monotonic()
        try:
            values = dict(row())
        except Exception as error:
            results.add(name, passed=False, error=f"{type(error).__name__}: {error}"[:500])
        else:
            results.add(name, **values, wall_seconds=significant(time.monotonic() - start))
        longest = max(longest, time.monotonic() - start)
