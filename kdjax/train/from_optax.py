"""Optimizers and schedules of optax by name, `optax:NAME[:OPTION=VALUE...]`, with the options of optax's own."""

import ast
import inspect
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from kdjax.checks import first_line, nearest
from kdjax.options import Factory

PREFIX = "optax:"
SCHEDULES = ("_schedule", "exponential_decay")
"""What the names of schedules end with."""


def is_named(text: str) -> bool:
    """Returns whether a text names something of optax."""
    return text.startswith(PREFIX)


def optimizers() -> dict[str, Factory]:
    """Returns optax's optimizers by name: its functions of a `learning_rate`."""
    return {
        name: each
        for name, each in vars(optax).items()
        if not name.startswith(("_", "scale_by_"))
        and inspect.isfunction(each)
        and "learning_rate" in inspect.signature(each).parameters
    }


def schedules() -> dict[str, Factory]:
    """Returns optax's schedules by name: those whose arguments are numbers."""
    listed = ("boundaries_and_scales", "cosine_kwargs", "step_size_fn")
    return {
        name: each
        for name, each in vars(optax.schedules).items()
        if name.endswith(SCHEDULES)
        and inspect.isfunction(each)
        and not set(listed) & set(inspect.signature(each).parameters)
    }


def optimizer(text: str) -> tuple[Factory, dict[str, Any]]:
    """Returns the factory that `optimizer.name` names, and its options.

    Raises:
      ValueError: for an unknown name or option, a value of another type, an option that is missing, or an optimizer
        that needs more than gradients and parameters.
    """
    factory, options = _parsed("optimizer.name", text, optimizers())
    _check_complete("optimizer.name", text, factory, ("learning_rate", *options))
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    try:
        made = factory(learning_rate=0.1, **options)
        jax.eval_shape(lambda p: made.update(p, made.init(p), p), params)
    except Exception as error:
        raise ValueError(
            f"optimizer.name={text} cannot be used: it needs more than gradients and parameters, or another option "
            f"({first_line(error)})"
        ) from error
    return factory, options


def schedule(text: str, *, total_steps: int, warmup_steps: int) -> optax.Schedule:
    """Returns the schedule that `optimizer.schedule` names: factors on the peak learning rate.

    What is not given of it follows from the run: `decay_steps` and `transition_steps` are its length, `warmup_steps`
    its warm-up, `peak_value` and `value` 1, `end_value` 0, and `init_value` 0 where there is a peak, else 1.

    Args:
      text: `optax:NAME[:OPTION=VALUE...]`.
      total_steps: length of the run.
      warmup_steps: steps before its peak.

    Raises:
      ValueError: for an unknown name or option, a value of another type, an option that is missing, or a factor that
        is no number of at least 0.
    """
    factory, options = _parsed("optimizer.schedule", text, schedules())
    names = inspect.signature(factory).parameters
    ours: Mapping[str, Any] = {
        # a warm-up of the whole run leaves no step to decay in
        "decay_steps": max(total_steps, warmup_steps + 1),
        "transition_steps": max(total_steps, 1),
        "warmup_steps": warmup_steps,
        "peak_value": 1.0,
        "value": 1.0,
        "end_value": 0.0,
        "init_value": 0.0 if "peak_value" in names else 1.0,
    }
    required = {name for name, each in names.items() if each.default is inspect.Parameter.empty}
    filled = {name: value for name, value in ours.items() if name in required} | options
    _check_complete("optimizer.schedule", text, factory, filled)
    try:
        made = factory(**filled)
        ends = [float(made(step)) for step in (0, total_steps - 1)]
    except Exception as error:
        raise ValueError(f"optimizer.schedule={text} fails: {first_line(error)}") from error
    if not all(value >= 0 for value in ends):
        raise ValueError(
            f"optimizer.schedule={text} must give what the learning rate is multiplied with, 0 or more; at its first "
            f"and last step it is {ends[0]:g} and {ends[1]:g}"
        )
    return made


def _parsed(key: str, text: str, known: Mapping[str, Factory]) -> tuple[Factory, dict[str, Any]]:
    name, *given = text.removeprefix(PREFIX).split(":")
    if name not in known:
        raise ValueError(f"{key}={text}: optax has no {name!r} here; {nearest(name, known)}")
    factory = known[name]
    parameters = inspect.signature(factory).parameters
    options = {}
    for each in given:
        option, equals, value = each.partition("=")
        if not equals:
            raise ValueError(f"{key}={text}: {each!r} must be OPTION=VALUE")
        if option not in parameters or option == "learning_rate":
            names = [other for other in parameters if other != "learning_rate"]
            raise ValueError(f"{key}={text}: no option {option!r}; {nearest(option, names)}")
        if option in options:
            raise ValueError(f"{key}={text}: {option} is given twice")
        options[option] = _value(f"{key}={text}: {option}", value, parameters[option].default)
    return factory, options


def _value(what: str, text: str, default: Any) -> Any:
    """Returns the number, boolean or text that is meant; ValueError where it is of another type than the default."""
    words = {"true": True, "false": False}
    try:
        value = words[text.lower()] if text.lower() in words else ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = text
    kinds: Mapping[type, type | tuple[type, ...]] = {
        bool: bool,
        int: (int, float),
        float: (int, float),
    }
    wanted = kinds.get(type(default), (bool, int, float, str))
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted == (int, float)):
        raise ValueError(f"{what}={text!r} must be like its default, {default!r}")
    return value


def _check_complete(key: str, text: str, factory: Factory, given: Any) -> None:
    for name, each in inspect.signature(factory).parameters.items():
        if each.default is inspect.Parameter.empty and name not in given:
            raise ValueError(f"{key}={text} needs the option {name}; give {text}:{name}=VALUE")
