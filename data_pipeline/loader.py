"""Data sets to batches: Grain shuffles, slices, decodes and batches their records."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grain
import jax
import numpy as np
from absl import flags

from kdjax.checks import UserError
from kdjax.data_pipeline.dataset import Dataset, Read
from kdjax.data_pipeline.sampling import Group
from kdjax.types import Batch


@dataclass(frozen=True)
class _ReadBatch(grain.transforms.Map):
    """Reads a batch by positions in its split; a class, so that worker processes can be sent it.

    Grain shuffles and batches positions. Records are then read one after the other, each into its place in the batch
    while it is in the processor's cache: stacked afterwards, raw pixels take half as long again
    (`benchmarks/reading.py`).
    """

    source: Any
    read: Read
    qualities: tuple[str, ...]

    def map(self, element: np.ndarray) -> Batch:
        form: Any = None
        places: list[np.ndarray] = []
        for row, position in enumerate(element.tolist()):
            example = self.read(position, self.source[position], self.qualities)
            leaves, found = jax.tree.flatten(example)
            if form is None:
                form = found
                places = [
                    np.empty((len(element), *np.shape(x)), np.asarray(x).dtype) for x in leaves
                ]
            if found != form or any(
                np.shape(x) != place.shape[1:] or np.asarray(x).dtype != place.dtype
                for x, place in zip(leaves, places, strict=True)
            ):
                raise ValueError(
                    f"example {position} has other fields, shapes or dtypes than example {int(element[0])}"
                )
            for x, place in zip(leaves, places, strict=True):
                place[row] = x
        return jax.tree.unflatten(form, places)


def training_batches(
    dataset: Dataset,
    qualities: Sequence[str],
    *,
    batch_size: int,
    seed: int,
    split: str = "train",
    indices: Sequence[int] | np.ndarray | None = None,
    groups: Sequence[Group] | None = None,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 4,
    read_ahead: int = 32,
    workers: int = 0,
    start: int = 0,
) -> Any:
    """Returns an endless Grain iterator of shuffled batches.

    One global shuffle an epoch comes before the batches, of which each process has its part, in order: any number of
    processes sees the same global batches. An epoch's last, incomplete batch is left out. Which batch is the Nth is
    decided by data, seed and batch size alone: a position is a number of batches, whoever reads them.

    Args:
      dataset: a prepared data set.
      qualities: the qualities to decode.
      batch_size: examples a step over all processes.
      seed: seed of the shuffle.
      split: the split to read.
      indices: the examples of the split to use, as `subsets.choose_subset` gives them; None for all. A batch's
        `index` is the place in the whole split all the same.
      groups: examples by how often they are drawn, as `sampling.make_groups` gives them, instead of each once an
        epoch; every group is shuffled and gone through again and again, and an epoch is as long as it was.
      process_index: this process.
      process_count: how many processes share the batch.
      threads: reading threads a process.
      read_ahead: elements read ahead a thread.
      workers: worker processes; 0 reads in threads of this process.
      start: the batch to begin with: the step that a run goes on from.

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
    if groups is None:
        used = np.arange(size) if indices is None else np.asarray(indices)
        positions = grain.MapDataset.source(used).seed(seed).shuffle()
        positions = positions[: per_epoch * batch_size].repeat()
    else:
        positions = _mixed(groups, seed)
    batches = positions.batch(batch_size, drop_remainder=True)[start:]
    if process_count > 1:
        size = batch_size // process_count
        own = slice(process_index * size, (process_index + 1) * size)
        batches = batches.map(lambda batch: batch[own])
    batches = batches.map(_ReadBatch(dataset.source(split), dataset.read, tuple(qualities)))
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


def _mixed(groups: Sequence[Group], seed: int) -> Any:
    """Returns endless positions in which every group has its share."""
    parts = [
        grain.MapDataset.source(group.positions).seed(seed + number).shuffle().repeat()
        for number, group in enumerate(groups)
    ]
    return grain.MapDataset.mix(parts, [group.share for group in groups])


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
    indices: np.ndarray | None = None,
    limit: int = 0,
    threads: int = 4,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[Batch]:
    """Yields every example of a split once, in order; the last batch is padded and masked.

    Args:
      dataset: a prepared data set.
      qualities: the qualities to decode.
      split: the split to read.
      batch_size: examples a batch.
      indices: the examples of the split to use; None for all.
      limit: at most this many of them, spread evenly; 0 for all.
      threads: reading threads.
      process_index: this process.
      process_count: how many processes share the examples: each has every Nth.
    """
    source = dataset.source(split)
    chosen = np.arange(len(source)) if indices is None else np.asarray(indices)
    if limit and limit < len(chosen):
        chosen = chosen[np.linspace(0, len(chosen) - 1, limit).round().astype(int)]
    chosen = chosen[process_index::process_count]
    read = _ReadBatch(source, dataset.read, tuple(qualities))
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(threads, 4))
    positions = grain.MapDataset.source(chosen).batch(batch_size)
    for batch in positions.map(read).to_iter_dataset(options):
        yield pad_batch(batch, batch_size)


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
