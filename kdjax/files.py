"""Files are written to a temporary name and renamed, so that a reader never meets half of one; cells of tables."""

import contextlib
import csv
import io
import json
import math
import os
import secrets
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kdjax.checks import UserError


class HeldError(UserError):
    """Another process holds a lock: nothing is wrong, and nothing can be done but wait."""


RUN_BY_SPREADSHEETS = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "＝", "＋", "－", "＠")
"""What a cell begins with that a spreadsheet takes for a formula, or strips until it is one."""


def write_text(path: Path, text: str) -> None:
    """Writes a text file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # another host's process, or another thread, may write the same file
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file, whole or not at all; not-a-number becomes null."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, what: str) -> Any:
    """Reads a JSON file.

    Raises:
      UserError: when it is missing or no JSON; `what` says in the message what it should be.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: {path.parent} is not {what}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}") from error


def read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yields the objects of a JSON-lines file; a damaged line, cut off by a crash say, is left out."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict):
                yield value


def as_csv(rows: Sequence[Mapping[str, Any]], *, last: Sequence[str] = ()) -> str:
    """Returns rows as comma-separated values (`cell`); columns in order of appearance, but for those that come last."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = [
        *(name for name in names if name not in last),
        *(name for name in last if name in names),
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def cell(value: Any) -> Any:
    """Returns a value as a cell of a table that spreadsheets open.

    Text has an apostrophe before what they would run as a formula, and escapes for bytes that are no text and for
    what steers a terminal or a reader: control characters but the tab and the line's end. A number that is not
    finite, and None, are empty; a list is JSON.
    """
    if isinstance(value, str):
        text = value.encode("utf-8", "backslashreplace").decode()
        clean = "".join(map(_shown, text))
        return f"'{clean}" if clean.lstrip(" ").startswith(RUN_BY_SPREADSHEETS) else clean
    if isinstance(value, list | tuple):
        return json.dumps(list(value))
    return "" if value is None or not math.isfinite(value) else value


def _shown(character: str) -> str:
    # a lone carriage return would end the row in some readers
    steers = unicodedata.category(character) == "Cc" and character not in "\t\n"
    return character.encode("unicode_escape").decode() if steers else character


@contextlib.contextmanager
def held(path: Path, what: str) -> Iterator[None]:
    """Holds a lock file for this process alone; it is let go of however the process ends.

    Raises:
      HeldError: when another process holds it; `what` says in the message what it is doing.
    """
    with path.open("a") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass
        except BlockingIOError as error:
            raise HeldError(f"another process {what} {path.parent}; wait for it to end") from error
        yield
