"""QAD, Table 3: three networks that each know their quality, against one that knows none."""

from collections.abc import Iterator
from typing import Any

SETTINGS = {"data.batch_size": 64, "optimizer.learning_rate": 2e-3}


def sweep() -> Iterator[dict[str, Any]]:
    """Yields one run for each quality, then QAD."""
    for quality in ("raw", "c23", "c40"):
        yield {"config": "supervised", "student.qualities": (quality,)}
    yield {"config": "qad"}
