"""Reads the tensors of a weight file, of whichever format it is, without executing anything that it holds."""

import io
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from kdjax.checks import UserError
from kdjax.models.weights.archive import open_archive, read_member
from kdjax.models.weights.guard import (
    MAX_BYTES,
    Budget,
    UnusableFileError,
    from_bfloat16,
    plain,
    shown,
)
from kdjax.models.weights.hdf5 import read_hdf5
from kdjax.models.weights.torch_legacy import is_torch_legacy, read_torch_legacy
from kdjax.models.weights.torch_zip import is_torch_zip, read_torch_zip

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")
"""What wrappers of PyTorch put before all names."""

KERAS_MEMBER = "model.weights.h5"
KNOWN = "PyTorch's .pth or .pt, .safetensors, and Keras' .h5, .weights.h5 or .keras are read"
NUMBERS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip


class Tensors(NamedTuple):
    """What a weight file holds.

    Attributes:
      kind: "torch" (also safetensors) or "keras".
      arrays: by name, `layer1.0.conv1.weight` of PyTorch or `conv1/kernel` of Keras; float32 where the file has
        half precision, otherwise as it was.
    """

    kind: str
    arrays: dict[str, np.ndarray]


def read_tensors(path: str | Path) -> Tensors:
    """Reads a weight file; what it is follows from its content.

    Wrappers are peeled off: the dicts around a checkpoint's state dict, and prefixes that all of its names have.

    Args:
      path: a `.pth` or `.pt` file of PyTorch, a `.safetensors` file, or a `.h5`, `.weights.h5` or `.keras`
        file of Keras.

    Raises:
      UserError: in one line, naming the file and the way out, when it is missing, damaged, of no known format, far
        larger than the weights of a network, holds other objects as tensors, or numbers that are not finite.
    """
    path = Path(path)
    name = str(path) if str(path).isprintable() else ascii(str(path))
    if not path.exists():
        raise UserError(f"{name} does not exist")
    if not path.is_file():
        raise UserError(f"{name} is no file; give the weight file itself")
    try:
        with path.open("rb") as file:
            tensors = _read(file)
        _check_finite(tensors.arrays)
    except UnusableFileError as error:
        raise UserError(f"{name} {error}") from error
    except OSError as error:
        raise UserError(f"{name} cannot be read: {error.strerror}") from error
    return tensors


def _read(file: BinaryIO) -> Tensors:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(512)
    if size > MAX_BYTES:
        raise UnusableFileError(f"is larger than {MAX_BYTES >> 30} GiB, too large for one network")
    if not head:
        raise UnusableFileError("is empty; fetch it again")
    if head.startswith(b"PK\x03\x04"):
        return _read_archive(file)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return Tensors("keras", read_hdf5(file))
    if head[8:9] == b"{":
        file.seek(0)
        return Tensors("torch", without_prefixes(_read_safetensors(file.read())))
    if is_torch_legacy(head):
        return Tensors("torch", without_prefixes(read_torch_legacy(file)))
    if head[257:262] == b"ustar":
        raise UnusableFileError(
            "is of PyTorch's first format, a tar archive; load it and save it again with torch.save in "
            "PyTorch >= 1.6, or convert it to safetensors"
        )
    if head[:1] == b"\x80" and head[1:2] <= b"\x05":
        raise UnusableFileError("is a pickle, which is a program; save its tensors as safetensors")
    start = ascii(head[:24].decode("latin-1"))
    raise UnusableFileError(f"is of no known format, it starts with {start}; {KNOWN}")


def _read_archive(file: BinaryIO) -> Tensors:
    with open_archive(file) as archive:
        if KERAS_MEMBER in archive.namelist():
            weights = io.BytesIO(read_member(archive, KERAS_MEMBER))
            return Tensors("keras", read_hdf5(weights))
        if is_torch_zip(archive):
            return Tensors("torch", without_prefixes(read_torch_zip(archive)))
    raise UnusableFileError(f"is a zip archive of neither PyTorch nor Keras; {KNOWN}")


def _read_safetensors(data: bytes) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError, deserialize

    try:
        entries = deserialize(data)
    except SafetensorError as error:
        raise UnusableFileError("is a damaged safetensors file; fetch it again") from error
    budget = Budget()
    arrays = {}
    # the library's own order differs from run to run
    for name, entry in sorted(entries, key=lambda pair: pair[0]):
        kind, shape = entry["dtype"], entry["shape"]
        if kind not in NUMBERS:
            raise UnusableFileError(f"holds {shown(name)} as {shown(kind)}, which is not read")
        budget.take(name, shape, max(4, np.dtype(NUMBERS[kind]).itemsize))
        values = np.frombuffer(entry["data"], NUMBERS[kind]).reshape(shape)
        arrays[name] = from_bfloat16(values) if kind == "BF16" else plain(values)
    return arrays


def without_prefixes(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the arrays without the `PREFIXES` that all names have, one after the other."""
    while prefix := next((prefix for prefix in PREFIXES if _all_have(prefix, arrays)), None):
        arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
    return arrays


def _all_have(prefix: str, arrays: dict[str, np.ndarray]) -> bool:
    return bool(arrays) and all(name.startswith(prefix) and name != prefix for name in arrays)


def _check_finite(arrays: dict[str, np.ndarray]) -> None:
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise UnusableFileError(
                f"is of a diverged or damaged network: layer {shown(name)} holds values that are not finite"
            )
