"""Convolution and max-pooling, each with a form for the CPU that is the same function.

XLA's CPU kernels are near the machine's peak for 3 x 3 convolutions at stride 1 on large maps and
far from it elsewhere: 1 x 1 and strided kernels (weight gradient), maps smaller than the kernel,
three input channels, and the gradient of a max-pool. Those take other forms there, picked by
`jax.lax.platform_dependent`; accelerators keep their own kernels.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from kdjax.checks import check_choice
from kdjax.types import Array

FORMS = ("auto", "lax", "cpu")

PADDINGS = ("symmetric", "same", "valid")
"""Zeros around a map: `symmetric` is PyTorch's `(k - 1) // 2` on every side; `same` TensorFlow's, as many as
give `ceil(size / stride)` outputs, the odd one at the end; `valid` none."""

Margins = tuple[tuple[int, int], tuple[int, int]]

_AUTOMATIC = ContextVar("automatic", default="auto")


@contextlib.contextmanager
def plain_kernels() -> Iterator[None]:
    """Has the form `auto` be `lax` in all that is traced inside: for converters that know no choice by platform."""
    token = _AUTOMATIC.set("lax")
    try:
        yield
    finally:
        _AUTOMATIC.reset(token)


def chosen(form: str) -> str:
    """Returns the form that one asked for stands for where it is traced."""
    return _AUTOMATIC.get() if form == "auto" else form


def margins(
    shape: Sequence[int],
    window: tuple[int, int],
    *,
    stride: int = 1,
    dilation: int = 1,
    padding: str = "symmetric",
) -> Margins:
    """Returns the zeros before and after the rows and the columns of a map `[B, H, W, C]`.

    Raises:
      ValueError: when the map is smaller than the window, with the way out.
    """
    check_choice("padding", padding, PADDINGS)
    found = []
    for size, side in zip(shape[1:3], window, strict=True):
        reach = dilation * (side - 1)
        if padding == "symmetric":
            found.append((reach // 2, reach // 2))
        elif padding == "same":
            whole = max((-(-size // stride) - 1) * stride + reach + 1 - size, 0)
            found.append((whole // 2, whole - whole // 2))
        else:
            found.append((0, 0))
        if size + sum(found[-1]) <= reach:
            raise ValueError(
                f"a map of {shape[1]} x {shape[2]} is smaller than a window of {window[0]} x {window[1]}: "
                "the images are too small for this network"
            )
    return found[0], found[1]


def convolve(
    x: Array,
    kernel: Array,
    *,
    stride: int = 1,
    padding: str = "symmetric",
    dilation: int = 1,
    form: str = "auto",
) -> Array:
    """Returns the convolution of `[B, H, W, C]` with `[h, w, C, D]`.

    Args:
      x: float `[B, H, W, C]`.
      kernel: float `[h, w, C, D]` of the same dtype; odd sides with the padding `symmetric`.
      stride: step over rows and columns.
      padding: one of `PADDINGS`.
      dilation: distance of the kernel's entries on the map.
      form: "lax" is XLA's convolution, "cpu" the form made for CPUs, "auto" picks by platform.

    Returns:
      `[B, ceil(H / stride), ceil(W / stride), D]`, fewer rows and columns with the padding `valid`.
    """
    check_choice("form", form, FORMS)
    form = chosen(form)
    rows, columns = kernel.shape[:2]
    around = margins(x.shape, (rows, columns), stride=stride, dilation=dilation, padding=padding)
    plain = functools.partial(_plain, stride=stride, margins=around, dilation=dilation)
    special = None
    if dilation == 1:
        special = _cpu_form(x.shape, kernel.shape, stride, around)
    if special is None or form == "lax":
        return plain(x, kernel)
    if form == "cpu":
        return special(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=special, default=plain)


def max_pool(
    x: Array,
    *,
    size: int = 3,
    stride: int = 2,
    padding: str = "symmetric",
    form: str = "auto",
) -> Array:
    """Returns the maximum over windows; what pads a map never is the maximum.

    Where several entries are the maximum, the gradient goes to the first, in both forms.

    Args:
      x: float `[B, H, W, C]`.
      size: side of the square windows.
      stride: step over rows and columns.
      padding: one of `PADDINGS`.
      form: as for `convolve`.

    Returns:
      `[B, ceil(H / stride), ceil(W / stride), C]`, fewer rows and columns with the padding `valid`.
    """
    check_choice("form", form, FORMS)
    form = chosen(form)
    around = margins(x.shape, (size, size), stride=stride, padding=padding)
    plain = functools.partial(_plain_max_pool, size=size, stride=stride, margins=around)
    special = functools.partial(_shifted_max_pool, size=size, stride=stride, margins=around)
    if form == "auto":
        return lax.platform_dependent(x, cpu=special, default=plain)
    return plain(x) if form == "lax" else special(x)


def _plain(x: Array, kernel: Array, *, stride: int, margins: Margins, dilation: int = 1) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        margins,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _cpu_form(
    shape: tuple[int, ...], kernel_shape: tuple[int, ...], stride: int, margins: Margins
) -> Callable[[Array, Array], Array] | None:
    """Returns the form measured to be faster for these shapes, None if there is none."""
    (rows, columns), channels = kernel_shape[:2], kernel_shape[2]
    if rows == columns == 7 and stride == 2 and channels <= 4 and margins == ((3, 3), (3, 3)):
        return _stem
    small = shape[1] * shape[2] <= 16 * stride**2
    if rows == columns and (rows == 1 or (rows == 3 and (small or stride > 1))):
        return functools.partial(_matmul, stride=stride, margins=margins)
    return None


def windows(
    x: Array, size: tuple[int, int], *, stride: int, margins: Margins, fill: float = 0.0
) -> list[Array]:
    """Returns for each entry of a window, row by row, the map `[B, H', W', C]` of what lies under it."""
    value = jnp.asarray(fill, x.dtype)
    padded = lax.pad(x, value, [(0, 0, 0), *((low, high, 0) for low, high in margins), (0, 0, 0)])
    return slices(padded, size, stride=stride)


def slices(padded: Array, size: tuple[int, int], *, stride: int) -> list[Array]:
    """Returns `windows` of a map that has its margins already."""
    batch, height, width, channels = padded.shape
    ends = [length - side for length, side in zip((height, width), size, strict=True)]
    return [
        lax.slice(
            padded,
            (0, i, j, 0),
            (batch, i + ends[0] + 1, j + ends[1] + 1, channels),
            (1, stride, stride, 1),
        )
        for i in range(size[0])
        for j in range(size[1])
    ]


def _matmul(x: Array, kernel: Array, *, stride: int, margins: Margins) -> Array:
    """Gathers each window's entries in a row and multiplies by the flattened kernel."""
    *size, channels, features = kernel.shape
    found = windows(x, (size[0], size[1]), stride=stride, margins=margins)
    flat = jnp.concatenate(found, axis=-1).reshape(-1, size[0] * size[1] * channels)
    product = flat @ kernel.reshape(-1, features)
    return product.reshape(*found[0].shape[:-1], features)


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
    y = _plain(blocks, both, stride=1, margins=((1, 1), (2, 1)))
    y = y.reshape(batch, rows, columns, 2, features).transpose(0, 1, 3, 2, 4)
    return y.reshape(batch, 2 * rows, columns, features)[:, : -(-height // 2)]


def _stem_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    # The plain convolution has the faster weight gradient, so the tangents are taken of it; what
    # is not differentiated (the images) must cost nothing, hence the symbolic zeros.
    (x, kernel), (dx, dkernel) = primals, tangents
    plain = functools.partial(_plain, stride=2, margins=((3, 3), (3, 3)))
    terms = [(dx, lambda: plain(dx, kernel)), (dkernel, lambda: plain(x, dkernel))]
    moving = [term() for tangent, term in terms if not isinstance(tangent, SymbolicZero)]
    return _stem(x, kernel), sum(moving[1:], start=moving[0])


_stem.defjvp(_stem_jvp, symbolic_zeros=True)


def _plain_max_pool(x: Array, *, size: int, stride: int, margins: Margins) -> Array:
    padding = ((0, 0), *margins, (0, 0))
    return lax.reduce_window(
        x, -jnp.inf, lax.max, (1, size, size, 1), (1, stride, stride, 1), padding
    )


def _shifted_max_pool(x: Array, *, size: int, stride: int, margins: Margins) -> Array:
    # columns first: of equal entries the first row wins, and in it the first column
    for axis in (2, 1):
        x = _shifted_max(x, axis, size=size, stride=stride, margin=margins[axis - 1])
    return x


def _shifted_max(x: Array, axis: int, *, size: int, stride: int, margin: tuple[int, int]) -> Array:
    """Returns the maximum of windows along `axis`, from slices of blocks that are `stride` long."""
    length = x.shape[axis] + sum(margin)
    count = (length - size) // stride + 1
    blocks = count + (size - 1) // stride
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (margin[0], blocks * stride - x.shape[axis] - margin[0], 0)
    x = lax.pad(x, jnp.asarray(-jnp.inf, x.dtype), config)
    parted = x.reshape(*x.shape[:axis], blocks, stride, *x.shape[axis + 1 :])
    entries = []
    for place in range(size):
        block, within = divmod(place, stride)
        entry = lax.index_in_dim(parted, within, axis + 1, keepdims=False)
        entries.append(lax.slice_in_dim(entry, block, block + count, axis=axis))
    return functools.reduce(_larger, entries)


def _larger(first: Array, second: Array) -> Array:
    """Returns the larger one, `first` if equal, NaN if one is: `jnp.maximum` with whole gradients."""
    return jnp.where((second > first) | jnp.isnan(second), second, first)
