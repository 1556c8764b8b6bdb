"""ArrayRecord to batches: TFDS finds the records, Grain shuffles, slices, decodes and batches them."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import grain
import numpy as np
import tensorflow_datasets as tfds
from absl import flags

from kdjax.checks import UserError
from kdjax.data_pipeline.dataset import IDS, Dataset, Read
from kdjax.types import QUALITIES, Batch


@dataclass(frozen=True)
class PreparedDataset:
    """A prepared data set on disk; see `data_pipeline.dataset.Dataset`.

    Attributes:
      path: the folder that holds the records.
      builder: TFDS' read-only builder.
      image_size: side of the stored images in pixels.
      sizes: number of records by split.
    """

    path: Path
    builder: Any
    image_size: int
    sizes: dict[str, int]
    qualities: tuple[str, ...] = QUALITIES
    has_masks: bool = True

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
        """Returns what tells this data set from another: name, sizes and a hash of its manifest."""
        manifest = self.path / "manifest.json"
        content = manifest.read_bytes() if manifest.exists() else b""
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
        encoded = tfds.decode.SkipDecoding()
        decoders = {"image": dict.fromkeys(self.qualities, encoded)}
        if self.has_masks:
            decoders["forgery_mask"] = encoded
        return self.builder.as_data_source(split, decoders=decoders)

    def labels(self, split: str) -> dict[str, np.ndarray]:
        """Returns the ids of a whole split without decoding any image: int32 `[N]` each."""
        source = self.source(split)
        rows = [source[index] for index in range(len(source))]
        return {name: np.asarray([row[name] for row in rows], np.int32) for name in IDS}


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
    except (KeyError, ValueError, OSError, AttributeError, TypeError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{found[0]} is not a data set of kdjax: {line}") from error
    return PreparedDataset(
        found[0], builder, image_size, sizes, qualities, has_masks="forgery_mask" in features
    )


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


def decode_image(encoded: bytes, channels: int = 3) -> np.ndarray:
    """Returns the uint8 pixels of PNG bytes: RGB `[H, W, 3]`, or grey `[H, W, 1]`."""
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


@dataclass(frozen=True)
class _DecodeRecord(grain.transforms.MapWithIndex):
    """Decodes a record when its batch is read; a class, so that worker processes can be sent it."""

    read: Read
    qualities: tuple[str, ...]
    count: int

    def map_with_index(self, index: int, element: Any) -> Batch:
        # Grain counts on from epoch to epoch
        return self.read(index % self.count, element, self.qualities)


def training_batches(
    dataset: Dataset,
    qualities: Sequence[str],
    *,
    batch_size: int,
    seed: int,
    split: str = "train",
    indices: Sequence[int] | np.ndarray | None = None,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 4,
    read_ahead: int = 32,
    workers: int = 0,
) -> Any:
    """Returns an endless Grain iterator of shuffled batches, whose position can be checkpointed.

    One global shuffle an epoch comes before the slice by process, so that any number of processes sees the same
    global batches; an epoch's last, incomplete batch is left out.

    Args:
      dataset: a prepared data set.
      qualities: the qualities to decode.
      batch_size: examples a step over all processes.
      seed: seed of the shuffle.
      split: the split to read.
      indices: the examples of the split to use, as `subsets.choose_subset` gives them; None for all. A batch's
        `index` is the place in the whole split all the same.
      process_index: this process.
      process_count: how many processes share the batch.
      threads: reading threads a process.
      read_ahead: elements read ahead a thread.
      workers: worker processes; 0 reads in threads of this process.

    Raises:
      UserError: when the split, or what `indices` take of it, is smaller than one batch.
      ValueError: when an index lies outside the split.
    """
    size = _count_examples(dataset, split, indices)
    per_epoch = steps_per_epoch(dataset, batch_size, split, indices=indices)
    if not per_epoch:
        part = f"split {split!r}" if indices is None else f"data.subset of split {split!r}"
        raise UserError(
            f"data.batch_size={batch_size} is larger than the {size} examples of {part}"
        )
    examples = grain.MapDataset.source(dataset.source(split))
    examples = examples.map_with_index(_DecodeRecord(dataset.read, tuple(qualities), len(examples)))
    if indices is not None:
        examples = grain.MapDataset.source(_Chosen(examples, np.asarray(indices).tolist()))
    examples = examples.seed(seed).shuffle()
    examples = examples[: per_epoch * batch_size].repeat()
    examples = examples[process_index::process_count]
    batches = examples.batch(batch_size // process_count, drop_remainder=True)
    options = grain.ReadOptions(
        num_threads=threads, prefetch_buffer_size=max(threads, read_ahead // batch_size or 1, 2)
    )
    reader = batches.to_iter_dataset(options)
    if workers:
        # Grain reads absl's flags, which nobody but absl's own programs parses
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()
        reader = reader.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    return iter(reader)


def steps_per_epoch(
    dataset: Dataset,
    batch_size: int,
    split: str = "train",
    *,
    indices: Sequence[int] | np.ndarray | None = None,
) -> int:
    """Returns the number of whole batches in a split, or in the examples of it that `indices` take."""
    return _count_examples(dataset, split, indices) // batch_size


def _count_examples(
    dataset: Dataset, split: str, indices: Sequence[int] | np.ndarray | None
) -> int:
    size = dataset.sizes.get(split, 0)
    if indices is None:
        return size
    positions = np.asarray(indices)
    if positions.size and not 0 <= positions.min() <= positions.max() < size:
        raise ValueError(
            f"indices must lie in 0..{size - 1}, got {positions.min()}..{positions.max()}"
        )
    return positions.size


def evaluation_batches(
    dataset: Dataset,
    qualities: Sequence[str],
    *,
    split: str,
    batch_size: int,
    limit: int = 0,
    threads: int = 4,
) -> Iterator[Batch]:
    """Yields every example of a split once, in order; the last batch is padded and masked.

    Args:
      dataset: a prepared data set.
      qualities: the qualities to decode.
      split: the split to read.
      batch_size: examples a batch.
      limit: at most this many examples, spread evenly over the split; 0 for all.
      threads: reading threads.
    """
    examples = grain.MapDataset.source(dataset.source(split))
    examples = examples.map_with_index(_DecodeRecord(dataset.read, tuple(qualities), len(examples)))
    if limit and limit < len(examples):
        chosen = np.linspace(0, len(examples) - 1, limit).round().astype(int)
        examples = grain.MapDataset.source(_Chosen(examples, chosen.tolist()))
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(threads, 4))
    reader = examples.batch(batch_size).to_iter_dataset(options)
    for batch in reader:
        yield pad_batch(batch, batch_size)


class _Chosen:
    """Some of a data set's elements, by position."""

    def __init__(self, elements: Any, positions: Sequence[int]) -> None:
        self._elements, self._positions = elements, positions

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, index: int) -> Any:
        return self._elements[self._positions[index]]


def pad_batch(batch: Batch, batch_size: int) -> Batch:
    """Returns the batch with rows of zeros (mask 0) up to `batch_size`."""
    missing = batch_size - len(batch["label"])
    if not missing:
        return batch

    def pad(value: np.ndarray) -> np.ndarray:
        return np.concatenate([value, np.zeros((missing, *value.shape[1:]), value.dtype)])

    images = {quality: pad(image) for quality, image in batch["image"].items()}
    return {**{k: pad(v) for k, v in batch.items() if k != "image"}, "image": images}


def read_examples(dataset: Dataset, split: str, indices: Sequence[int]) -> list[Batch]:
    """Returns single examples in all qualities with their forgery masks, for people to look at."""
    source = dataset.source(split)
    return [
        dataset.read(index, source[index], dataset.qualities, with_mask=dataset.has_masks)
        for index in indices
    ]
