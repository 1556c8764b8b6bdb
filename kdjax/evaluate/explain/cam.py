"""Grad-CAM and Grad-CAM++: where in an image the evidence for a class lies, as a map inside a network sees it."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp

from kdjax.checks import check_choice, check_rank, check_same_shape
from kdjax.evaluate.explain.probing import Apply, map_and_gradient
from kdjax.types import Array, Outputs

FLOOR = 1e-12
"""Heat below which a map counts as cold."""


def grad_cam(maps: Array, gradients: Array) -> Array:
    """Returns Grad-CAM's heat: the channels weighted by their mean gradient, and what is left above 0.

        a_k = 1 / (H W) sum_{i, j} dy / dA_ijk                                  (Eq. 1)
        L_ij = max(sum_k a_k A_ijk, 0)                                          (Eq. 2)

    Args:
      maps: float `[B, H, W, C]`, A.
      gradients: of the score y by it, of the same shape.

    Returns:
      `[B, H, W]`, at least float32, at least 0, in units of the score per position.

    Raises:
      ValueError: for other or unequal shapes.

    See "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization" by Selvaraju et al., 2017
    (https://arxiv.org/abs/1610.02391). Where the map is averaged and classified linearly, this is CAM, and the mean
    of the sum in Eq. 2 over all positions is the score without its bias.
    """
    maps, gradients = _checked(maps, gradients)
    weights = jnp.mean(gradients, axis=(1, 2), keepdims=True)
    return jnp.maximum(jnp.sum(weights * maps, axis=-1), 0.0)


def grad_cam_plus_plus(maps: Array, gradients: Array) -> Array:
    """Returns Grad-CAM++'s heat: each position's positive gradient counts, and the more the fewer such there are.

        w_k = sum_{i, j} alpha_ijk max(g_ijk, 0),  g_ijk = dy / dA_ijk
        alpha_ijk = g_ijk^2 / (2 g_ijk^2 + g_ijk^3 sum_{a, b} A_abk) = 1 / (2 + g_ijk sum_{a, b} A_abk)
        L_ij = max(sum_k w_k A_ijk, 0)

    The paper differentiates `exp(y)`, whose factor `exp(y)` is the same at all positions; it is left out. Only g > 0
    counts, so alpha is 1 / 2 or less as long as A is not negative, as after a ReLU. Of a map with negative entries the
    sum takes the positive ones alone, which keeps it so; the paper says nothing of such maps.

    Args:
      maps: float `[B, H, W, C]`, A.
      gradients: of the score y by it, of the same shape.

    Returns:
      `[B, H, W]`, at least float32, at least 0.

    Raises:
      ValueError: for other or unequal shapes.

    See "Grad-CAM++: Improved Visual Explanations for Deep Convolutional Networks" by Chattopadhyay et al., 2018
    (https://arxiv.org/abs/1710.11063).
    """
    maps, gradients = _checked(maps, gradients)
    risen = jnp.maximum(gradients, 0.0)
    total = jnp.sum(jnp.maximum(maps, 0.0), axis=(1, 2), keepdims=True)
    weights = jnp.sum(risen / (2.0 + risen * total), axis=(1, 2), keepdims=True)
    return jnp.maximum(jnp.sum(weights * maps, axis=-1), 0.0)


METHODS: Mapping[str, Callable[[Array, Array], Array]] = MappingProxyType(
    {"gradcam": grad_cam, "gradcam++": grad_cam_plus_plus}
)
"""The kinds of heat by name."""


def log_odds(logits: Array, label: int = 1) -> Array:
    """Returns the log-odds of a class, `y_c - log sum_{k != c} exp(y_k)`, `[B]`: of two classes their difference.

    The softmax sees nothing else of two logits: one of them alone may be anything.
    """
    check_rank("logits", logits, 2)
    check_choice("label", label, range(logits.shape[1]))
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    others = jnp.delete(logits, label, axis=1)
    return logits[:, label] - jax.nn.logsumexp(others, axis=1)


def heat_maps(
    apply: Apply,
    images: Array,
    stage: str = "stage4",
    *,
    method: str = "gradcam",
    label: int = 1,
) -> tuple[Array, Outputs]:
    """Returns what at a stage speaks for a class, by `METHODS`, and the network's outputs. It can be compiled.

    Args:
      apply: `images -> Outputs` in inference mode, as `lambda x: module.apply(variables, x, train=False)`.
      images: `[B, H, W, 3]`, as the network takes them: normalised.
      stage: name of one of its maps.
      method: `gradcam` or `gradcam++`.
      label: the class whose log-odds are explained; 1 is fake.

    Returns:
      Heat `[B, h, w]` of the stage's size, at least float32; 0 everywhere where nothing speaks for the class.

    Raises:
      ValueError: the network has no such map, or its logits are not computed from it; an unknown method.
    """
    check_choice("method", method, tuple(METHODS))
    maps, gradients, outputs = map_and_gradient(
        apply, images, stage, lambda logits: log_odds(logits, label)
    )
    if maps.ndim != 4:
        raise ValueError(f"{stage!r} is no map [B, H, W, C]; it is {list(maps.shape)}")
    return METHODS[method](maps, gradients), outputs


def enlarged(heat: Array, size: int) -> Array:
    """Returns heat `[B, size, size]` of the image's size, between the centres of its cells linear."""
    check_rank("heat", heat, 3)
    return jax.image.resize(heat, (len(heat), size, size), "linear")


def relative(heat: Array) -> Array:
    """Returns heat of which each image's largest is 1; one that is cold everywhere stays 0."""
    largest = jnp.max(heat, axis=(1, 2), keepdims=True)
    return jnp.where(largest > FLOOR, heat / jnp.maximum(largest, FLOOR), 0.0)


def _checked(maps: Array, gradients: Array) -> tuple[Array, Array]:
    check_rank("maps", maps, 4)
    check_same_shape(maps=maps, gradients=gradients)
    wide = jnp.promote_types(maps.dtype, jnp.float32)
    return maps.astype(wide), gradients.astype(wide)
