"""CKD, Tables I and II: students trained alone, by KD, by RKD and by CKD on fewer and fewer images.

The table's datasets are the `data.path`, its columns the networks of `--config` and of the teacher.
"""

from collections.abc import Iterator
from typing import Any

from kdjax.configs.sweeps import ALONE, FEW

SETTINGS = {"data.batch_size": 24}

METHODS: dict[str, dict[str, Any]] = {
    "supervised": ALONE,
    "kd": {},
    "baselines": {"method.loss": "rkd"},
    "ckd": {},
}


def sweep() -> Iterator[dict[str, Any]]:
    """Yields one run for each volume and method; with 10 images a batch is all of them."""
    for subset in (0, 1000, 100, 10):
        for method, own in METHODS.items():
            row: dict[str, Any] = {"config": method, "data.subset": subset}
            row |= FEW if subset else {}
            if subset == 10:
                row["data.batch_size"] = 10
                row |= {"method.negatives": 10} if method == "ckd" else {}
            yield {**row, **own}
