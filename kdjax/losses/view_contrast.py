"""ADD's multi-view loss: densities pulled to the teacher's and to their class, pushed from the other.

See "ADD: Frequency Attention and Multi-View based Knowledge Distillation to Detect Low-Quality
Compressed Deepfake Images" by Le & Woo, 2022 (https://arxiv.org/abs/2112.03553), Eq. 9.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from kdjax.checks import check_choice, check_rank, check_same_batch, check_same_shape
from kdjax.losses.reductions import at_least_float32, masked_mean
from kdjax.losses.wasserstein import view_costs
from kdjax.types import Array


class Partners(NamedTuple):
    """For each example of this device, one of its own class and one of the other.

    Attributes:
      same: int32 `[B, V]`, position in the gathered batch for each view.
      has_same: bool `[B]`, whether there is one.
      other: int32 `[B, V]`.
      has_other: bool `[B]`.
    """

    same: Array
    has_same: Array
    other: Array
    has_other: Array


def multi_view(
    student_density: Array,
    teacher_density: Array,
    labels: Array,
    rng: Array,
    *,
    gamma: float | Array,
    eta: float | Array,
    margin: float | Array,
    cost: str = "squared",
    both_directions: bool = False,
    relative_margin: bool = False,
    mask: Array | None = None,
    axis_name: str | None = None,
    mode: str = "paper",
) -> Array:
    """Returns the first result of `multi_view_and_closed`, whose arguments it takes."""
    loss, _ = multi_view_and_closed(
        student_density,
        teacher_density,
        labels,
        rng,
        gamma=gamma,
        eta=eta,
        margin=margin,
        cost=cost,
        both_directions=both_directions,
        relative_margin=relative_margin,
        mask=mask,
        axis_name=axis_name,
        mode=mode,
    )
    return loss


def multi_view_and_closed(
    student_density: Array,
    teacher_density: Array,
    labels: Array,
    rng: Array,
    *,
    gamma: float | Array,
    eta: float | Array,
    margin: float | Array,
    cost: str = "squared",
    both_directions: bool = False,
    relative_margin: bool = False,
    mask: Array | None = None,
    axis_name: str | None = None,
    mode: str = "paper",
) -> tuple[Array, Array]:
    """Returns ADD's multi-view attention loss and the share of examples whose hinge is closed.

        gamma * SWD(S, T) + eta * (SWD(S, T+) + max(margin - SWD(S, T-), 0))         (Eq. 9)

    `T+` and `T-` are the teacher's densities of another example of the same class and of one of
    the other class, drawn uniformly from the batch of all devices. A missing one is left out, and
    each term is the mean over the examples that have it.

    Args:
      student_density: float `[B, V, bins]`.
      teacher_density: float `[B, V, bins]`.
      labels: integer `[B]`.
      rng: key of the draw, the same on every device. The draw for an example depends on it and on
        the position in the whole batch, not on the number of devices.
      gamma: weight of the example's own pair.
      eta: weight of the contrast.
      margin: distance at which the other class is far enough.
      cost: as in `sliced_wasserstein`.
      both_directions: whether the teacher's densities are contrasted with the student's as well.
      relative_margin: whether `margin` is in units of the example's own `mean_theta sum_j v_T^2`.
      mask: float or bool `[B]`, 0 on padding: neither counted nor drawn.
      axis_name: device axis of the batch; then the loss is to be averaged over it (`masked_mean`).
      mode: "paper" as above; "official" as in the published code: both directions, one draw and
        one hinge for every view, the same class drawn as a permutation (an example may meet
        itself). The densities must come from `view_density(mode="official")`.

    Returns:
      Two scalars of at least float32. The second is close to 0 where the hinge always repels.

    Raises:
      ValueError: for shapes or options that are not allowed.
    """
    check_choice("mode", mode, ("paper", "official"))
    check_same_shape(student_density=student_density, teacher_density=teacher_density)
    check_rank("labels", labels, 1)
    check_same_batch(student_density=student_density, labels=labels)
    student_density = at_least_float32(student_density)
    teacher_density = at_least_float32(teacher_density)
    own_costs = view_costs(student_density, teacher_density, cost=cost)
    valid = jnp.ones(labels.shape, bool) if mask is None else mask > 0
    unit = jnp.ones(labels.shape, own_costs.dtype)
    if relative_margin:
        squares = jnp.sum(teacher_density**2, axis=-1)
        unit = jax.lax.stop_gradient(jnp.mean(squares, axis=1))
    pairs = [(student_density, teacher_density)]
    if both_directions or mode == "official":
        pairs.append((teacher_density, student_density))
    loss = gamma * masked_mean(jnp.mean(own_costs, axis=1), valid, axis_name)
    closed = []
    for turn, (anchor, pool) in enumerate(pairs):
        partners = draw_partners(
            labels,
            jax.random.fold_in(rng, turn),
            views=anchor.shape[1],
            valid=valid,
            axis_name=axis_name,
            mode=mode,
        )
        pool = _gather(pool, axis_name)
        near = view_costs(anchor, _select(pool, partners.same), cost=cost)
        far = view_costs(anchor, _select(pool, partners.other), cost=cost)
        if mode == "paper":
            near, far = (jnp.mean(costs, axis=1, keepdims=True) for costs in (near, far))
        gap = (margin * unit)[:, None] - far
        pull = masked_mean(jnp.mean(near, axis=1), partners.has_same, axis_name)
        push = masked_mean(jnp.mean(jax.nn.relu(gap), axis=1), partners.has_other, axis_name)
        loss = loss + eta * (pull + push)
        closed.append(masked_mean(jnp.mean(gap <= 0, axis=1), partners.has_other, axis_name))
    return loss, jnp.mean(jnp.stack(closed))


def draw_partners(
    labels: Array,
    rng: Array,
    *,
    views: int,
    valid: Array,
    axis_name: str | None = None,
    mode: str = "paper",
) -> Partners:
    """Returns the partners of this device's examples in the gathered batch.

    Args:
      labels: integer `[B]`.
      rng: key, the same on every device.
      views: number of views; in "paper" mode all views of an example share its partners.
      valid: bool `[B]`, False on padding.
      axis_name: device axis of the batch, or None.
      mode: as in `multi_view_and_closed`.
    """
    labels, valid = jnp.asarray(labels), jnp.asarray(valid)
    all_labels, all_valid = _gather(labels, axis_name), _gather(valid, axis_name)
    batch = labels.shape[0]
    device = 0 if axis_name is None else jax.lax.axis_index(axis_name)
    position = device * batch + jnp.arange(batch)
    everyone = jnp.arange(all_labels.shape[0])
    equal = labels[:, None] == all_labels[None]
    usable = valid[:, None] & all_valid[None]
    official = mode == "official"
    same = equal & usable
    if not official:
        same &= position[:, None] != everyone[None]
    other = ~equal & usable

    def scores(place: Array) -> Array:
        shape = (views if official else 1, everyone.size)
        return jax.random.uniform(jax.random.fold_in(rng, place), shape)

    drawn = jax.vmap(scores)(position)

    def best(allowed: Array) -> Array:
        chosen = jnp.argmax(jnp.where(allowed[:, None], drawn, -1.0), axis=-1)
        return jnp.broadcast_to(chosen.astype(jnp.int32), (batch, views))

    same_class = best(same)
    if official:
        keys = jax.random.split(jax.random.fold_in(rng, everyone.size), views)
        mix = jax.vmap(lambda key: _permutation_by_class(all_labels, all_valid, key))(keys)
        same_class = mix.T[position]
    return Partners(same_class, jnp.any(same, axis=1), best(other), jnp.any(other, axis=1))


def _permutation_by_class(labels: Array, valid: Array, rng: Array) -> Array:
    """Returns a permutation, int32 `[G]`, that keeps every example within its class."""
    group = jnp.where(valid, labels, jnp.max(labels) + 1)
    order = jnp.argsort(group, stable=True)
    shuffled = jnp.lexsort((jax.random.uniform(rng, group.shape), group))
    return jnp.zeros_like(order).at[order].set(shuffled).astype(jnp.int32)


def _select(pool: Array, index: Array) -> Array:
    """Returns `pool[index[b, v], v]`, `[B, V, bins]`, of a `[G, V, bins]` pool."""
    return pool[index, jnp.arange(pool.shape[1])[None]]


def _gather(x: Array, axis_name: str | None) -> Array:
    """Returns `x` of all devices, concatenated along the first axis."""
    return x if axis_name is None else jax.lax.all_gather(x, axis_name, tiled=True)
