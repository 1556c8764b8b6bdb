"""TOKD, Table 6: which branches teach, with or without projectors and rotations.

Without projectors the student's last map must be as wide as the teacher's.
"""

from collections.abc import Iterator
from typing import Any

from kdjax.configs.sweeps import ALONE

SETTINGS = {
    "data.batch_size": 64,
    "optimizer.learning_rate": 1e-4,
    "optimizer.schedule": "step",
    "train.epochs": 15.0,
}

ROWS: tuple[dict[str, Any], ...] = (
    {"method.frequency_weight": 0.0, "method.rotation": "none"},
    {"method.rgb_weight": 0.0, "method.rotation": "none"},
    {"method.rotation": "none"},
    {"method.projectors": False},
    {},
)


def sweep() -> Iterator[dict[str, Any]]:
    """Yields the table's rows; the first is the student alone."""
    yield {"config": "supervised", **ALONE}
    for row in ROWS:
        yield {"config": "tokd", **row}
