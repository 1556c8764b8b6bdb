"""When a student is validated, and what the user's own metrics say; reading, whose failures are named."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from kdjax.checks import UserError
from kdjax.evaluate.evaluation import Evaluation
from kdjax.extensions import Extensions
from kdjax.train.calls import calling, refuse
from kdjax.train.setup import Plan

Item = TypeVar("Item")


def round_up(value: int, multiple: int) -> int:
    """Returns the smallest multiple that is not less than `value`."""
    return -(-value // multiple) * multiple


def validation_steps(plan: Plan) -> frozenset[int]:
    """Returns the steps after which the student is validated: evenly over the epochs, and the last one."""
    train = plan.config.train
    wanted = plan.steps_per_epoch / max(train.validations_per_epoch, 1e-9)
    interval = max(wanted, train.validation_interval, 1.0)
    # float arithmetic on the host; a run of more validations than this would never end
    count = min(int(plan.total_steps / interval), 1_000_000)
    steps = (max(1, round(number * interval)) for number in range(1, count + 1))
    return frozenset({plan.total_steps, *(min(plan.total_steps, step) for step in steps)})


def check_own_metrics(extensions: Extensions) -> None:
    """Raises UserError when a metric of the user's own fails, tried before anything is trained."""
    rng = np.random.default_rng(0)
    _call(extensions, rng.random(64).astype(np.float32), np.arange(64) % 2)


def own_metrics(extensions: Extensions, result: Evaluation) -> dict[str, float]:
    """Returns the user's own metrics of a validation, over all qualities as the shipped ones.

    Raises:
      UserError: naming the metric that fails or is no number.
    """
    scores = np.concatenate(list(result.scores.values()))
    return _call(extensions, scores, np.tile(result.columns["labels"], len(result.scores)))


def _call(extensions: Extensions, scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    found = {}
    for name, metric in extensions.metrics.items():
        with calling("metric", name, extensions):
            value = metric(scores, labels)
        try:
            found[name] = float(value)
        except (TypeError, ValueError) as error:
            raise refuse("metric", name, "a number", value) from error
    return found


def check_selection(name: str, value: float, own: Mapping[str, Any], where: str) -> None:
    """Raises UserError when the metric that chooses the best step is not finite, saying why."""
    if np.isfinite(value):
        return
    if name in own:
        raise UserError(
            f"metric {name!r} of your own is {value} on the validation split; the metric that train.selection names "
            "must be finite"
        )
    raise UserError(
        f"validation {name} is not defined: the validation split of {where} has one class; "
        "set train.selection=accuracy"
    )


def reading(
    items: Iterator[Item], where: str, split: str, extensions: Extensions
) -> Iterator[Item]:
    """Yields what an iterator yields; whatever fails in it is one line that names data set and split.

    Raises:
      UserError: for any error, of the user's own data as well as of a disk.
    """
    end: Any = object()
    while True:
        with calling(f"reading split {split!r} of data set", where, extensions):
            item = next(items, end)
        if item is end:
            return
        yield item
