"""ADD, Table 3: other backbones, alone and with ADD from a ResNet-50, on c23 and c40."""

from collections.abc import Iterator
from typing import Any

from kdjax.configs.sweeps import ALONE

NETWORKS = ("resnet18", "resnet34")


def sweep() -> Iterator[dict[str, Any]]:
    """Yields one run for each backbone, quality and method; an adapter fits the teacher's widths."""
    for network in NETWORKS:
        for quality in ("c23", "c40"):
            row = {"student.qualities": (quality,)}
            yield {"config": f"supervised:{network}", **row, **ALONE}
            yield {"config": f"add:{network}", **row, "method.adapter": "conv1x1"}
