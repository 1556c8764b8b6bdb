"""Argument checks: each raises with what was got and what is allowed, at the place where it enters."""

import difflib
import operator
import re
from collections.abc import Iterable, Sequence
from typing import Any


class UserError(Exception):
    """Something the user gave cannot be used; the message is one line that names it and the way out."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, as a machine sends it that is taken away: what was done is saved, and the same command goes on."""


def first_line(error: BaseException) -> str:
    """Returns the first line of what an error says, or its kind where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def kind_and_line(error: BaseException) -> str:
    """Returns the kind of an error and the first line of what it says: `KeyError: 'stage9'`."""
    kind, line = type(error).__name__, first_line(error)
    return kind if line == kind else f"{kind}: {line}"


def counted(count: int, one: str, many: str = "") -> str:
    """Returns a number of things: `1 video`, `2 videos`; `many` where that is not `one` and an s, as `people`."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"


def plain(text: str) -> str:
    """Returns text that does nothing to a terminal: what is not printable becomes its escape."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def plain_lines(text: object) -> str:
    """Returns the lines of a message, each `plain`."""
    return "\n".join(map(plain, str(text).split("\n")))


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns a hint that names the closest of `known`, or lists them all when none is close.

    Of a dotted name the last part counts: first among its neighbours, then anywhere.
    """
    names = sorted(known)
    block, _, leaf = name.rpartition(".")
    neighbours = {full.rpartition(".")[2]: full for full in names if full.startswith(f"{block}.")}
    if block and neighbours:
        everywhere = {full.rpartition(".")[2]: full for full in names}
        for places, cutoff in ((neighbours, 0.6), (everywhere, 0.9)):
            if close := difflib.get_close_matches(leaf, places, n=1, cutoff=cutoff):
                return f"did you mean {places[close[0]]!r}?"
        return f"known: {', '.join(neighbours.values())}"
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Raises ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name}={value!r} is not one of {', '.join(map(repr, choices))}")


def check_positive(name: str, value: float) -> None:
    """Raises ValueError unless `value` is greater than zero."""
    if not value > 0:
        raise ValueError(f"{name}={value!r} must be greater than 0")


def check_non_negative(name: str, value: float) -> None:
    """Raises ValueError unless `value` is at least zero."""
    if not value >= 0:
        raise ValueError(f"{name}={value!r} must be at least 0")


def check_count(name: str, value: Any) -> None:
    """Raises ValueError unless `value` is an integer of at least 1 that is known when functions are traced."""
    try:
        known = operator.index(value)
    except TypeError as error:
        raise ValueError(
            f"{name} must be a Python integer, since it decides a shape, not {type(value).__name__}; under jax.jit "
            f"name it static: static_argnames={name!r}"
        ) from error
    check_positive(name, known)


def check_rank(name: str, array: Any, *ranks: int) -> None:
    """Raises ValueError unless the number of axes of `array` is one of `ranks`."""
    if array.ndim not in ranks:
        allowed = " or ".join(map(str, ranks))
        raise ValueError(f"{name} has shape {tuple(array.shape)}; {allowed} axes are expected")


def check_same_shape(**arrays: Any) -> None:
    """Raises ValueError unless all named arrays have one shape."""
    shapes = {name: tuple(array.shape) for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"shapes must be equal, got {listed}")


def check_same_batch(**arrays: Any) -> None:
    """Raises ValueError unless all named arrays have one length of the leading axis."""
    sizes = {name: array.shape[0] for name, array in arrays.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ValueError(f"leading axes must be equal, got {listed}")


def check_pattern(key: str, pattern: str) -> None:
    """Raises ValueError for what is no regular expression, or an empty one, naming the field."""
    if not pattern:
        raise ValueError(f"{key} holds an empty expression, which would match every parameter")
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{key}={pattern!r} is no regular expression: {error}") from error
