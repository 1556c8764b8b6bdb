"""Contrastive distillation: pairs of one image told from pairs of two, teacher against student."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import Precision

from kdjax.checks import check_non_negative, check_positive, check_rank, check_same_shape
from kdjax.losses.reductions import at_least_float32
from kdjax.types import Array


def contrastive_nce(
    teacher: Array,
    student: Array,
    negatives: Array,
    *,
    temperature: float | Array,
    dataset_size: int | Array,
    mask: Array | None = None,
    normalizer: float | Array = 1.0,
) -> Array:
    """Returns CKD's contrastive loss, to be minimised: the negative of the paper's objective.

        a(t, s) = <t, s> / tau - log Z - log(K / M),  h = sigmoid(a)               (Eq. 7)
        L_i = -log h(t_i, s_i) - sum_k log(1 - h(t_i, s_ik))                       (Eq. 8)

    The paper's `Z` is 1. With fewer than `K` valid negatives the sum over the valid ones is
    multiplied by `K / (number of valid ones)`; with none it is 0 and the positive pair remains.
    The gradient flows into all three embeddings.

    Args:
      teacher: float `[B, D]`, `g^T(z_t)`, of norm 1; nothing is normalised here.
      student: float `[B, D]`, `g^S(z_s)` of the same images.
      negatives: float `[B, K, D]`, `g^S(z_s)` of `K` images of the other class for each anchor.
      temperature: `tau > 0`; an array is not checked, since it may be traced.
      dataset_size: `M > 0`, the number of training examples; an array is not checked.
      mask: float or bool `[B, K]`, the weight of each negative, 0 where there is none; what stands
        there counts for nothing, be it NaN. None if all are valid.
      normalizer: `Z > 0`, from `contrastive_normalizer`; an array is not checked.

    Returns:
      `[B]`, in nats, at least float32.

    Raises:
      ValueError: for shapes that do not fit, or a number that is not positive.

    See "Contrastive Knowledge Transfer for Deepfake Detection with Limited Data" by Li et al., 2022.
    """
    check_same_shape(teacher=teacher, student=student)
    return _loss(
        teacher,
        student,
        negatives,
        temperature=temperature,
        dataset_size=dataset_size,
        mask=mask,
        normalizer=normalizer,
    )


def crd(
    teacher: Array,
    student: Array,
    teacher_negatives: Array,
    student_negatives: Array,
    *,
    temperature: float | Array,
    dataset_size: int | Array,
    teacher_normalizer: float | Array = 1.0,
    student_normalizer: float | Array = 1.0,
    teacher_positive: Array | None = None,
    student_positive: Array | None = None,
    epsilon: float = 1e-7,
) -> Array:
    """Returns contrastive representation distillation, with each network as the anchor once.

        P(u, v) = exp(<u, v> / tau) / Z,  c = K / M
        L(u) = -log(P(u, v+) / (P(u, v+) + c + e)) - sum_k log(c / (P(u, v_k) + c + e))
        L = L(teacher anchor, student's side) + L(student anchor, teacher's side)

    The authors' code takes the positive from the bank like the negatives (its entry for that image,
    of an earlier step) and adds `e = 1e-7`. Bank entries are constants there; here the gradient
    flows into every argument, so stop it where one comes from a network.

    Args:
      teacher: float `[B, D]`, of norm 1.
      student: float `[B, D]`, of norm 1, of the same images.
      teacher_negatives: float `[B, K, D]`, from the teacher's bank, for the student as anchor.
      student_negatives: float `[B, K', D]`, from the student's bank, for the teacher as anchor.
      temperature: `tau > 0`; an array is not checked.
      dataset_size: `M > 0`; an array is not checked.
      teacher_normalizer: `Z > 0` of the teacher as anchor, from `contrastive_normalizer`.
      student_normalizer: `Z > 0` of the student as anchor.
      teacher_positive: float `[B, D]`, the teacher's bank entries of the same images; `teacher`
        if None.
      student_positive: float `[B, D]`, the student's; `student` if None.
      epsilon: `e >= 0`.

    Returns:
      `[B]`, in nats, at least float32; its mean is the authors' loss.

    Raises:
      ValueError: for shapes that do not fit, or a number out of range.

    See "Contrastive Representation Distillation" by Tian et al., 2020
    (https://arxiv.org/abs/1910.10699).
    """
    check_non_negative("epsilon", epsilon)
    check_same_shape(teacher=teacher, student=student)
    numbers: dict[str, Any] = {
        "temperature": temperature,
        "dataset_size": dataset_size,
        "epsilon": epsilon,
    }
    positive = student if student_positive is None else student_positive
    by_teacher = _loss(
        teacher, positive, student_negatives, normalizer=teacher_normalizer, **numbers
    )
    positive = teacher if teacher_positive is None else teacher_positive
    by_student = _loss(
        student, positive, teacher_negatives, normalizer=student_normalizer, **numbers
    )
    return by_teacher + by_student


def contrastive_normalizer(
    anchor: Array,
    positive: Array,
    negatives: Array,
    *,
    temperature: float | Array,
    dataset_size: int | Array,
    mask: Array | None = None,
    example_mask: Array | None = None,
    axis_name: str | None = None,
) -> Array:
    """Returns the normaliser `Z` that makes the scores of a batch average to `1 / M`.

        Z = M * mean(exp(<u, v> / tau)) over the positive and the negative pairs of the batch

    Tian et al. compute it on the first batch and keep it. It takes no gradient.

    Args:
      anchor: float `[B, D]`.
      positive: float `[B, D]`.
      negatives: float `[B, K, D]`.
      temperature: `tau > 0`; an array is not checked.
      dataset_size: `M > 0`; an array is not checked.
      mask: float or bool `[B, K]`, the weight of each negative, or None if all are valid.
      example_mask: float or bool `[B]`, 0 on padding, or None.
      axis_name: device axis of the batch; the mean is then over all devices.

    Returns:
      A positive scalar of at least float32, cut at the largest finite number (`tau` below about
      0.012 in float32); 1 if no pair counts.

    Raises:
      ValueError: for shapes that do not fit, or a number that is not positive.
    """
    _check(anchor, positive, negatives, mask, temperature, dataset_size)
    weights = jnp.ones(negatives.shape[:2]) if mask is None else jnp.asarray(mask)
    weights = jnp.concatenate([jnp.ones((anchor.shape[0], 1), weights.dtype), weights], axis=1)
    if example_mask is not None:
        check_rank("example_mask", example_mask, 1)
        check_same_shape(example_mask=example_mask, anchors=anchor[:, 0])
        weights = weights * jnp.asarray(example_mask)[:, None]
    pairs = jax.lax.stop_gradient(_similarities(anchor, positive, negatives, mask) / temperature)
    weights = weights.astype(pairs.dtype)
    pairs = jnp.where(weights > 0, pairs, -jnp.inf)
    largest = jnp.max(pairs)
    if axis_name is not None:
        largest = jax.lax.pmax(largest, axis_name)
    largest = jnp.where(jnp.isfinite(largest), largest, 0.0)
    total, count = jnp.sum(weights * jnp.exp(pairs - largest)), jnp.sum(weights)
    if axis_name is not None:
        total, count = jax.lax.psum((total, count), axis_name)
    counts = count > 0
    mean = jnp.where(counts, total, 1.0) / jnp.where(counts, count, 1.0)
    log_z = largest + jnp.log(mean) + jnp.log(jnp.asarray(dataset_size, pairs.dtype))
    cut = jnp.minimum(log_z, math.log(jnp.finfo(pairs.dtype).max) * (1 - 1e-6))
    return jnp.where(counts, jnp.exp(cut), 1.0)


def _loss(
    anchor: Array,
    positive: Array,
    negatives: Array,
    *,
    temperature: float | Array,
    dataset_size: int | Array,
    normalizer: float | Array,
    mask: Array | None = None,
    epsilon: float | Array = 0.0,
) -> Array:
    """Returns one direction of `crd`, of which CKD's loss is the case `epsilon = 0`."""
    _check(anchor, positive, negatives, mask, temperature, dataset_size)
    if isinstance(normalizer, int | float):
        check_positive("normalizer", normalizer)
    pairs = _similarities(anchor, positive, negatives, mask)
    count = negatives.shape[1]
    size, scale = (jnp.asarray(x, pairs.dtype) for x in (dataset_size, normalizer))
    noise = count / size
    scores = pairs / temperature - jnp.log(scale) - jnp.log(noise + epsilon)
    attracted = -jax.nn.log_sigmoid(scores[:, 0])
    # c / (P + c + e) = (1 - h) * c / (c + e)
    repelled = -jax.nn.log_sigmoid(-scores[:, 1:]) + jnp.log1p(epsilon / noise)
    if mask is None:
        return attracted + jnp.sum(repelled, axis=1)
    weights = jnp.asarray(mask, pairs.dtype)
    total = jnp.sum(weights, axis=1)
    rescaled = jnp.sum(weights * repelled, axis=1) * count / jnp.where(total > 0, total, 1.0)
    return attracted + rescaled


def _similarities(anchor: Array, positive: Array, negatives: Array, mask: Array | None) -> Array:
    """Returns the inner products `[B, 1 + K]`, the positive's first; 0 where the mask is."""
    if mask is not None:
        negatives = jnp.where((jnp.asarray(mask) > 0)[..., None], negatives, 0.0)
    others = jnp.concatenate(
        [at_least_float32(positive)[:, None], at_least_float32(negatives)], axis=1
    )
    return jnp.einsum("bd,bkd->bk", at_least_float32(anchor), others, precision=Precision.HIGHEST)


def _check(
    anchor: Array,
    positive: Array,
    negatives: Array,
    mask: Array | None,
    temperature: float | Array,
    dataset_size: int | Array,
) -> None:
    """Raises ValueError for shapes that do not fit, or a number that is not positive."""
    check_rank("anchor", anchor, 2)
    check_rank("negatives", negatives, 3)
    check_same_shape(anchor=anchor, positive=positive)
    batch, count, width = negatives.shape
    if (batch, width) != tuple(anchor.shape):
        raise ValueError(
            f"negatives has shape {tuple(negatives.shape)}; "
            f"[{anchor.shape[0]}, K, {anchor.shape[1]}] is expected"
        )
    check_positive("number of negatives", count)
    if mask is not None and tuple(mask.shape) != (batch, count):
        raise ValueError(f"mask has shape {tuple(mask.shape)}; [{batch}, {count}] is expected")
    for name, value in {"temperature": temperature, "dataset_size": dataset_size}.items():
        if isinstance(value, int | float):
            check_positive(name, value)
