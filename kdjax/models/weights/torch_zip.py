"""Weights in the archives that `torch.save` writes since PyTorch 1.6, read without PyTorch.

An archive holds a pickle, `NAME/data.pkl`, that describes the tensors, and the numbers of each storage in a file of
its own, `NAME/data/KEY`. See `tensor_pickle` for how the pickle is read.
"""

import zipfile
from typing import Any

import numpy as np

from kdjax.models.weights.archive import read_member
from kdjax.models.weights.guard import Budget, UnusableFileError, from_bfloat16, plain, shown
from kdjax.models.weights.tensor_pickle import WAY_OUT, Storage, Tensor, load

MAX_PICKLE = 64 << 20
# what checkpoints call the dict of tensors, the likeliest first; averaged weights before the last ones
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "params_ema", "params")
MAX_WRAPPERS = 4
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
      UnusableFileError: when it is damaged, holds no state dict, or holds more than tensors.
    """
    root = _root(archive)
    tensors = _state_dict(load(read_member(archive, f"{root}{PICKLE}", MAX_PICKLE)))
    budget = Budget()
    by_key: dict[str, list[str]] = {}
    for name, tensor in tensors.items():
        # bfloat16 becomes float32 as float16 does
        budget.take(name, tensor.shape, max(4, _numpy_dtype(tensor.storage).itemsize))
        by_key.setdefault(tensor.storage.key, []).append(name)
    arrays: dict[str, np.ndarray] = {}
    stored = Budget()
    for key, names in by_key.items():
        member = f"{root}/data/{key}"
        data = _stored(archive, member, stored)
        arrays.update((name, _view(name, tensors[name], data)) for name in names)
    return {name: arrays[name] for name in tensors}


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


def _state_dict(value: Any) -> dict[str, Tensor]:
    """Returns the tensors of the first dict on the way through the wrappers that leads to no further one."""
    for _ in range(MAX_WRAPPERS):
        if not isinstance(value, dict):
            break
        wrapped = next((value[key] for key in WRAPPERS if isinstance(value.get(key), dict)), None)
        if wrapped is None:
            break
        value = wrapped
    if not isinstance(value, dict):
        raise UnusableFileError(
            f"holds no state dict but an object of type {type(value).__name__}; {WAY_OUT}"
        )
    tensors = {
        name: entry
        for name, entry in value.items()
        if isinstance(name, str) and isinstance(entry, Tensor)
    }
    if not tensors:
        held = ", ".join(shown(name) for name in list(value)[:8])
        raise UnusableFileError(
            f"holds no tensors by name, neither at its top nor under {', '.join(WRAPPERS)} "
            f"(it has {held or 'nothing'}); {WAY_OUT}"
        )
    return tensors


def _numpy_dtype(storage: Storage) -> np.dtype:
    return np.dtype("<u2" if storage.dtype == "bfloat16" else storage.dtype)


def _stored(archive: zipfile.ZipFile, member: str, budget: Budget) -> bytes:
    # PyTorch never packs its numbers, and what is not packed is as long as it says
    info = archive.NameToInfo.get(member)
    if info is not None:
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise UnusableFileError(f"has packed numbers in {shown(member)}; save it by torch.save")
        budget.take(member, (info.file_size,), 1)
    return read_member(archive, member)


def _view(name: str, tensor: Tensor, data: bytes) -> np.ndarray:
    storage, offset, shape, strides = tensor
    dtype = _numpy_dtype(storage)
    if storage.size * dtype.itemsize > len(data):
        raise UnusableFileError(f"is cut off: the numbers of {shown(name)} are not all there")
    if 0 in shape:
        return np.zeros(shape, plain(np.zeros(0, dtype)).dtype)
    last = offset + sum((side - 1) * step for side, step in zip(shape, strides, strict=True))
    if last >= storage.size:
        raise UnusableFileError(f"is damaged: {shown(name)} reaches beyond its numbers")
    # the step along an axis of one element is never taken, and may be any number
    steps = [
        step * dtype.itemsize if side > 1 else 0 for side, step in zip(shape, strides, strict=True)
    ]
    flat = np.frombuffer(data, dtype, storage.size)[offset:]
    values = np.lib.stride_tricks.as_strided(flat, shape, steps)
    return from_bfloat16(values) if storage.dtype == "bfloat16" else plain(values)
