"""The options of a user's own factory: those of its arguments that have a default which a configuration can hold."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from kdjax.checks import UserError

Factory = Callable[..., Any]


def options_of(
    what: str, factory: Factory, facts: Iterable[str] = (), *, leading: int = 0
) -> dict[str, Any]:
    """Returns the options of a factory: its arguments that have a number, text, boolean or tuple as their default.

    Args:
      what: what it is, for errors: `method closeness`.
      factory: a function or class.
      facts: names of arguments that are given, and no options.
      leading: positional arguments that are given.

    Raises:
      UserError: for an argument that is neither given nor has a default.
    """
    try:
        parameters = list(inspect.signature(factory).parameters.values())
    except (TypeError, ValueError) as error:
        raise UserError(f"{what} must be a function whose arguments can be read") from error
    found = {}
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    given = [each.name for each in parameters if each.kind in positional][:leading]
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for each in parameters:
        if each.name in (*facts, *given, "shares") or each.kind in variable:
            continue
        if each.default is inspect.Parameter.empty:
            known = ", ".join((*given, *facts)) or "nothing"
            raise UserError(
                f"{what}: its argument {each.name!r} has no default, so it is no option, and kdjax gives it {known}"
            )
        value = _plain(each.default)
        if _is_option(value):
            found[each.name] = value
    return found


def no_options(
    factory: Factory, facts: Iterable[str], *, leading: int
) -> Iterator[tuple[str, Any]]:
    """Yields a factory's arguments that have a default of another kind than an option's."""
    parameters = inspect.signature(factory).parameters.values()
    for each in list(parameters)[leading:]:
        named = each.name not in (*facts, "shares")
        if (
            named
            and each.default is not inspect.Parameter.empty
            and not _is_option(_plain(each.default))
        ):
            yield each.name, each.default


def why_no_option(what: str, option: str, default: Any) -> str:
    """Returns why an argument of a factory is no option."""
    return (
        f"the argument {option!r} of {what} is no option, since its default is {default!r:.80}; options have a number, "
        "a text, a boolean or a tuple of them"
    )


def _is_option(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(isinstance(part, bool | int | float | str) for part in value)
    return isinstance(value, bool | int | float | str)


def _plain(value: Any) -> Any:
    """Returns a default as a configuration holds it: NumPy's scalars as Python's, lists as tuples."""
    if isinstance(value, tuple | list):
        return tuple(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value


def given(factory: Factory, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those facts that a factory has an argument for."""
    parameters = inspect.signature(factory).parameters
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return dict(facts)
    return {name: value for name, value in facts.items() if name in parameters}
