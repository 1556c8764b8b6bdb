"""What of a machine each of several processes gets: cores, and GPUs."""

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")

MEMORY = 0.9
"""Share of a GPU's memory that the processes on it have together."""


def part(items: Sequence[Item], worker: int, workers: int) -> list[Item]:
    """Returns the share of a worker, counted from 0: neighbours; with fewer things than workers one each, in turn."""
    count = len(items)
    if count < workers:
        return [items[worker % count]] if count else []
    return list(items[worker * count // workers : (worker + 1) * count // workers])


@contextlib.contextmanager
def on_cores(worker: int, workers: int) -> Iterator[None]:
    """Starts what is started inside on a worker's share of the cores, where the system can tell."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, part(sorted(before), worker, workers))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def gpus(environment: Mapping[str, str]) -> list[str]:
    """Returns the GPUs that a process of this environment would see, by the names that CUDA takes."""
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [each.strip() for each in named.split(",") if each.strip()]
    found = Path("/dev").glob("nvidia[0-9]*")
    return sorted((path.name.removeprefix("nvidia") for path in found), key=int)


def environment_of(worker: int, workers: int, environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment of a worker: its GPUs, and its share of the memory of one that several work on."""
    found, present = dict(environment), gpus(environment)
    if present:
        found["CUDA_VISIBLE_DEVICES"] = ",".join(part(present, worker, workers))
        together = -(-workers // len(present))
        if together > 1:
            found.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{MEMORY / together:.3f}")
    return found
