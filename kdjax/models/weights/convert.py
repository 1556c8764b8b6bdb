"""From a file's tensors to a network's: which one a variable needs, how its axes lie, what it must hold."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from kdjax.checks import UserError
from kdjax.models.weights.guard import shown
from kdjax.models.weights.schemes import Match

HEAD = "classifier"
"""The last layer of every network."""

TORCH = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
"""PyTorch's names of a layer's tensors, by ours."""

KERAS = {"scale": "gamma", "mean": "moving_mean", "var": "moving_variance"}
"""Keras' names of a normalisation's tensors, by ours; its bias is `beta`."""

LISTED = 200
"""Names that an error lists of one kind."""

Layers = Mapping[str, Mapping[str, Any]]
"""`{layer: {role: array}}`, roles being kernel, bias, scale, mean and var."""


class Found(NamedTuple):
    """What a file gives a network.

    Attributes:
      values: `{(layer, role): array}` with our shapes.
      kept: what stays as it was: `{layer: why}`.
    """

    values: dict[tuple[str, str], np.ndarray]
    kept: dict[str, str]


def find(
    arrays: Mapping[str, np.ndarray], match: Match, layers: Layers, *, whole: bool, where: str
) -> Found:
    """Returns the variables that a file holds for a network.

    Args:
      arrays: the file's tensors by name.
      match: how the file names the network's layers.
      layers: the network's layers; where it is a branch of another they may be without the head.
      whole: whether they are a whole network. In a part of a detector, a first convolution that takes other
        channels than RGB is kept.
      where: beginning of an error's line: which file, for what.

    Raises:
      UserError: unless file and network have the same layers with the same shapes, except for a head of
        another number of classes.
      ValueError: when the layers are not the network's.
    """
    if strange := sorted(layers.keys() - match.layers.keys()):
        raise ValueError(f"the variables are not of {match.network}, which has no {strange[0]}")
    kind = "keras" if match.scheme.startswith("keras") else "torch"
    names = {
        (layer, role): _present(arrays, candidates(kind, match.layers[layer], role, roles))
        for layer, roles in layers.items()
        for role in roles
    }
    used = set(names.values())
    kept = _without_head(arrays, names, layers) if whole else {}
    names = {key: name for key, name in names.items() if key[0] not in kept}
    foreign = [theirs for layer, theirs in match.layers.items() if layer not in layers]
    _check_names(arrays, names, used, (*match.ignored, *_beginnings(kind, foreign)), where)
    values = {
        key: to_ours(kind, key[1], arrays[name], layers[key[0]][key[1]].ndim)
        for key, name in names.items()
    }
    kept |= _fit_head(values, layers, match.single_unit) if whole else _kept_inputs(values, layers)
    values = {key: value for key, value in values.items() if key[0] not in kept}
    _check_shapes(values, arrays, names, layers, where)
    for layer in match.flipped:
        values[layer, "kernel"] = values[layer, "kernel"][:, :, ::-1]
    _check_values(values, names, where)
    return Found(values, kept)


def candidates(kind: str, layer: str, role: str, roles: Iterable[str]) -> tuple[str, ...]:
    """Returns the names that a tensor may have in a file.

    Args:
      kind: `torch` or `keras`.
      layer: the file's name of the layer.
      role: our name of the tensor.
      roles: those of all tensors of the layer.
    """
    if kind == "torch":
        return (f"{layer}.{TORCH[role]}",)
    if role == "bias":
        return (f"{layer}/{'beta' if 'mean' in roles else 'bias'}",)
    if role != "kernel":
        return (f"{layer}/{KERAS[role]}",)
    if layer.endswith(("/depthwise", "/pointwise")):
        return (f"{layer}_kernel",)
    return (f"{layer}/kernel", f"{layer}/depthwise_kernel")


def to_ours(kind: str, role: str, array: np.ndarray, rank: int) -> np.ndarray:
    """Returns a tensor with its axes where ours are; one that cannot be ours stays of another shape.

    Kernels of convolutions `[rows, columns, in, out]`, depthwise ones `[rows, columns, channels]`, of linear
    layers `[in, out]`. A linear layer and a convolution of one entry are the same.

    Args:
      kind: `torch` or `keras`, whose order of axes the tensor has.
      role: our name of the tensor.
      array: the tensor.
      rank: number of axes of ours.
    """
    if role != "kernel":
        return array
    if kind == "torch":
        array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    if rank == 3 and array.ndim == 4:
        single = 2 if kind == "torch" else 3
        return array.squeeze(single) if array.shape[single] == 1 else array
    if rank == 4 and array.ndim == 2:
        return array[None, None]
    if rank == 2 and array.shape[:-2] == (1, 1):
        return array[0, 0]
    return array


def listed(names: Iterable[str]) -> str:
    """Returns names with commas between them, the first `LISTED`."""
    names = sorted(names)
    more = [f"and {len(names) - LISTED} more"] if len(names) > LISTED else []
    return ", ".join([*map(shown, names[:LISTED]), *more])


def _present(arrays: Mapping[str, np.ndarray], names: tuple[str, ...]) -> str:
    return next((name for name in names if name in arrays), names[0])


def _beginnings(kind: str, layers: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"{layer}{'.' if kind == 'torch' else '/'}" for layer in layers)


def _without_head(
    arrays: Mapping[str, np.ndarray], names: Mapping[tuple[str, str], str], layers: Layers
) -> dict[str, str]:
    """Returns the head's layers, when the file ends before them."""
    absent = {
        layer
        for layer, roles in layers.items()
        if not any(names[layer, role] in arrays for role in roles)
    }
    if HEAD not in absent:
        return {}
    linear = [
        layer for layer in absent if "kernel" in layers[layer] and layers[layer]["kernel"].ndim == 2
    ]
    return dict.fromkeys(sorted(linear), "the file has none")


