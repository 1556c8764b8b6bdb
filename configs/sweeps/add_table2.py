"""ADD, Table 2: what each of its parts is good for, on c40."""

from collections.abc import Iterator
from typing import Any

from kdjax.configs.sweeps import ALONE


def sweep() -> Iterator[dict[str, Any]]:
    """Yields the table's rows."""
    yield {"config": "supervised", **ALONE}
    yield {"config": "add", "method.view_weight": 0.0}
    yield {"config": "add", "method.frequency_weight": 0.0, "method.view_eta": 0.0}
    yield {"config": "add", "method.frequency_weight": 0.0}
    yield {"config": "add"}
