"""R@k: whether an example's nearest neighbours in feature space are of its class."""

from collections.abc import Sequence

import numpy as np
from sklearn.neighbors import NearestNeighbors

from kdjax.checks import check_positive

NEIGHBOURS = (1, 5, 10)
"""The k of R@k that are computed."""


def recall_at(
    embeddings: np.ndarray,
    labels: np.ndarray,
    counts: Sequence[int] = NEIGHBOURS,
    *,
    groups: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> dict[int, float]:
    """Returns the share of examples that have one of their class among their k nearest, for each k.

    `R@k = 1/N sum_i I(label of x_i is among the labels of the k nearest neighbours of x_i)` (ADD,
    supplement, Eq. 12), by Euclidean distance and never the example itself. With `groups`, other
    members of an example's group are passed over too: among images in several qualities the nearest
    neighbour would else be the same image in another quality, of the right class by construction.

    Args:
      embeddings: float `[N, D]`.
      labels: int `[N]`.
      counts: the k; where fewer neighbours are there, all of them count.
      groups: int `[N]` or None.
      weights: float `[N]`, what an example counts in the mean; None for 1.

    Returns:
      `{k: share over the examples that have a neighbour}`; NaN if none has.
    """
    for count in counts:
        check_positive("counts", count)
    examples = len(labels)
    largest = 1 if groups is None else int(np.unique(groups, return_counts=True)[1].max())
    wanted = min(largest - 1 + max(counts), examples - 1)
    if wanted < 1:
        return dict.fromkeys(counts, float("nan"))
    search = NearestNeighbors(n_neighbors=wanted).fit(embeddings)
    neighbours = search.kneighbors(return_distance=False)
    alike = labels[neighbours] == labels[:, None]
    foreign = np.ones(alike.shape, bool)
    if groups is not None:
        foreign = groups[neighbours] != groups[:, None]
    rank = foreign.cumsum(axis=1)
    known = foreign.any(axis=1)
    mass = np.ones(examples) if weights is None else weights
    if not mass[known].sum() > 0:
        return dict.fromkeys(counts, float("nan"))
    return {
        count: float(
            np.average((alike & foreign & (rank <= count)).any(axis=1)[known], weights=mass[known])
        )
        for count in counts
    }


def recall_at_1(
    embeddings: np.ndarray, labels: np.ndarray, *, groups: np.ndarray | None = None
) -> float:
    """Returns R@1 of features `[N, D]` and labels `[N]`; see `recall_at`."""
    return recall_at(embeddings, labels, (1,), groups=groups)[1]
