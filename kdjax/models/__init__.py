"""Networks by name: every one returns `Outputs(logits, features)`."""

import math
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from kdjax.checks import check_choice, check_positive
from kdjax.models import depthwise as depthwise_forms
from kdjax.models.contract import check
from kdjax.models.dual_branch import DualBranch
from kdjax.models.families import DUAL, FAMILIES, choose_layout, layouts, names, normalization
from kdjax.models.weights import load_weights

__all__ = ["DUAL", "check", "create", "layouts", "load_weights", "names", "normalization"]


def create(
    name: str,
    *,
    num_classes: int = 2,
    dtype: Any = jnp.float32,
    width: float = 1.0,
    layout: str = "",
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
      layout: `torch` or `keras`: whose published version of the network it is (padding, strides, eps);
        empty: the first of `layouts(name)`, which is `torch` where a network has both, but for the lite ones.
      depthwise: form of the depthwise convolutions: `shift` (for CPUs), `lax` (XLA's), `auto` by platform.
      axis_name: device axis over which batch statistics are averaged.
      **options: of the kind of network; ResNets take `zero_init`, dual-branch networks `rho` too.

    Raises:
      ValueError: for an unknown name, a layout the network does not have, or a number that is not positive.
    """
    layout = choose_layout(name, layout)
    check_positive("num_classes", num_classes)
    check_positive("width", width)
    if not math.isfinite(width):
        raise ValueError(f"width={width} is not finite")
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"dtype={jnp.dtype(dtype)} must be of floating point numbers")
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
        return FAMILIES[name].build(name, num_classes=num_classes, **shared, **options)
    rho = {key: options.pop(key) for key in ("rho",) if key in options}
    mean, std = FAMILIES[backbone].normalizations(backbone)[layout]
    rgb, frequency = (FAMILIES[backbone].build(backbone, **shared, **options) for _ in range(2))
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
