"""ADD's frequency attention distillation."""

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.checks import check_choice, check_rank, check_same_batch
from kdjax.losses.reductions import at_least_float32
from kdjax.losses.spatial import match_spatial
from kdjax.types import Array

LARGEST_EXPONENT = 50.0


def frequency_attention(
    student: Array,
    teacher: Array,
    *,
    gamma: float | Array = 1.0,
    scale: str = "sum",
    mode: str = "paper",
) -> Array:
    """Returns the spectral distance of two maps, weighted where they differ most.

        d(c, u, v) = |F_S - F_T|^2,  F = fft2(A) / (H * W)                      (Eq. 1)
        w(u, v) = exp(min(gamma * mean_c d(c, u, v), 50)), held constant        (Eq. 3)
        L = sum_{c, u, v} w(u, v) * d(c, u, v)                                  (Eq. 2)

    The division by `H * W` is the official code's: Eq. 1 has none, and Eq. 3 then overflows. The
    cap of 50 is ours. The spectrum of a real map is symmetric, so that half of it is computed and
    counted twice. Maps of different size are average-pooled to the smaller.

    Args:
      student: float `[B, H, W, C]`.
      teacher: float `[B, H', W', C]`; the gradient flows into it too.
      gamma: how fast the attention grows with the difference; 0 gives the mean squared error over
        the positions, summed over the channels.
      scale: "sum" over channels as in Eq. 2, "channel" divides by their number.
      mode: "paper" as above; "official" as in the published code, which has no cap.

    Returns:
      `[B]`, squared feature units, at least float32.

    Raises:
      ValueError: if the maps cannot be matched or an option is unknown.

    See "ADD: Frequency Attention and Multi-View based Knowledge Distillation to Detect Low-Quality
    Compressed Deepfake Images" by Le & Woo, 2022 (https://arxiv.org/abs/2112.03553).
    """
    check_choice("scale", scale, ("sum", "channel"))
    check_choice("mode", mode, ("paper", "official"))
    student, teacher = matched_maps(student, teacher)
    difference = at_least_float32(student) - at_least_float32(teacher)
    height, width, channels = difference.shape[1:]
    # The transform is linear: one of the difference is the difference of two.
    spectrum = jnp.fft.rfft2(difference / (height * width), axes=(1, 2))
    distance = spectrum.real**2 + spectrum.imag**2
    exponent = gamma * jnp.mean(distance, axis=-1)
    if mode == "paper":
        exponent = jnp.minimum(exponent, LARGEST_EXPONENT)
    attention = jax.lax.stop_gradient(jnp.exp(exponent))
    counts = jnp.asarray(_half_plane_counts(width), distance.dtype)
    total = jnp.sum(attention * counts[None, None] * jnp.sum(distance, axis=-1), axis=(1, 2))
    return total / channels if scale == "channel" else total


def matched_maps(student: Array, teacher: Array) -> tuple[Array, Array]:
    """Returns both maps at the smaller size; ValueError if their batch or channels differ."""
    check_rank("student", student, 4)
    check_rank("teacher", teacher, 4)
    check_same_batch(student=student, teacher=teacher)
    if student.shape[-1] != teacher.shape[-1]:
        raise ValueError(
            f"student has {student.shape[-1]} channels, teacher {teacher.shape[-1]}; "
            "bring the student to the teacher's by a head (adapter='conv1x1')"
        )
    return match_spatial(student, teacher)


def _half_plane_counts(width: int) -> np.ndarray:
    """Returns how often each column of `rfft`'s output stands in the whole spectrum."""
    counts = np.full(width // 2 + 1, 2.0)
    counts[0] = 1.0
    if width % 2 == 0:
        counts[-1] = 1.0
    return counts
