"""Measuring each loss term's gradient while a run trains, and balancing the terms by it."""

import copy
from collections.abc import Collection, Iterable

import jax
import numpy as np
from ml_collections import ConfigDict

from kdjax.checks import UserError, check_choice, check_positive
from kdjax.methods import Method
from kdjax.train import parallel
from kdjax.train.state import TrainState
from kdjax.train.step import Lesson, StepParts, make_gradient_norms
from kdjax.transforms.balance import REFERENCE, Balance, BalanceState, balance
from kdjax.types import Array

MODES = ("none", "start", "running")


def make_balance(config: ConfigDict, method: Method) -> Balance | None:
    """Returns what balances the method's terms; None where nothing is to be balanced.

    Raises:
      ValueError: for a setting out of range, naming its key.
    """
    train = config.train
    check_choice("train.balance", train.balance, MODES)
    for key in ("balance_steps", "balance_every"):
        check_positive(f"train.{key}", train[key])
    if not 0 <= train.balance_decay < 1:
        raise ValueError(f"train.balance_decay={train.balance_decay} must be in [0, 1)")
    if train.balance == "none" or not method.shares:
        return None
    if not method.hyper["cross_entropy_weight"]:
        raise ValueError(
            f"train.balance={train.balance} measures against the cross-entropy, but "
            "method.cross_entropy_weight=0; give it a weight, or set train.balance=none"
        )
    decay = train.balance_decay if train.balance == "running" else None
    return balance(method.shares, steps=train.balance_steps, decay=decay)


def ratio_steps(total: int, validations: Collection[int], every: int) -> frozenset[int]:
    """Returns the steps, counted from 1, whose gradient ratios are logged; none where `every` is 0.

    Args:
      total: length of the run.
      validations: the steps after which the student is validated.
      every: so many validations from one to the next.
    """
    if not every:
        return frozenset()
    # start, a tenth and end too: a term may hide the labels at first and be dead later
    return frozenset({1, max(1, round(total / 10)), total, *sorted(validations)[::every]})


class Gradients:
    """Measures the terms' gradients on the batch in hand; compiled once, called a term at a time."""

    def __init__(self, parts: StepParts, train: ConfigDict, devices: int) -> None:
        """Compiles nothing yet.

        Args:
          parts: the step's.
          train: the configuration's block.
          devices: local devices in use.
        """
        self._parts, self._train, self._devices = parts, train, devices
        axis = parallel.axis_name(devices)
        self._norm = parallel.compile_step(make_gradient_norms(parts, axis), devices)
        self._booleans = {
            bare: parallel.replicate(np.bool_(bare), devices) for bare in (True, False)
        }
        names = parts.method.term_names
        self._selections = {
            name: parallel.replicate({other: np.float32(other == name) for other in names}, devices)
            for name in names
        }
        self._starts = {0, parts.warmup_steps}
        self._complete = False
        if parts.balance is not None:
            self._update = parallel.compile_step(parts.balance.update, devices)

    def of_another(self) -> "Gradients":
        """Returns the same for another student, of which nothing is known yet; what is compiled serves both."""
        other = copy.copy(self)
        other._complete = False
        return other

    def balance(self, replicated: TrainState, lesson: Lesson, step: int) -> TrainState:
        """Returns the state with its balance measured on a step's lesson, where that is due before a step's update.

        The first `train.balance_steps` steps are measured one after the other, and those from which on the
        backbone trains; then one of `train.balance_every`: by `running` to the end, by `start` while a term has
        not had so many measurements with a gradient.

        Raises:
          UserError: when the cross-entropy has no gradient at the first measurement.
        """
        found = replicated.balance
        names = [] if self._parts.balance is None else list(found.log_ratio)
        if not names or not self._is_due(step, found):
            return replicated
        norms = self._norms(replicated, lesson, [REFERENCE, *names], bare=True)
        # on the classifier alone terms weigh otherwise
        found = self._update(norms, found, self._booleans[step in self._starts])
        if step == 0 and not int(parallel.unreplicate(found.measured, self._devices)):
            raise UserError(
                f"train.balance={self._train.balance}: the cross-entropy's gradient is zero or not finite "
                "at the first measurement (zero where the student is sure and right about all of it), so no term "
                "can have a share of it; set train.balance=none"
            )
        return replicated.replace(balance=found)

    def ratios(self, replicated: TrainState, lesson: Lesson) -> dict[str, float]:
        """Returns the gradient norm of each term as it stands in the loss over the cross-entropy's."""
        names = self._parts.method.term_names
        if len(names) < 2:
            return {}
        found = jax.device_get(self._norms(replicated, lesson, names, bare=False))
        norms = {
            name: float(parallel.unreplicate(norm, self._devices)) for name, norm in found.items()
        }
        reference = norms.pop(REFERENCE, 0.0)
        # a cross-entropy of weight 0 is no yardstick; a gradient that is not finite makes those of all terms so
        ratios = norms if reference > 0 or not np.isfinite(reference) else {}
        return {f"gradient_ratio/{name}": norm / reference for name, norm in ratios.items()}

    def _is_due(self, step: int, found: BalanceState) -> bool:
        train = self._train
        if any(start <= step < start + train.balance_steps for start in self._starts):
            return True
        if step % train.balance_every:
            return False
        return train.balance == "running" or not self._is_complete(step, found)

    def _is_complete(self, step: int, found: BalanceState) -> bool:
        if self._complete:
            return True
        counts = jax.device_get(parallel.unreplicate(found.counts, self._devices))
        enough = bool(min(counts.values()) >= self._train.balance_steps)
        # the averaging may still begin again
        self._complete = enough and step >= max(self._starts)
        return enough

    def _norms(
        self, replicated: TrainState, lesson: Lesson, names: Iterable[str], *, bare: bool
    ) -> dict[str, Array]:
        return {
            name: self._norm(replicated, lesson, self._selections[name], self._booleans[bare])
            for name in names
        }
