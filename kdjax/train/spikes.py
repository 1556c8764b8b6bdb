"""Spikes: a loss term that grows a hundredfold within a window of steps, found once it has happened."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kdjax.methods.part import TERM

WINDOW = 50
"""Steps within which a term must not grow so much; also how long a term that did is not named again."""

GROWTH = 100.0

SMALLEST = 0.01
"""Size below which a term counts as this large: what is so small may multiply without hiding the labels."""


class Watch(NamedTuple):
    """What is known of the terms' last steps; only for messages, saved beside the train state.

    Attributes:
      recent: by term, its `(step, size)` in the window where it is on, oldest first.
      named: by term, the step at which it was last named.
    """

    recent: Mapping[str, tuple[tuple[int, float], ...]] = {}
    named: Mapping[str, int] = {}


class Spike(NamedTuple):
    """A term that grew.

    Attributes:
      name: of the term.
      step: at which it was seen.
      before: its smallest size in the window before that step.
      size: its size there.
    """

    name: str
    step: int
    before: float
    size: float


def watch(
    state: Watch,
    step: int,
    terms: Mapping[str, float],
    *,
    window: int = WINDOW,
    growth: float = GROWTH,
    smallest: float = SMALLEST,
) -> tuple[Watch, list[Spike]]:
    """Returns what is known after one more step, and the terms that have just grown.

    A term has, when `|value| >= growth * max(smallest, least |value| of the window's steps before)`, or is not
    finite. Steps at which it is 0, being switched off, are left out: to be switched on is not to grow. Once named, a
    term is not named again for `window` steps.

    Args:
      state: what is known of the steps before; `Watch()` at first.
      step: the step.
      terms: the terms' values as they stand in the loss.
      window: in steps.
      growth: how many times larger.
      smallest: size that counts in place of a smaller one.
    """
    recent, named, found = dict(state.recent), dict(state.named), []
    for name, value in terms.items():
        size = abs(value)
        seen = tuple(pair for pair in recent.get(name, ()) if pair[0] >= step - window)
        before = min((old for _, old in seen), default=math.inf)
        grown = not math.isfinite(size) or size >= growth * max(smallest, before)
        if grown and step - named.get(name, step - window) >= window:
            found.append(Spike(name, step, before, size))
            named[name] = step
        is_on = math.isfinite(size) and size > 0
        recent[name] = (*seen, (step, size)) if is_on else seen
    return Watch(recent, named), found


def watch_rows(
    state: Watch, last: int, rows: Sequence[Mapping[str, float]]
) -> tuple[Watch, list[Spike]]:
    """Returns `watch` over the metrics of successive steps, the last of which is `last`."""
    spikes = []
    for step, row in enumerate(rows, last - len(rows) + 1):
        terms = {
            name.removeprefix(TERM): float(value)
            for name, value in row.items()
            if name.startswith(TERM)
        }
        state, found = watch(state, step, terms)
        spikes += found
    return state, spikes


def watch_to_json(state: Watch) -> dict[str, Any]:
    """Returns what is known as JSON."""
    recent = {name: [list(pair) for pair in pairs] for name, pairs in state.recent.items()}
    return {"recent": recent, "named": dict(state.named)}


def watch_from_json(saved: Mapping[str, Any]) -> Watch:
    """Returns what `watch_to_json` wrote; `Watch()` of nothing."""
    recent = {
        name: tuple((int(step), float(size)) for step, size in pairs)
        for name, pairs in saved.get("recent", {}).items()
    }
    return Watch(recent, dict(saved.get("named", {})))


def describe(spike: Spike) -> str:
    """Returns the line that tells a user of a spike."""
    grew = f"grew from {spike.before:.3g} to {spike.size:.3g} within {WINDOW} steps"
    if not math.isfinite(spike.size):
        grew = f"is {spike.size}"
    return (
        f"step {spike.step}: the loss term {spike.name} {grew}; a lower weight of it, train.balance, "
        "or a lower optimizer.learning_rate holds it"
    )