def _fit_head(
    values: dict[tuple[str, str], np.ndarray], layers: Layers, single_unit: str
) -> dict[str, str]:
    """Makes two columns of a head with one unit; returns the head when its classes are not ours."""
    if (HEAD, "kernel") not in values:
        return {}
    kernel, bias = values[HEAD, "kernel"], values[HEAD, "bias"]
    inputs, classes = layers[HEAD]["kernel"].shape
    if kernel.shape == (inputs, 1) and bias.shape == (1,) and classes == 2 and single_unit:
        # sigmoid(z) is the first of softmax(z, 0)
        at = 0 if single_unit == "real" else 1
        for role, value in (("kernel", kernel), ("bias", bias)):
            both = [np.zeros_like(value), np.zeros_like(value)]
            both[at] = value
            values[HEAD, role] = np.concatenate(both, axis=-1)
        return {}
    if kernel.ndim != 2 or kernel.shape[0] != inputs or kernel.shape[1] == classes:
        return {}
    count = "1 class" if kernel.shape[1] == 1 else f"{kernel.shape[1]} classes"
    return {HEAD: f"the file's has {count}, ours {classes}"}


def _kept_inputs(values: Mapping[tuple[str, str], np.ndarray], layers: Layers) -> dict[str, str]:
    """Returns the convolutions that take another number of channels than the file's, which takes RGB."""
    kept = {}
    for (layer, role), value in values.items():
        ours = layers[layer][role].shape
        if value.ndim == len(ours) == 4 and value.shape[2] == 3 != ours[2]:
            kept[layer] = f"it takes {ours[2]} channels, the file's 3"
    return kept


def _check_names(
    arrays: Mapping[str, np.ndarray],
    names: Mapping[tuple[str, str], str],
    used: set[str],
    ignored: tuple[str, ...],
    where: str,
) -> None:
    missing = [name for name in names.values() if name not in arrays]
    left = [
        name
        for name in arrays
        if name not in used
        and not name.endswith("num_batches_tracked")
        and not name.startswith(ignored)
    ]
    problems = [f"it lacks {listed(missing)}"] if missing else []
    problems += [f"it has {listed(left)} too many"] if left else []
    if problems:
        raise UserError(f"{where}: {'; '.join(problems)}")


def _check_shapes(
    values: Mapping[tuple[str, str], np.ndarray],
    arrays: Mapping[str, np.ndarray],
    names: Mapping[tuple[str, str], str],
    layers: Layers,
    where: str,
) -> None:
    wrong = [key for key in values if values[key].shape != layers[key[0]][key[1]].shape]
    if not wrong:
        return
    key = min(wrong, key=lambda key: key[1] != "kernel")
    theirs, ours = arrays[names[key]].shape, layers[key[0]][key[1]].shape
    others = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
    raise UserError(
        f"{where}: its {shown(names[key])} {tuple(theirs)} cannot be our {'/'.join(key)} "
        f"{tuple(ours)}{others}; is it of another width or image size?"
    )


def _check_values(
    values: Mapping[tuple[str, str], np.ndarray],
    names: Mapping[tuple[str, str], str],
    where: str,
) -> None:
    for key, value in values.items():
        if value.dtype.kind != "f":
            raise UserError(
                f"{where}: its {shown(names[key])} holds {value.dtype}, not floating point numbers; "
                "save the weights before they are quantised"
            )
        with np.errstate(over="ignore"):
            narrow = value.astype(np.float32)
        if not np.isfinite(narrow).all():
            raise UserError(f"{where}: its {shown(names[key])} holds values that are not finite")
        if key[1] == "var" and (value < 0).any():
            raise UserError(f"{where}: its {shown(names[key])} holds negative variances")
