"""How often which training examples are drawn: evenly, by class, by kind of forgery, by data set."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kdjax.checks import UserError

BALANCES = ("none", "class", "forgery")


class Group(NamedTuple):
    """Examples that are drawn from together.

    Attributes:
      positions: int64 `[N]` in the split, ascending.
      share: of all draws; shares of all groups sum to 1.
    """

    positions: np.ndarray
    share: float


def make_groups(
    labels: np.ndarray,
    forgeries: np.ndarray,
    parts: np.ndarray,
    *,
    balance: str = "none",
    weights: Sequence[float] = (),
    indices: np.ndarray | None = None,
) -> list[Group] | None:
    """Returns the groups of a split's examples and their shares, None where all are drawn alike.

    Args:
      labels: int `[N]`, 0 real, 1 fake.
      forgeries: int `[N]`, kind of forgery.
      parts: int `[N]`, number of each example's data set.
      balance: `none`; `class`: real and fake alike; `forgery`: real as often as all fakes, and these alike by kind.
      weights: of each data set, by `parts`; empty: by their sizes.
      indices: the examples in use; None: all.

    Raises:
      UserError: for an unknown balance, weights that are not one a data set or not positive, or a data set without
        examples.
    """
    if balance not in BALANCES:
        raise UserError(f"data.balance={balance!r} must be one of: {', '.join(BALANCES)}")
    count = int(parts.max()) + 1 if len(parts) else 0
    if weights and (len(weights) != count or min(weights) <= 0 or not np.isfinite(weights).all()):
        raise UserError(
            f"data.weights={','.join(f'{each:g}' for each in weights)} must be {count} positive numbers, one a data "
            "set (data.path and data.more)"
        )
    if balance == "none" and not weights:
        return None
    used = np.arange(len(labels)) if indices is None else np.sort(indices)
    sizes = np.bincount(parts[used], minlength=count)
    if weights and not sizes.all():
        empty = int(np.argmin(sizes))
        raise UserError(
            f"data.weights gives data set {empty + 1} a weight; it has no training example in use"
        )
    shares = np.asarray(weights or sizes, float)
    groups: list[Group] = []
    for part, share in enumerate(shares / shares.sum()):
        own = used[parts[used] == part]
        if len(own):
            groups += [
                Group(own[rows], share * inner)
                for rows, inner in _within(labels[own], forgeries[own], balance)
            ]
    return groups


def _within(
    labels: np.ndarray, forgeries: np.ndarray, balance: str
) -> list[tuple[np.ndarray, float]]:
    """Returns the rows of each group of one data set, and their shares of it; a class alone has all."""
    if balance == "none":
        return [(np.arange(len(labels)), 1.0)]
    kinds = np.where(labels == 0, -1, forgeries if balance == "forgery" else 0)
    real = bool((labels == 0).any())
    fakes = np.unique(kinds[labels != 0])
    found = [(np.flatnonzero(kinds == -1), 0.5 if len(fakes) else 1.0)] if real else []
    each = (0.5 if real else 1.0) / max(len(fakes), 1)
    return found + [(np.flatnonzero((labels != 0) & (kinds == kind)), each) for kind in fakes]
