"""What a PyTorch checkpoint is made of, once read: storages, tensors, and placeholders for everything else.

The names of the closed list are the only ones that mean anything; whatever else a pickle names stays a name.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from kdjax.models.weights.guard import UnusableFileError

WAY_OUT = (
    "save the weights alone in PyTorch, torch.save(model.state_dict(), file), or as safetensors"
)

# what a storage holds, little-endian; NumPy has no bfloat16
STORAGES = {
    "torch.FloatStorage": "<f4",
    "torch.DoubleStorage": "<f8",
    "torch.HalfStorage": "<f2",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "?",
    "torch.storage.UntypedStorage": "u1",
}


class Storage(NamedTuple):
    """A run of numbers, which lies elsewhere: in an archive in a file of its own.

    Attributes:
      key: what it is called there.
      dtype: what it holds, a value of `STORAGES`.
      size: how many.
    """

    key: str
    dtype: str
    size: int


class Tensor(NamedTuple):
    """A view of a storage: element `i, j, ...` is number `offset + i * strides[0] + j * strides[1] + ...`."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Name(NamedTuple):
    """A name, as it stands in the pickle before it is called: of the closed list, or any other."""

    name: str


class Placeholder(NamedTuple):
    """Stands for an object that is no tensor, number, text or container: it is never made, and its state is dropped.

    Attributes:
      name: the class or function that would have made it.
    """

    name: str


def expect(right: bool) -> None:
    """Raises the error of a damaged pickle unless something is right."""
    if not right:
        raise ValueError


def _counts(values: Any) -> tuple[int, ...]:
    expect(type(values) is tuple and all(type(value) is int and value >= 0 for value in values))
    return values


def _tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, marks: Any = None
) -> Tensor:
    del grad, hooks
    if marks:
        # a conjugate or negative view has other values than its storage
        raise UnusableFileError(f"marks a tensor in a way that is not read; {WAY_OUT}")
    expect(isinstance(storage, Storage) and len(_counts(shape)) == len(_counts(strides)))
    _counts((offset,))
    return Tensor(storage, offset, shape, strides)


def _old_tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> Tensor:
    return _tensor(storage, offset, shape, strides, None, None)


def _parameter(tensor: Any, *_: Any) -> Tensor | Placeholder:
    # of a kind of tensor that is not read
    expect(isinstance(tensor, Tensor | Placeholder))
    return tensor


# with the fewest and the most arguments
CALLS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "torch._utils._rebuild_tensor_v2": (_tensor, 6, 7),
    # of PyTorch before 0.4
    "torch._utils._rebuild_tensor": (_old_tensor, 4, 4),
    "torch._utils._rebuild_parameter": (_parameter, 3, 3),
    "torch.Size": (_counts, 1, 1),
    "collections.OrderedDict": (dict, 0, 0),
}
