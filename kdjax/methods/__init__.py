"""Methods: which features meet which losses."""

from collections.abc import Callable, Sequence
from typing import Any

from kdjax.checks import nearest
from kdjax.methods.add import add
from kdjax.methods.base import Inputs, Method, Network, one_pass
from kdjax.methods.kd import kd
from kdjax.methods.supervised import supervised

__all__ = ["Inputs", "Method", "Network", "add", "create", "kd", "names", "one_pass", "supervised"]


def _methods() -> dict[str, Callable[..., Method]]:
    return {"supervised": supervised, "kd": kd, "add": add}


def names() -> tuple[str, ...]:
    """Returns the names that `create` knows."""
    return tuple(_methods())


def create(name: str, student: Network, teachers: Sequence[Network], **options: Any) -> Method:
    """Returns the method called `name`, built with the options of its factory.

    Raises:
      ValueError: for an unknown name or an option out of range.
    """
    methods = _methods()
    if name not in methods:
        raise ValueError(f"unknown method {name!r}; {nearest(name, methods)}")
    return methods[name](student, teachers, **options)
