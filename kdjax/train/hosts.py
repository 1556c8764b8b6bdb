"""Several hosts at one run: how they meet, agree, and put together what each has of a whole.

Every function does nothing, and costs nothing, in a run of one process.
"""

import contextlib
import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from kdjax import termination
from kdjax.checks import UserError, first_line

Result = TypeVar("Result")

PATIENCE = 300
"""Seconds that hosts wait for each other at the start."""

LONGER = 600
"""Seconds that JAX is told to wait beyond that."""

QUIET = 3
"""Seconds after which a line says that this host waits."""

LAST_PORT = 65535

GONE = ("gloo", "nccl", "connection", "coordination", "heartbeat", "unavailable")
"""Words of what JAX says when hosts cannot talk to each other."""


def join(
    coordinator: str = "",
    count: int | None = None,
    index: int | None = None,
    *,
    patience: int = PATIENCE,
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
    told = _told(coordinator, count, index)
    place = coordinator or "the coordinator"
    advice = "see that all are started, with the same --coordinator and --hosts, and can reach it"
    if told:
        advice = f"this is host {index} of {count}, from 0 on; {advice}"
    try:
        met = _meet(told, patience, f"waiting for all hosts at {place}, for {patience} s at most")
    except ValueError as error:
        raise UserError(
            f"no cluster that JAX knows (SLURM, Open MPI, GKE, Cloud TPU) is seen from here ({first_line(error)}); "
            "give --coordinator=HOST:PORT --hosts=N --host=I"
        ) from error
    except RuntimeError as error:
        raise UserError(
            f"the hosts did not meet at {place}: {first_line(error)}; {advice}"
        ) from error
    if not met:
        raise UserError(f"the hosts did not meet at {place} within {patience} s; {advice}")
    if told:
        _agree_on_number(told["num_processes"], told["process_id"], patience)


def _told(coordinator: str, count: int | None, index: int | None) -> dict[str, Any]:
    """Returns what JAX is told; nothing where the cluster tells it.

    Raises:
      UserError: naming the flag that does not fit.
    """
    if not coordinator:
        for flag, value in (("hosts", count), ("host", index)):
            if value is not None:
                raise UserError(
                    f"--{flag}={value} needs --coordinator=HOST:PORT, the address of host 0"
                )
        return {}
    name, _, port = coordinator.rpartition(":")
    if not (name and port.isdecimal() and 1 <= int(port) <= LAST_PORT):
        raise UserError(
            f"--coordinator={coordinator} must be HOST:PORT of host 0, with a port from 1 to {LAST_PORT}"
        )
    if count is None or index is None:
        missing = (
            "--hosts=N, how many there are"
            if count is None
            else "--host=I, which this is, from 0 on"
        )
        raise UserError(f"--coordinator={coordinator} also needs {missing}")
    if count < 1:
        raise UserError(f"--hosts={count} must be at least 1")
    if not 0 <= index < count:
        raise UserError(
            f"--host={index}: with --hosts={count} they are counted from 0 to {count - 1}"
        )
    return {"coordinator_address": coordinator, "num_processes": count, "process_id": index}


def _meet(told: Mapping[str, Any], patience: int, waiting: str) -> bool:
    """Returns whether JAX's runtime found all hosts in time; raises what it raises, and says when it is waiting.

    JAX ends the process, without an exception, when its own time is over: it is asked in a thread, and to wait longer.
    """
    raised: list[Exception] = []

    def meet() -> None:
        try:
            jax.distributed.initialize(**told, initialization_timeout=patience + LONGER)
        except (ValueError, RuntimeError) as error:
            raised.append(error)

    thread = threading.Thread(target=meet, name="meet", daemon=True)
    thread.start()
    thread.join(min(QUIET, patience))
    if thread.is_alive():
        print(waiting, file=sys.stderr, flush=True)
        thread.join(max(0, patience - QUIET))
    if raised:
        raise raised[0]
    return not thread.is_alive()


def _agree_on_number(count: int, index: int, patience: int) -> None:
    """Raises UserError on every host where one was told of another number of hosts than host 0.

    JAX's runtime takes the coordinator's word for it, and each host would hold another mesh for the whole. They ask
    each other by the runtime's own table, since nothing can be gathered before they agree.
    """
    # JAX has no public name for it
    from jax._src import distributed

    client: Any = distributed.global_state.client
    limit = 1000 * patience

    def told(number: int) -> int:
        return int(client.blocking_key_value_get(f"kdjax/hosts/{number}", limit))

    client.key_value_set(f"kdjax/hosts/{index}", str(count))
    others = range(1, count) if index == 0 else (0,)
    differing = [(number, found) for number in others if (found := told(number)) != count]
    # host 0 keeps the table: it goes when all have read
    client.key_value_set(f"kdjax/hosts/read/{index}", "")
    for number in others if index == 0 else ():
        client.blocking_key_value_get(f"kdjax/hosts/read/{number}", limit)
    for number, found in differing:
        termination.abandon()
        raise UserError(
            f"the hosts do not agree on --hosts: host {index} was told {count}, host {number} {found}; start all with "
            "the same --hosts"
        )


@contextlib.contextmanager
def losses_told() -> Iterator[None]:
    """Lets what JAX raises when another host has gone end in one line.

    Raises:
      UserError: in its place; the process is then ended without JAX's runtime, which could only abort it.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1 or not any(word in str(error).lower() for word in GONE):
            raise
        termination.abandon()
        raise UserError(
            f"another host has gone ({first_line(error)[:200]}); the same command, on all hosts again, goes on from "
            "the last checkpoint"
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
