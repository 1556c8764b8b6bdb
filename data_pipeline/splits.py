"""Who goes into which split: as the data set's owners say, or drawn so that no person is in two."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from kdjax import checks
from kdjax.data_pipeline.builders.schema import SPLITS, assign_splits
from kdjax.data_pipeline.trees.item import Item
from kdjax.types import LABELS

DENSE = 0.2
"""Share of all people from which those that fakes tie together are too many for one split."""


class Splits(NamedTuple):
    """Where items go.

    Attributes:
      of: the split of each item, by name.
      left_out: names of fakes whose people came into different splits.
      shared: people who are in more than one split, as the owners' own splits have them.
    """

    of: dict[str, str]
    left_out: list[str]
    shared: int


def assign(
    items: Sequence[Item], *, seed: int, fractions: tuple[float, ...], made: Iterable[int] = ()
) -> Splits:
    """Returns the split of each item.

    What the owners have put into a split stays there. Where they name no validation, it is drawn from their training.
    All other items are drawn by people: those tied together by fakes come into one split, those with the same classes
    are split among themselves; where fakes tie nearly everybody together, each person is drawn alone, and the fakes
    between two splits are left out.

    Args:
      items: all of them.
      seed: decides the draw.
      fractions: shares of the splits, in the order of `SPLITS`.
      made: labels that are made of each real item.

    Raises:
      checks.UserError: people are too few for each split to have both classes.
    """
    fixed = {item.name: item.split for item in items if item.split}
    wanted = dict(zip(SPLITS, fractions, strict=True))
    if fixed and "validation" not in fixed.values():
        fixed = {name: split for name, split in fixed.items() if split == "test"}
        del wanted["test"]
    drawn = [item for item in items if item.name not in fixed]
    found = _draw(drawn, seed, wanted, made) if drawn else {}
    _check(items, {**fixed, **found}, made, owners=set(fixed.values()))
    left_out = [item.name for item in drawn if item.name not in found]
    return Splits({**fixed, **found}, left_out, _shared(items, {**fixed, **found}))


def _draw(
    items: Sequence[Item], seed: int, fractions: Mapping[str, float], made: Iterable[int]
) -> dict[str, str]:
    groups = _groups(items)
    classes: dict[str, frozenset[int]] = {}
    for item in items:
        labels = {item.label, *(made if item.label == 0 else ())}
        for group in {groups[person] for person in item.people}:
            classes[group] = classes.get(group, frozenset()) | labels
    splits: dict[str, str] = {}
    for kind in set(classes.values()):
        alike = [group for group, labels in classes.items() if labels == kind]
        splits |= assign_splits(
            alike, seed=seed, fractions=tuple(fractions.values()), splits=tuple(fractions)
        )
    where = {item.name: {splits[groups[person]] for person in item.people} for item in items}
    return {name: next(iter(found)) for name, found in where.items() if len(found) == 1}


def _groups(items: Sequence[Item]) -> dict[str, str]:
    """Returns who belongs together, by the first of each group in the order of names."""
    people = sorted({person for item in items for person in item.people})
    number = {person: place for place, person in enumerate(people)}
    ties = [
        (number[a], number[b]) for i in items for a, b in zip(i.people, i.people[1:], strict=False)
    ]
    rows, columns = np.array(ties, int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(ties)), (rows, columns)), shape=(len(people), len(people)))
    _, member = connected_components(graph, directed=False)
    if len(people) > len(SPLITS) and np.bincount(member).max() > max(2, DENSE * len(people)):
        return {person: person for person in people}
    first: dict[int, str] = {}
    return {person: first.setdefault(int(member[number[person]]), person) for person in people}


def _shared(items: Sequence[Item], splits: Mapping[str, str]) -> int:
    places: dict[str, set[str]] = {}
    for item in items:
        if item.name in splits:
            places.setdefault(item.identity, set()).add(splits[item.name])
    return sum(len(found) > 1 for found in places.values())


def _check(
    items: Sequence[Item], splits: Mapping[str, str], made: Iterable[int], *, owners: set[str]
) -> None:
    """Raises UserError for a split that lacks a class; where owners have made some, for one that has something."""
    present: dict[str, set[int]] = {split: set() for split in SPLITS}
    for item in items:
        if item.name in splits:
            labels = {item.label, *(made if item.label == 0 else ())}
            present[splits[item.name]] |= labels
    people = len({item.identity for item in items})
    for split, labels in present.items():
        for label in {0, 1} - labels:
            if not owners:
                raise checks.UserError(
                    f"{people} different people are too few: split {split!r} would have no "
                    f"{LABELS[label]} item; at least 3 of each class are needed"
                )
            if labels and split not in owners:
                raise checks.UserError(
                    f"split {split!r}, drawn from the owners' training, would have no {LABELS[label]} item: too few "
                    "people are left there, or fakes tie them; give another --seed, or --splits=drawn"
                )
            if labels:
                raise checks.UserError(
                    f"split {split!r} of the owners has no {LABELS[label]} item that can be used; --splits=drawn draws "
                    "splits anew"
                )
