"""From what a PyTorch pickle describes to arrays: the state dict in it, and its tensors out of their storages."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from kdjax.models.weights.guard import Budget, UnusableFileError, from_bfloat16, plain, shown
from kdjax.models.weights.tensor_names import WAY_OUT, Name, Placeholder, Storage, Tensor

# what checkpoints call the dict of tensors, the likeliest first; averaged weights before the last ones
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "params_ema", "params")
MAX_WRAPPERS = 4


def tensors_of(value: Any) -> dict[str, Tensor]:
    """Returns the tensors of the first dict on the way through the wrappers that leads to no further one.

    What lies beside it is dropped, and so are numbers, texts and containers in it.

    Raises:
      UnusableFileError: when there is no such dict, or it has an object of a class that is not read.
    """
    for _ in range(MAX_WRAPPERS):
        if not isinstance(value, dict):
            break
        wrapped = next((value[key] for key in WRAPPERS if isinstance(value.get(key), dict)), None)
        if wrapped is None:
            break
        value = wrapped
    if not isinstance(value, dict):
        kind = value.name if isinstance(value, Placeholder | Name) else type(value).__name__
        raise UnusableFileError(
            f"holds no state dict but an object of type {shown(kind)}; {WAY_OUT}"
        )
    tensors = {
        name: entry
        for name, entry in value.items()
        if isinstance(name, str) and isinstance(entry, Tensor)
    }
    if not tensors:
        held = ", ".join(map(_named, list(value.items())[:8]))
        raise UnusableFileError(
            f"holds no tensors by name, neither at its top nor under {', '.join(WRAPPERS)} "
            f"(it has {held or 'nothing'}); {WAY_OUT}"
        )
    for name, entry in value.items():
        if isinstance(entry, Placeholder | Name):
            raise UnusableFileError(
                f"has an object of {shown(entry.name)} among its tensors, as {shown(name)}, that is not read; {WAY_OUT}"
            )
    return tensors


def _named(entry: tuple[Any, Any]) -> str:
    """Returns the key of a dict's entry, with the class of what is not read."""
    key, value = entry
    shown_key = shown(key.name if isinstance(key, Placeholder | Name) else key)
    unread = isinstance(value, Placeholder)
    return f"{shown_key}, an object of {shown(value.name)}" if unread else shown_key


def arrays_of(
    tensors: dict[str, Tensor], stored: Callable[[list[Storage]], Iterator[bytes]]
) -> dict[str, np.ndarray]:
    """Returns the arrays of tensors by name, half precision widened to float32.

    Args:
      tensors: where each lies.
      stored: yields the numbers of each of the storages, of which no two have one key; one after the other is
        asked for, so that they need not be in memory at once.

    Raises:
      UnusableFileError: when they are too many or too large, or a tensor reaches beyond its storage.
    """
    budget = Budget()
    by_key: dict[str, list[str]] = {}
    for name, tensor in tensors.items():
        # bfloat16 becomes float32 as float16 does
        budget.take(name, tensor.shape, max(4, numpy_dtype(tensor.storage).itemsize))
        by_key.setdefault(tensor.storage.key, []).append(name)
    arrays: dict[str, np.ndarray] = {}
    storages = [tensors[names[0]].storage for names in by_key.values()]
    for names, data in zip(by_key.values(), stored(storages), strict=True):
        arrays.update((name, _view(name, tensors[name], data)) for name in names)
    return {name: arrays[name] for name in tensors}


def numpy_dtype(storage: Storage) -> np.dtype:
    """Returns what a storage's numbers are read as; of bfloat16 its bits."""
    return np.dtype("<u2" if storage.dtype == "bfloat16" else storage.dtype)


def _view(name: str, tensor: Tensor, data: bytes) -> np.ndarray:
    storage, offset, shape, strides = tensor
    dtype = numpy_dtype(storage)
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
