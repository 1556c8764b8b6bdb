"""Where a sweep stands: what is done, running, failed and missing, and how long the rest will take."""

import time
from collections.abc import Sequence
from typing import Any

from kdjax.train.sweeps.known import Entry
from kdjax.train.sweeps.ledger import DONE, FAILED, MISSING, RUNNING, STOPPED, State

STATES = (DONE, RUNNING, FAILED, STOPPED, MISSING)


def status_rows(
    named: Sequence[tuple[str, Entry]], states: Sequence[State], now: float = 0.0
) -> list[dict[str, Any]]:
    """Returns a line for each run: its folder, row and seed, its state, how long it took so far, why it failed."""
    now = now or time.time()
    return [
        {
            "run": run.folder.name,
            "row": name,
            "seed": run.seed,
            "state": state.name,
            "time": duration(spent(state, now)),
            "problem": state.problem,
        }
        for (name, run), state in zip(named, states, strict=True)
    ]


def spent(state: State, now: float) -> float:
    """Returns the seconds that went into a run so far."""
    return state.seconds + (max(0.0, now - state.since) if state.since else 0.0)


def seconds_left(states: Sequence[State], now: float = 0.0) -> float | None:
    """Returns how long the rest takes if it takes as long as what is done; None before any is.

    Runs at work are taken off by what they have had, and divide the rest among them.
    """
    now = now or time.time()
    took = [state.seconds for state in states if state.name == DONE and state.seconds > 0]
    if not took:
        return None
    mean = sum(took) / len(took)
    left = [
        max(0.0, mean - spent(state, now))
        for state in states
        if state.name in (RUNNING, STOPPED, MISSING)
    ]
    workers = max(1, sum(state.name == RUNNING for state in states))
    return max(sum(left) / workers, max(left, default=0.0))


def describe(states: Sequence[State], now: float = 0.0) -> str:
    """Returns how many runs are in each state, and the time left, as a line."""
    counts = {name: sum(state.name == name for state in states) for name in STATES}
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    left = seconds_left(states, now)
    rest = counts[RUNNING] + counts[STOPPED] + counts[MISSING]
    told_left = duration(left or 0) if rest else ""
    more = f"; about {told_left} left" if told_left else ""
    return f"{len(states)} runs: {told or 'none'}{more}"


def duration(seconds: float) -> str:
    """Returns a time to read: `42 s`, `3 min`, `2 h 05 min`; empty for none."""
    if seconds < 1:
        return ""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
