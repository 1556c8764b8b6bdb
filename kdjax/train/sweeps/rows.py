"""What a sweep's file says: its rows, what they are called, which share of them is wanted."""

import ast
import importlib
import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

from kdjax import configs
from kdjax.checks import UserError, kind_and_line, nearest
from kdjax.configs import sweeps
from kdjax.extensions import Extensions

Item = TypeVar("Item")

TEXTS = ("config", "name")
"""Keys of a row that are none of the configuration."""


class SweepFile(NamedTuple):
    """What a sweep's file says.

    Attributes:
      rows: overrides, one dict a row.
      settings: overrides of all runs, which the command line may change.
    """

    rows: list[dict[str, Any]]
    settings: dict[str, Any]


def read_sweep(name: str) -> SweepFile:
    """Returns what a shipped sweep or the user's own file says: its `sweep()`, and `SETTINGS` if it has any.

    Raises:
      UserError: when it cannot be used or yields something else, or nothing.
    """
    if name in sweeps.NAMES:
        program = importlib.import_module(f"kdjax.configs.sweeps.{name}")
    elif configs.programs.is_program(name):
        program = configs.programs.load_program(name, "sweep")
    else:
        raise UserError(f"no sweep is called {name!r}; {nearest(name, sweeps.NAMES)}")
    _check_keys(program)
    try:
        rows = list(program.sweep())
    except UserError as error:
        raise UserError(f"sweep() of {name} fails: {error}") from error
    except (Exception, SystemExit) as error:
        raise UserError(f"sweep() of {name} fails: {kind_and_line(error)}") from error
    if not rows:
        raise UserError(
            f"sweep() of {name} yields no row; a row is a dict such as {{'seed.student': 1}}"
        )
    if not all(
        is_row(row) and all(isinstance(row.get(key, ""), str) for key in TEXTS) for row in rows
    ):
        raise UserError(f"sweep() of {name} must yield dicts such as {{'seed.student': 1}}")
    settings = getattr(program, "SETTINGS", {})
    if not is_row(settings):
        raise UserError(f"SETTINGS of {name} must be a dict such as {{'seed.student': 1}}")
    flat = [dict(configs.flatten_mapping(row)) for row in rows]
    return SweepFile(flat, dict(configs.flatten_mapping(settings)))


def _check_keys(program: ModuleType) -> None:
    """Raises UserError where a dict of the program names a key twice: Python would keep the last."""
    try:
        tree = ast.parse(inspect.getsource(program))
    except (OSError, SyntaxError):
        # no source to look at
        return
    for node in (each for each in ast.walk(tree) if isinstance(each, ast.Dict)):
        named = [key for key in node.keys if isinstance(key, ast.Constant)]
        for key, count in Counter(key.value for key in named).items():
            if count > 1:
                raise UserError(
                    f"{program.__file__}, line {node.lineno}: the dict has {key!r} {count} times, and Python keeps "
                    "only the last; leave one"
                )


def is_row(row: Any) -> bool:
    """Returns whether something is a mapping of texts to values, or to such mappings."""
    return isinstance(row, Mapping) and all(
        isinstance(key, str) and (not isinstance(value, Mapping) or is_row(value))
        for key, value in row.items()
    )


def is_read(spec: str, overrides: Mapping[str, Any], extensions: Extensions) -> bool:
    """Returns whether a configuration can be read with these settings."""
    try:
        configs.read(spec, overrides, extensions)
    except UserError:
        return False
    return True


def row_name(
    row: Mapping[str, Any], overrides: Mapping[str, Any], spec: str, *, whole: bool = False
) -> str:
    """Returns what a row is called: its `name`, or its settings, or the configuration where it has none.

    Settings that are empty are left out, unless the `whole` text is wanted.
    """
    shown = {key: value for key, value in overrides.items() if whole or value not in ("", ())}
    if "config" in row:
        shown = {"config": row["config"], **shown}
    text = ",".join(f"{key}={_shown(value)}" for key, value in shown.items())
    return str(row.get("name") or text or spec)


def _shown(value: Any) -> str:
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def find_row(names: Sequence[str], wanted: str, what: str = "--baseline") -> str:
    """Returns the row of a name or number; `what` asks for it.

    Raises:
      UserError: when there is none.
    """
    if wanted in names:
        return wanted
    if wanted.isdecimal():
        if int(wanted) < len(names):
            return names[int(wanted)]
        raise UserError(
            f"{what}={wanted}: the sweep has rows 0 to {len(names) - 1}; name one of them"
        )
    raise UserError(f"{what}={wanted}: no row is called so; {nearest(wanted, names)}")


def parse_shard(text: str) -> tuple[int, int]:
    """Returns which share of how many a text such as `2/8` names; an empty text is all, `(1, 1)`.

    Raises:
      UserError: for any other text; shares count from 1.
    """
    first, slash, second = text.partition("/")
    if not text:
        return 1, 1
    if not (slash and first.isdecimal() and second.isdecimal()):
        raise UserError(f"--shard={text} must be SHARE/SHARES, as in --shard=1/8")
    share, shares = int(first), int(second)
    if not shares:
        raise UserError(f"--shard={text}: of how many shares? as in --shard=1/8")
    if not 1 <= share <= shares:
        raise UserError(f"--shard={text}: shares count from 1, the last is {shares}/{shares}")
    return share, shares


def shard(items: Sequence[Item], share: tuple[int, int]) -> list[Item]:
    """Returns one share of some things: every so-manyth, in their order."""
    return list(items[share[0] - 1 :: share[1]])
