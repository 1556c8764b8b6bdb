"""What training, evaluation and reports ask of a data set: one that kdjax prepared, or one of the user's own."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from kdjax.types import Batch

IDS = ("label", "forgery", "video", "identity", "frame")
"""The integer fields of an example, beside its images."""

SPLITS = ("train", "validation", "test")


def forgery_name(forgeries: Sequence[str], kind: int) -> str:
    """Returns the name of a kind of forgery, `kind 9` where there is none."""
    return forgeries[kind] if 0 <= kind < len(forgeries) else f"kind {kind}"


class Read(Protocol):
    """Makes an example of a batch out of an element of a source; worker processes are sent it."""

    def __call__(
        self, index: int, element: Any, qualities: Sequence[str], *, with_mask: bool = False
    ) -> Batch:
        """Returns images by quality, int32 ids, the index and a mask of 1."""
        ...


class Dataset(Protocol):
    """A data set; `prepared.PreparedDataset` and `own.Sources` are.

    Attributes:
      where: what messages call it: its folder, or the user's name for it.
      name: kept with evaluations.
      image_size: side of the stored images in pixels.
      image_dtype: uint8, or float32 for images in [0, 1].
      qualities: names of the qualities that every example has.
      sizes: number of examples by split.
      has_masks: whether examples have a forgery mask.
      forgeries: names of the kinds of forgery; the position is the id of an example, 0 real.
      read: makes an example of an element of `source`.
    """

    @property
    def where(self) -> str: ...  # noqa: D102

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def image_size(self) -> int: ...  # noqa: D102

    @property
    def image_dtype(self) -> Any: ...  # noqa: D102

    @property
    def qualities(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def sizes(self) -> Mapping[str, int]: ...  # noqa: D102

    @property
    def has_masks(self) -> bool: ...  # noqa: D102

    @property
    def forgeries(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def read(self) -> Read: ...  # noqa: D102

    def identity(self) -> dict[str, Any]:
        """Returns what tells this data set from another, as JSON."""
        ...

    def source(self, split: str) -> Any:
        """Returns the random-access source of a split's elements."""
        ...

    def labels(self, split: str) -> dict[str, np.ndarray]:
        """Returns the ids of a whole split, int32 `[N]` for each of `IDS`, without decoding any image."""
        ...
