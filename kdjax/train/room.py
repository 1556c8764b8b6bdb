"""How many students fit into memory side by side."""

from pathlib import Path

import jax

from kdjax.train.state import TrainState

COPIES = 3
"""States that a student may need at once: its own, one that is saved meanwhile, one that is evaluated."""

SHARE = 0.5
"""Of the free memory that states may take: the rest is for the teachers, the batch and what a step computes."""

MEMORY = Path("/proc/meminfo")


def room(state: TrainState, devices: int) -> int:
    """Returns how many students of a state's size fit beside each other, at least 1; 10^6 where nothing is known.

    `floor(SHARE * free bytes / (COPIES * bytes of a state))`. On a CPU all devices share the machine's memory.

    Args:
      state: of one student, on the host or one device.
      devices: local devices, each of which has a copy.
    """
    device = jax.local_devices()[0]
    free = free_bytes(device)
    if free is None:
        return 10**6
    copies = COPIES * (devices if device.platform == "cpu" else 1)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    return max(1, int(SHARE * free / (copies * max(size, 1))))


def free_bytes(device: jax.Device) -> int | None:
    """Returns what is free of a device's memory, the machine's for a CPU; None where it is not told."""
    if found := device.memory_stats():
        limit = found.get("bytes_limit")
        return None if limit is None else limit - found.get("bytes_in_use", 0)
    if device.platform != "cpu" or not MEMORY.is_file():
        return None
    lines = dict(line.split(":", 1) for line in MEMORY.read_text(encoding="ascii").splitlines())
    available = lines.get("MemAvailable", "").split()
    return 1024 * int(available[0]) if available else None
