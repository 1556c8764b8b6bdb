"""ADD's frequency attention distillation."""

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.checks import check_choice, check_rank, check_same_batch
from kdjax.losses.reductions import FLOOR, at_least_float32
from kdjax.losses.spatial import match_spatial
from kdjax.types import Array

LARGEST_EXPONENT = 50.0

MODES = ("relative", "paper", "official")


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

    In mode "relative" nothing depends on the scale of the maps: the differences are shares of the teacher's
    energy, and the weights are Eq. 3's, their ratios too, but with a mean of 1 over the frequencies.

        r(c, u, v) = d(c, u, v) / sum_{c, u, v} |F_T|^2
        w(u, v) = exp(gamma * sum_c r(c, u, v)) / mean_{u, v} exp(gamma * sum_c r(c, u, v)), held constant
        L = sum_{c, u, v} w(u, v) * r(c, u, v)

    By Parseval's identity `L` is 1 for `gamma = 0` and a student that is 0, and 2 where the two maps have the
    same energy and nothing in common. A teacher's map without energy says nothing: `L` is 0.

    Args:
      student: float `[B, H, W, C]`.
      teacher: float `[B, H', W', C]`; the gradient flows into it too, in mode "relative" not through its energy.
      gamma: how fast the attention grows with the difference; 0 gives the mean squared error over
        the positions, summed over the channels.
      scale: "sum" over channels as in Eq. 2, "channel" divides by their number. A relative loss has been divided
        already and takes "sum" alone.
      mode: "relative" or "paper" as above; "official" as in the published code, which has no cap.

    Returns:
      `[B]`, at least float32; squared feature units, or a share without a unit.

    Raises:
      ValueError: if the maps cannot be matched or an option is unknown.

    See "ADD: Frequency Attention and Multi-View based Knowledge Distillation to Detect Low-Quality
    Compressed Deepfake Images" by Le & Woo, 2022 (https://arxiv.org/abs/2112.03553).
    """
    check_choice("scale", scale, ("sum", "channel"))
    check_choice("mode", mode, MODES)
    if mode == "relative" and scale != "sum":
        raise ValueError(f"scale={scale!r} does not go with mode='relative', which has no scale")
    student, teacher = matched_maps(student, teacher)
    teacher = at_least_float32(teacher)
    difference = at_least_float32(student) - teacher
    height, width, channels = difference.shape[1:]
    counts = jnp.asarray(_half_plane_counts(width), difference.dtype)[None, None]
    if mode == "relative":
        # the energy of all frequencies is the mean square of all positions, summed over the channels
        energy = jnp.sum(jnp.mean(jax.lax.stop_gradient(teacher) ** 2, axis=(1, 2)), axis=-1)
        distance = jnp.sum(_squared_spectrum(difference), axis=-1)
        present = energy > FLOOR
        share = jnp.where(present, 1 / jnp.where(present, energy, 1.0), 0.0)
        distance = share[:, None, None] * distance
        # the largest exponent is taken out before exp; the mean below does not see it
        exponent = gamma * distance
        peak = jnp.max(exponent, axis=(1, 2), keepdims=True)
        attention = jnp.exp(exponent - peak)
        mean = jnp.sum(attention * counts, axis=(1, 2), keepdims=True) / (height * width)
        attention = jax.lax.stop_gradient(attention / mean)
        return jnp.sum(attention * counts * distance, axis=(1, 2))
    squares = _squared_spectrum(difference)
    exponent = gamma * jnp.mean(squares, axis=-1)
    if mode == "paper":
        exponent = jnp.minimum(exponent, LARGEST_EXPONENT)
    attention = jax.lax.stop_gradient(jnp.exp(exponent))
    total = jnp.sum(attention * counts * jnp.sum(squares, axis=-1), axis=(1, 2))
    return total / channels if scale == "channel" else total


def _squared_spectrum(difference: Array) -> Array:
    """Returns `|fft2(x) / (H * W)|^2`, `[B, H, W // 2 + 1, C]`.

    The transform is linear: one of the difference is the difference of two.
    """
    height, width = difference.shape[1:3]
    spectrum = jnp.fft.rfft2(difference / (height * width), axes=(1, 2))
    return spectrum.real**2 + spectrum.imag**2


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
