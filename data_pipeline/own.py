"""A data set of the user's own: arrays in memory, or anything with a length and elements by position."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from kdjax.checks import UserError
from kdjax.data_pipeline.dataset import IDS, SPLITS, Read
from kdjax.types import FORGERIES, QUALITIES, Batch

SAMPLED = 64
"""Images of a split that tell it from another, beside all its labels."""


class Sources:
    """A data set made of a source for each split; see `data_pipeline.dataset.Dataset`.

    An element has the fields

        image      uint8, or floating point numbers in [0, 1], [S, S, 3]; or a dict of such by quality
        label      0 real, 1 fake
        forgery, video, identity, frame     integers, all optional: one video and person an example
        forgery_mask     uint8 [S, S, 1], optional

    and all elements have the same fields and sizes.
    """

    def __init__(
        self,
        splits: Mapping[str, Any] | None = None,
        *,
        name: str = "own",
        quality: str = QUALITIES[0],
        forgeries: Sequence[str] = FORGERIES,
        **more: Any,
    ) -> None:
        """Takes the sources, and looks at the first element of each.

        Args:
          splits: by split, `train`, `validation`, `test` (which may be alone, to be evaluated on): a Grain
            `MapDataset`, a list, or whatever else has `len` and elements by position; or a dict of arrays with one
            row an example.
          name: what messages and evaluations call the data set.
          quality: what images are called that come without a quality.
          forgeries: names of the kinds of forgery; the position is the id of an example, 0 real. A fake without one
            is `unknown`.
          **more: further splits, as `train=...`.

        Raises:
          UserError: for a split that is missing or empty, or an element that lacks a field or has a wrong one.
        """
        self.name = self.where = name
        self.forgeries = tuple(dict.fromkeys((*forgeries, "unknown")))
        unknown = self.forgeries.index("unknown")
        self._splits = {
            key: _rows(name, key, each) for key, each in {**(splits or {}), **more}.items()
        }
        # without training images it is there to be evaluated on
        trains = "train" in self._splits or "test" not in self._splits
        for split in ("train", "validation") if trains else ("test",):
            if not len(self._splits.get(split, ())):
                raise UserError(f"data set {name} has no {split} examples; give {split}=...")
        for split in self._splits:
            if split not in SPLITS:
                raise UserError(
                    f"data set {name} has a split {split!r}; known: {', '.join(SPLITS)}"
                )
        self.sizes = {split: len(source) for split, source in self._splits.items()}
        first = _element(name, 0, next(iter(self._splits.values()))[0])
        images = _by_quality(first, quality)
        self.qualities = tuple(images)
        form = next(iter(images.values()))
        self.image_size = int(np.shape(form)[0]) if np.ndim(form) else 0
        self.image_dtype = np.dtype(np.uint8 if np.asarray(form).dtype == np.uint8 else np.float32)
        self.has_masks = "forgery_mask" in first
        self.read: Read = _Reader(
            name, self.image_size, self.image_dtype, quality, self.qualities, unknown
        )
        for source in self._splits.values():
            self.read(0, source[0], self.qualities, with_mask=self.has_masks)

    def source(self, split: str) -> Any:
        """Returns the source of a split."""
        if split not in self._splits:
            raise UserError(
                f"{self.where} has no split {split!r}; known: {', '.join(self._splits)}"
            )
        return self._splits[split]

    def labels(self, split: str) -> dict[str, np.ndarray]:
        """Returns the ids of a whole split, int32 `[N]` each; every element is looked at once."""
        return self._labels[split]

    @cached_property
    def _labels(self) -> dict[str, dict[str, np.ndarray]]:
        found = {}
        unknown = self.forgeries.index("unknown")
        for split, source in self._splits.items():
            rows = [_ids(self.name, index, source[index], unknown) for index in range(len(source))]
            found[split] = {name: np.asarray([row[name] for row in rows], np.int32) for name in IDS}
        return found

    def identity(self) -> dict[str, Any]:
        """Returns name, sizes, and a hash of all labels and of some images of each split."""
        digest = hashlib.sha256()
        for split, source in sorted(self._splits.items()):
            for name in IDS:
                digest.update(self.labels(split)[name].astype("<i4").tobytes())
            places = np.unique(np.linspace(0, len(source) - 1, SAMPLED).round().astype(int))
            for index in places.tolist():
                example = self.read(index, source[index], self.qualities)
                for image in example["image"].values():
                    digest.update(image.tobytes())
        return {
            "name": self.name,
            "image_size": self.image_size,
            "sizes": dict(self.sizes),
            "content": digest.hexdigest(),
        }


class _Rows:
    """Arrays with a row an example, as a source."""

    def __init__(self, arrays: Mapping[str, Any], count: int) -> None:
        self._arrays, self._count = arrays, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict[str, Any]:
        return _map(lambda array: array[index], self._arrays)


def _map(function: Callable[[Any], Any], tree: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _map(function, value) if isinstance(value, Mapping) else function(value)
        for name, value in tree.items()
    }


def _rows(name: str, split: str, source: Any) -> Any:
    """Returns what has a length and elements: the source itself, or rows of arrays."""
    if not isinstance(source, Mapping):
        if not (hasattr(source, "__len__") and hasattr(source, "__getitem__")):
            raise UserError(
                f"{split} of data set {name} must have a length and elements by position, or be a dict of arrays; it "
                f"is a {type(source).__name__}"
            )
        return source
    arrays = _map(np.asarray, source)
    lengths: set[int] = set()
    _map(lambda array: lengths.add(len(array) if array.ndim else -1), arrays)
    if len(lengths) != 1 or -1 in lengths:
        raise UserError(
            f"the arrays of {split} of data set {name} must have a row an example each; they have "
            f"{', '.join(map(str, sorted(lengths)))} rows"
        )
    return _Rows(arrays, lengths.pop())


def _element(name: str, index: int, element: Any) -> Mapping[str, Any]:
    if not isinstance(element, Mapping):
        raise UserError(
            f"example {index} of data set {name} must be a dict with image and label; it is a {type(element).__name__}"
        )
    for field in ("image", "label"):
        if field not in element:
            known = ", ".join(map(str, element)) or "nothing"
            raise UserError(f"example {index} of data set {name} has no {field!r}; it has {known}")
    return element


def _by_quality(element: Mapping[str, Any], quality: str) -> Mapping[str, Any]:
    image = element["image"]
    return image if isinstance(image, Mapping) else {quality: image}


def _ids(name: str, index: int, element: Any, unknown: int) -> dict[str, int]:
    element = _element(name, index, element)
    label = _integer(name, index, "label", element["label"])
    if label not in (0, 1):
        raise UserError(f"example {index} of data set {name} has label {label}; 0 is real, 1 fake")
    usual = {
        "forgery": unknown if label else 0,
        "video": index,
        "identity": index,
        "frame": 0,
    }
    more = {
        field: _integer(name, index, field, element.get(field, value))
        for field, value in usual.items()
    }
    return {"label": label, **more}


def _integer(name: str, index: int, field: str, value: Any) -> int:
    array = np.asarray(value)
    whole = np.issubdtype(array.dtype, np.integer) or array.dtype == bool
    if array.shape != () or not whole:
        wanted = "0 for real or 1 for fake" if field == "label" else "an integer; number them"
        raise UserError(
            f"example {index} of data set {name}: {field} must be {wanted}; it is {value!r}"[:200]
        )
    return int(array)


class _Reader:
    """Checks an element and makes an example of it; a class, so that worker processes can be sent it."""

    def __init__(
        self,
        name: str,
        size: int,
        dtype: np.dtype,
        quality: str,
        qualities: tuple[str, ...],
        unknown: int,
    ) -> None:
        self._name, self._size, self._dtype, self._unknown = name, size, dtype, unknown
        self._quality, self._qualities = quality, qualities

    def __call__(
        self, index: int, element: Any, qualities: Sequence[str], *, with_mask: bool = False
    ) -> Batch:
        ids = _ids(self._name, index, element, self._unknown)
        example: Batch = {key: np.asarray(value, np.int32) for key, value in ids.items()}
        example["index"] = np.asarray(index, np.int32)
        example["mask"] = np.asarray(1, np.float32)
        images = _by_quality(element, self._quality)
        if tuple(images) != self._qualities:
            raise UserError(
                f"example {index} of data set {self._name} has the qualities {', '.join(images)}; the first has "
                f"{', '.join(self._qualities)}"
            )
        example["image"] = {name: self._image(index, images[name]) for name in qualities}
        if with_mask and "forgery_mask" in element:
            example["forgery_mask"] = np.asarray(element["forgery_mask"], np.uint8)
        return example

    def _image(self, index: int, image: Any) -> np.ndarray:
        array = np.asarray(image)
        what = f"example {index} of data set {self._name}: its image"
        if array.shape != (self._size, self._size, 3):
            raise UserError(
                f"{what} must be [S, S, 3], with the same S for all; it is {list(array.shape)}, the first one's side "
                f"is {self._size}"
            )
        if array.dtype == np.uint8 and self._dtype == np.uint8:
            return array
        if np.issubdtype(array.dtype, np.floating) and self._dtype == np.float32:
            if not (array.min() >= 0 and array.max() <= 1):
                raise UserError(
                    f"{what} has floating point numbers from {array.min():g} to {array.max():g}; they must lie in "
                    "[0, 1], or be uint8"
                )
            return array.astype(np.float32)
        raise UserError(
            f"{what} is {array.dtype}; images must be uint8, or floating point numbers in [0, 1], and all the same"
        )
