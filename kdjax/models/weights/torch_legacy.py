"""Weights in the files that `torch.save` wrote before PyTorch 1.6, read without PyTorch.

Five pickles follow each other: a number that tells the format, its version, the machine that wrote the file, the
object, and the keys of all storages. Then come the storages in the keys' order, each as the count of its numbers, 8
bytes, and the numbers. See `tensor_pickle` for how the pickles are read.
"""

import io
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from kdjax.models.weights.guard import UnusableFileError, shown
from kdjax.models.weights.tensor_names import Storage
from kdjax.models.weights.tensor_pickle import load_next
from kdjax.models.weights.torch_state import arrays_of, numpy_dtype, tensors_of

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
MAX_PICKLES = 64 << 20
COUNT_SIZE = 8
DAMAGED = "is a damaged file of PyTorch's format before 1.6"


def is_torch_legacy(head: bytes) -> bool:
    """Whether a file's first 32 bytes are those that `torch.save` wrote before 1.6."""
    return head[:1] == b"\x80" and MAGIC.to_bytes(10, "little") in head[:32]


def read_torch_legacy(file: BinaryIO) -> dict[str, np.ndarray]:
    """Returns the tensors of a state dict by name, half precision widened to float32.

    Args:
      file: an opened `.pth` or `.pt` file.

    Raises:
      UnusableFileError: when it is damaged, holds no state dict, or one with other objects.
    """
    file.seek(0)
    pickles = io.BytesIO(file.read(MAX_PICKLES))
    _check_header(*(load_next(pickles).value for _ in range(3)))
    described = load_next(pickles)
    keys = load_next(pickles).value
    tensors = tensors_of(described.value)
    places = _places(file, pickles.tell(), _declared(described.storages), keys)

    def stored(storages: list[Storage]) -> Iterator[bytes]:
        for storage in storages:
            if storage.key not in places:
                raise UnusableFileError(f"{DAMAGED}: it lacks its storage {shown(storage.key)}")
            file.seek(places[storage.key])
            yield file.read(_size(storage))

    return arrays_of(tensors, stored)


def _check_header(magic: Any, version: Any, machine: Any) -> None:
    if type(magic) is not int or magic != MAGIC or type(machine) is not dict:
        raise UnusableFileError(f"{DAMAGED}; fetch it again")
    if type(version) is not int or version != VERSION:
        raise UnusableFileError("is of an unknown version of PyTorch's format before 1.6")
    if machine.get("little_endian") is not True:
        raise UnusableFileError(
            "was written in big-endian byte order; save it on a little-endian machine"
        )


def _size(storage: Storage) -> int:
    """Returns the bytes of a storage's numbers."""
    return storage.size * numpy_dtype(storage).itemsize


def _declared(storages: list[Storage]) -> dict[str, Storage]:
    """Returns the storages of the object by key, those too that only what is dropped of it has."""
    found: dict[str, Storage] = {}
    for storage in storages:
        if found.setdefault(storage.key, storage) != storage:
            raise UnusableFileError(
                f"{DAMAGED}: it declares its storage {shown(storage.key)} in two ways"
            )
    return found


def _places(file: BinaryIO, start: int, declared: dict[str, Storage], keys: Any) -> dict[str, int]:
    """Returns where each storage's numbers begin; every one of them is there in full, and nothing else."""
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise UnusableFileError(f"{DAMAGED}: it lists no storages")
    if len(set(keys)) != len(keys):
        raise UnusableFileError(f"{DAMAGED}: it lists a storage twice")
    end = file.seek(0, io.SEEK_END)
    places: dict[str, int] = {}
    for key in keys:
        if key not in declared:
            raise UnusableFileError(f"{DAMAGED}: no tensor is of its storage {shown(key)}")
        file.seek(start)
        count = int.from_bytes(file.read(COUNT_SIZE), "little", signed=True)
        places[key] = start + COUNT_SIZE
        start = places[key] + _size(declared[key])
        if start > end:
            raise UnusableFileError(
                f"is cut off: the numbers of its storage {shown(key)} are not all there; fetch it again"
            )
        if count != declared[key].size:
            raise UnusableFileError(
                f"{DAMAGED}: its storage {shown(key)} is of {count:,} numbers, declared are "
                f"{declared[key].size:,}"
            )
    if start != end:
        raise UnusableFileError(f"{DAMAGED}: {end - start:,} bytes follow its last storage")
    return places
