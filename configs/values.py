"""The value that a text stands for in a configuration, in every form that ml_collections' `config_flags` takes too."""

import ast
import numbers
from typing import Any

from kdjax.checks import UserError

WORDS = {
    **dict.fromkeys(("true", "t", "1", "yes", "y"), True),
    **dict.fromkeys(("false", "f", "0", "no", "n"), False),
}

LISTS_OF_PATTERNS = ("freeze",)
"""Fields whose elements are regular expressions: a bracket at the beginning of one need be no list's."""

LISTS_OF_NAMES = ("qualities", "parts", "layers", "features", "teacher_features", "leave_out")
"""Fields whose elements never have a comma in them."""


def convert(key: str, value: Any, default: Any, empty: bool = False) -> Any:
    """Returns a text, or a value of the right type, as the type of a field's default.

    A tuple is `a,b`, `(a,b)`, `[a,b]`, with or without quotes around texts. A whole number may be written as `1e3`.

    Args:
      key: the field, for the error.
      value: what was given.
      default: what the field holds.
      empty: whether the field may be empty, `None`: of texts and tuples alone.

    Raises:
      UserError: when it is of another type.
    """
    if empty and is_none(value):
        return type(default)()
    wrong = UserError(f"{key}={value!r} must be of type {type(default).__name__}, like {default!r}")
    if isinstance(default, bool):
        if str(value).lower() not in WORDS:
            raise wrong
        return WORDS[str(value).lower()]
    if isinstance(default, tuple):
        if is_none(value):
            raise UserError(f"{key} cannot be empty; it is {default!r}")
        odd = isinstance(value, str) and _odd(value)
        if odd and key.rpartition(".")[2] in LISTS_OF_PATTERNS:
            return tuple(filter(None, (part.strip() for part in value.split(","))))
        if odd or not isinstance(value, str | list | tuple):
            raise wrong
        of_texts = not default or isinstance(default[0], str)
        parts = _parts(value, of_texts) if isinstance(value, str) else value
        if key.rpartition(".")[2] in LISTS_OF_NAMES and len(parts) == 1:
            # what config_flags makes of a,b
            parts = str(parts[0]).split(",")
        if of_texts:
            return tuple(map(str, parts))
        return tuple(convert(key, part, default[0]) for part in parts)
    if isinstance(default, str):
        if is_none(value):
            raise UserError(f"{key} cannot be empty; it is {default!r}")
        return str(value)
    if isinstance(value, str) and value.strip().lower().lstrip("+-") in ("nan", "inf", "infinity"):
        raise UserError(f"{key}={value!r} must be a finite number, like {default!r}")
    return _number(value, type(default), wrong)


def _odd(text: str) -> bool:
    """Returns whether a list in brackets is not closed, or of mixed types."""
    inner = text.strip()
    if inner[:1] in ("(", "[") and inner[-1:] not in (")", "]"):
        return True
    try:
        listed = ast.literal_eval(inner)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
    return isinstance(listed, tuple | list) and len({isinstance(part, str) for part in listed}) > 1


def is_none(value: Any) -> bool:
    """Returns whether a value, or the text of one, is None."""
    return value is None or (isinstance(value, str) and value == "None")


def _parts(text: str, of_texts: bool) -> list[Any]:
    """Returns what a text lists."""
    try:
        listed = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        listed = None
    # of texts, a literal is what is quoted: 007 is a name
    if isinstance(listed, tuple | list):
        if all(isinstance(part, str) == of_texts for part in listed):
            return list(listed)
    elif isinstance(listed, str) and of_texts:
        return [listed]
    inner = text.strip()
    if inner[:1] + inner[-1:] in ("()", "[]"):
        inner = inner[1:-1]
    parts = [part.strip() for part in inner.split(",")]
    return [part for part in parts if part]


def _number(value: Any, kind: type, wrong: UserError) -> int | float:
    try:
        number: Any = ast.literal_eval(value.strip()) if isinstance(value, str) else value
        # NumPy's scalars are numbers too
        real = isinstance(number, numbers.Real) and not isinstance(number, bool)
        if not real:
            raise wrong
        if kind is float:
            return float(number)
        if number != int(number):
            raise wrong
        return int(number)
    except (ValueError, SyntaxError, OverflowError, MemoryError, RecursionError) as error:
        raise wrong from error
