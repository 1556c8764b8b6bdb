"""Prepared data sets on disk: ArrayRecord and TFDS' description of it, opened and decoded record by record."""

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds

from kdjax.checks import UserError, first_line
from kdjax.data_pipeline.dataset import IDS, SPLITS, Read
from kdjax.data_pipeline.records import Elements, pixel_shapes
from kdjax.types import FORGERIES, QUALITIES, Batch

IDS_FILE = "ids.npz"


@dataclass(frozen=True)
class PreparedDataset:
    """A prepared data set on disk; see `data_pipeline.dataset.Dataset`.

    Attributes:
      path: the folder that holds the records.
      builder: TFDS' read-only builder.
      image_size: side of the stored images in pixels.
      sizes: number of records by split.
      qualities: names of the qualities of a record.
      has_masks: whether records have a forgery mask.
      forgeries: names of the kinds of forgery.
    """

    path: Path
    builder: Any
    image_size: int
    sizes: dict[str, int]
    qualities: tuple[str, ...] = QUALITIES
    has_masks: bool = True
    forgeries: tuple[str, ...] = FORGERIES

    @property
    def where(self) -> str:
        """Its folder."""
        return str(self.path)

    @property
    def image_dtype(self) -> Any:
        """uint8."""
        return np.dtype(np.uint8)

    @property
    def read(self) -> Read:
        """Decodes a record."""
        return decode_record

    @property
    def name(self) -> str:
        """Its full name, with configuration and version."""
        return self.builder.info.full_name

    def identity(self) -> dict[str, Any]:
        """Returns what tells this data set from another: name, sizes and a hash of its manifest.

        Where there is no manifest, of all ids.
        """
        manifest = self.path / "manifest.json"
        if manifest.exists():
            content = manifest.read_bytes()
        else:
            splits = {split: self.labels(split) for split in sorted(self.sizes)}
            content = b"".join(
                ids[name].astype("<i4").tobytes() for ids in splits.values() for name in IDS
            )
        return {
            "name": self.name,
            "image_size": self.image_size,
            "sizes": self.sizes,
            "manifest": hashlib.sha256(content).hexdigest(),
        }

    def source(self, split: str) -> Any:
        """Returns the random-access source of a split; its images stay encoded until they are needed."""
        if split not in self.sizes:
            raise UserError(f"{self.path} has no split {split!r}; known: {', '.join(self.sizes)}")
        shapes = pixel_shapes(self.builder.info.features, self.qualities)
        if shapes is not None:
            paths = [str(path) for path in self.builder.info.splits[split].filepaths]
            return Elements(paths, shapes, has_masks=self.has_masks)
        encoded = tfds.decode.SkipDecoding()
        images = self.builder.info.features["image"]
        coded = [q for q in self.qualities if isinstance(images[q], tfds.features.Image)]
        decoders = {"image": dict.fromkeys(coded, encoded)} if coded else {}
        if self.has_masks:
            decoders["forgery_mask"] = encoded
        return self.builder.as_data_source(split, decoders=decoders)

    def labels(self, split: str) -> dict[str, np.ndarray]:
        """Returns the ids of a whole split without decoding any image: int32 `[N]` each; none of one that is empty."""
        if split in SPLITS and not self.sizes.get(split):
            return {name: np.zeros(0, np.int32) for name in IDS}
        kept = _kept_ids(self.path, split)
        if kept is not None and {len(ids) for ids in kept.values()} == {self.sizes.get(split)}:
            return kept
        source = self.source(split)
        rows = [source[index] for index in range(len(source))]
        return {name: np.asarray([row[name] for row in rows], np.int32) for name in IDS}


def keep_ids(folder: Path) -> None:
    """Writes the ids of a prepared data set into a file of their own: all its records need not be read for them."""
    dataset = open_dataset(folder)
    found = {
        f"{split}/{name}": ids
        for split in dataset.sizes
        for name, ids in dataset.labels(split).items()
    }
    np.savez(folder / IDS_FILE, allow_pickle=False, **found)


