"""TOKD, Fig. 3: one weight for both branches, over three orders of size."""

from collections.abc import Iterator
from typing import Any


def sweep() -> Iterator[dict[str, Any]]:
    """Yields one run for each weight."""
    for weight in (1.0, 10.0, 100.0, 200.0, 500.0, 1000.0):
        weights = {"method.rgb_weight": weight, "method.frequency_weight": weight}
        # a balance would make up for any weight
        yield {"config": "tokd", "train.balance": "none", **weights}
