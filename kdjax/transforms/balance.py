"""Weights of loss terms as shares: factors that give each term's gradient a wanted size, from measured norms."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp

from kdjax.checks import check_non_negative, check_positive
from kdjax.types import Array

REFERENCE = "cross_entropy"
"""Name of the term that the others are measured against."""

LOWEST, HIGHEST = 1e-6, 1e6
"""What a factor is kept within."""

FLOOR = 0.1
"""Share of its first size below which a moving average takes a gradient for no smaller."""


JUMP = 1e3
"""Growth of a gradient over the mean of its first measurements by which it has only just begun."""


class BalanceState(NamedTuple):
    """What was measured so far.

    Attributes:
      log_ratio: by term with a share above 0, float `[]`: the mean of `log(||g_term|| / ||g_reference||)`.
      counts: by term, int32 `[]`: measurements in that mean; 0: none yet.
      log_first: by the same terms and `REFERENCE`, float `[]`: the mean of `log ||g||` over the first measurements.
      measured: int32 `[]`: measurements in that mean, or beyond it.
      skipped: int32 `[]`: measurements left out, their reference having no gradient.
    """

    log_ratio: dict[str, Array]
    counts: dict[str, Array]
    log_first: dict[str, Array]
    measured: Array
    skipped: Array


class Balance(NamedTuple):
    """Pure functions, in optax's manner.

    Attributes:
      init: `() -> state`.
      update: `(norms, state, restart) -> state`: takes in one measurement: `norms` by term and of `REFERENCE`,
        each of the gradient without a factor; where `restart` holds, in place of all before.
      factors: `state -> {term: factor}`, float `[]`.
    """

    init: Callable[[], BalanceState]
    update: Callable[..., BalanceState]
    factors: Callable[[BalanceState], dict[str, Array]]


def balance(shares: Mapping[str, float], *, steps: int = 20, decay: float | None = None) -> Balance:
    """Returns functions that keep terms' gradients at wanted shares of the reference's.

        factor_n = share_n / exp(mean_i log(||g_n,i|| / ||g_reference,i||)), within [1e-6, 1e6]

    Without `decay` the mean is over the first `steps` measurements in which the term has a gradient, and then
    stays. With it the mean is plain at first and a moving one as soon as that forgets more slowly:

        mean <- mean + max(1 / (count + 1), 1 - decay) (value - mean)

    A reference that vanishes, as the cross-entropy of a student that has learned its images by heart, would draw
    every term down with it; a term that has reached its aim would be blown up until it disturbs. In the moving mean
    every norm therefore counts for at least a tenth of the geometric mean of its first `steps` measurements.

    A term whose gradient grows a thousandfold beyond the mean of its first measurements, while those are taken, had
    none worth the name before: its means begin anew, or what was next to nothing would leave it a factor of as much.

    A term without a gradient is not counted and has the factor 1 until it has had one; a share of 0 is the factor
    0, and needs no norm. Where the reference has no gradient, or one that is not finite, the whole measurement
    is skipped.

    Args:
      shares: wanted `||factor_n g_n|| / ||g_reference||` by term, 0 or more.
      steps: measurements in the first mean, 1 or more.
      decay: of the moving mean, in [0, 1); None: none.

    Raises:
      ValueError: for a share, a number of steps or a decay out of range.

    GradNorm (Chen et al., 2018, https://arxiv.org/abs/1711.02257) trains the weights by a loss of their own towards
    norms that follow each task's progress; uncertainty weighting (Kendall et al., 2018,
    https://arxiv.org/abs/1705.07115) makes them parameters. Here the wanted norms are given and met by division.
    """
    for name, share in shares.items():
        check_non_negative(f"the share of {name}", share)
    check_positive("steps", steps)
    if decay is not None and not 0 <= decay < 1:
        raise ValueError(f"decay={decay} must be in [0, 1)")
    floor = -math.inf if decay is None else math.log(FLOOR)

    def init() -> BalanceState:
        zero, none = jnp.zeros(()), jnp.zeros((), jnp.int32)
        names = [name for name, share in shares.items() if share]
        return BalanceState(
            dict.fromkeys(names, zero),
            dict.fromkeys(names, none),
            dict.fromkeys([*names, REFERENCE], zero),
            none,
            none,
        )

    def update(
        norms: Mapping[str, Array], state: BalanceState, restart: Array | bool = False
    ) -> BalanceState:
        usable = _has_gradient(norms[REFERENCE])
        measured = jnp.where(restart, 0, state.measured)
        first, yardstick = floored(norms[REFERENCE], usable, state.log_first[REFERENCE], measured)
        log_ratio, counts, log_first = {}, {}, {REFERENCE: first}
        for name, old in state.log_ratio.items():
            valid = usable & _has_gradient(norms[name])
            before = jnp.where(restart, 0, state.counts[name])
            begins = _jumps(norms[name], valid, state.log_first[name], before, steps)
            before = jnp.where(begins, 0, before)
            log_first[name], size = floored(norms[name], valid, state.log_first[name], before)
            mean = _mean(old, size - yardstick, before, steps, decay)
            log_ratio[name] = jnp.where(valid, mean, old)
            counts[name] = jnp.where(valid, before + 1, state.counts[name])
        return BalanceState(
            log_ratio,
            counts,
            log_first,
            jnp.where(usable, measured + 1, state.measured),
            state.skipped + jnp.where(usable, 0, 1),
        )

    def floored(norm: Array, valid: Array, first: Array, count: Array) -> tuple[Array, Array]:
        """Returns the mean of the first logarithms with this one in it, and this one, not far below that."""
        log_norm = jnp.log(jnp.where(valid, norm, 1.0)).astype(first.dtype)
        mean = _mean(first, log_norm, count, steps, None)
        return jnp.where(valid, mean, first), jnp.maximum(log_norm, mean + floor)

    def factors(state: BalanceState) -> dict[str, Array]:
        found = {name: jnp.zeros_like(state.log_first[REFERENCE]) for name in shares}
        for name, log_ratio in state.log_ratio.items():
            wanted = math.log(shares[name]) - log_ratio
            factor = jnp.exp(jnp.clip(wanted, math.log(LOWEST), math.log(HIGHEST)))
            found[name] = jnp.where(state.counts[name] > 0, factor, 1.0)
        return found

    return Balance(init, update, factors)


def _jumps(norm: Array, valid: Array, first: Array, count: Array, steps: int) -> Array:
    """Returns whether a norm is far above the mean of the few before it."""
    grows = jnp.log(jnp.where(valid, norm, 1.0)) - first > math.log(JUMP)
    return valid & grows & (count > 0) & (count < steps)


def _has_gradient(norm: Array) -> Array:
    return jnp.isfinite(norm) & (norm > 0)


def _mean(mean: Array, value: Array, count: Array, steps: int, decay: float | None) -> Array:
    """Returns the mean of `count` values with one more in it: of the first `steps`, or a moving one."""
    rate = 1.0 / (count + 1).astype(mean.dtype)
    rate = jnp.where(count < steps, rate, 0.0) if decay is None else jnp.maximum(rate, 1 - decay)
    return mean + rate * (value - mean)