def _kept_ids(folder: Path, split: str) -> dict[str, np.ndarray] | None:
    """Returns what `keep_ids` wrote of a split; None where there is nothing that can be used."""
    try:
        with open(folder / IDS_FILE, "rb") as file, np.load(file, allow_pickle=False) as kept:
            return {name: kept[f"{split}/{name}"].astype(np.int32) for name in IDS}
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def open_dataset(path: str | Path) -> PreparedDataset:
    """Opens the prepared data set at `path`, or the only one below it.

    Raises:
      UserError: when there is none, more than one, or it cannot be read.
    """
    folder = Path(path).expanduser()
    if not str(path):
        raise UserError("data.path is empty; give --config.data.path=FOLDER of a prepared data set")
    if not folder.is_dir():
        seen_from = "" if folder.is_absolute() else f", seen from {Path.cwd()}"
        raise UserError(
            f"no data set at {folder}{seen_from}; make one with `kdjax prepare --output={folder}`"
        )
    found = sorted(
        {info.parent for info in folder.rglob("dataset_info.json")}
        - {info.parent for info in folder.rglob("*incomplete*/**/dataset_info.json")}
    )
    if len(found) != 1:
        listed = ", ".join(str(place.relative_to(folder)) for place in found) or "none"
        raise UserError(f"{folder} must hold one prepared data set; found: {listed}")
    try:
        builder = tfds.builder_from_directory(found[0])
        features = builder.info.features
        sizes = {name: split.num_examples for name, split in builder.info.splits.items()}
        qualities, image_size = _image_features(features)
        forgeries = tuple(getattr(features["forgery"], "names", FORGERIES))
    except (KeyError, ValueError, OSError, AttributeError, TypeError) as error:
        raise UserError(f"{found[0]} is not a data set of kdjax: {first_line(error)}") from error
    masks = "forgery_mask" in features
    return PreparedDataset(found[0], builder, image_size, sizes, qualities, masks, forgeries)


def _image_features(features: Any) -> tuple[tuple[str, ...], int]:
    """Returns names of the qualities and the side of the images; ValueError where fields are missing or others."""
    for name in (*IDS, "image"):
        if name not in features:
            raise ValueError(f"it has no field {name!r}; it has {', '.join(features)}")
    images = features["image"]
    if not (hasattr(images, "items") and len(images)):
        raise ValueError("its field 'image' holds no images by quality")
    shapes = {quality: tuple(image.shape) for quality, image in images.items()}
    side = next(iter(shapes.values()))[0]
    if set(shapes.values()) != {(side, side, 3)} or not side:
        shown = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"its images must be RGB squares of one size; they are {shown}")
    known = [quality for quality in QUALITIES if quality in shapes]
    return (*known, *(quality for quality in shapes if quality not in known)), side


def decode_image(encoded: bytes | np.ndarray, channels: int = 3) -> np.ndarray:
    """Returns the uint8 pixels of PNG, JPEG or WebP, RGB `[H, W, 3]` or grey `[H, W, 1]`; pixels are what they are."""
    if isinstance(encoded, np.ndarray) and encoded.ndim == 3:
        return encoded
    flag = cv2.IMREAD_COLOR if channels == 3 else cv2.IMREAD_GRAYSCALE
    pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), flag)
    if pixels is None:
        raise ValueError("an image cannot be decoded")
    return pixels[..., ::-1].copy() if channels == 3 else pixels[..., None]


def decode_record(
    index: int, element: Any, qualities: Sequence[str], *, with_mask: bool = False
) -> Batch:
    """Returns one example of a batch: decoded images, int32 ids, its index and a mask of 1.

    Raises:
      UserError: naming the record whose label or image cannot be used.
    """
    example: Batch = {name: np.asarray(element[name], np.int32) for name in IDS}
    if example["label"] not in (0, 1):
        raise UserError(f"record {index} has label {example['label']}; 0 is real, 1 fake")
    example["index"] = np.asarray(index, np.int32)
    example["mask"] = np.asarray(1, np.float32)
    try:
        images = element["image"]
        example["image"] = {quality: decode_image(images[quality]) for quality in qualities}
        if with_mask:
            example["forgery_mask"] = decode_image(element["forgery_mask"], 1)
    except ValueError as error:
        raise UserError(f"record {index}: {error}; prepare the data set again") from error
    return example
