"""CKD, Fig. 4: the number of negatives, at several volumes."""

from collections.abc import Iterator
from typing import Any

from kdjax.configs.sweeps import FEW


def sweep() -> Iterator[dict[str, Any]]:
    """Yields one run for each volume and number of negatives."""
    for subset in (1000, 100):
        for negatives in (4, 8, 16, 32, 64, 128):
            row = {"config": "ckd", "data.subset": subset, "method.negatives": negatives}
            yield {**row, **FEW}
