"""Python programs that the user names on the command line: run as `python FILE.py` would be, and checked."""

import importlib
import importlib.util
import inspect
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from kdjax.checks import UserError

_LOADED: dict[str, tuple[Path, bytes]] = {}
"""Place and content of each program, by the name it is imported under: child processes import it by that name too."""


def load_program(name: str, function: str = "") -> ModuleType:
    """Imports `FILE.py` or `package.module`, and checks that it defines `function`, if one is named.

    As for `python FILE.py`, what lies beside the file can be imported; for a module, what lies in the current folder.

    Raises:
      UserError: when there is no such program, it fails, or defines no such function.
    """
    module = _file(Path(name)) if name.endswith(".py") else _module(name)
    if function and not callable(getattr(module, function, None)):
        raise UserError(f"{name} does not define {function}()")
    return module


def is_program(name: str) -> bool:
    """Returns whether a name is one of a program: a file, or a module in a package."""
    return name.endswith(".py") or ("." in name and all(map(str.isidentifier, name.split("."))))


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UserError(f"no file {path}; give a Python file")
    place, name, content = path.resolve(), path.stem, path.read_bytes()
    known = sys.modules.get(name)
    if name in _LOADED and known is not None:
        first, before = _LOADED[name]
        if (first, before) == (place, content):
            return known
        if first != place:
            raise UserError(f"two programs are called {path.name}: {first} and {path}; rename one")
        # edited since
        known = None
    found = importlib.util.spec_from_file_location(name, place)
    if found is None or found.loader is None:
        raise UserError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(found)
    _put_first(str(place.parent))
    # one that is called as a module that is loaded already stays out of its way
    registers = known is None and name.isidentifier()
    if registers:
        sys.modules[name] = module
    try:
        found.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        if registers:
            del sys.modules[name]
        raise UserError(f"{path} fails when it is imported: {_first_line(error)}") from error
    if registers:
        _LOADED[name] = (place, content)
    return module


def _module(name: str) -> ModuleType:
    _put_first(os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise UserError(
                f"no module {name} is installed or lies in this folder; give one, or a Python file"
            ) from error
        raise UserError(f"{name} fails when it is imported: {_first_line(error)}") from error
    except (Exception, SystemExit) as error:
        raise UserError(f"{name} fails when it is imported: {_first_line(error)}") from error


def call(module: ModuleType, name: str, function: str, argument: str) -> Any:
    """Calls a program's function with the text after the colon, or with none where it takes none.

    Raises:
      UserError: when it fails, or takes no argument and is given one.
    """
    called = getattr(module, function)
    parameters = list(inspect.signature(called).parameters.values())
    if argument and not parameters:
        raise UserError(
            f"{function}() of {name} takes no argument, but {name}:{argument} gives it one"
        )
    # without one, a default of the program's own counts
    needs = bool(parameters) and parameters[0].default is inspect.Parameter.empty
    given = [argument] if argument or needs else []
    try:
        return called(*given)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        shown = ", ".join(map(repr, given))
        raise UserError(f"{function}({shown}) of {name} fails: {_first_line(error)}") from error


def _put_first(folder: str) -> None:
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
