"""Which runs may train side by side on one stream of batches: those that differ in numbers of the student's side only.

Such numbers are in the train state, so that all share the compiled step; what data and teachers say is the same.
"""

import json
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from kdjax import configs
from kdjax.checks import UserError
from kdjax.defaults import PARTS, TRACED, TRACED_COMMON
from kdjax.extensions import Extensions
from kdjax.train.setup import Plan, make_method, make_parts

NUMBERS = (
    *("seed.student", "ema.decay"),
    *("optimizer.learning_rate", "optimizer.rotation_learning_rate"),
)
"""Numbers of every student that a compiled step has no constant of."""


def traced_keys(config: ConfigDict) -> frozenset[str]:
    """Returns the keys of a configuration in which students of a group may differ."""
    method = config.method.name
    found = {*NUMBERS, *(f"method.{name}" for name in TRACED_COMMON)}
    if method == "combine":
        parts = [part for part in config.method.parts if part in TRACED]
        found |= {f"method.{part}.{name}" for part in parts for name in TRACED[part]}
    elif method in PARTS:
        found |= {f"method.{name}" for name in TRACED[method]}
    return frozenset(found)


def group_key(config: ConfigDict) -> str:
    """Returns a text that is the same for runs that may form a group.

    Of a number that may differ it tells the sign: 0 leaves a term out, and -1 stands for a default.
    """
    traced = traced_keys(config)
    values = {
        key: _sign(value) if key in traced and key != "seed.student" else value
        for key, value in configs.flatten(config)
        if key != "seed.student" and not key.startswith(configs.NOTES)
    }
    return json.dumps(values, sort_keys=True, default=str)


def _sign(value: Any) -> str:
    return "+" if value > 0 else "0" if value == 0 else "-"


def check_alike(settings: Sequence[ConfigDict], extensions: Sequence[Extensions]) -> None:
    """Raises UserError, naming a key, unless configurations may form a group."""
    first = settings[0]
    for config, own in zip(settings[1:], extensions[1:], strict=True):
        if group_key(config) != group_key(first):
            found, other = dict(configs.flatten(first)), dict(configs.flatten(config))
            traced = traced_keys(first)
            keys = [key for key in found | other if found.get(key) != other.get(key)]
            key = next((each for each in keys if each not in traced), keys[0])
            raise UserError(
                f"{key} is {found.get(key)!r} and {other.get(key)!r} in two students of a group; they share their "
                "batches, teachers and compiled step, so train them apart"
            )
        if own != extensions[0]:
            raise UserError("two students of a group name other programs; train them apart")


def plan_like(plan: Plan, config: ConfigDict) -> Plan:
    """Returns the plan of a student that differs from another in numbers only (`group_key`): all else is shared.

    Raises:
      UserError: naming the key that does not fit.
    """
    config = configs.checked(config, plan.extensions)
    size = plan.dataset.sizes["train"] if plan.indices is None else len(plan.indices)
    steps, per_epoch = plan.total_steps, plan.steps_per_epoch
    try:
        method = make_method(
            config,
            plan.student,
            plan.teachers,
            dataset_size=size,
            indices=plan.indices,
            steps_per_epoch=per_epoch,
            extensions=plan.extensions,
        )
        parts = make_parts(config, method, plan.parts.augment, steps, per_epoch, plan.extensions)
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from error
    return plan._replace(config=config, method=method, parts=parts)
