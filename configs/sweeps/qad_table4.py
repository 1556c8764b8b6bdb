"""QAD, Table 4: other collaborative losses, and other directions of the adversarial perturbation."""

from collections.abc import Iterator
from typing import Any


def sweep() -> Iterator[dict[str, Any]]:
    """Yields the table's rows: the baseline, four collaborative losses, two perturbations, QAD."""
    yield {"config": "qad", "method.collaboration": "none", "method.perturbation": "none"}
    # the balance gives each the same share of the cross-entropy's gradient, whatever its weight
    for collaboration in ("soft_label", "pairwise", "center", "hsic"):
        yield {
            "config": "qad",
            "method.collaboration": collaboration,
            "method.perturbation": "none",
        }
    for perturbation in ("kl", "classification"):
        yield {
            "config": "qad",
            "method.collaboration": "none",
            "method.perturbation": perturbation,
        }
    yield {"config": "qad"}
