"""QAD, Fig. 3: weight of the collaborative loss and length of the perturbation."""

from collections.abc import Iterator
from itertools import product
from typing import Any


def sweep() -> Iterator[dict[str, Any]]:
    """Yields the grid; its first run has neither."""
    yield {"config": "qad", "method.collaboration": "none", "method.perturbation": "none"}
    for weight, gamma in product((0.002, 0.004, 0.008), (0.001, 0.002, 0.003, 0.004)):
        # a balance would make up for any weight
        weights = {"train.balance": "none", "method.collaborative_weight": weight}
        yield {"config": "qad", **weights, "method.gamma": gamma}
