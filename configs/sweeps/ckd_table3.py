"""CKD, Table III: ensembles. Run it with one teacher, then with several, in workdirs of their own."""

from collections.abc import Iterator
from typing import Any

from kdjax.configs.sweeps import FEW


def sweep() -> Iterator[dict[str, Any]]:
    """Yields the two volumes of the table."""
    for subset in (1000, 100):
        yield {"config": "ckd", "data.subset": subset, **FEW}
