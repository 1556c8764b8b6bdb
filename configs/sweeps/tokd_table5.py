"""TOKD, Table 5: the size of the rotations, as entries of the flattened map."""

from collections.abc import Iterator
from typing import Any


def sweep() -> Iterator[dict[str, Any]]:
    """Yields one run for each size."""
    for size in (128, 256, 512, 1024, 2048):
        yield {"config": "tokd", "method.rotation": "flat", "method.rotation_size": size}
