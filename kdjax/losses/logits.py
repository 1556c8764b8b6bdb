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
    _check_labels(logits, labels)
    log_probabilities = jax.nn.log_softmax(at_least_float32(logits))
    return -jnp.take_along_axis(log_probabilities, jnp.asarray(labels)[:, None], axis=1)[:, 0]


def tempered_softmax(logits: Array, labels: Array, *, temperature: float | Array) -> Array:
    """Returns QAD's classification loss, the tempered probability of the wrong classes.

        1 - softmax(logits / T)[label]                                               (Eq. 1)

    It is summed over the other classes, not subtracted from 1, which would lose the digits of a
    small loss.

    Args:
      logits: float `[B, K]`.
      labels: integer `[B]`, in `0..K-1`.
      temperature: `T > 0`; an array is not checked, since it may be traced.

    Returns:
      `[B]`, in [0, 1], at least float32.

    Raises:
      ValueError: if the shapes do not fit or the temperature is not positive.

    See "Quality-Agnostic Deepfake Detection with Intra-model Collaborative Learning" by Le & Woo,
    2023 (https://arxiv.org/abs/2309.05911).
    """
    _check_labels(logits, labels)
    _check_temperature(temperature)
    probabilities = jax.nn.softmax(at_least_float32(logits) / temperature)
    wrong = jnp.arange(logits.shape[1])[None] != jnp.asarray(labels)[:, None]
    return jnp.sum(jnp.where(wrong, probabilities, 0.0), axis=-1)


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
    _check_temperature(temperature)
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


def logit_mse(student_logits: Array, teacher_logits: Array) -> Array:
    """Returns the mean squared difference of the logits.

        1/K sum_k (student_k - teacher_k)^2

    At a high temperature `kd` tends to half of it, where the mean over the classes is taken off
    both logits. The gradient flows into both.

    Args:
      student_logits: float `[B, K]`.
      teacher_logits: float `[B, K]`.

    Returns:
      `[B]`, squared logits, at least float32.

    Raises:
      ValueError: if the shapes differ.
    """
    check_rank("student_logits", student_logits, 2)
    check_same_shape(student_logits=student_logits, teacher_logits=teacher_logits)
    difference = at_least_float32(student_logits) - at_least_float32(teacher_logits)
    return jnp.mean(difference**2, axis=-1)


def soft_label(
    logits: Array,
    other_logits: Array,
    labels: Array,
    *,
    temperature: float | Array,
    mix: float | Array,
) -> Array:
    """Returns the cross-entropy with labels softened by what other views of the example predict.

        -sum_k q_k log softmax(logits)_k,
        q = mix * mean_v softmax(other_v / T) + (1 - mix) * onehot(label)

    Song & Chai average the other heads' logits and add a tempered soft term to a plain hard one;
    here the tempered probabilities are averaged and mixed with the label into one target, so that
    `mix=0` is `cross_entropy`. The gradient flows into the other views too; stop it to have
    targets that are constants, as theirs are.

    Args:
      logits: float `[B, K]`.
      other_logits: float `[B, K]` of one other view or `[V, B, K]` of several.
      labels: integer `[B]`, in `0..K-1`.
      temperature: `T > 0` of the other views; an array is not checked, since it may be traced.
      mix: share of the other views in the target, 0 to 1; an array is not checked.

    Returns:
      `[B]`, in nats, at least float32.

    Raises:
      ValueError: if the shapes do not fit, or a number is outside its range.

    See "Collaborative Learning for Deep Neural Networks" by Song & Chai, 2018
    (https://arxiv.org/abs/1805.11761), with qualities in place of heads as in QAD's Table 4.
    """
    _check_labels(logits, labels)
    check_rank("other_logits", other_logits, 2, 3)
    if other_logits.shape[-2:] != logits.shape:
        raise ValueError(
            f"other_logits has shape {tuple(other_logits.shape)}; each view must have that of "
            f"logits, {tuple(logits.shape)}"
        )
    _check_temperature(temperature)
    if isinstance(mix, int | float) and not 0 <= mix <= 1:
        raise ValueError(f"mix={mix!r} must lie between 0 and 1")
    log_probabilities = jax.nn.log_softmax(at_least_float32(logits))
    others = jax.nn.softmax(at_least_float32(other_logits) / temperature)
    others = others if others.ndim == 2 else jnp.mean(others, axis=0)
    target = mix * others + (1 - mix) * jax.nn.one_hot(labels, logits.shape[1], dtype=others.dtype)
    return -jnp.sum(target * log_probabilities, axis=-1)


def _check_labels(logits: Array, labels: Array) -> None:
    """Raises ValueError unless there is one label for each row of logits."""
    check_rank("logits", logits, 2)
    check_rank("labels", labels, 1)
    check_same_batch(logits=logits, labels=labels)


def _check_temperature(temperature: float | Array) -> None:
    """Raises ValueError for a temperature that is a number, and not a positive one."""
    if isinstance(temperature, int | float):
        check_positive("temperature", temperature)
