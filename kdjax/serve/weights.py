"""A student's weights as safetensors: by our names, and by those that PyTorch's libraries know."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict
from safetensors.numpy import save

from kdjax.models.families import choose_layout
from kdjax.models.weights.convert import TORCH
from kdjax.models.weights.schemes import TABLES
from kdjax.types import PyTree


class Namesake(NamedTuple):
    """The same network elsewhere.

    Attributes:
      library: `torchvision` or `timm`, which is also the name of the table of its layers.
      create: Python that makes it, with our two classes.
    """

    library: str
    create: str


def _torchvision(name: str) -> Namesake:
    return Namesake("torchvision", f"torchvision.models.{name}(num_classes=2)")


def _timm(name: str) -> Namesake:
    return Namesake("timm", f'timm.create_model("{name}", num_classes=2)')


NAMESAKES: dict[tuple[str, str], Namesake] = {
    **{
        (name, "torch"): _torchvision(name)
        for name in (
            *("resnet18", "resnet34", "resnet50", "mobilenet_v2", "mobilenet_v3_large"),
            *("efficientnet_b0", "efficientnet_b1", "efficientnet_b4"),
        )
    },
    **{
        (name, layout): _timm(prefix + name)
        for name in ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
        for layout, prefix in (("torch", ""), ("keras", "tf_"))
    },
    **{
        (name, "keras"): _timm(f"tf_{name}")
        for name in ("efficientnet_b0", "efficientnet_b1", "efficientnet_b4")
    },
    ("xception", "torch"): _timm("legacy_xception"),
}
"""What other libraries call our networks, by name and layout."""


def namesake(name: str, layout: str, width: float) -> Namesake | None:
    """Returns the same network of another library; None where there is none, as of other widths."""
    if width != 1 or name not in TABLES:
        return None
    return NAMESAKES.get((name, choose_layout(name, layout)))


def own_tensors(variables: PyTree) -> dict[str, np.ndarray]:
    """Returns variables by their paths, as `params/stem_conv/kernel`."""
    return {path: np.asarray(leaf) for path, leaf in flatten_dict(variables, sep="/").items()}


def torch_tensors(name: str, library: str, variables: PyTree) -> dict[str, np.ndarray]:
    """Returns a state dict in a library's names, with PyTorch's order of axes: the inverse of loading one.

    Convolutions `[out, in, rows, columns]`, depthwise ones `[channels, 1, rows, columns]`, linear layers `[out, in]`.
    """
    layers = TABLES[name].schemes(name)[library]
    found = {}
    for path, array in own_tensors(variables).items():
        layer, _, role = path.partition("/")[2].rpartition("/")
        found[f"{layers[layer]}.{TORCH[role]}"] = _to_torch(role, array)
    return found


def _to_torch(role: str, array: np.ndarray) -> np.ndarray:
    if role != "kernel":
        return array
    if array.ndim == 4:
        return array.transpose(3, 2, 0, 1)
    return array.transpose(2, 0, 1)[:, None] if array.ndim == 3 else array.T


def to_safetensors(tensors: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> bytes:
    """Returns the file's content; facts are kept as texts."""
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    return save(arrays, {name: str(value) for name, value in facts.items()})
