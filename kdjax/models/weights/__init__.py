"""Pretrained weights: a file of PyTorch or Keras, an installed package's or a run of one's own, into variables."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from kdjax.checks import UserError
from kdjax.models.families import choose_layout
from kdjax.models.weights.convert import find
from kdjax.models.weights.guard import shown
from kdjax.models.weights.imagenet import IMAGENET, imagenet_file
from kdjax.models.weights.read import read_tensors
from kdjax.models.weights.runs import read_run
from kdjax.models.weights.schemes import Match, best_match, branches, likeliest, remark
from kdjax.types import PyTree

OWNERS = {"torch": "PyTorch's", "keras": "Keras'"}
"""Whose the layouts are, and the kinds of files."""


def load_weights(
    name: str,
    path: str | Path,
    variables: PyTree,
    *,
    layout: str = "",
    say: Callable[[str], None] | None = None,
) -> PyTree:
    """Returns a network's variables with the weights of a file.

    A head of another number of classes is not taken: ours stays as it was, as it does when the file has
    none. A backbone's file goes into both branches of a dual-branch network, and into a detector that is built
    on this backbone. Everything else must fit exactly. Of a detector's two classes the first is real, the second
    fake; no file says so of itself.

    Args:
      name: name of the network, one of `models.names()`.
      path: weights of PyTorch (`.pth`, `.safetensors`) or Keras (`.h5`, `.weights.h5`, `.keras`), or the folder of
        a run, whose best checkpoint is taken; or the word `imagenet`, for the file of an installed package.
      variables: of `models.create(name, layout=layout).init`: `params` and `batch_stats`.
      layout: the network's layout, which must be the file's; empty: the network's first.
      say: gets one line about what was not taken from the file, or is to be known of it; printed to stderr
        where None.

    Returns:
      A tree like `variables`, with the same shapes and dtypes.

    Raises:
      UserError: when the file cannot be read or does not fit; the line names what differs.
      ValueError: for an unknown network or layout, or variables of another network.
    """
    layout = choose_layout(name, layout)
    path = _imagenet(name) if path == IMAGENET else Path(path)
    if not {"params", "batch_stats"} <= set(variables):
        raise ValueError(f"variables must hold params and batch_stats, got {sorted(variables)}")
    flat = flatten_dict(variables, sep="/")
    read = read_run if path.is_dir() else _of_file
    values, line = read(name, path, layout, flat)
    if line:
        (say or _print)(line)
    new = {key: jnp.asarray(values.get(key, leaf), leaf.dtype) for key, leaf in flat.items()}
    return unflatten_dict(new, sep="/")


def _print(line: str) -> None:
    print(f"kdjax: {line}", file=sys.stderr)


def _imagenet(name: str) -> Path:
    composed = branches(name)
    return imagenet_file(name if composed is None else composed[0])


def _of_file(
    name: str, path: Path, layout: str, flat: dict[str, Any]
) -> tuple[dict[str, np.ndarray], str]:
    """Returns values by the paths of `flat`, and a line about what keeps its own, empty when nothing does."""
    composed = branches(name)
    if composed is None:
        raise UserError(
            f"{name} has no published weights that kdjax knows; give the folder of a run"
        )
    backbone, places = composed
    tensors = read_tensors(path)
    match, where = _match(path, name, backbone, layout, tensors.kind, tensors.arrays)
    values: dict[str, np.ndarray] = {}
    kept: dict[str, str] = {}
    whole = places == ("",)
    for place in places:
        prefix = f"{place}/" if place else ""
        found = find(tensors.arrays, match, _layers(flat, prefix), whole=whole, where=where)
        for (layer, role), value in found.values.items():
            collection = "batch_stats" if role in ("mean", "var") else "params"
            values[f"{collection}/{prefix}{layer}/{role}"] = value
        kept |= {f"{prefix}{layer}": why for layer, why in found.kept.items()}
    if not whole:
        outside = {key.split("/")[1] for key in flat}.difference(places)
        kept |= dict.fromkeys(sorted(outside), f"no part of {backbone}'s file")
    reasons = "; ".join(f"{layer} ({why})" for layer, why in kept.items())
    lines = [f"these keep their initial values: {reasons}"] if kept else []
    if known := remark(match, tensors.arrays):
        lines.append(known)
    return values, f"{path}: {'; '.join(lines)}" if lines else ""


def _layers(flat: dict[str, Any], prefix: str) -> dict[str, dict[str, Any]]:
    """Returns the layers whose names begin with `prefix`, without it: `{layer: {role: leaf}}`."""
    layers: dict[str, dict[str, Any]] = {}
    for path, leaf in flat.items():
        layer, _, role = path.partition("/")[2].rpartition("/")
        if layer.startswith(prefix):
            layers.setdefault(layer.removeprefix(prefix), {})[role] = leaf
    return layers


def _match(
    path: Path, name: str, backbone: str, layout: str, kind: str, arrays: dict[str, np.ndarray]
) -> tuple[Match, str]:
    """Returns how the file names the layers, and what an error about its tensors begins with."""
    match, other = best_match(backbone, kind, arrays, layout), likeliest(kind, arrays)
    fits = ""
    if other is not None and other.likeness > (match.likeness if match else 0):
        fits = f" (it looks like {other.network})"
    if match is None:
        raise UserError(f"{path} is one of {OWNERS[kind]} files{fits}; kdjax knows none of {name}")
    if 2 * match.found < len(match.layers):
        there = f"{match.found} of its {len(match.layers)} layers are there"
        first = f", the file begins with {shown(next(iter(arrays), 'nothing'))}" if not fits else ""
        raise UserError(f"{path} is not of {name}{fits}: {there}{first}")
    # a file of another network is told by its tensors: another layout would not make it fit
    if match.layout != layout and not fits:
        raise UserError(
            f"{path} is in {OWNERS[match.layout]} layout; set student.layout={match.layout} "
            f"(of a teacher: teacher.layout={match.layout})"
        )
    return match, f"{path} does not fit {name}{fits}"
