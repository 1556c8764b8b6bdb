"""Losses on the classifier's logits."""

import jax
import jax.numpy as jnp

from kdjax.checks import check_positive, check_rank, check_same_batch, check_same_shape
from kdjax.losses.reductions import at_least_float32
from kdjax.types import Array


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Returns the negative log-probability of the labels.

        -log softmax(logits)[label]

    Args:
      logits: float `[B, K]`.
      labels: integer `[B]`, in `0..K-1`.

    Returns:
      `[B]`, in nats, at least float32.

    Raises:
      ValueError: if the shapes do not fit.
    """
    check_rank("logits", logits, 2)
    check_rank("labels", labels, 1)
    check_same_batch(logits=logits, labels=labels)
    log_probabilities = jax.nn.log_softmax(at_least_float32(logits))
    return -jnp.take_along_axis(log_probabilities, jnp.asarray(labels)[:, None], axis=1)[:, 0]


def kd(student_logits: Array, teacher_logits: Array, *, temperature: float | Array) -> Array:
    """Returns Hinton's distillation loss, the tempered divergence of the student from the teacher.

        T^2 * sum_k p_k (log p_k - log q_k),  p = softmax(teacher / T), q = softmax(student / T)

    The gradient flows into both; stop it where the teacher is frozen.

    Args:
      student_logits: float `[B, K]`.
      teacher_logits: float `[B, K]`.
      temperature: `T > 0`; an array is not checked, since it may be traced.

    Returns:
      `[B]`, in nats times `T^2`, at least float32.

    Raises:
      ValueError: if the shapes differ or the temperature is not positive.

    See "Distilling the Knowledge in a Neural Network" by Hinton et al., 2015
    (https://arxiv.org/abs/1503.02531).
    """
    check_rank("student_logits", student_logits, 2)
    check_same_shape(student_logits=student_logits, teacher_logits=teacher_logits)
    if isinstance(temperature, int | float):
        check_positive("temperature", temperature)
    student = jax.nn.log_softmax(at_least_float32(student_logits) / temperature)
    teacher = jax.nn.log_softmax(at_least_float32(teacher_logits) / temperature)
    ratio = teacher - student
    close = jnp.abs(ratio) < 0.5
    # sum(q - p) = 0 is added to each term, which makes it positive: at a high temperature the plain
    # terms cancel to a thousandth of their size, and with them float32's digits.
    small = jnp.where(close, ratio, 0.0)
    near = jnp.exp(teacher) * (small + jnp.expm1(-small))
    far = jnp.exp(teacher) * (ratio - 1) + jnp.exp(student)
    return temperature**2 * jnp.sum(jnp.where(close, near, far), axis=-1)
