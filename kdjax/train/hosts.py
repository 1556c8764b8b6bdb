"""Several hosts at one run: how they meet, agree, and put together what each has of a whole.

Every function does nothing, and costs nothing, in a run of one process.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from kdjax.checks import UserError, first_line

Result = TypeVar("Result")

PATIENCE = 300
"""Seconds that hosts wait for each other at the start."""


def join(
    coordinator: str = "", count: int = 0, index: int = -1, *, patience: int = PATIENCE
) -> None:
    """Joins the hosts of a run by JAX's own runtime; before anything else uses JAX.

    Args:
      coordinator: `HOST:PORT` of host 0; empty: the cluster's environment tells all, as JAX reads it (SLURM, Open MPI,
        GKE and Cloud TPU).
      count: how many hosts there are.
      index: which this is, from 0 on.
      patience: seconds to wait for all of them.

    Raises:
      UserError: for numbers that do not fit, an environment that tells nothing, or hosts that do not come.
    """
    told: dict[str, Any] = {}
    if coordinator:
        if not coordinator.rpartition(":")[2].isdecimal() or count < 1 or not 0 <= index < count:
            raise UserError(
                f"--coordinator={coordinator} --hosts={count} --host={index}: give HOST:PORT of host 0, how many hosts "
                "there are, and which this is, from 0 on"
            )
        told = {"coordinator_address": coordinator, "num_processes": count, "process_id": index}
    elif count or index >= 0:
        raise UserError("--hosts and --host need --coordinator=HOST:PORT, the address of host 0")
    try:
        jax.distributed.initialize(**told, initialization_timeout=patience)
    except ValueError as error:
        raise UserError(
            f"no cluster that JAX knows (SLURM, Open MPI, GKE, Cloud TPU) is seen from here ({first_line(error)}); "
            "give --coordinator=HOST:PORT --hosts=N --host=I"
        ) from error
    except RuntimeError as error:
        place = coordinator or "the coordinator"
        raise UserError(
            f"the hosts did not meet at {place} within {patience} s: {first_line(error)}; see that all are started, "
            "with the same --coordinator and --hosts, and can reach it"
        ) from error


def is_first() -> bool:
    """Returns whether this process writes what one alone writes."""
    return jax.process_index() == 0


def on_first(function: Callable[[], Result]) -> Result | None:
    """Returns what a function returns on the first host, None on others; an error of the first is raised on all.

    Raises:
      UserError: what the function raised; or an OSError of it, on the first host itself as it is.
    """
    if jax.process_count() == 1:
        return function()
    result, error = None, None
    if is_first():
        try:
            result = function()
        except (UserError, OSError) as raised:
            error = raised
    problem = _gather_texts(str(error or ""))[0]
    if error is not None:
        raise error
    if problem:
        raise UserError(f"host 0: {problem}")
    return result


def largest(value: int, *, meet: bool = True) -> int:
    """Returns the largest value of all hosts; 0 of several that do not meet now, since each asks the others."""
    if jax.process_count() == 1:
        return value
    if not meet:
        return 0
    return int(np.max(multihost_utils.process_allgather(np.asarray(value, np.int32))))


def gather_rows(rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the rows of all hosts, of which this one has every Nth of the whole, in the order of the whole.

    Args:
      rows: `[n, ...]` by name; those of the hosts differ by one at most in their number.
    """
    count = jax.process_count()
    if count == 1:
        return dict(rows)
    length = len(next(iter(rows.values())))
    lengths = multihost_utils.process_allgather(np.asarray(length, np.int32)).reshape(-1)
    longest = int(lengths.max())
    padded = {
        name: np.pad(value, [(0, longest - length)] + [(0, 0)] * (value.ndim - 1))
        for name, value in rows.items()
    }
    found = multihost_utils.process_allgather(padded)
    total = int(lengths.sum())
    return {
        name: np.swapaxes(np.asarray(value), 0, 1).reshape(-1, *value.shape[2:])[:total]
        for name, value in found.items()
    }


def check_agreement(facts: Mapping[str, Any]) -> None:
    """Raises UserError on every host, naming the first fact in which one differs from host 0.

    Args:
      facts: what has to be the same everywhere, JSON by name.
    """
    if jax.process_count() == 1:
        return
    everywhere = [json.loads(text) for text in _gather_texts(json.dumps(facts, sort_keys=True))]
    first = everywhere[0]
    for number, other in enumerate(everywhere):
        for name in sorted({*first, *other}):
            if first.get(name) != other.get(name):
                raise UserError(
                    f"the hosts do not agree on {name}: host 0 has {first.get(name)!r:.200}, host {number} "
                    f"{other.get(name)!r:.200}; start all with the same command, code and data"
                )


def _gather_texts(text: str) -> list[str]:
    data = np.frombuffer(text.encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.asarray(len(data), np.int32)).reshape(-1)
    padded = np.pad(data, (0, int(lengths.max()) - len(data)))
    found = np.asarray(multihost_utils.process_allgather(padded))
    return [
        row[:length].tobytes().decode() for row, length in zip(found, lengths.tolist(), strict=True)
    ]
