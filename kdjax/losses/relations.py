"""Losses on how the examples of a batch relate to each other, student against teacher.

All are scalars over the batch and compare features of any two widths: `[B, ...]`, flattened. Where
the batch lies on several devices, gather it first. The gradient flows into both; stop it where the
teacher is frozen.
"""

import jax
import jax.numpy as jnp
from jax.lax import Precision

from kdjax.checks import check_rank, check_same_batch
from kdjax.losses.features import unit_vectors, vector_norm
from kdjax.losses.reductions import FLOOR, at_least_float32
from kdjax.types import Array

PKT_EPSILON = 1e-7
"""Added to both probabilities in the logarithm of `pkt`, as in its authors' code."""


def rkd_distance(student: Array, teacher: Array, *, mask: Array | None = None) -> Array:
    """Returns how much the examples' distances differ, each in units of their mean.

        psi_ij = ||x_i - x_j|| / mean_{i != j} ||x_i - x_j||
        mean over all i, j of huber(psi^S_ij - psi^T_ij), huber of threshold 1

    The mean is over all `n^2` pairs, the `n` of an example with itself included, as in the
    published code: the usual weight of 25 goes with it. `B^2 * D` differences are held.

    Args:
      student: float `[B, ...]`.
      teacher: float `[B, ...]`.
      mask: float or bool `[B]`, 0 on examples that do not count, or None if all do.

    Returns:
      A scalar, at least float32; 0 for fewer than two examples.

    Raises:
      ValueError: if the batch sizes differ.

    See "Relational Knowledge Distillation" by Park et al., 2019
    (https://arxiv.org/abs/1904.05068).
    """
    student, teacher, valid = _examples(student, teacher, mask)
    pairs = valid[:, None] & valid[None]
    error = _relative_distances(student, pairs) - _relative_distances(teacher, pairs)
    return _mean(_huber(error), pairs)


def rkd_angle(student: Array, teacher: Array, *, mask: Array | None = None) -> Array:
    """Returns how much the angles that the examples span, three at a time, differ.

        psi_ijk = cos of the angle at x_i between x_j and x_k
        mean over all i, j, k of huber(psi^S_ijk - psi^T_ijk), huber of threshold 1

    The mean is over all `n^3` triplets, as in the published code, with which the usual weight of
    50 goes; where two of the three coincide, the angle counts as 0. `B^3` angles are held.

    Args:
      student: float `[B, ...]`.
      teacher: float `[B, ...]`.
      mask: float or bool `[B]`, 0 on examples that do not count, or None if all do.

    Returns:
      A scalar, at least float32; 0 for fewer than three examples.

    Raises:
      ValueError: if the batch sizes differ.

    See "Relational Knowledge Distillation" by Park et al., 2019
    (https://arxiv.org/abs/1904.05068).
    """
    student, teacher, valid = _examples(student, teacher, mask)
    triplets = valid[:, None, None] & valid[None, :, None] & valid[None, None]
    return _mean(_huber(_angles(student) - _angles(teacher)), triplets)


def similarity_preserving(student: Array, teacher: Array, *, mask: Array | None = None) -> Array:
    """Returns the mean squared difference of the two batches' similarity matrices.

        G = X X^T, each row divided by its norm
        1/n^2 || G_S - G_T ||_F^2

    Args:
      student: float `[B, ...]`.
      teacher: float `[B, ...]`.
      mask: float or bool `[B]`, 0 on examples that do not count, or None if all do.

    Returns:
      A scalar, at least float32. An example of zeros has a row of zeros.

    Raises:
      ValueError: if the batch sizes differ.

    See "Similarity-Preserving Knowledge Distillation" by Tung & Mori, 2019
    (https://arxiv.org/abs/1907.09682).
    """
    student, teacher, valid = _examples(student, teacher, mask)
    error = unit_vectors(_gram(_to_size_one(student))) - unit_vectors(_gram(_to_size_one(teacher)))
    return _mean(error**2, valid[:, None] & valid[None])


