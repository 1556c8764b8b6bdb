"""Python programs that the user names on the command line: run as `python FILE.py` would be, and checked."""

import importlib
import importlib.util
import inspect
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from kdjax.checks import UserError, kind_and_line

_LOADED: dict[str, tuple[Path, bytes]] = {}
"""Place and content of each program, by the name it is imported under: child processes import it by that name too."""

_ASIDE: dict[Path, tuple[bytes, ModuleType]] = {}
"""Content and module of each program whose name is another module's or no module's, by place: nothing imports these."""


def load_program(name: str, function: str = "") -> ModuleType:
    """Imports `FILE.py` or `package.module`, and checks that it defines `function`, if one is named.

    As for `python FILE.py`, what lies beside the file can be imported, and after all else what lies in the current
    folder; for a module, that comes first.

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
    known = _known(path, place, name, content)
    if known is not None:
        return known
    # one that is called as another module, loaded or not yet, stays out of its way, and so does its folder
    taken = name.isidentifier() and _is_taken(name, place)
    _put_last(str(place.parent)) if taken else _put_first(str(place.parent))
    _put_last(os.getcwd())
    registers = name.isidentifier() and not taken
    module = _run(path, place, name, registers=registers)
    if registers:
        _LOADED[name] = (place, content)
    else:
        _ASIDE[place] = (content, module)
    return module


def _known(path: Path, place: Path, name: str, content: bytes) -> ModuleType | None:
    """Returns a program that has run already, on its own or as what another imports; None when it is new or edited."""
    module = sys.modules.get(name)
    if name in _LOADED and module is not None:
        first, before = _LOADED[name]
        if first != place:
            raise UserError(f"two programs are called {path.name}: {first} and {path}; rename one")
        return module if before == content else None
    if module is not None and _place_of(module) == place:
        _LOADED[name] = (place, content)
        return module
    before, module = _ASIDE.get(place, (b"", None))
    return module if before == content else None


def _place_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return Path(file).resolve() if file else None


def _is_taken(name: str, place: Path) -> bool:
    """Returns whether a name is that of another module, one in the current folder apart."""
    if name in sys.modules:
        return _place_of(sys.modules[name]) != place
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        return False
    file = Path(found.origin).resolve()
    beside = file.parent.parent if found.submodule_search_locations else file.parent
    return file != place and beside != Path.cwd().resolve()


def _run(path: Path, place: Path, name: str, *, registers: bool) -> ModuleType:
    found = importlib.util.spec_from_file_location(name, place)
    if found is None or found.loader is None:
        raise UserError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(found)
    if registers:
        sys.modules[name] = module
    try:
        found.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        if registers:
            del sys.modules[name]
        raise UserError(f"{path} fails when it is imported: {kind_and_line(error)}") from error
    return module


def _module(name: str) -> ModuleType:
    _put_first(os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise UserError(_missing(name)) from error
        raise UserError(f"{name} fails when it is imported: {kind_and_line(error)}") from error
    except (Exception, SystemExit) as error:
        raise UserError(f"{name} fails when it is imported: {kind_and_line(error)}") from error


def _missing(name: str) -> str:
    """Returns the line on a module that cannot be found, or is hidden by an installed package of the same name."""
    top, file = name.partition(".")[0], Path(*name.split(".")).with_suffix(".py")
    elsewhere = [*getattr(sys.modules.get(top), "__path__", ())][:1]
    if file.is_file() and elsewhere and Path(elsewhere[0]).resolve() != Path(top).resolve():
        return (
            f"no module {name}: {top} was found in {elsewhere[0]}, not in this folder; "
            f"give {file}, or add {top}/__init__.py"
        )
    return f"no module {name} is installed or lies in this folder; give one, or a Python file"


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
        raise UserError(f"{function}({shown}) of {name} fails: {kind_and_line(error)}") from error


def _put_first(folder: str) -> None:
    if folder in sys.path:
        sys.path.remove(folder)
    sys.path.insert(0, folder)


def _put_last(folder: str) -> None:
    if folder not in sys.path:
        sys.path.append(folder)
