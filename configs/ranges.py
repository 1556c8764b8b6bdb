"""What a value of a configuration may be, whatever the data and the machine: checked when it is read."""

import math
from typing import Any

from kdjax.checks import UserError, check_pattern
from kdjax.defaults import OPTIMIZERS, SCHEDULES, SELECTIONS
from kdjax.extensions import NOTHING, Extensions

POSITIVE = (
    *("data.batch_size", "evaluation.batch_size", "student.width"),
    *("train.balance_steps", "train.balance_every", "train.keep_best", "accumulation.steps"),
    "train.log_every",
)

NOT_NEGATIVE = (
    *("train.epochs", "train.steps", "train.validations_per_epoch", "train.patience"),
    *("train.validation_interval", "train.head_epochs", "train.gradient_ratio_every"),
    *("train.devices", "train.save_every", "train.save_minutes"),
    *("optimizer.learning_rate", "optimizer.rotation_learning_rate", "optimizer.momentum"),
    *("optimizer.epsilon", "optimizer.weight_decay", "optimizer.clip_norm"),
    *("optimizer.decay_epochs", "optimizer.decay_factor"),
    *("data.image_size", "data.threads", "data.workers", "data.read_ahead", "data.subset"),
    *("evaluation.validation_limit", "seed.data", "seed.student"),
)

BELOW_ONE = (
    *("optimizer.beta1", "optimizer.beta2", "optimizer.warmup_fraction", "train.balance_decay"),
    "ema.decay",
)
"""In [0, 1)."""

CHOICES = {
    "student.dtype": ("float32", "bfloat16", "float16"),
    "teacher.dtype": ("float32", "bfloat16", "float16"),
    "student.layout": ("", "torch", "keras"),
    "teacher.layout": ("", "torch", "keras"),
    "accumulation.batch_norm": ("exact", "micro"),
    "student.remat": ("none", "stages"),
    "train.freeze_statistics": ("none", "frozen", "all"),
    "data.balance": ("none", "class", "forgery"),
    "train.balance": ("none", "start", "running"),
    "train.nonfinite": ("stop", "skip"),
}


BY_NAME = ("optimizer.name", "optimizer.schedule")
"""Keys whose value may be optax's own, `optax:NAME[:OPTION=VALUE...]`."""


def check_ranges(values: dict[str, Any], extensions: Extensions = NOTHING) -> None:
    """Checks the values of a flat configuration, which may name the user's own of `extensions`.

    Raises:
      UserError: naming the key, the value and what is allowed.
    """
    choices = {
        **CHOICES,
        "optimizer.name": (*OPTIMIZERS, *extensions.optimizers),
        "optimizer.schedule": (*SCHEDULES, *extensions.schedules),
        "train.selection": (*SELECTIONS, *extensions.metrics),
    }
    for key, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{key}={value} is not finite")
        counts = isinstance(value, int) or key == "student.width"
        if counts and abs(value) >= 2**31:
            raise UserError(f"{key}={value} is too large; less than 2**31 is allowed")
        name = key.rpartition(".")[2]
        # of a user's own method, an option may be called anything
        weight = key.startswith("method.") and name.endswith("_weight")
        if key in POSITIVE and value <= 0:
            raise UserError(f"{key}={value} must be greater than 0")
        if (key in NOT_NEGATIVE or weight) and value < 0:
            raise UserError(f"{key}={value} must be at least 0")
        if key in BELOW_ONE and not 0 <= value < 1:
            raise UserError(f"{key}={value} must be in [0, 1)")
        # what is optax's by name is looked up when it is made
        named = key in BY_NAME and str(value).startswith("optax:")
        if key in choices and value not in choices[key] and not named:
            known = ", ".join(choice or "empty" for choice in choices[key])
            raise UserError(f"{key}={value!r} must be one of: {known}")
    for pattern in values["optimizer.freeze"]:
        try:
            check_pattern("optimizer.freeze", pattern)
        except ValueError as error:
            raise UserError(str(error)) from error
    if not (values["train.steps"] or values["train.epochs"]):
        raise UserError("train.steps and train.epochs are both 0; set one of them")
