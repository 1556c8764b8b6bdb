"""Records of TFDS, written and read where its own way does not do.

Written with their fields in one order, raw pixels uncompressed; read without a look at every field in Python.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import grain
import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from kdjax.data_pipeline.dataset import IDS


@contextlib.contextmanager
def records_written(*, compressed: bool) -> Iterator[None]:
    """Has TFDS write a record's fields in one order, which otherwise differs between processes.

    Args:
      compressed: whether ArrayRecord compresses them; of raw pixels, that takes most of the time of reading.
    """
    from tensorflow_datasets.core.example_serializer import ExampleSerializer
    from tensorflow_datasets.core.file_adapters import ArrayRecordFileAdapter

    def serialize(self: ExampleSerializer, example: dict[str, Any]) -> bytes:
        return self.get_tf_example(example).SerializeToString(deterministic=True)

    with contextlib.ExitStack() as changed:
        changed.enter_context(_set(ExampleSerializer, "serialize_example", serialize))
        if not compressed:
            changed.enter_context(_set(ArrayRecordFileAdapter, "write_examples", _write_plainly))
        yield


def _write_plainly(path: Any, examples: Any) -> None:
    """Writes `(key, bytes)` as TFDS does, but uncompressed."""
    from array_record.python import array_record_module

    writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1,uncompressed")
    for _, record in examples:
        writer.write(record)
    writer.close()


@contextlib.contextmanager
def _set(owner: type, name: str, function: Callable[..., Any]) -> Iterator[None]:
    original = owner.__dict__[name]
    setattr(owner, name, function)
    try:
        yield
    finally:
        setattr(owner, name, original)


class Elements:
    """The elements of a split as TFDS' own data source gives them, images and masks left encoded.

    They are equal, and take a third of the processor time (`benchmarks/reading.py`): that counts where pixels are raw.
    """

    def __init__(
        self, paths: Sequence[str], images: Mapping[str, tuple[int, ...]], *, has_masks: bool
    ) -> None:
        """Takes ArrayRecord files, and by quality the shape of raw pixels, `()` of encoded ones."""
        self._records = grain.sources.ArrayRecordDataSource(list(paths))
        self._images, self._has_masks = dict(images), has_masks

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        record = self._records[index]
        fields = tf_example_pb2.Example.FromString(record).features.feature
        element: dict[str, Any] = {name: fields[name].int64_list.value[0] for name in IDS}
        element["image"] = {}
        for quality, shape in self._images.items():
            stored = fields[f"image/{quality}"].bytes_list.value[0]
            pixels = np.frombuffer(stored, np.uint8).reshape(shape) if shape else stored
            element["image"][quality] = pixels
        if self._has_masks:
            element["forgery_mask"] = fields["forgery_mask"].bytes_list.value[0]
        return element


def pixel_shapes(features: Any, qualities: Sequence[str]) -> dict[str, tuple[int, ...]] | None:
    """Returns what `Elements` takes of features; None where one is stored in another way than ours."""
    if any(features[name].shape != () for name in IDS):
        return None
    shapes: dict[str, tuple[int, ...]] = {}
    for quality in qualities:
        feature = features["image"][quality]
        if isinstance(feature, tfds.features.Image):
            shapes[quality] = ()
            continue
        if feature.np_dtype != np.uint8:
            return None
        empty = np.zeros(feature.shape, np.uint8)
        stored = feature.encode_example(empty)
        if not isinstance(stored, bytes) or stored != empty.tobytes():
            return None
        shapes[quality] = tuple(feature.shape)
    return shapes
