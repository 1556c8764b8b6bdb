"""Losses on the features of each example: maps or pooled features, one pair at a time.

Maps of different height and width are average-pooled to the smaller. The gradient flows into every
array; stop it where one is frozen.
"""

import jax
import jax.numpy as jnp

from kdjax.checks import check_rank, check_same_batch, check_same_shape
from kdjax.losses.frequency import matched_maps
from kdjax.losses.reductions import FLOOR, at_least_float32
from kdjax.losses.spatial import match_spatial
from kdjax.types import Array

VARIANCE_FLOOR = 1e-5
"""Added to the variance of `vid`; an initial variance `v` is `log_scale = log(exp(v - 1e-5) - 1)`."""


def fitnet(student: Array, teacher: Array) -> Array:
    """Returns the mean squared error of the student's features, as a regressor brought them.

        mean (student - teacher)^2 over all axes but the first

    Args:
      student: float `[B, H, W, C]` or `[B, D]`, after the regressor.
      teacher: the same; a map may have another height and width.

    Returns:
      `[B]`, squared feature units, at least float32.

    Raises:
      ValueError: if the features cannot be matched.

    See "FitNets: Hints for Thin Deep Nets" by Romero et al., 2015
    (https://arxiv.org/abs/1412.6550).
    """
    student, teacher = _matched(student, teacher)
    return jnp.mean(_rows((student - teacher) ** 2), axis=-1)


def attention_transfer(student: Array, teacher: Array, *, power: float = 2) -> Array:
    """Returns the mean squared difference of two spatial attention maps, each of unit norm.

        Q = mean_c |A_c|^power, as a vector over the H*W positions
        1/(H*W) || Q_S / ||Q_S|| - Q_T / ||Q_T|| ||^2

    The paper has the distance itself; its authors' code takes the mean of the squares, with which
    the usual weight of 1000 goes, and so do we.

    Args:
      student: float `[B, H, W, C]`.
      teacher: float `[B, H', W', C']`; channels need not agree.
      power: exponent, at least 1.

    Returns:
      `[B]`, in `[0, 4/(H*W)]`, at least float32. A map of zeros has an attention of zeros.

    Raises:
      ValueError: if a shape does not fit or the power is below 1.

    See "Paying More Attention to Attention" by Zagoruyko & Komodakis, 2017
    (https://arxiv.org/abs/1612.03928).
    """
    if not power >= 1:
        raise ValueError(f"power={power!r} must be at least 1")
    student, teacher = match_spatial(student, teacher)
    check_same_batch(student=student, teacher=teacher)
    return jnp.mean((_attention(student, power) - _attention(teacher, power)) ** 2, axis=-1)


def vid(mean: Array, log_scale: Array, teacher: Array) -> Array:
    """Returns the negative log-likelihood of the teacher's features under a Gaussian.

        mean of ((teacher - mean)^2 / variance + log variance) / 2 over all axes but the first,
        variance = softplus(log_scale) + 1e-5

    The constant `log(2 pi) / 2` is left out, so that the loss may be negative.

    Args:
      mean: float `[B, H, W, C]` or `[B, C]`, the regressor's output on the student's features.
      log_scale: float `[C]`, trained.
      teacher: as `mean`; a map may have another height and width.

    Returns:
      `[B]`, in nats for each entry, at least float32.

    Raises:
      ValueError: if the features cannot be matched or `log_scale` is not one for each channel.

    See "Variational Information Distillation for Knowledge Transfer" by Ahn et al., 2019
    (https://arxiv.org/abs/1904.05835).
    """
    mean, teacher = _matched(mean, teacher, "mean")
    if log_scale.shape != mean.shape[-1:]:
        raise ValueError(
            f"log_scale has shape {tuple(log_scale.shape)}; one for each of the "
            f"{mean.shape[-1]} channels is expected"
        )
    variance = jax.nn.softplus(at_least_float32(log_scale)) + VARIANCE_FLOOR
    variance = variance.reshape((1,) * (mean.ndim - 1) + variance.shape)
    return jnp.mean(_rows((teacher - mean) ** 2 / variance + jnp.log(variance)), axis=-1) / 2


def normalized_distance(student: Array, teacher: Array) -> Array:
    """Returns TOKD's squared distance of the features' directions.

        D(a, b) = || a/||a|| - b/||b|| ||^2 = 2 - 2 cos(a, b), flattened        (Eqs. 6 and 7)

    Args:
      student: float `[B, ...]`.
      teacher: float of the same shape; a map of four axes may have another height and width.

    Returns:
      `[B]`, in [0, 4], at least float32. A vector of zeros has no direction: it counts as zeros
      and gets no gradient.

    Raises:
      ValueError: if the features cannot be matched.

    See "Two-in-one Knowledge Distillation for Efficient Facial Forgery Detection" by Zhou et al.,
    2023 (https://arxiv.org/abs/2302.10437), which names no metric: the squared one is our choice.
    """
    student, teacher = _matched(student, teacher)
    return jnp.sum((unit_vectors(_rows(student)) - unit_vectors(_rows(teacher))) ** 2, axis=-1)


