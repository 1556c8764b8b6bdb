"""QAD, Table 5: other backbones, with and without it."""

from collections.abc import Iterator
from typing import Any

SETTINGS = {"data.batch_size": 64, "optimizer.learning_rate": 2e-3}

NETWORKS = ("resnet18", "resnet34")


def sweep() -> Iterator[dict[str, Any]]:
    """Yields each backbone on the mixture of qualities, then with QAD."""
    for network in NETWORKS:
        yield {"config": f"supervised:{network}", "student.qualities": ("raw", "c23", "c40")}
        yield {"config": f"qad:{network}"}
