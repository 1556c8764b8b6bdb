"""What is public, written down in `surface.txt`: a change of a name or a signature is a decision.

python tests/kdjax/test_surface.py   # writes it anew
"""

import inspect
import typing
from collections.abc import Iterator
from pathlib import Path

import kdjax
from kdjax.lazy import public_names

SURFACE = Path(__file__).with_name("surface.txt")
PACKAGES = [name for name, place in kdjax.PLACES.items() if not place]


def public(package: str) -> Iterator[tuple[str, object]]:
    """Yields the public names of a package with what they stand for."""
    for name in public_names(f"kdjax.{package}"):
        yield f"kdjax.{package}.{name}", getattr(getattr(kdjax, package), name)


def everything() -> list[tuple[str, object]]:
    found = [
        (f"kdjax.{name}", getattr(kdjax, name))
        for name in ("Detector", "Extensions", "Run", "Sweep")
    ]
    for package in PACKAGES:
        found += public(package)
    return found


def line(name: str, value: object) -> str:
    """Returns a name with its arguments: kinds and defaults, without annotations."""
    if not callable(value):
        return name
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return name
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in parameters]
    shown = [
        each.replace(default=Ellipsis)
        # what prints an address would differ every time
        if " at 0x" in repr(each.default)
        or "factory" in repr(each.default)
        or len(repr(each.default)) > 80
        else each
        for each in bare
    ]
    return f"{name}{inspect.Signature(shown)}"


def lines() -> list[str]:
    return [line(name, value) for name, value in everything()]


def test_the_surface_is_as_written_down():
    assert lines() == SURFACE.read_text().splitlines()


def test_every_public_function_has_a_docstring_and_annotations():
    for name, value in everything():
        if not inspect.ismodule(value):
            check_documented(name, value)


def check_documented(name, value):
    if inspect.isclass(value):
        functions = [each for each in vars(value).values() if inspect.isfunction(each)]
        functions = [each for each in functions if not each.__name__.startswith("_")]
    else:
        functions = [value] if inspect.isfunction(value) else []
    assert inspect.getdoc(value), name
    for function in functions:
        function = inspect.unwrap(function)
        if not function.__module__.startswith("kdjax"):
            continue
        parameters = inspect.signature(function).parameters.values()
        bare = [each.name for each in parameters if each.annotation is inspect.Parameter.empty]
        assert set(bare) <= {"self", "cls"}, (name, function.__name__)
        assert "return" in typing.get_type_hints(function), (name, function.__name__)


if __name__ == "__main__":
    SURFACE.write_text("".join(f"{each}\n" for each in lines()))
