"""What is said of a run's numbers while it trains: losses and gradients that are not finite, terms without any."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from kdjax.checks import UserError
from kdjax.methods.part import TERM


def average(run: Path, rows: Sequence[Mapping[str, float]], before: int) -> dict[str, float]:
    """Returns the means of some steps' metrics.

    Args:
      run: folder of the run, for errors.
      rows: the metrics of consecutive steps.
      before: how many steps came before them.

    Raises:
      UserError: when a loss is not finite, naming the terms that are not.
    """
    if not before and not np.isfinite(rows[0]["loss"]):
        raise UserError(
            f"the loss of {run} is {rows[0]['loss']} at the first step already ({_broken(rows[0])}), before anything "
            "was trained: look at what the network and the term return"
        )
    values = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    if not np.isfinite(values["loss"]):
        raise UserError(
            f"the loss of {run} is {values['loss']} ({_broken(values)}): training diverged; lower "
            "optimizer.learning_rate or the weight of the term that grew (see metrics.jsonl)"
        )
    return values


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
            f"{run.name}: a gradient is not finite at step {before + 1}, of {' or '.join(broken)}, whatever the value "
            "is (as of a square root or a norm at 0): mend it there"
        )
    for name, value in names.items():
        if value == 0 and not before and not ramps:
            yield (
                f"{run.name}: the term {name} has no gradient on the student at the first step, so it teaches "
                "nothing there: has it a teacher, and does it depend on the student?"
            )
