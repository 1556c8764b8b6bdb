"""Few-sample subsets of a training split: half of each class, from as many people as there are."""

import heapq
from collections.abc import Iterator
from typing import Any

import numpy as np

from kdjax.checks import UserError
from kdjax.types import LABELS

Queues = dict[int, list[int]]
"""The examples that are left, by identity."""


def choose_subset(labels: Any, identities: Any, *, size: int, seed: int) -> np.ndarray:
    """Returns the positions of a class-balanced subset, decided by the arguments alone.

    Real and fake examples are taken in turn, a real one first, so that of an odd size one more is
    real. Each is of an identity that its class has used least, among these of one that both have
    used least, and then of one that the other class lacks: any size covers as many identities as
    it can, in each class and together. What remains open is drawn at random. Subsets of one seed
    are nested: a smaller one lies in every larger one.

    Args:
      labels: integer `[N]`, 0 (real) or 1 (fake).
      identities: integer `[N]`, who is seen.
      size: `data.subset`, the number of examples; 0 for all, balanced or not.
      seed: `data.subset_seed`.

    Returns:
      int64 `[size]`, ascending.

    Raises:
      UserError: naming the key, when a class is or would be absent, has fewer examples than its
        half, or a number is out of range.
    """
    labels, identities = np.asarray(labels), np.asarray(identities)
    if labels.ndim != 1 or labels.shape != identities.shape:
        raise ValueError(f"labels {labels.shape} and identities {identities.shape} must be [N]")
    if size < 0 or size == 1:
        raise UserError(f"data.subset={size} must be 0 (all) or at least 2, one of each class")
    if seed < 0:
        raise UserError(f"data.subset_seed={seed} must be at least 0")
    strange = sorted(set(labels.tolist()) - {0, 1})
    if strange:
        raise UserError(f"data.subset={size}: label {strange[0]} is neither 0 (real) nor 1 (fake)")
    for label, needed in enumerate((size - size // 2, size // 2)):
        found = int((labels == label).sum())
        if not found:
            raise UserError(f"data.subset={size}: there is no {LABELS[label]} training example")
        if found < needed:
            raise UserError(
                f"data.subset={size} takes {needed} {LABELS[label]} training examples, "
                f"there are {found}"
            )
    if not size:
        return np.arange(len(labels))
    order = _alternate(labels, identities, seed)
    return np.sort(np.fromiter(order, np.int64, count=size))


def _alternate(labels: np.ndarray, identities: np.ndarray, seed: int) -> Iterator[int]:
    """Yields positions, real and fake in turn, until one class has none left."""
    people = np.unique(identities).tolist()
    # Raw bits stay the same from version to version of NumPy, a Generator's methods may not.
    bits = np.random.PCG64(seed)
    shuffled = np.argsort(bits.random_raw(len(labels)), kind="stable")
    rank = dict(zip(people, bits.random_raw(len(people)).tolist(), strict=True))
    left: tuple[Queues, Queues] = ({}, {})
    for position in shuffled.tolist():
        left[labels[position]].setdefault(int(identities[position]), []).append(position)
    shared = left[0].keys() & left[1].keys()
    used: tuple[dict[int, int], ...] = tuple(dict.fromkeys(queues, 0) for queues in left)

    def key(label: int, person: int) -> tuple[int, int, bool, int, int]:
        own = used[label][person]
        both = own + used[1 - label].get(person, 0)
        return own, both, person in shared, rank[person], person

    heaps = [[key(label, person) for person in left[label]] for label in (0, 1)]
    for heap in heaps:
        heapq.heapify(heap)
    while True:
        for label in (0, 1):
            heap = heaps[label]
            # The other class may have used somebody since: keys only ever grow.
            while heap and heap[0] != key(label, heap[0][-1]):
                heapq.heapreplace(heap, key(label, heap[0][-1]))
            if not heap:
                return
            person = heap[0][-1]
            yield left[label][person].pop()
            used[label][person] += 1
            if left[label][person]:
                heapq.heapreplace(heap, key(label, person))
            else:
                heapq.heappop(heap)
