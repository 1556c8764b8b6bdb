"""Loss weights that rise or fall during a run: `NAME:rise:START:END`, shares of the run."""

from collections.abc import Callable, Iterable
from typing import Any

import jax.numpy as jnp

from kdjax.checks import nearest

Ramp = Callable[[Any], Any]
"""`step -> factor` in [0, 1] that a weight is multiplied with."""

KEY = "train.weight_schedules"

LENGTHS = ("gamma", "sam_radius")
"""Numbers beside the weights that may start from or end in 0: how far weights are perturbed."""


def make_ramps(texts: Iterable[str], known: Iterable[str], total_steps: int) -> dict[str, Ramp]:
    """Returns a factor by step for each named weight.

    Args:
      texts: `NAME:rise:START:END` (0 before START, 1 from END on, linear between) or `NAME:fall:START:END`.
      known: names of the numbers that a method traces; of these the weights can be scheduled.
      total_steps: length of the run.

    Raises:
      ValueError: for an unknown name, or a text of another form.
    """
    names = tuple(name for name in known if _may_be_zero(name))
    found: dict[str, Ramp] = {}
    for text in texts:
        name, direction, start, end = _parse(text)
        if name not in names:
            raise ValueError(f"{KEY} names {name!r}; {nearest(name, names)}")
        if name in found:
            raise ValueError(f"{KEY} names {name!r} twice")
        found[name] = _ramp(direction, start * total_steps, end * total_steps)
    return found


def _may_be_zero(name: str) -> bool:
    own = name.rpartition(".")[2]
    return own.endswith("weight") or own in LENGTHS


def _parse(text: str) -> tuple[str, str, float, float]:
    try:
        name, direction, first, last = text.split(":")
        start, end = float(first), float(last)
        if direction in ("rise", "fall") and 0 <= start < end <= 1:
            return name, direction, start, end
    except ValueError:
        pass
    raise ValueError(
        f"{KEY}={text!r} must be NAME:rise:START:END or NAME:fall:START:END, 0 <= START < END <= 1"
    )


def _ramp(direction: str, start: float, end: float) -> Ramp:
    def factor(step: Any) -> Any:
        done = jnp.clip((jnp.asarray(step, jnp.float32) - start) / (end - start), 0.0, 1.0)
        return done if direction == "rise" else 1.0 - done

    return factor
