"""Networks by name: every one returns `Outputs(logits, features)`."""

from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from kdjax.checks import check_choice, check_positive, nearest
from kdjax.models import depthwise as depthwise_forms
from kdjax.models import resnet
from kdjax.models.dual_branch import DualBranch

BACKBONES: tuple[ModuleType, ...] = (resnet,)
"""Families of networks that come in two branches too; each has `PLANS`, `build` and `normalizations`."""

DETECTORS: tuple[ModuleType, ...] = ()
"""Families of networks that stand alone."""

LAYOUTS = ("torch", "keras")
"""Published versions of one network, which differ in padding, strides, biases and eps."""

DUAL = "dual_"
"""What the name of a dual-branch network begins with; its backbone's follows."""

_FAMILIES = {name: family for family in (*BACKBONES, *DETECTORS) for name in family.PLANS}


def names() -> tuple[str, ...]:
    """Returns the names that `create` knows."""
    backbones = tuple(name for family in BACKBONES for name in family.PLANS)
    detectors = tuple(name for family in DETECTORS for name in family.PLANS)
    return (*backbones, *detectors, *(DUAL + name for name in backbones))


def create(
    name: str,
    *,
    num_classes: int = 2,
    dtype: Any = jnp.float32,
    width: float = 1.0,
    layout: str = "torch",
    depthwise: str = "auto",
    axis_name: str | None = None,
    **options: Any,
) -> nn.Module:
    """Returns a network, called as `module.apply(variables, images, train=False) -> Outputs`.

    In training pass `train=True, mutable=["batch_stats"]`, and `rngs={"dropout": key}` to networks that draw.

    Args:
      name: one of `names()`.
      num_classes: width of the classifier.
      dtype: dtype the network computes in. Parameters, batch statistics, pooled features and logits
        are float32, or float64 if `dtype` or the images are.
      width: factor on all channel counts.
      layout: `torch` or `keras`: whose published version of the network it is (padding, strides, eps).
      depthwise: form of the depthwise convolutions: `shift` (for CPUs), `lax` (XLA's), `auto` by platform.
      axis_name: device axis over which batch statistics are averaged.
      **options: of the kind of network; ResNets take `zero_init`, dual-branch networks `rho` too.

    Raises:
      ValueError: for an unknown name, a layout the network does not have, or a number that is not positive.
    """
    check_layout(name, layout)
    check_positive("num_classes", num_classes)
    check_positive("width", width)
    check_choice("depthwise", depthwise, depthwise_forms.FORMS)
    backbone = name.removeprefix(DUAL)
    shared = {
        "dtype": jnp.dtype(dtype),
        "width": width,
        "layout": layout,
        "depthwise": depthwise,
        "axis_name": axis_name,
    }
    if backbone == name:
        return _FAMILIES[name].build(name, num_classes=num_classes, **shared, **options)
    rho = {key: options.pop(key) for key in ("rho",) if key in options}
    mean, std = _FAMILIES[backbone].normalizations(backbone)[layout]
    rgb, frequency = (_FAMILIES[backbone].build(backbone, **shared, **options) for _ in range(2))
    return DualBranch(
        rgb,
        frequency,
        mean,
        std,
        num_classes=num_classes,
        dtype=jnp.dtype(dtype),
        axis_name=axis_name,
        **rho,
    )


def layouts(name: str) -> tuple[str, ...]:
    """Returns the layouts of a network, the first being the default.

    Raises:
      ValueError: for an unknown name.
    """
    if name not in names():
        raise ValueError(f"no network is called {name!r}; {nearest(name, names())}")
    backbone = name.removeprefix(DUAL)
    return tuple(_FAMILIES[backbone].normalizations(backbone))


def check_layout(name: str, layout: str) -> None:
    """Raises ValueError for an unknown network, or a layout that it does not have."""
    known = layouts(name)
    check_choice("layout", layout, LAYOUTS)
    if layout not in known:
        raise ValueError(f"{name} has no layout {layout!r}, only {', '.join(map(repr, known))}")


def normalization(name: str, layout: str = "torch") -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and deviation, float32 `[3]`, of the RGB in [0, 1] that a network expects.

    They are those of the published weights, also when the network is trained from scratch: one rule,
    whether or not a pretrained file is loaded.
    """
    check_layout(name, layout)
    backbone = name.removeprefix(DUAL)
    mean, deviation = _FAMILIES[backbone].normalizations(backbone)[layout]
    return np.array(mean, np.float32), np.array(deviation, np.float32)
