"""QAD, Tables 1 and 2: one network for all qualities, by the ways that the paper trains them.

Other detectors of the table are other networks of `--config`.
"""

from collections.abc import Iterator
from typing import Any

SETTINGS = {"data.batch_size": 64, "optimizer.learning_rate": 2e-3}

ALL = ("raw", "c23", "c40")


def sweep() -> Iterator[dict[str, Any]]:
    """Yields the mixture, the middle quality alone, Fang and Lin's collaborative learning, and QAD."""
    yield {"config": "supervised", "student.qualities": ALL}
    yield {"config": "supervised", "student.qualities": ("c23",)}
    yield {"config": "baselines", "method.loss": "collaborative", "student.qualities": ALL}
    yield {"config": "qad"}
