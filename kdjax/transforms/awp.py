"""Adversarial weight perturbation: the parameters moved up the loss, tensor by tensor."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from kdjax.checks import check_non_negative, check_same_shape
from kdjax.types import Array, PyTree

FLOOR = 1e-12


def adversarial_weight_perturbation(
    params: PyTree,
    grads: PyTree,
    *,
    gamma: float | Array,
    mask: PyTree | None = None,
    step_size: float | Array | None = None,
    perturbed: PyTree | None = None,
) -> PyTree:
    """Returns parameters that raise the loss: one step up its gradient, within a ball around them.

        phi <- P(phi + eta * ||theta|| * g / (||g|| + 1e-12))                         (QAD, Eq. 5)

    for each tensor by itself, where `P` shrinks `phi` to `||phi|| <= gamma * ||theta||`. From `phi = 0`
    with `eta = gamma` this is `phi = gamma * ||theta|| * g / ||g||`, a single step. Eq. 4 has an absolute
    ball, which a relative step cannot mean; the code of AWP's authors is relative.

    There is no state: more steps are more calls, each with the gradient where the last one ended,

        moved = params
        for _ in range(steps):
            moved = adversarial_weight_perturbation(
                params, gradient(moved), gamma=gamma, step_size=eta, perturbed=moved)

    Args:
      params: `theta`, float arrays.
      grads: `g`, of the loss at `theta + phi`; of the same structure and shapes. Average it over the
        devices first. A tensor whose gradient is zero stays where it is.
      gamma: radius of the ball in units of `||theta||`; an array is not checked, as it may be traced.
      mask: bools of the structure of `params`, True on what is moved; None moves the tensors of two
        or more axes: no biases and no scales of norms. What is not moved is returned as it is.
      step_size: `eta`, in units of `||theta||`; `gamma` if None.
      perturbed: `theta + phi` so far, of the structure of `params`; `params` if None.

    Returns:
      `theta + phi`, of the structure, shapes and dtypes of `params`.

    Raises:
      ValueError: if structures or shapes differ, or `gamma` or `step_size` is negative.

    See "Adversarial Weight Perturbation Helps Robust Generalization" by Wu et al., 2020
    (https://arxiv.org/abs/2004.05884), and "Quality-Agnostic Deepfake Detection with Intra-model
    Collaborative Learning" by Le & Woo, 2023 (https://arxiv.org/abs/2309.05911).
    """
    for name, value in (("gamma", gamma), ("step_size", step_size)):
        if isinstance(value, int | float):
            check_non_negative(name, value)
    if mask is None:
        mask = jax.tree.map(lambda tensor: tensor.ndim > 1, params)
    start = params if perturbed is None else perturbed
    structure: Any = jax.tree.structure(params)
    for name, tree in (("grads", grads), ("mask", mask), ("perturbed", start)):
        if jax.tree.structure(tree) != structure:
            raise ValueError(f"{name} must have the structure of params, {structure}")
    move = functools.partial(_move, gamma=gamma, step=gamma if step_size is None else step_size)
    return jax.tree.map(move, params, start, grads, mask)


def _move(
    tensor: Array,
    start: Array,
    grad: Array,
    chosen: bool | Array,
    *,
    gamma: float | Array,
    step: float | Array,
) -> Array:
    """Returns one tensor after the step, in its own dtype."""
    check_same_shape(params=tensor, grads=grad, perturbed=start)
    wide = jnp.promote_types(tensor.dtype, jnp.float32)
    center, moved, slope = (value.astype(wide) for value in (tensor, start, grad))
    reach = jnp.linalg.norm(center.ravel())
    shift = moved - center + step * reach * slope / (jnp.linalg.norm(slope.ravel()) + FLOOR)
    length = jnp.linalg.norm(shift.ravel())
    shrink = jnp.minimum(1.0, gamma * reach / jnp.maximum(length, FLOOR))
    return jnp.where(chosen, (center + shrink * shift).astype(tensor.dtype), tensor)
