"""Weights in the archives that `torch.save` writes since PyTorch 1.6, read without PyTorch.

An archive holds a pickle, `NAME/data.pkl`, that describes the tensors, and the numbers of each storage in a file of
its own, `NAME/data/KEY`. See `tensor_pickle` for how the pickle is read.
"""

import zipfile
from collections.abc import Iterator

import numpy as np

from kdjax.models.weights.archive import read_member
from kdjax.models.weights.guard import Budget, UnusableFileError, shown
from kdjax.models.weights.tensor_names import Storage
from kdjax.models.weights.tensor_pickle import load
from kdjax.models.weights.torch_state import arrays_of, tensors_of

MAX_PICKLE = 64 << 20
PICKLE = "/data.pkl"


def is_torch_zip(archive: zipfile.ZipFile) -> bool:
    """Whether an archive has the pickle that `torch.save` writes."""
    return any(name.endswith(PICKLE) for name in archive.namelist())


def read_torch_zip(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    """Returns the tensors of a state dict by name, half precision widened to float32.

    A checkpoint's state dict is found under one of `WRAPPERS`; what lies beside it is dropped, and so is what is no
    tensor in it.

    Args:
      archive: an opened `.pth` or `.pt` file.

    Raises:
      UnusableFileError: when it is damaged, holds no state dict, or one with other objects.
    """
    root = _root(archive)
    tensors = tensors_of(load(read_member(archive, f"{root}{PICKLE}", MAX_PICKLE)))

    def stored(storages: list[Storage]) -> Iterator[bytes]:
        budget = Budget()
        for storage in storages:
            yield _stored(archive, f"{root}/data/{storage.key}", budget)

    return arrays_of(tensors, stored)


def _root(archive: zipfile.ZipFile) -> str:
    names = archive.namelist()
    roots = [name.removesuffix(PICKLE) for name in names if name.endswith(PICKLE)]
    if len(roots) != 1:
        raise UnusableFileError(f"holds {len(roots)} pickles; one is expected")
    (root,) = roots
    if any(name == f"{root}/constants.pkl" or name.startswith(f"{root}/code/") for name in names):
        raise UnusableFileError(
            "is a TorchScript program; load it in PyTorch with torch.jit.load and save its "
            "state_dict() with torch.save"
        )
    order = f"{root}/byteorder"
    if order in names and read_member(archive, order, 64) != b"little":
        raise UnusableFileError(
            "was written in big-endian byte order; save it on a little-endian machine"
        )
    return root


def _stored(archive: zipfile.ZipFile, member: str, budget: Budget) -> bytes:
    # PyTorch never packs its numbers, and what is not packed is as long as it says
    info = archive.NameToInfo.get(member)
    if info is not None:
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise UnusableFileError(f"has packed numbers in {shown(member)}; save it by torch.save")
        budget.take(member, (info.file_size,), 1)
    return read_member(archive, member)
