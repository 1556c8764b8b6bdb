"""A step that is not finite is left out: the state stays as it was, and the step is counted."""

import jax
import jax.numpy as jnp

from kdjax.train.state import TrainState
from kdjax.types import Array, Metrics, PyTree


def skip_broken(
    old: TrainState, new: TrainState, metrics: Metrics, axis_name: str | None = None
) -> tuple[TrainState, Metrics]:
    """Returns the state after a step, or the one before it with the step counted where the step broke.

    A step broke when its loss is not finite, or when a number of the parameters, of the statistics, of the method's own
    state or of the optimiser's is not finite that was before. What was infinite before, as the best value of a schedule
    that has seen none, is no matter. `step` goes on, and with it the data, the schedule and the draws; all else that a
    step changes stays: `x = where(broke, x_old, x_new)`.

    Args:
      old: before the step.
      new: after it.
      metrics: of the step, with `loss`.
      axis_name: device axis; a step that broke on one device is left out on all.

    Returns:
      The state, and the metrics with `skipped`, int32 `[]`: how many steps were left out so far.
    """

    def changing(state: TrainState) -> PyTree:
        return state.params, state.batch_stats, state.aux, state.opt_state, state.ema

    pairs = zip(jax.tree.leaves(changing(old)), jax.tree.leaves(changing(new)), strict=True)
    whole = jnp.isfinite(jnp.asarray(metrics["loss"]))
    for before, after in pairs:
        if jnp.issubdtype(jnp.asarray(after).dtype, jnp.inexact):
            whole &= jnp.all(jnp.isfinite(after) | ~jnp.isfinite(before))
    if axis_name is not None:
        whole = jax.lax.pmin(whole.astype(jnp.int32), axis_name) > 0

    def choose(before: Array, after: Array) -> Array:
        return jnp.where(whole, after, before)

    kept = jax.tree.map(choose, old, new)
    skipped = old.skipped + (~whole).astype(jnp.int32)
    return kept.replace(step=new.step, skipped=skipped), {**metrics, "skipped": skipped}
