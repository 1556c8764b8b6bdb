"""Weights in Keras' HDF5 files, of the old layout (`.h5`) and of Keras 3 (`.weights.h5`), as `layer/role`.

Only numbers that lie in the file itself are read. A link that is no plain one, or data kept elsewhere, is refused: a
weight file has no use for it, and it can make a reader open other files of the machine.
"""

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from kdjax.models.weights.guard import (
    MAX_TENSORS,
    Budget,
    UnusableFileError,
    from_bfloat16,
    plain,
    shown,
)
from kdjax.models.weights.keras_names import base, legacy_name, variable_names

if TYPE_CHECKING:
    import h5py

MAX_DEPTH = 32
MAX_GROUPS = 200_000
# gzip cannot pack more than 1032 to 1
MAX_RATIO = 1100
# gzip, its byte shuffling, checksums and h5py's own LZF; for any other, HDF5 would look for a library to load
FILTERS = {1, 2, 3, 32000}
# of a training that goes on: beside the network in the file's root
TRAINING = {"optimizer", "metrics"}
DAMAGED = "is a damaged HDF5 file; fetch it again"


def read_hdf5(file: str | BinaryIO) -> dict[str, np.ndarray]:
    """Returns the arrays of a Keras file by `layer/role`, see `keras_names`.

    Args:
      file: path of the file, or an opened one.

    Raises:
      UnusableFileError: when it is damaged, no Keras weights, or holds what weights need not.
    """
    import h5py

    try:
        with h5py.File(file, "r") as root:
            if "model_weights" in root:
                return _read_legacy(_descend(root, "model_weights"))
            legacy = "layer_names" in root.attrs or "layer_names0" in root.attrs
            return _read_legacy(root) if legacy else _read_variables(root)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        # what h5py raises for bytes that make no sense, by where they stand
        raise UnusableFileError(DAMAGED) from error


def _read_legacy(root: "h5py.Group") -> dict[str, np.ndarray]:
    found = []
    for layer in _strings(root, "layer_names"):
        group = _descend(root, layer)
        found += [
            (legacy_name(layer, weight), group, weight)
            for weight in _strings(group, "weight_names")
        ]
    return _read_all(found)


def _read_variables(root: "h5py.Group") -> dict[str, np.ndarray]:
    found = []
    for name, group in _layers(root):
        keys = [str(number) for number in range(len(group))]
        if set(keys) != set(group):
            raise UnusableFileError(f"numbers the variables of {shown(name)} in a way not known")
        given = _strings(group, "name")
        names = variable_names(name, given[0] if given else None, len(keys))
        found += [(name, group, key) for name, key in zip(names, keys, strict=True)]
    if not found:
        raise UnusableFileError("is an HDF5 file without weights of a Keras model")
    return _read_all(found)


def _layers(root: "h5py.Group") -> Iterator[tuple[str, "h5py.Group"]]:
    """Yields the groups that hold numbered variables, each with the name of the group that it belongs to."""
    import h5py

    pending = [("", root, 0)]
    seen: set[int] = set()
    while pending:
        name, group, depth = pending.pop()
        # a group may be linked from several places, from within itself too
        address = h5py.h5o.get_info(group.id).addr
        if address in seen or depth > MAX_DEPTH or len(seen) > MAX_GROUPS:
            raise UnusableFileError(f"has too many groups, or one in itself, at {shown(name)}")
        seen.add(address)
        for key in group:
            # where random numbers stood, and how training stood, are no weights
            if base(key) == "seed_generator" or (depth == 0 and key in TRAINING):
                continue
            child = _child(group, key)
            if isinstance(child, h5py.Group):
                if key == "vars":
                    yield name, child
                else:
                    pending.append((key, child, depth + 1))


def _read_all(found: list[tuple[str, "h5py.Group", str]]) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    budget = Budget()
    for name, group, key in found:
        if name in arrays:
            raise UnusableFileError(f"holds {shown(name)} twice; give each layer a name of its own")
        arrays[name] = _array(name, _descend(group, key), budget)
    return arrays


def _descend(group: "h5py.Group", path: str) -> Any:
    for part in path.split("/"):
        group = _child(group, part)
    return group


def _child(group: Any, name: str) -> Any:
    """Returns the group or data set of that name, if it is linked plainly."""
    import h5py

    # HDF5 reads the dot as the group itself
    if not isinstance(group, h5py.Group) or name in ("", ".", "..") or name not in group:
        raise UnusableFileError(f"lacks {shown(name)}, which it lists; fetch it again")
    if group.get(name, getclass=True, getlink=True) is not h5py.HardLink:
        raise UnusableFileError(f"holds a link to another place, {shown(name)}, and is not read")
    return group[name]


def _strings(group: Any, name: str) -> list[str]:
    """Returns the names in an attribute, which Keras cuts into `name0`, `name1` ... where it is long."""
    attributes = group.attrs
    if name in attributes:
        return _texts(attributes, name)
    parts = itertools.takewhile(attributes.__contains__, (f"{name}{n}" for n in itertools.count()))
    return [text for part in parts for text in _texts(attributes, part)]


def _texts(attributes: Any, name: str) -> list[str]:
    import h5py

    kept = attributes.get_id(name)
    count = math.prod(kept.shape or ())
    if count == 0:
        return []
    if count > MAX_TENSORS or h5py.check_string_dtype(kept.dtype) is None:
        raise UnusableFileError(f"has something else than names in {shown(name)}")
    texts = np.ravel(np.asarray(attributes[name], object))
    return [text.decode() if isinstance(text, bytes) else str(text) for text in texts]


def _array(name: str, dataset: Any, budget: Budget) -> np.ndarray:
    import h5py

    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        raise UnusableFileError(f"holds no numbers at {shown(name)}")
    if dataset.external or dataset.is_virtual:
        raise UnusableFileError(f"keeps the numbers of {shown(name)} in another file")
    brain = dataset.dtype == np.dtype("V2") and dataset.attrs.get("dtype") == "bfloat16"
    if not brain and (dataset.dtype.kind not in "fiub" or dataset.dtype.itemsize > 8):
        raise UnusableFileError(
            f"holds something else than numbers at {shown(name)}; save it in float32"
        )
    settings = dataset.id.get_create_plist()
    filters = {settings.get_filter(number)[0] for number in range(settings.get_nfilters())}
    if not filters <= FILTERS:
        raise UnusableFileError(f"packs {shown(name)} in a way that is not read; save it unpacked")
    budget.take(name, dataset.shape, max(dataset.dtype.itemsize, 4))
    if dataset.nbytes > MAX_RATIO * dataset.id.get_storage_size():
        raise UnusableFileError(f"declares more numbers for {shown(name)} than it holds")
    values = dataset[()]
    return from_bfloat16(np.asarray(values).view(np.uint16)) if brain else plain(values)