def pkt(student: Array, teacher: Array, *, mask: Array | None = None) -> Array:
    """Returns the divergence of the student's neighbourhood probabilities from the teacher's.

        p_ij = (cos(x_i, x_j) + 1) / sum_k (cos(x_i, x_k) + 1), of the teacher; q_ij of the student
        1/n^2 sum_ij p_ij log((p_ij + 1e-7) / (q_ij + 1e-7))

    The paper leaves an example out of its own neighbourhood and sums; its authors' code keeps it
    in and averages over all `n^2`, with which the usual weight of 30000 goes, and so do we.

    Args:
      student: float `[B, ...]`.
      teacher: float `[B, ...]`.
      mask: float or bool `[B]`, 0 on examples that do not count, or None if all do.

    Returns:
      A scalar in nats, at least float32. An example of zeros has a cosine of 0 to all.

    Raises:
      ValueError: if the batch sizes differ.

    See "Learning Deep Representations with Probabilistic Knowledge Transfer" by Passalis & Tefas,
    2018 (https://arxiv.org/abs/1803.10837).
    """
    student, teacher, valid = _examples(student, teacher, mask)
    pairs = valid[:, None] & valid[None]
    q = _neighbours(student, pairs)
    p = _neighbours(teacher, pairs)
    ratio = jnp.log1p((p - q) / (q + PKT_EPSILON))
    # sum(q - p) = 0 is added to each row: its terms become positive and do not cancel.
    near = (p + PKT_EPSILON) * (ratio + jnp.expm1(-ratio)) - PKT_EPSILON * ratio
    far = p * ratio + (q - p)
    return _mean(jnp.where(jnp.abs(ratio) < 0.5, near, far), pairs)


def _examples(student: Array, teacher: Array, mask: Array | None) -> tuple[Array, Array, Array]:
    """Returns both as rows, zeros where masked, and which examples count, bool `[B]`."""
    check_same_batch(student=student, teacher=teacher)
    valid = jnp.ones(student.shape[0], bool) if mask is None else jnp.asarray(mask) > 0
    check_rank("mask", valid, 1)
    check_same_batch(student=student, mask=valid)
    rows = [at_least_float32(x).reshape(x.shape[0], -1) for x in (student, teacher)]
    student, teacher = (jnp.where(valid[:, None], x, 0.0) for x in rows)
    return student, teacher, valid


def _mean(values: Array, counts: Array) -> Array:
    """Returns the mean of the values that count, 0 if there are none."""
    return jnp.sum(jnp.where(counts, values, 0.0)) / jnp.maximum(jnp.sum(counts), 1)


def _huber(error: Array) -> Array:
    """Returns `e^2 / 2` up to an error of 1 and `|e| - 1/2` beyond."""
    size = jnp.abs(error)
    return jnp.where(size < 1, error**2 / 2, size - 0.5)


def _relative_distances(x: Array, pairs: Array) -> Array:
    """Returns the distances `[B, B]` in units of their mean over the pairs of two that count."""
    # Not from the Gram matrix: the distance of two neighbours would drown in its rounding.
    distances = vector_norm(x[:, None] - x[None])
    mean = _mean(distances, pairs & ~jnp.eye(len(x), dtype=bool))
    return distances / jnp.where(mean > FLOOR, mean, 1.0)


def _angles(x: Array) -> Array:
    """Returns the cosines of the angles at the first of three examples, `[B, B, B]`."""
    directions = unit_vectors(x[None] - x[:, None])
    return jnp.einsum("ijd,ikd->ijk", directions, directions, precision=Precision.HIGHEST)


def _neighbours(x: Array, pairs: Array) -> Array:
    """Returns the probabilities `[B, B]` of each row's neighbours, 0 where a pair does not count."""
    # Rounding may take a cosine below -1.
    similarity = jnp.where(pairs, jnp.maximum(_gram(unit_vectors(x)) + 1, 0.0), 0.0)
    total = jnp.sum(similarity, axis=1, keepdims=True)
    return similarity / jnp.where(total > 0, total, 1.0)


def _to_size_one(x: Array) -> Array:
    """Returns `x` with a largest entry of size 1, for what does not depend on the scale."""
    return x / jax.lax.stop_gradient(jnp.maximum(jnp.max(jnp.abs(x)), FLOOR))


def _gram(x: Array) -> Array:
    """Returns the inner products of the rows, `[B, B]`."""
    return jnp.matmul(x, x.T, precision=Precision.HIGHEST)
