"""Convolution and max-pooling, each with a form for the CPU that is the same function.

XLA's CPU kernels are near the machine's peak for 3 x 3 convolutions at stride 1 on large maps and
far from it elsewhere: 1 x 1 and strided kernels (weight gradient), maps smaller than the kernel,
three input channels, and the gradient of a max-pool. Those take other forms there, picked by
`jax.lax.platform_dependent`; accelerators keep their own kernels.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from kdjax.checks import check_choice
from kdjax.types import Array

FORMS = ("auto", "lax", "cpu")


def convolve(x: Array, kernel: Array, *, stride: int = 1, form: str = "auto") -> Array:
    """Returns the convolution of `[B, H, W, C]` with `[k, k, C, D]`, padded by `(k - 1) // 2`.

    Args:
      x: float `[B, H, W, C]`.
      kernel: float `[k, k, C, D]` of the same dtype, `k` odd.
      stride: step over rows and columns.
      form: "lax" is XLA's convolution, "cpu" the form made for CPUs, "auto" picks by platform.

    Returns:
      `[B, ceil(H / stride), ceil(W / stride), D]`.
    """
    check_choice("form", form, FORMS)
    plain = functools.partial(_plain, stride=stride)
    special = _cpu_form(x.shape, kernel.shape, stride)
    if special is None or form == "lax":
        return plain(x, kernel)
    if form == "cpu":
        return special(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=special, default=plain)


def max_pool(x: Array, *, form: str = "auto") -> Array:
    """Returns the maximum over 3 x 3 windows at stride 2, padded by one.

    Where several entries are the maximum, the gradient goes to the first, in both forms.

    Args:
      x: float `[B, H, W, C]`.
      form: as for `convolve`.

    Returns:
      `[B, ceil(H / 2), ceil(W / 2), C]`.
    """
    check_choice("form", form, FORMS)
    if form == "auto":
        return lax.platform_dependent(x, cpu=_shifted_max_pool, default=_plain_max_pool)
    return _plain_max_pool(x) if form == "lax" else _shifted_max_pool(x)


def _plain(x: Array, kernel: Array, *, stride: int) -> Array:
    margin = (kernel.shape[0] - 1) // 2
    return _windowed(x, kernel, stride, ((margin, margin), (margin, margin)))


def _windowed(x: Array, kernel: Array, stride: int, padding: Any) -> Array:
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=numbers)


def _cpu_form(
    shape: tuple[int, ...], kernel_shape: tuple[int, ...], stride: int
) -> Callable[[Array, Array], Array] | None:
    """Returns the form measured to be faster for these shapes, None if there is none."""
    size, channels = kernel_shape[0], kernel_shape[2]
    if size == 7 and stride == 2 and channels <= 4:
        return _stem
    small = shape[1] * shape[2] <= 16 * stride**2
    if size == 1 or (size == 3 and (small or stride > 1)):
        return functools.partial(_matmul, stride=stride)
    return None


def _matmul(x: Array, kernel: Array, *, stride: int) -> Array:
    """Gathers each window's entries in a row and multiplies by the flattened kernel."""
    size, _, channels, features = kernel.shape
    batch, height, width, _ = x.shape
    margin = (size - 1) // 2
    rows, columns = -(-height // stride), -(-width // stride)
    padded = jnp.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    windows = [
        lax.slice(
            padded,
            (0, i, j, 0),
            (batch, i + (rows - 1) * stride + 1, j + (columns - 1) * stride + 1, channels),
            (1, stride, stride, 1),
        )
        for i in range(size)
        for j in range(size)
    ]
    flat = jnp.concatenate(windows, axis=-1).reshape(-1, size * size * channels)
    product = flat @ kernel.reshape(-1, features)
    return product.reshape(batch, rows, columns, features)


@jax.custom_jvp
def _stem(x: Array, kernel: Array) -> Array:
    """Computes a 7 x 7 convolution at stride 2 as 3 x 4 over blocks of 4 x 2 pixels.

    A block is one position with 4 * 2 * C channels and yields two outputs, one below the other.
    """
    batch, height, width, channels = x.shape
    features = kernel.shape[-1]
    rows, columns = -(-height // 4), -(-width // 2)
    padded = jnp.pad(x, ((0, 0), (0, 4 * rows - height), (0, 2 * columns - width), (0, 0)))
    blocks = padded.reshape(batch, rows, 4, columns, 2, channels)
    blocks = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows, columns, 8 * channels)
    # Block row r holds image rows 4r..4r+3; its outputs 2r and 2r+1 read image rows 4r-3..4r+5,
    # hence one block before and one after. Columns: two blocks before and one after.
    taps = [jnp.pad(kernel, ((1 + 2 * q, 4 - 2 * q), (1, 0), (0, 0), (0, 0))) for q in (0, 1)]
    both = jnp.stack(taps, axis=-2).reshape(3, 4, 4, 2, channels, 2 * features)
    both = both.transpose(0, 2, 1, 3, 4, 5).reshape(3, 4, 8 * channels, 2 * features)
    y = _windowed(blocks, both, 1, ((1, 1), (2, 1)))
    y = y.reshape(batch, rows, columns, 2, features).transpose(0, 1, 3, 2, 4)
    return y.reshape(batch, 2 * rows, columns, features)[:, : -(-height // 2)]


def _stem_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    # The plain convolution has the faster weight gradient, so the tangents are taken of it; what
    # is not differentiated (the images) must cost nothing, hence the symbolic zeros.
    (x, kernel), (dx, dkernel) = primals, tangents
    plain = functools.partial(_plain, stride=2)
    terms = [(dx, lambda: plain(dx, kernel)), (dkernel, lambda: plain(x, dkernel))]
    moving = [term() for tangent, term in terms if not isinstance(tangent, SymbolicZero)]
    return _stem(x, kernel), sum(moving[1:], start=moving[0])


_stem.defjvp(_stem_jvp, symbolic_zeros=True)


def _plain_max_pool(x: Array) -> Array:
    window, strides, padding = (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, padding)


def _shifted_max_pool(x: Array) -> Array:
    return _shifted_max(_shifted_max(x, 2), 1)


def _shifted_max(x: Array, axis: int) -> Array:
    """Returns the maximum of entries 2i - 1, 2i and 2i + 1 along `axis`."""
    length = x.shape[axis]
    low = jnp.asarray(-jnp.inf, x.dtype)
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (0, length % 2, 0)
    x = lax.pad(x, low, config)
    pairs = x.reshape(*x.shape[:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1 :])
    even = lax.index_in_dim(pairs, 0, axis + 1, keepdims=False)
    odd = lax.index_in_dim(pairs, 1, axis + 1, keepdims=False)
    config[axis] = (1, -1, 0)
    before = lax.pad(odd, low, config)
    return _larger(_larger(before, even), odd)


def _larger(first: Array, second: Array) -> Array:
    """Returns the larger one, `first` if equal, NaN if one is: `jnp.maximum` with whole gradients."""
    return jnp.where((second > first) | jnp.isnan(second), second, first)
