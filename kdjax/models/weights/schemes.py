"""Which file is of which network: the tables of layer names, and the one that fits a file best."""

import itertools
import re
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import NamedTuple

import numpy as np

from kdjax.models import efficientnet, inception_resnet, mesonet, mobilenet, resnet, xception
from kdjax.models.families import DUAL
from kdjax.models.weights import (
    efficientnet_names,
    inception_resnet_names,
    mesonet_names,
    mobilenet_names,
    resnet_names,
    xception_names,
)

TABLES: dict[str, ModuleType] = {
    **dict.fromkeys(resnet.PLANS, resnet_names),
    **dict.fromkeys(xception.PLANS, xception_names),
    **dict.fromkeys(efficientnet.PLANS, efficientnet_names),
    **dict.fromkeys(mobilenet.PLANS, mobilenet_names),
    **dict.fromkeys(mesonet.PLANS, mesonet_names),
    **dict.fromkeys(inception_resnet.PLANS, inception_resnet_names),
}
"""Modules that know what published files call a network's layers, by network.

Each has `schemes(name) -> {scheme: {our layer: the file's}}`. It may have `LAYOUT_OF`, the layout of a scheme's
files where it is not that of the library; `IGNORED`, beginnings of tensors' names that our networks have no use
for; `BGR`, convolutions that take blue, green, red; all by scheme. `SINGLE_UNIT` is the class whose probability a
head with one unit gives. Schemes of Keras' files have names that begin with `keras`.
"""

DUAL_BRANCHES = ("rgb_branch", "frequency_branch")
"""Where a dual-branch network keeps its backbones."""

COMPOSED: dict[str, tuple[str, tuple[str, ...]]] = {
    "mat": ("efficientnet_b4", ("backbone",)),
    "f3net": ("xception", DUAL_BRANCHES),
}
"""Detectors made of published backbones: which one, and where they keep it."""

AUTOMATIC = re.compile(
    r"(conv2d|depthwise_conv2d|separable_conv2d|batch_normalization|dense)(?:_(\d+))?(/\w+)?"
)
"""Names that Keras gives layers by itself, counting all layers of a session."""


class Match(NamedTuple):
    """How a file names the layers of a network.

    Attributes:
      network: name of the network.
      scheme: name of the table.
      layout: whose published version of the network the table is of.
      layers: `{our layer: the file's}`, with the numbers that the file gives to nameless layers.
      found: how many of these layers the file has.
      likeness: of the layers that network or file has, the share that both have.
      ignored: beginnings of tensors' names that the network has no use for.
      flipped: our convolutions whose kernels take blue, green, red in the file.
      single_unit: class whose probability a head with one unit gives, empty where that is not known.
      note: what whoever loads such a file must know, empty where there is nothing.
    """

    network: str
    scheme: str
    layout: str
    layers: dict[str, str]
    found: int
    likeness: float
    ignored: tuple[str, ...] = ()
    flipped: tuple[str, ...] = ()
    single_unit: str = ""
    note: str = ""


def branches(name: str) -> tuple[str, tuple[str, ...]] | None:
    """Returns which backbone a network has and where, `("resnet18", ("",))` for a backbone itself.

    None for a network without tables.
    """
    if name in COMPOSED:
        return COMPOSED[name]
    backbone = name.removeprefix(DUAL)
    if backbone not in TABLES:
        return None
    return backbone, ("",) if backbone == name else DUAL_BRANCHES


def best_match(network: str, kind: str, tensors: Iterable[str], layout: str) -> Match | None:
    """Returns how a file names a network's layers: the table most of whose layers the file has.

    Args:
      network: name of the network.
      kind: `torch` or `keras`, whose files hold such tensors.
      tensors: the names of the file's tensors.
      layout: goes first where two tables fit alike.

    Returns:
      The best match, None when no table is of files of this kind.
    """
    table, theirs = TABLES[network], file_layers(kind, tensors)
    found = []
    for scheme, ours in table.schemes(network).items():
        if scheme.startswith("keras") != (kind == "keras"):
            continue
        layers = renumbered(ours, theirs) if kind == "keras" else ours
        here = len(theirs.intersection(layers.values()))
        match = Match(
            network,
            scheme,
            getattr(table, "LAYOUT_OF", {}).get(scheme, kind),
            layers,
            here,
            here / len(theirs.union(layers.values())),
            tuple(getattr(table, "IGNORED", {}).get(scheme, ())),
            tuple(getattr(table, "BGR", {}).get(scheme, ())),
            getattr(table, "SINGLE_UNIT", ""),
            getattr(table, "NOTES", {}).get((network, scheme), ""),
        )
        found.append(match)
    return max(found, key=lambda match: (match.found, match.layout == layout), default=None)


def remark(match: Match, arrays: Mapping[str, np.ndarray]) -> str:
    """Returns what whoever loads a file must know of it, empty where there is nothing."""
    own = getattr(TABLES[match.network], "remark", None)
    return match.note or (own(arrays) if own is not None else "")


def likeliest(kind: str, tensors: Iterable[str]) -> Match | None:
    """Returns the match of the network that a file looks most like, None when it looks like none."""
    names = tuple(tensors)
    found = [best_match(network, kind, names, kind) for network in TABLES]
    likely = [match for match in found if match is not None and match.likeness > 0.5]
    return max(likely, key=lambda match: match.likeness, default=None)


def file_layers(kind: str, tensors: Iterable[str]) -> set[str]:
    """Returns the layers of a file; a separable convolution of Keras counts as its two convolutions."""
    names = set(tensors)
    if kind == "torch":
        return {name.rpartition(".")[0] for name in names}
    layers = set()
    for name in names:
        layer, _, role = name.rpartition("/")
        if (
            role in ("depthwise_kernel", "pointwise_kernel")
            and f"{layer}/pointwise_kernel" in names
        ):
            layers.add(name.removesuffix("_kernel"))
        else:
            layers.add(layer)
    return layers


def renumbered(ours: Mapping[str, str], theirs: Iterable[str]) -> dict[str, str]:
    """Returns a table with the numbers that a file gives to the layers Keras has named by itself.

    Tables count them from zero, in the order in which the network is built. A session counts on from
    network to network: where a file has not the table's own numbers, its order counts.

    Args:
      ours: `{our layer: the table's name}`.
      theirs: the file's layers.
    """
    wanted, there = _numbers(ours.values()), _numbers(theirs)
    given: dict[tuple[str, int], int] = {}
    for base, numbers in wanted.items():
        found = there.get(base, set())
        if not numbers <= found:
            # a file without the head has fewer: the rest get numbers that it does not have
            after = itertools.count(max(found, default=-1) + 1)
            pairs = zip(sorted(numbers), itertools.chain(sorted(found), after), strict=False)
            given |= {(base, number): other for number, other in pairs}
    return {layer: _renamed(name, given) for layer, name in ours.items()}


def _numbers(names: Iterable[str]) -> dict[str, set[int]]:
    numbers: dict[str, set[int]] = {}
    for name in names:
        if automatic := AUTOMATIC.fullmatch(name):
            numbers.setdefault(automatic[1], set()).add(int(automatic[2] or 0))
    return numbers


def _renamed(name: str, given: Mapping[tuple[str, int], int]) -> str:
    automatic = AUTOMATIC.fullmatch(name)
    key = (automatic[1], int(automatic[2] or 0)) if automatic else ("", 0)
    if automatic is None or key not in given:
        return name
    number = f"_{given[key]}" if given[key] else ""
    return f"{automatic[1]}{number}{automatic[3] or ''}"
