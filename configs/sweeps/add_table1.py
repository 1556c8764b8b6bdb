"""ADD, Table 1: ResNet-50 alone, by FitNet, AT, non-local attention and ADD, on c23 and on c40."""

from collections.abc import Iterator
from typing import Any

from kdjax.configs.sweeps import ALONE

METHODS: tuple[dict[str, Any], ...] = (
    {"config": "supervised", **ALONE},
    {"config": "baselines", "method.loss": "fitnet"},
    {"config": "baselines", "method.loss": "attention"},
    {"config": "baselines", "method.loss": "nonlocal"},
    {"config": "add"},
)


def sweep() -> Iterator[dict[str, Any]]:
    """Yields one run for each quality and method."""
    for quality in ("c23", "c40"):
        for method in METHODS:
            yield {**method, "student.qualities": (quality,)}
