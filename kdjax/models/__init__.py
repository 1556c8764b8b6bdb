"""Networks by name: every one returns `Outputs(logits, features)`."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from kdjax.checks import check_positive, nearest
from kdjax.models import resnet
from kdjax.models.dual_branch import DualBranch

DUAL = "dual_"
"""What the name of a dual-branch network begins with; its backbone's follows."""


def _builders() -> dict[str, Callable[..., nn.Module]]:
    backbones = dict.fromkeys(resnet.PLANS, resnet.build)
    return {**backbones, **{DUAL + name: _dual_branch for name in backbones}}


def _dual_branch(name: str, *, dtype: Any, axis_name: str | None, **options: Any) -> nn.Module:
    backbone = name.removeprefix(DUAL)
    mean, std = normalization(backbone)
    own = {key: options.pop(key) for key in ("num_classes", "rho") if key in options}
    rgb, frequency = (
        create(backbone, dtype=dtype, axis_name=axis_name, **options) for _ in range(2)
    )
    return DualBranch(
        rgb,
        frequency,
        tuple(map(float, mean)),
        tuple(map(float, std)),
        dtype=dtype,
        axis_name=axis_name,
        **own,
    )


def names() -> tuple[str, ...]:
    """Returns the names that `create` knows."""
    return tuple(_builders())


def create(
    name: str,
    *,
    num_classes: int = 2,
    dtype: Any = jnp.float32,
    width: float = 1.0,
    axis_name: str | None = None,
    **options: Any,
) -> nn.Module:
    """Returns a network, called as `module.apply(variables, images, train=False) -> Outputs`.

    In training pass `train=True, mutable=["batch_stats"]`.

    Args:
      name: one of `names()`.
      num_classes: width of the classifier.
      dtype: dtype the network computes in. Parameters, batch statistics, pooled features and logits
        are float32, or float64 if `dtype` or the images are.
      width: factor on all channel counts.
      axis_name: device axis over which batch statistics are averaged.
      **options: of the kind of network; ResNets take `zero_init`, dual-branch networks `rho` too.

    Raises:
      ValueError: for an unknown name or a number that is not positive.
    """
    _check_name(name)
    check_positive("num_classes", num_classes)
    check_positive("width", width)
    return _builders()[name](
        name,
        num_classes=num_classes,
        dtype=jnp.dtype(dtype),
        width=width,
        axis_name=axis_name,
        **options,
    )


def normalization(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and deviation, float32 `[3]`, of the RGB in [0, 1] that a network expects.

    ResNets take ImageNet's statistics, as torchvision's weights do, also when trained from
    scratch: one rule, whether or not a pretrained file is loaded.
    """
    _check_name(name)
    mean = np.array([0.485, 0.456, 0.406], np.float32)
    deviation = np.array([0.229, 0.224, 0.225], np.float32)
    return mean, deviation


def _check_name(name: str) -> None:
    if name not in _builders():
        raise ValueError(f"no network is called {name!r}; {nearest(name, names())}")
