"""The families of networks: which names there are, in which layouts, normalised how."""

from types import ModuleType

import numpy as np

from kdjax.checks import check_choice, nearest
from kdjax.models import (
    efficientnet,
    f3net,
    inception_resnet,
    mesonet,
    mobilenet,
    multi_attention,
    resnet,
    xception,
)

BACKBONES: tuple[ModuleType, ...] = (resnet, xception, efficientnet, mobilenet, inception_resnet)
"""Families of networks that come in two branches too; each has `PLANS`, `build` and `normalizations`."""

DETECTORS: tuple[ModuleType, ...] = (mesonet, f3net, multi_attention)
"""Families of networks that stand alone."""

LAYOUTS = ("torch", "keras")
"""Published versions of one network, which differ in padding, strides, biases and eps."""

DUAL = "dual_"
"""What the name of a dual-branch network begins with; its backbone's follows."""

FAMILIES = {name: family for family in (*BACKBONES, *DETECTORS) for name in family.PLANS}
"""Each backbone's and detector's family by name."""


def names() -> tuple[str, ...]:
    """Returns the names that `create` knows."""
    backbones = tuple(name for family in BACKBONES for name in family.PLANS)
    detectors = tuple(name for family in DETECTORS for name in family.PLANS)
    return (*backbones, *detectors, *(DUAL + name for name in backbones))


def layouts(name: str) -> tuple[str, ...]:
    """Returns the layouts of a network, the first being the default.

    Raises:
      ValueError: for an unknown name.
    """
    if name not in names():
        raise ValueError(f"no network is called {name!r}; {nearest(name, names())}")
    backbone = name.removeprefix(DUAL)
    return tuple(FAMILIES[backbone].normalizations(backbone))


def choose_layout(name: str, layout: str = "") -> str:
    """Returns the layout asked for, or the first that the network has where none is.

    Raises:
      ValueError: for an unknown network, or a layout that it does not have.
    """
    known = layouts(name)
    if not layout:
        return known[0]
    check_choice("layout", layout, LAYOUTS)
    if layout not in known:
        raise ValueError(f"{name} has no layout {layout!r}, only {', '.join(map(repr, known))}")
    return layout


def normalization(name: str, layout: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and deviation, float32 `[3]`, of the RGB in [0, 1] that a network expects.

    They are those of the published weights, also when the network is trained from scratch: one rule,
    whether or not a pretrained file is loaded.
    """
    layout = choose_layout(name, layout)
    backbone = name.removeprefix(DUAL)
    mean, deviation = FAMILIES[backbone].normalizations(backbone)[layout]
    return np.array(mean, np.float32), np.array(deviation, np.float32)
