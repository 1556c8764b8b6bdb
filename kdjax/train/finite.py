"""What is said of a run's numbers while it trains: losses and gradients that are not finite, terms without any."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import jax
import numpy as np

from kdjax.checks import UserError
from kdjax.methods.part import TERM
from kdjax.types import PyTree

EMPTY: Mapping[str, float] = MappingProxyType({})


class NotFiniteError(UserError):
    """A run that broke: a loss, or a weight, is not finite.

    Attributes:
      step: at which it was seen first.
      values: the step's metrics.
      weights: names of the student's parameters and statistics that are not finite.
    """

    def __init__(
        self, run: Path, step: int, values: Mapping[str, float], weights: Sequence[str] = ()
    ) -> None:
        """Takes where it was seen."""
        self.step, self.values, self.weights = step, dict(values), list(weights)
        loss, names = values.get("loss", math.nan), _broken(values)
        if weights:
            more = f" and {len(weights) - 1} more" if len(weights) > 1 else ""
            text = (
                f"{weights[0]}{more} of {run} is not finite after step {step} of loss {loss}: that step broke "
                "it; lower optimizer.learning_rate, or set optimizer.clip_norm"
            )
        elif np.isfinite(loss):
            text = f"{run}: too many steps in a row were left out, up to step {step}: their gradients are not finite"
        elif step == 1:
            text = (
                f"the loss of {run} is {loss} at the first step already ({names}), before anything was trained: look "
                "at what the network and the term return"
            )
        else:
            text = (
                f"the loss of {run} is {loss} at step {step} ({names}): training diverged; lower "
                "optimizer.learning_rate or the weight of the term that grew (see metrics.jsonl), or leave such steps "
                "out: train.nonfinite=skip"
            )
        super().__init__(text)


def check_weights(
    run: Path, step: int, variables: PyTree, values: Mapping[str, float] = EMPTY
) -> None:
    """Raises NotFiniteError when one of the student's variables is not finite, so that no such state is kept.

    Args:
      run: folder of the run.
      step: after which they are so.
      variables: `params` and `batch_stats` on the host.
      values: metrics of the last step.
    """
    broken = [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables)
        if not np.all(np.isfinite(np.asarray(leaf, np.float32)))
    ]
    if broken:
        raise NotFiniteError(run, step, values, broken)


def describe_skip(step: int, values: Mapping[str, float]) -> str:
    """Returns the line that tells a user of a step that was left out."""
    loss, count = values["loss"], int(values["skipped"])
    what = "a gradient is not finite" if np.isfinite(loss) else f"the loss is {loss}"
    return f"step {step} is left out ({count} so far): {what} ({_broken(values)})"


def _broken(values: Mapping[str, float]) -> str:
    found = [
        name.removeprefix(TERM)
        for name, value in values.items()
        if name.startswith(TERM) and not np.isfinite(value)
    ]
    return ", ".join(found) or "no term alone"


def idle_terms(
    run: Path, ratios: Mapping[str, float], before: int, ramps: Collection[str]
) -> Iterator[str]:
    """Yields lines on terms whose gradient is not finite, and on those that have none at the first step.

    Args:
      run: folder of the run.
      ratios: of the terms' gradients to the cross-entropy's, by `gradient_ratio/TERM`.
      before: how many steps came before.
      ramps: weights that change during the run; with any, a term may begin at 0.
    """
    names = {key.partition("/")[2]: value for key, value in ratios.items()}
    broken = [name for name, value in names.items() if not np.isfinite(value)]
    if broken:
        yield (
            f"{run.name}: a gradient is not finite at step {before + 1}, of {' or '.join(broken)}; where the loss of "
            "that step is finite, it is the derivative (as of a square root or a norm at 0): mend it there"
        )
    for name, value in names.items():
        if value == 0 and not before and not ramps:
            yield (
                f"{run.name}: the term {name} has no gradient on the student at the first step, so it teaches "
                "nothing there: has it a teacher, and does it depend on the student?"
            )
