"""Depthwise convolution: XLA's, and a sum of shifted products that is faster on CPUs."""

import functools

from jax import lax

from kdjax.checks import check_choice
from kdjax.models.convolution import Margins, margins, windows
from kdjax.types import Array

FORMS = ("auto", "shift", "lax")


def depthwise_convolve(
    x: Array,
    kernel: Array,
    *,
    stride: int = 1,
    padding: str = "symmetric",
    form: str = "auto",
) -> Array:
    """Returns the convolution of each channel of `[B, H, W, C]` with its own kernel of `[k, k, C]`.

    Args:
      x: float `[B, H, W, C]`.
      kernel: float `[k, k, C]` of the same dtype.
      stride: step over rows and columns.
      padding: one of `convolution.PADDINGS`.
      form: "lax" is XLA's convolution, "shift" the form made for CPUs, "auto" picks by platform.

    Returns:
      `[B, H', W', C]`.
    """
    check_choice("depthwise", form, FORMS)
    rows, columns = kernel.shape[:2]
    around = margins(x.shape, (rows, columns), stride=stride, padding=padding)
    plain = functools.partial(_plain, stride=stride, margins=around)
    shifted = functools.partial(_shifted, stride=stride, margins=around)
    if form == "auto":
        return lax.platform_dependent(x, kernel, cpu=shifted, default=plain)
    return plain(x, kernel) if form == "lax" else shifted(x, kernel)


def _plain(x: Array, kernel: Array, *, stride: int, margins: Margins) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel[:, :, None],
        (stride, stride),
        margins,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def _shifted(x: Array, kernel: Array, *, stride: int, margins: Margins) -> Array:
    rows, columns, channels = kernel.shape
    found = windows(x, (rows, columns), stride=stride, margins=margins)
    taps = kernel.reshape(-1, 1, 1, 1, channels)
    total = found[0] * taps[0]
    for window, tap in zip(found[1:], taps[1:], strict=True):
        total = total + window * tap
    return total
