"""Gradients of several branches at one point: how they agree, where they should point, what that costs.

See "RotoGrad: Gradient Homogenization in Multitask Learning" by Javaloy & Valera, 2022
(https://arxiv.org/abs/2103.02631), and "Two-in-one Knowledge Distillation for Efficient Facial Forgery
Detection" by Zhou et al., 2023 (https://arxiv.org/abs/2302.10437).
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.lax import Precision

from kdjax.checks import check_choice, check_rank, check_same_batch, check_same_shape
from kdjax.types import Array

FORMS = ("cosine", "squared")
FLOOR = 1e-12


def gradient_cosine(
    first: Array, second: Array, *, mask: Array | None = None
) -> tuple[Array, Array]:
    """Returns the cosine between two gradients of each example, and which examples have one.

    Args:
      first: float `[B, ...]`.
      second: float, of the same shape.
      mask: float or bool `[B]`: what is 0 has no cosine, be it NaN.

    Returns:
      `[B]` in at least float32, 0 where there is none, and bool `[B]`: False on masked examples and
      where one of the two is zero. The length does not matter, however small.

    Raises:
      ValueError: if the shapes differ.
    """
    check_same_shape(first=first, second=second)
    units = []
    valid = jnp.ones(first.shape[0], bool)
    for value in (first, second):
        value = _counted(value, mask).reshape(value.shape[0], -1)
        # The cosine does not know the scale: with the largest entry taken out, no square vanishes.
        largest = jax.lax.stop_gradient(jnp.max(jnp.abs(value), axis=1))
        # not `> 0`: what is NaN must not pass for zero
        present = largest != 0
        value = value / jnp.where(present, largest, 1.0)[:, None]
        squares = jnp.sum(value**2, axis=1)
        units.append(value / jnp.sqrt(jnp.where(present, squares, 1.0))[:, None])
        valid &= present
    return jnp.sum(units[0] * units[1], axis=1), valid


def gradient_target(
    gradients: Sequence[Array],
    *,
    one_norm: bool = False,
    mask: Array | None = None,
    axis_name: str | None = None,
) -> Array:
    """Returns where the branches' gradients should point: their mean, a constant.

        g = mean_k v_k                                                                (Eq. 15)

    Args:
      gradients: `v_k` of each branch, float `[B, ..., d]`, at the backbone's side.
      one_norm: whether each is first scaled, over the whole batch, to the norm of their plain mean, as
        RotoGrad does.
      mask: float or bool `[B]`, which counts for the norms; what is 0 is 0 in the result.
      axis_name: device axis of the batch, over which the norms are taken.

    Returns:
      `[B, ..., d]`, at least float32, without a gradient.

    Raises:
      ValueError: if the shapes differ.
    """
    check_same_shape(**{f"gradients[{index}]": value for index, value in enumerate(gradients)})
    values = [jax.lax.stop_gradient(_counted(value, mask)) for value in gradients]
    mean = _mean(values)
    if not one_norm:
        return mean

    def norm(value: Array) -> Array:
        squares = jnp.sum(value**2)
        return jnp.sqrt(squares if axis_name is None else jax.lax.psum(squares, axis_name))

    length = norm(mean)
    return _mean([value * (length / jnp.maximum(norm(value), FLOOR)) for value in values])


def alignment(
    matrix: Array,
    feature_grad: Array,
    target: Array,
    *,
    form: str = "cosine",
    mask: Array | None = None,
    axis_name: str | None = None,
) -> Array:
    """Returns how far a branch's gradients, rotated back, point from where they should.

        cosine:   -mean_n cos(R^T G_n, g_n)                                          (Eq. 13)
        squared:   mean_n ||R^T G_n - g_n||^2                                       (RotoGrad)

    `G` and `g` are held constant: the gradient flows into `R` alone. Examples where `G_n` or `g_n` is
    zero are left out. Eq. 13 sums over the batch; the mean does not ask how large it is.

    A step that has the matrix already need not build it twice: with `matrix, back =
    jax.vjp(rotation_matrix, free)`, the gradient on `free` is `back(jax.grad(alignment)(matrix, ...))`.

    Args:
      matrix: `R`, float `[d, d]`.
      feature_grad: `G`, float `[B, ..., d]`, the rotated entries of `dL_k/dr` (`rotated_entries`).
      target: `g`, of the same shape, at the backbone's side (`gradient_target`). The cosine is that of
        all axes but the first.
      form: "cosine" or "squared".
      mask: float or bool `[B]`: what is 0 does not count, be it NaN.
      axis_name: device axis of the batch: then the mean of the results over it is the mean over the
        whole batch, and likewise for their gradients.

    Returns:
      A scalar, at least float32, in [-1, 1] for "cosine"; 0 if no example counts.

    Raises:
      ValueError: if the shapes do not fit or the form is unknown.
    """
    check_choice("form", form, FORMS)
    check_same_shape(feature_grad=feature_grad, target=target)
    if feature_grad.shape[-1] != matrix.shape[0]:
        raise ValueError(
            f"feature_grad has {feature_grad.shape[-1]} entries a position, matrix {matrix.shape[0]}"
        )
    feature_grad = jax.lax.stop_gradient(_counted(feature_grad, mask))
    target = jax.lax.stop_gradient(_counted(target, mask))
    # A row times R is a column under R^T.
    arriving = jnp.matmul(feature_grad, matrix, precision=Precision.HIGHEST)
    values, valid = gradient_cosine(arriving, target)
    values = -values
    if form == "squared":
        values = jnp.sum((arriving - target) ** 2, axis=tuple(range(1, target.ndim)))
    count = jnp.sum(valid.astype(values.dtype))
    if axis_name is not None:
        count = jax.lax.pmean(count, axis_name)
    return jnp.sum(jnp.where(valid, values, 0.0)) / jnp.where(count > 0, count, 1.0)


def at_least_float32(values: Array) -> Array:
    """Returns `values` in at least float32."""
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))


def _mean(values: Sequence[Array]) -> Array:
    return functools.reduce(jnp.add, values) / len(values)


def _counted(values: Array, mask: Array | None) -> Array:
    """Returns `values` in at least float32, 0 on examples that do not count."""
    values = at_least_float32(values)
    if mask is None:
        return values
    check_rank("mask", mask, 1)
    check_same_batch(values=values, mask=mask)
    kept = (jnp.asarray(mask) > 0).reshape((-1,) + (1,) * (values.ndim - 1))
    return jnp.where(kept, values, 0.0)
