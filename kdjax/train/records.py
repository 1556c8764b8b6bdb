"""Recorded outputs of teachers that exist elsewhere: arrays keyed by the images' `index`."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from kdjax.checks import UserError, first_line
from kdjax.methods import Recorded
from kdjax.types import Batch

INDEX = "index"

UNREADABLE = (
    *(OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, SafetensorError),
    # an .npy in disguise, and dtypes that NumPy lacks
    *(TypeError, AttributeError),
)


class Records(NamedTuple):
    """The recorded teachers of a run.

    Attributes:
      first: number of the first of them among all teachers.
      tables: of each: the arrays by name, in order of the index.
      indices: of each: the indices, ascending.
    """

    first: int
    tables: tuple[dict[str, np.ndarray], ...]
    indices: tuple[np.ndarray, ...]

    def teachers(self) -> tuple[Recorded, ...]:
        """Returns what a method needs to know of each."""
        return tuple(
            Recorded({name: array.shape[1:] for name, array in table.items()})
            for table in self.tables
        )

    def attach(self, batch: Batch) -> Batch:
        """Returns the batch with each teacher's outputs for its images under `recorded`."""
        if not self.tables:
            return batch
        found = {}
        for number, (table, indices) in enumerate(zip(self.tables, self.indices, strict=True)):
            rows = np.searchsorted(indices, np.asarray(batch[INDEX]))
            found[str(self.first + number)] = {name: array[rows] for name, array in table.items()}
        return {**batch, "recorded": found}

    def check(self, wanted: np.ndarray, paths: Sequence[str]) -> None:
        """Raises UserError unless every teacher has every index of the training images."""
        for path, indices in zip(paths, self.indices, strict=True):
            missing = np.setdiff1d(wanted, indices)
            if missing.size:
                raise UserError(
                    f"teacher.recorded: {path} lacks {missing.size} of {wanted.size} training images, "
                    f"the first has index {missing[0]}"
                )


def read_records(paths: Sequence[str], first: int) -> Records:
    """Reads recorded teachers.

    A file holds `index`, integer `[N]`; `logits`, `[N, 2]` (real, fake); and features by name, as `pooled` `[N, D]`
    or a map `stage4` `[N, H, W, C]`. `index` is the image's place in the training split.

    Args:
      paths: `.npz` or `.safetensors` files.
      first: number of the first of them among all teachers.

    Raises:
      UserError: naming the file that cannot be used, and why.
    """
    tables, indices = [], []
    for path in paths:
        table = _read(Path(path))
        _check_table(path, table)
        index = table.pop(INDEX)
        order = np.argsort(index, kind="stable")
        indices.append(index[order])
        tables.append({name: array[order].astype(np.float32) for name, array in table.items()})
    return Records(first, tuple(tables), tuple(indices))


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise UserError(f"teacher.recorded: no file {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".npz":
            # opened here: NumPy leaves a damaged archive open
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                found = {name: file[name] for name in file.files}
            return {name: np.asarray(array) for name, array in found.items()}
    except UNREADABLE as error:
        reason = first_line(error)
        if "pickle" in reason:
            # NumPy's advice would have whatever the file holds be executed
            reason = "it holds something else than arrays of numbers"
        raise UserError(f"teacher.recorded: {path} cannot be read: {reason}") from error
    raise UserError(f"teacher.recorded: {path} must be a .npz or .safetensors file")


def _check_table(path: str, table: dict[str, np.ndarray]) -> None:
    def refuse(reason: str) -> UserError:
        return UserError(f"teacher.recorded: {path} {reason}")

    index = table.get(INDEX)
    if index is None or index.ndim != 1 or index.dtype.kind not in "iu":
        raise refuse("has no integer array `index` [N]")
    if len(np.unique(index)) < len(index):
        raise refuse("names an index twice")
    if not len(index):
        raise refuse("holds no image")
    if "logits" not in table:
        raise refuse("has no array `logits` [N, 2]")
    for name, array in table.items():
        if name == INDEX:
            continue
        if array.dtype.kind != "f" or array.ndim not in (2, 4):
            raise refuse(
                f"holds {name} as {array.dtype} {array.shape}; float [N, D] or [N, H, W, C] are expected"
            )
        if len(array) != len(index):
            raise refuse(f"holds {len(array)} rows of {name} for {len(index)} of index")
        if not array[:1].size:
            raise refuse(f"holds {name} of shape {array.shape}, which is empty")
        if not np.abs(array).max() <= np.finfo(np.float32).max:
            raise refuse(f"holds a {name} that is not finite in float32")
    if table["logits"].shape[1:] != (2,):
        raise refuse(f"holds logits of shape {table['logits'].shape}; [N, 2] is expected")
