"""Packages whose names are imported when they are used (PEP 562), so that a program pays for what it needs."""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazily(
    package: str, places: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Returns `__getattr__` and `__dir__` of a package.

    Args:
      package: its name.
      places: the module of each of its names, from the package on; a module stands for itself by an empty text.
    """

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if not places[name]:
            return import_module(f"{package}.{name}")
        return getattr(import_module(f"{package}.{places[name]}"), name)

    def names() -> list[str]:
        return sorted({*places, *vars(sys.modules[package])})

    return get, names


def public_names(package: str) -> list[str]:
    """Returns the public names of a package: its `__all__`, sorted."""
    return sorted(import_module(package).__all__)
