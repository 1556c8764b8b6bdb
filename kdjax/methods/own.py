"""What a part must keep to, checked when it is built and traced: one line that names it and what is wrong."""

from typing import Any

import jax

from kdjax.methods.base import Method
from kdjax.methods.part import Part


def checked_part(name: str, made: Any, *, alone: bool) -> Part | Method:
    """Returns what a factory made, if a method can be of it.

    Raises:
      ValueError: when it is neither a Part nor a Method, or a Method in a combination.
    """
    if isinstance(made, Part):
        return made
    if not isinstance(made, Method):
        raise ValueError(
            f"method {name} must return a kdjax.methods.Part or Method; it returned {kind(made)}"
        )
    if not alone:
        raise ValueError(f"method {name} returns a whole Method; method.parts takes Parts alone")
    return made


def kind(value: Any) -> str:
    """Returns what a value is, for an error: its type, and of an array its shape."""
    if isinstance(value, jax.Array):
        return f"an array {value.shape} of {value.dtype}"
    return f"a {type(value).__name__}"
