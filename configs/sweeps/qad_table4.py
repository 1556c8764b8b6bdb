"""QAD, Table 4: other collaborative losses, and other directions of the adversarial perturbation."""

from collections.abc import Iterator
from typing import Any


def sweep() -> Iterator[dict[str, Any]]:
    """Yields the table's rows: the baseline, four collaborative losses, two perturbations, QAD."""
    yield {"config": "qad", "method.collaboration": "none", "method.perturbation": "none"}
    for collaboration, weight in (
        ("soft_label", 1.0),
        ("pairwise", 0.004),
        ("center", 0.004),
        ("hsic", 0.004),
    ):
        yield {
            "config": "qad",
            "method.collaboration": collaboration,
            "method.collaborative_weight": weight,
            "method.perturbation": "none",
        }
    for perturbation in ("kl", "classification"):
        yield {
            "config": "qad",
            "method.collaboration": "none",
            "method.perturbation": perturbation,
        }
    yield {"config": "qad"}
