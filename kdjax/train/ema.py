"""The moving average of the student's variables, beside the trained ones: one formula, and which of both is used."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp

from kdjax.train.state import TrainState, student_variables
from kdjax.types import Array, PyTree

TRAINED, AVERAGED = "trained", "averaged"
"""Names of the two sets of variables, and of their columns: `averaged/auc`."""


def moved(average: PyTree, variables: PyTree, step: Array, decay: Array) -> PyTree:
    """Returns the bias-corrected exponential moving average after an update.

        a_t = a_{t-1} + w_t (theta_t - a_{t-1}),    w_t = (1 - decay) / (1 - decay^t)

    which is `sum_s decay^(t-s) theta_s / sum_s decay^(t-s)` over the updates `s = 1..t`: what Adam's correction makes
    of an average that starts at 0. `a_1` is `theta_1`, whatever the average was before.

    Args:
      average: `a_{t-1}`, float arrays.
      variables: `theta_t`, of the same structure and shapes.
      step: int32 `[]`, `t`, at least 1.
      decay: float `[]` in [0, 1).

    Returns:
      `a_t`, of the dtypes of `average`.
    """
    wide = jnp.promote_types(jnp.result_type(decay), jnp.float32)
    decay = jnp.asarray(decay, wide)
    weight = (1 - decay) / -jnp.expm1(step.astype(wide) * jnp.log(decay))

    def move(old: Array, new: Array) -> Array:
        # a first value of another run, or none, must not stay in it
        return jnp.where(step > 1, old + weight.astype(old.dtype) * (new - old), new)

    return jax.tree.map(move, average, variables)


class Used(NamedTuple):
    """Which of a state's variables are validated, selected and stored as the best, and what stands beside them."""

    chosen: PyTree
    beside: Mapping[str, PyTree] = MappingProxyType({})


def used(state: TrainState, *, evaluate: bool) -> Used:
    """Returns the averaged variables where there are any and `evaluate` says so, else the trained ones."""
    trained = student_variables(state)
    if not state.ema:
        return Used(trained)
    if evaluate:
        return Used(state.ema, {TRAINED: trained})
    return Used(trained, {AVERAGED: state.ema})
