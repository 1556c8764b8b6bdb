"""QAD, Fig. 3: weight of the collaborative loss and length of the perturbation."""

from collections.abc import Iterator
from itertools import product
from typing import Any


def sweep() -> Iterator[dict[str, Any]]:
    """Yields the grid; its first run has neither."""
    yield {"config": "qad", "method.collaboration": "none", "method.perturbation": "none"}
    for weight, gamma in product((0.002, 0.004, 0.008), (0.001, 0.002, 0.003, 0.004)):
        yield {"config": "qad", "method.collaborative_weight": weight, "method.gamma": gamma}
