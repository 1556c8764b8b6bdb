"""ADD's attention views: a feature map as a density, projected on random directions and binned.

See "ADD: Frequency Attention and Multi-View based Knowledge Distillation to Detect Low-Quality
Compressed Deepfake Images" by Le & Woo, 2022 (https://arxiv.org/abs/2112.03553).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.checks import check_choice, check_positive, check_rank, check_same_shape
from kdjax.losses.reductions import FLOOR, at_least_float32
from kdjax.losses.spatial import pool_to
from kdjax.types import Array


def directions(rng: Array, count: int) -> Array:
    """Returns `count` directions, uniform on the unit sphere: float32 `[count, 3]`."""
    check_positive("count", count)
    normal = jax.random.normal(rng, (count, 3))
    return normal / jnp.maximum(jnp.linalg.norm(normal, axis=1, keepdims=True), FLOOR)


def view_density(
    features: Array,
    directions: Array,
    *,
    bins: int | None = None,
    coordinates: str = "index",
    spatial: tuple[int, int] | None = None,
    mode: str = "paper",
) -> Array:
    """Returns how the energy of a map is spread along each direction.

        P = A^2 / ||A||_F^2,  t = <theta, (c, x, y)>,
        v[j] = mass of P in the j-th of `bins` equal-width bins of [min t, max t], the last closed

    The bins depend on the directions and on the shape alone, never on the values. `theta = (1, 0,
    0)` gives channel-wise attention, `(0, 1, 0)` the columns' and `(0, 0, 1)` the rows'.

    Args:
      features: float `[B, H, W, C]`. A map of zeros has no mass: its bins are 0.
      directions: float `[V, 3]`, entries for channel, column and row. They take no gradient.
      bins: number of bins, half the channels (at least 2) if None.
      coordinates: "index" counts channels, columns and rows from 0; "normalized" has each run from
        0 to 1. There are many more channels than rows, so that nearly all views are channel-wise
        under "index".
      spatial: height and width to which the density is sum-pooled first, if not the map's.
      mode: "paper" as above; "official" as in the published code: energy summed in memory order
        (channel, row, column) up to positions read off the sorted projection, which is right only
        for the first axis; the last bin is lost, and the directions' last two entries are swapped.

    Returns:
      `[B, V, bins]` (`bins - 1` if official), at least float32; each view sums to 1.

    Raises:
      ValueError: for shapes or options that are not allowed.
    """
    check_rank("features", features, 4)
    check_rank("directions", directions, 2)
    if directions.shape[1] != 3:
        raise ValueError(f"directions has shape {tuple(directions.shape)}; [V, 3] is expected")
    check_choice("coordinates", coordinates, ("index", "normalized"))
    check_choice("mode", mode, ("paper", "official"))
    bins = max(2, features.shape[-1] // 2) if bins is None else bins
    check_positive("bins", bins)
    density = _density(features)
    if spatial is not None:
        density = pool_to(density, spatial, reduce="sum")
    directions = jax.lax.stop_gradient(directions)
    if mode == "official":
        return _official_bins(density, directions, bins)
    index = _bin_index(directions, density.shape[1:], bins, coordinates)
    return _bin_sums(density.reshape(density.shape[0], -1), index, bins)


def view_densities(
    student: Array, teacher: Array, directions: Array, **options: Any
) -> tuple[Array, Array]:
    """Returns `view_density` of both maps, sum-pooled to the smaller size of the two.

    The arguments are those of `view_density`.

    Raises:
      ValueError: if batch or channels differ, as for `view_density`.
    """
    check_rank("student", student, 4)
    check_rank("teacher", teacher, 4)
    if student.shape[0] != teacher.shape[0] or student.shape[3] != teacher.shape[3]:
        raise ValueError(
            f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)} must have one "
            "batch size and one number of channels (adapter='conv1x1' gives the student a head)"
        )
    smaller = min(student.shape[1], teacher.shape[1]), min(student.shape[2], teacher.shape[2])
    options = {**options, "spatial": options.get("spatial") or smaller}
    return (
        view_density(student, directions, **options),
        view_density(teacher, directions, **options),
    )


def sliced_wasserstein(
    student_density: Array, teacher_density: Array, *, cost: str = "squared"
) -> Array:
    """Returns ADD's sliced distance of binned densities, averaged over the views.

        squared:    mean_theta sum_j (v_S[j] - v_T[j])^2                              (Eq. 8)
        transport:  mean_theta sum_j |sum_{i <= j} (v_S[i] - v_T[i])|

    Eq. 8 sums over theta, the official code averages, and so do we. "squared" compares bin by bin
    whatever their distance; "transport" is the 1-Wasserstein distance in bin widths.

    Args:
      student_density: float `[B, V, bins]`.
      teacher_density: float `[B, V, bins]`.
      cost: "squared" or "transport".

    Returns:
      `[B]`, at least float32.

    Raises:
      ValueError: if the shapes differ or the cost is unknown.
    """
    return jnp.mean(view_costs(student_density, teacher_density, cost=cost), axis=-1)


def view_costs(student_density: Array, teacher_density: Array, *, cost: str) -> Array:
    """Returns the distance of two densities in each view, `[B, V]`; see `sliced_wasserstein`."""
    check_choice("cost", cost, ("squared", "transport"))
    check_rank("student_density", student_density, 3)
    check_same_shape(student_density=student_density, teacher_density=teacher_density)
    difference = at_least_float32(student_density) - at_least_float32(teacher_density)
    if cost == "squared":
        return jnp.sum(difference**2, axis=-1)
    excess = jnp.cumsum(difference, axis=-1)
    # `abs` has slope 1 at zero in JAX; two equal densities must not pull at each other.
    return jnp.sum(excess * jax.lax.stop_gradient(jnp.sign(excess)), axis=-1)


def _density(features: Array) -> Array:
    """Returns `A^2 / ||A||^2` of each example, `[B, H, W, C]`."""
    features = at_least_float32(features)
    # The density does not depend on the scale, so the largest entry is taken out first: no square
    # overflows or vanishes, and no gradient has to go through the maximum.
    largest = jnp.max(jnp.abs(features), axis=(1, 2, 3), keepdims=True)
    energy = (features / jax.lax.stop_gradient(jnp.maximum(largest, FLOOR))) ** 2
    return energy / jnp.maximum(jnp.sum(energy, axis=(1, 2, 3), keepdims=True), FLOOR)


def _bin_sums(entries: Array, index: Array, bins: int) -> Array:
    """Returns the sums `[B, V, bins]` of the entries `[B, N]` that each view puts in one bin.

    One row of the batch for each entry: what is scattered (and, in the gradient, gathered) is
    contiguous, and all examples share one index.
    """
    # Without the barriers XLA computes an entry or an index anew wherever it is read.
    rows, index = jax.lax.optimization_barrier((entries.T, index))
    empty = jnp.zeros((bins, rows.shape[1]), rows.dtype)

    def view(_: None, place: Array) -> tuple[None, Array]:
        return None, empty.at[place].add(rows, mode="promise_in_bounds")

    return jax.lax.scan(view, None, index)[1].transpose(2, 0, 1)


def _bin_index(directions: Array, shape: tuple[int, ...], bins: int, coordinates: str) -> Array:
    """Returns the bin of every entry of a `[H, W, C]` map for each direction, int32 `[V, H*W*C]`."""
    height, width, channels = shape
    # In float32 about one entry in ten thousand would fall on the wrong side of an edge.
    with jax.enable_x64(True):
        size = jnp.abs(directions.astype(jnp.float64))
        places = []
        for axis, length in enumerate((channels, width, height)):
            # Counted from the end that projects lowest, the projection starts at zero.
            upward = np.arange(length, dtype=np.float64)[None]
            place = jnp.where(directions[:, axis, None] < 0, upward[:, ::-1], upward)
            unit = max(length - 1, 1) if coordinates == "normalized" else 1
            places.append(size[:, axis, None] * (place / unit))
        along_channel, along_column, along_row = places
        extent = sum(jnp.max(place, axis=1) for place in places)
        projection = (along_row[:, :, None, None] + along_column[:, None, :, None]) + along_channel[
            :, None, None, :
        ]
        position = projection * bins / jnp.maximum(extent, FLOOR)[:, None, None, None]
        index = jnp.minimum(position.astype(jnp.int32), np.int32(bins - 1))
    return index.reshape(directions.shape[0], -1)


def _official_bins(density: Array, directions: Array, bins: int) -> Array:
    """Returns the published code's views of a density, `[B, V, bins - 1]`."""
    batch, height, width, channels = density.shape
    channel, row, column = np.indices((channels, height, width)).reshape(3, 1, -1)
    grid = np.concatenate([channel, row, column]).astype(np.float32)
    projection = jnp.sort(
        jnp.matmul(directions.astype(jnp.float32), grid, precision=jax.lax.Precision.HIGHEST)
    )
    edges = np.arange(1, bins, dtype=np.float32) / bins
    lowest, highest = projection[:, :1], projection[:, -1:]
    levels = (highest - lowest) * edges[None] + lowest
    position = jax.vmap(jnp.searchsorted)(projection, levels)
    energy = density.transpose(0, 3, 1, 2).reshape(batch, -1)
    before = jnp.cumsum(energy, axis=1)[:, position]
    start = jnp.zeros((batch, directions.shape[0], 1), before.dtype)
    return jnp.diff(jnp.concatenate([start, before], axis=2), axis=2)