def pairwise(features_a: Array, features_b: Array) -> Array:
    """Returns the squared distance of the pooled features of two views of one image.

        || a - b ||^2

    Args:
      features_a: float `[B, D]`, or a map `[B, H, W, D]`, which is averaged over its positions.
      features_b: the same.

    Returns:
      `[B]`, squared feature units, at least float32.

    Raises:
      ValueError: if the pooled shapes differ.

    See QAD's Table 4, where it replaces HSIC (https://arxiv.org/abs/2309.05911).
    """
    features_a, features_b = _pooled("features_a", features_a), _pooled("features_b", features_b)
    check_same_shape(features_a=features_a, features_b=features_b)
    return jnp.sum((features_a - features_b) ** 2, axis=-1)


def center(features: Array, labels: Array, centers: Array) -> Array:
    """Returns half the squared distance of pooled features from the centre of their class.

        1/2 || x - c_label ||^2                                                      (Eq. 2)

    Args:
      features: float `[B, D]`, or a map `[B, H, W, D]`, which is averaged over its positions.
      labels: integer `[B]`, in `0..K-1`.
      centers: float `[K, D]`, kept by the caller; they get a gradient unless it is stopped.

    Returns:
      `[B]`, squared feature units, at least float32.

    Raises:
      ValueError: if the shapes do not fit.

    See "A Discriminative Feature Learning Approach for Deep Face Recognition" by Wen et al., 2016
    (https://doi.org/10.1007/978-3-319-46478-7_31).
    """
    features = _pooled("features", features)
    check_rank("labels", labels, 1)
    check_rank("centers", centers, 2)
    check_same_batch(features=features, labels=labels)
    if centers.shape[1] != features.shape[1]:
        raise ValueError(
            f"centers has shape {tuple(centers.shape)}; the features are {features.shape[1]} wide"
        )
    own = jnp.take(at_least_float32(centers), jnp.asarray(labels), axis=0)
    return jnp.sum((features - own) ** 2, axis=-1) / 2


def vector_norm(x: Array) -> Array:
    """Returns the Euclidean norm over the last axis; it has a gradient of zero at zero."""
    scale = jax.lax.stop_gradient(jnp.maximum(jnp.max(jnp.abs(x), axis=-1, keepdims=True), FLOOR))
    squares = jnp.sum((x / scale) ** 2, axis=-1)
    positive = squares > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1.0)) * scale[..., 0], 0.0)


def unit_vectors(x: Array) -> Array:
    """Returns `x`, at least float32, over its norm along the last axis; below the floor it is constant zeros."""
    x = at_least_float32(x)
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True))
    alive = largest > FLOOR
    # A direction does not depend on the scale: no square overflows or vanishes.
    scaled = x / jnp.where(alive, largest, 1.0)
    squares = jnp.where(alive, jnp.sum(scaled**2, axis=-1, keepdims=True), 1.0)
    return jnp.where(alive, scaled / jnp.sqrt(squares), 0.0)


def _attention(features: Array, power: float) -> Array:
    """Returns the unit attention vector of each map, `[B, H*W]`."""
    features = at_least_float32(features)
    # `abs` has slope 1 at zero in JAX; an entry of zero must not be pulled upwards.
    size = features * jax.lax.stop_gradient(jnp.sign(features))
    largest = jax.lax.stop_gradient(jnp.max(size, axis=(1, 2, 3), keepdims=True))
    energy = (size / jnp.maximum(largest, FLOOR)) ** power
    return unit_vectors(_rows(jnp.mean(energy, axis=-1)))


def _matched(student: Array, teacher: Array, name: str = "student") -> tuple[Array, Array]:
    """Returns both, at least float32 and of one shape: maps at the smaller size, others as they are."""
    if student.ndim == teacher.ndim == 4:
        student, teacher = matched_maps(student, teacher)
    elif student.ndim < 2:
        check_rank(name, student, 2, 4)
    check_same_shape(**{name: student, "teacher": teacher})
    return at_least_float32(student), at_least_float32(teacher)


def _pooled(name: str, features: Array) -> Array:
    """Returns pooled features, `[B, D]` of at least float32; a map is averaged over its positions."""
    check_rank(name, features, 2, 4)
    features = at_least_float32(features)
    return features if features.ndim == 2 else jnp.mean(features, axis=(1, 2))


def _rows(x: Array) -> Array:
    """Returns `x` as one vector for each example."""
    return x.reshape(x.shape[0], -1)
