"""Depthwise convolution and its two gradients as sums over shifted maps, the form for CPUs.

With padded maps `X`, kernels `k` and stride `s`, for each channel on its own:

    y[o, p]  = sum over i, j of  X[s o + i, s p + j] k[i, j]
    dX[u, v] = sum over i, j of  dy[(u - i) / s, (v - j) / s] k[i, j]     where both divide
    dk[i, j] = sum over o, p of  X[s o + i, s p + j] dy[o, p]

XLA's CPU compiler turns sums of slices written out into vector loops, which it does not do with a
grouped convolution or with a reduction to the channels.
"""

import itertools
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax

from kdjax.models.convolution import Margins, slices
from kdjax.types import Array

TERMS = 16
"""Rows summed in one loop of `kernel_gradient`: fewer write sums too often, more leave the cache."""

FEW = 2**15
"""Values in a map up to which the kernel gradient is a plain sum: it compiles in a tenth of the time."""


class Plan(NamedTuple):
    """What a depthwise convolution does beside its two arrays.

    Attributes:
      stride: step over rows and columns.
      margins: zeros around the map.
      map: rows and columns of the map.
      kernel: rows and columns of the kernels.
    """

    stride: int
    margins: Margins
    map: tuple[int, int]
    kernel: tuple[int, int]

    @property
    def out(self) -> tuple[int, int]:
        """Rows and columns of the result."""
        rows, columns = (
            (size + sum(margin) - side) // self.stride + 1
            for size, margin, side in zip(self.map, self.margins, self.kernel, strict=True)
        )
        return rows, columns


def forward(x: Array, kernel: Array, plan: Plan) -> Array:
    """Returns `y` `[B, H', W', C]` of `x` `[B, H, W, C]` and `kernel` `[k, l, C]`."""
    # the zeros are written once: read through a condition in every term they would cost more
    padded = lax.optimization_barrier(_pad(x, plan.margins))
    found = slices(padded, plan.kernel, stride=plan.stride)
    taps = _wide(kernel).reshape(-1, 1, 1, 1, kernel.shape[-1])
    terms = [_wide(part) * tap for part, tap in zip(found, taps, strict=True)]
    return sum(terms[1:], start=terms[0]).astype(x.dtype)


def input_gradient(dy: Array, kernel: Array, plan: Plan) -> Array:
    """Returns `dx` `[B, H, W, C]` of `dy` `[B, H', W', C]` and `kernel` `[k, l, C]`.

    The rows (and columns) of `dx` that have one remainder by the stride see the same entries of the
    kernel: each remainder is a sum of its own, and the sums are spread by zeros and added.
    """
    batch, stride, channels = dy.shape[0], plan.stride, dy.shape[-1]
    counts = [-(-size // stride) for size in plan.map]
    edges = []
    for count, size, side, (low, _) in zip(
        counts, plan.out, plan.kernel, plan.margins, strict=True
    ):
        last = count + (stride - 1 + low) // stride
        edges.append(((side - 1) // stride, max(last - size, 0)))
    padded = lax.optimization_barrier(_pad(dy, (edges[0], edges[1])))
    wide = _wide(kernel)
    zero = jnp.zeros((), wide.dtype)
    whole = jnp.zeros((batch, *(count * stride for count in counts), channels), wide.dtype)
    for row, column in itertools.product(range(stride), repeat=2):
        terms = [
            _wide(padded[:, top : top + counts[0], left : left + counts[1]])
            * wide[i, j][None, None, None]
            for i, top in _entries(row, 0, plan, edges[0][0])
            for j, left in _entries(column, 1, plan, edges[1][0])
        ]
        if terms:
            spread = [(phase, stride - 1 - phase, stride - 1) for phase in (row, column)]
            total = sum(terms[1:], start=terms[0])
            whole = whole + lax.pad(total, zero, [(0, 0, 0), *spread, (0, 0, 0)])
    return whole[:, : plan.map[0], : plan.map[1]].astype(dy.dtype)


def kernel_gradient(x: Array, dy: Array, plan: Plan) -> Array:
    """Returns `dk` `[k, l, C]` of `x` `[B, H, W, C]` and `dy` `[B, H', W', C]`, summed in float32.

    A loop goes over pieces of a few rows that stay in the cache; in each, all entries of the kernel
    sum up their rows, and only at the end the columns.
    """
    if dy.size <= FEW:
        found = slices(_pad(x, plan.margins), plan.kernel, stride=plan.stride)
        sums = [jnp.sum(_wide(part) * _wide(dy), axis=(0, 1, 2)) for part in found]
        return jnp.stack(sums).reshape(*plan.kernel, -1).astype(dy.dtype)
    batch, height, width, channels = dy.shape
    stride, bands = plan.stride, -(-height // TERMS)
    rows = -(-height // bands)
    images = max(n for n in range(1, TERMS // rows + 1) if batch % n == 0) if bands == 1 else 1
    reach = (rows - 1) * stride + plan.kernel[0]
    x, dy = _pad(x, plan.margins), _pad(dy, ((0, bands * rows - height), (0, 0)))
    missing = max((bands - 1) * rows * stride + reach - x.shape[1], 0)
    x, dy = lax.optimization_barrier((_pad(x, ((0, missing), (0, 0))), dy))

    def add(step: Array, sums: tuple[Array, ...]) -> tuple[Array, ...]:
        image, band = step // bands * images, step % bands * rows
        part = lax.dynamic_slice(dy, (image, band, 0, 0), (images, rows, width, channels))
        under = lax.dynamic_slice(
            x, (image, band * stride, 0, 0), (images, reach, x.shape[2], channels)
        )
        part, under = lax.optimization_barrier((_wide(part), _wide(under)))
        found = []
        for total, window in zip(sums, slices(under, plan.kernel, stride=stride), strict=True):
            for place in itertools.product(range(images), range(rows)):
                total = total + window[place] * part[place]
            found.append(total)
        return tuple(found)

    start = jnp.zeros((width, channels), _wide(dy).dtype)
    sums = lax.fori_loop(
        0, batch // images * bands, add, (start,) * (plan.kernel[0] * plan.kernel[1])
    )
    # a product with ones is a quicker sum over columns than a reduction
    ones = jnp.ones((1, width), start.dtype)
    return (
        jnp.concatenate([ones @ part for part in sums]).reshape(*plan.kernel, -1).astype(dy.dtype)
    )


def _entries(phase: int, axis: int, plan: Plan, before: int) -> list[tuple[int, int]]:
    """Returns the kernel's entries that reach positions of remainder `phase`, and where their `dy` begins."""
    skipped, first = divmod(phase + plan.margins[axis][0], plan.stride)
    return [
        (entry, before + skipped - number)
        for number, entry in enumerate(range(first, plan.kernel[axis], plan.stride))
    ]


def _pad(x: Array, margins: Margins) -> Array:
    config = [(0, 0, 0), *((low, high, 0) for low, high in margins), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), config)


def _wide(x: Array) -> Array:
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
