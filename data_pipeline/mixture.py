"""Several data sets as one: their examples one after the other, their ids kept apart."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from kdjax.checks import UserError
from kdjax.data_pipeline.dataset import IDS, SPLITS, Dataset, Read
from kdjax.types import Batch

APART = ("video", "identity")
"""Ids that no two data sets share."""


class Mixture:
    """A `Dataset` of the examples of several; see `dataset.Dataset` for its attributes.

    It has the qualities that all of them have, and kinds of forgery by their names. Nobody is on two of them, as far as
    is known.
    """

    def __init__(self, datasets: Sequence[Dataset]) -> None:
        """Takes the data sets.

        Raises:
          UserError: naming two that do not go together.
        """
        self.datasets = tuple(datasets)
        first = self.datasets[0]
        for other in self.datasets[1:]:
            for what in ("image_size", "image_dtype"):
                if getattr(other, what) != getattr(first, what):
                    raise UserError(
                        f"{other.where} has {what}={getattr(other, what)}, {first.where} {getattr(first, what)}; "
                        "prepare them alike"
                    )
        self.where = " + ".join(each.where for each in self.datasets)
        self.name = " + ".join(each.name for each in self.datasets)
        self.image_size, self.image_dtype = first.image_size, first.image_dtype
        self.qualities = tuple(
            name for name in first.qualities if all(name in d.qualities for d in self.datasets)
        )
        if not self.qualities:
            listed = "; ".join(f"{d.where}: {', '.join(d.qualities)}" for d in self.datasets)
            raise UserError(f"no quality is in all data sets: {listed}")
        self.has_masks = all(each.has_masks for each in self.datasets)
        names = dict.fromkeys(name for each in self.datasets for name in each.forgeries)
        self.forgeries = tuple(names)
        self.sizes: Mapping[str, int] = {
            split: sum(each.sizes.get(split, 0) for each in self.datasets)
            for split in SPLITS
            if any(each.sizes.get(split) for each in self.datasets)
        }

    @property
    def read(self) -> Read:
        """Reads an element by the data set that it came from."""
        kinds = [np.array([self.forgeries.index(n) for n in d.forgeries]) for d in self.datasets]
        return _Reader([each.read for each in self.datasets], kinds, self._offsets)

    def identity(self) -> dict[str, Any]:
        """Returns what tells this mixture from another."""
        return {"name": self.name, "parts": [each.identity() for each in self.datasets]}

    def source(self, split: str) -> Any:
        """Returns the sources of a split, one after the other: `(number of the data set, place in it, element)`."""
        if split not in self.sizes:
            raise UserError(f"{self.where} has no split {split!r}; known: {', '.join(self.sizes)}")
        return _Joined(
            [(k, d.source(split)) for k, d in enumerate(self.datasets) if d.sizes.get(split)]
        )

    def labels(self, split: str) -> dict[str, np.ndarray]:
        """Returns the ids of a whole split, int32 `[N]` each."""
        found: dict[str, list[np.ndarray]] = {name: [] for name in IDS}
        for number, each in enumerate(self.datasets):
            if not each.sizes.get(split):
                continue
            ids = each.labels(split)
            kinds = np.array([self.forgeries.index(name) for name in each.forgeries])
            for name in IDS:
                values = kinds[ids[name]] if name == "forgery" else ids[name]
                found[name].append(values + self._offsets[number].get(name, 0))
        return {name: np.concatenate(values).astype(np.int32) for name, values in found.items()}

    def parts(self, split: str) -> np.ndarray:
        """Returns the number of each example's data set, int `[N]`."""
        return np.repeat(
            np.arange(len(self.datasets)), [d.sizes.get(split, 0) for d in self.datasets]
        )

    @cached_property
    def _offsets(self) -> list[dict[str, int]]:
        """What is added to the ids of each data set."""
        offsets = [dict.fromkeys(APART, 0)]
        for each in self.datasets[:-1]:
            ids = [each.labels(split) for split, size in each.sizes.items() if size]
            offsets.append(
                {
                    name: offsets[-1][name] + 1 + max(int(i[name].max()) for i in ids)
                    for name in APART
                }
            )
        return offsets


class _Joined:
    """Sources one after the other."""

    def __init__(self, sources: Sequence[tuple[int, Any]]) -> None:
        self._sources = sources
        self._starts = np.cumsum([0, *(len(source) for _, source in sources)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> tuple[int, int, Any]:
        place = int(np.searchsorted(self._starts, index, side="right")) - 1
        number, source = self._sources[place]
        own = int(index - self._starts[place])
        return number, own, source[own]


class _Reader:
    """Makes an example; a class, so that worker processes can be sent it."""

    def __init__(
        self, reads: Sequence[Read], kinds: Sequence[np.ndarray], offsets: Sequence[dict[str, int]]
    ) -> None:
        self._reads, self._kinds, self._offsets = reads, kinds, offsets

    def __call__(
        self, index: int, element: Any, qualities: Sequence[str], *, with_mask: bool = False
    ) -> Batch:
        number, own, inner = element
        example = self._reads[number](own, inner, qualities, with_mask=with_mask)
        example["index"] = np.asarray(index, np.int32)
        example["forgery"] = np.asarray(self._kinds[number][int(example["forgery"])], np.int32)
        for name, offset in self._offsets[number].items():
            example[name] = np.asarray(example[name] + offset, np.int32)
        return example
