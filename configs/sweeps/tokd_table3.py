"""TOKD, Table 3: other distillation methods from the RGB branch of a dual-branch teacher, and from both."""

from collections.abc import Iterator
from typing import Any

from kdjax.configs.sweeps import ALONE

SETTINGS = {
    "data.batch_size": 64,
    "optimizer.learning_rate": 1e-4,
    "optimizer.schedule": "step",
    "train.epochs": 15.0,
}

LOSSES = ("attention", "pkt", "vid", "similarity", "fitnet")


def sweep() -> Iterator[dict[str, Any]]:
    """Yields the student alone, TOKD from one branch and from both, then each other loss likewise."""
    yield {"config": "supervised", **ALONE}
    yield {"config": "tokd", "method.frequency_weight": 0.0, "method.rotation": "none"}
    yield {"config": "tokd"}
    for loss in LOSSES:
        row = {"config": "baselines", "method.loss": loss}
        yield {**row, "method.features": ("stage4",), "method.teacher_features": ("rgb",)}
        yield {
            **row,
            "method.features": ("stage4", "stage4"),
            "method.teacher_features": ("rgb", "frequency"),
        }
