"""ADD's frequency gap: at which frequencies a student's map differs from its teacher's."""

import numpy as np
import numpy.typing as npt

from kdjax.checks import check_rank, check_same_shape


def frequency_gap(student: npt.ArrayLike, teacher: npt.ArrayLike) -> np.ndarray:
    """Returns how much of the teacher's energy the difference of two maps has at each frequency.

        F = fft2(A) / (H W)
        r(u, v) = sum_c |F_S - F_T|^2 / sum_{c, u, v} |F_T|^2

    It is what ADD's attention is made of (Eq. 1), as `kdjax.losses.frequency_attention` has it in mode "relative": its
    sum over all frequencies is the squared difference as a share of the teacher's energy, 1 for a student that is 0.

    Args:
      student: float `[B, H, W, C]`.
      teacher: float `[B, H, W, C]`.

    Returns:
      float64 `[B, H, W]`, the lowest frequencies in the corners; NaN of a teacher's map without energy.

    Raises:
      ValueError: for shapes that are not equal: networks of different widths have no common channels.

    See "ADD: Frequency Attention and Multi-View based Knowledge Distillation to Detect Low-Quality Compressed Deepfake
    Images" by Le & Woo, 2022 (https://arxiv.org/abs/2112.03553).
    """
    student, teacher = np.asarray(student, np.float64), np.asarray(teacher, np.float64)
    check_rank("student", student, 4)
    check_same_shape(student=student, teacher=teacher)
    height, width = student.shape[1:3]
    spectrum = np.fft.fft2(student - teacher, axes=(1, 2)) / (height * width)
    # Parseval: the energy of all frequencies is the mean square over the positions
    energy = (teacher**2).mean(axis=(1, 2)).sum(axis=-1)[:, None, None]
    distance = (np.abs(spectrum) ** 2).sum(axis=-1)
    return np.where(energy > 0, distance / np.where(energy > 0, energy, 1.0), np.nan)
