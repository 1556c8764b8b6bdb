"""Scores of any detector out of a table: comma, semicolon or tab between cells, decimal points or commas."""

import codecs
import csv
import difflib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np

from kdjax.checks import UserError
from kdjax.evaluate.scorerows import Rows, Scores, notes_on
from kdjax.evaluate.scorewords import COLUMNS, LOGITS, NEEDED, column_name

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
FORM = "a header that names id, label and score, then a line for each image, as a.png,fake,0.93"
LONGEST = 1 << 20
ROUNDING = 1e-5


def read_scores(path: str | os.PathLike[str], *, name: str = "") -> Scores:
    """Reads a table of scores: a header, then a row for each image.

    Columns are found by name, in any order: id (or path, file, ...), label, score, and optionally video, forgery (or
    generator), quality and dataset; see `scorewords.COLUMNS`. Cells stand between commas, semicolons or tabs, quoted or
    not. Labels are 0 and 1, or words (`scorewords.REAL`, `FAKE`). If any score lies beside [0, 1], all of them are
    logits. A row whose score is empty or not a number is counted and left out.

    Args:
      path: the file, UTF-8 or UTF-16 with its mark.
      name: what tables call it; default: its file name.

    Raises:
      UserError: one line that names the file, the line and the way out.
    """
    path = Path(path)
    try:
        with _open(path) as file:
            return _read(path, name or path.name, file)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}, line {_undecodable(path)}: not text in UTF-8; save the table as CSV in UTF-8"
        ) from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def _open(path: Path) -> TextIO:
    with path.open("rb") as file:
        begin = file.read(1 << 16)
    if not begin.strip():
        raise UserError(f"{path} is empty; it needs {FORM}")
    if begin.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return path.open(encoding="utf-16", newline="")
    if b"\0" in begin:
        raise UserError(
            f"{path} is not a text file; save the table as CSV (in a spreadsheet: Save as, CSV UTF-8)"
        )
    return path.open(encoding="utf-8-sig", newline="")


def _undecodable(path: Path) -> int:
    """Returns the number of the first line that is not in UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1


class _Header(NamedTuple):
    separator: str
    names: list[str]
    line: int


def _read_header(path: Path, file: TextIO) -> _Header:
    separator = ""
    line = 0
    while True:
        line += 1
        text = file.readline(LONGEST)
        if not text or len(text) == LONGEST:
            raise UserError(f"{path} holds no table; it needs {FORM}")
        if declared := re.fullmatch(r'"?sep=([,;|\t])"?\s*', text):
            separator = declared[1]
        elif text.strip():
            break
    bare = re.sub(r'"[^"]*"', "", text)
    separator = separator or max(SEPARATORS, key=bare.count)
    cells = next(csv.reader([text], delimiter=separator, skipinitialspace=True))
    return _Header(separator, [column_name(cell) for cell in cells], line)


def _find_columns(path: Path, header: _Header) -> dict[str, int]:
    """Returns where each of `COLUMNS` that the header names lies."""
    names = [name for name in header.names if name]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(
            f"{path}, line {header.line}: two columns are called {twice[0]!r}; rename one"
        )
    found = {}
    for role, choices in COLUMNS.items():
        known = [choice for choice in choices if choice in header.names]
        if known:
            found[role] = header.names.index(known[0])
        elif role in NEEDED:
            listed = ", ".join(names)[:200]
            between = SEPARATORS.get(header.separator, repr(header.separator))
            close = difflib.get_close_matches(role, names, n=1, cutoff=0.5)
            hint = f"; is {close[0]!r} meant?" if close else ""
            raise UserError(
                f"{path}, line {header.line}: no column {role!r} among {listed} (read as separated by {between})"
                f"{hint}; it needs {FORM}"
            )
    return found


def _read(path: Path, name: str, file: TextIO) -> Scores:
    header = _read_header(path, file)
    places = _find_columns(path, header)
    rows = Rows(path, places)
    for cells, line in _cells(path, file, header):
        rows.add(cells, line)
    if not rows.scores:
        what = (
            f"none of its {len(rows.missing)} rows has a score" if rows.missing else "it has no row"
        )
        raise UserError(f"{path}: {what}; it needs {FORM}")
    scores = np.array(rows.scores, np.float64)
    low, high = float(scores.min()), float(scores.max())
    logits = header.names[places["score"]] in LOGITS or low < -ROUNDING or high > 1 + ROUNDING
    video, forgery, quality, dataset = map(rows.coded, ("video", "forgery", "quality", "dataset"))
    return Scores(
        name=name,
        ids=np.array(rows.ids, object),
        labels=np.array(rows.labels, np.int32),
        scores=scores if logits else scores.clip(0, 1),
        logits=logits,
        lines=np.array(rows.lines, np.int32),
        video=video,
        forgery=forgery,
        quality=quality,
        dataset=dataset,
        missing=len(rows.missing),
        notes=tuple(notes_on(name, header.names, rows, (low, high) if logits else None)),
    )


def _cells(path: Path, file: TextIO, header: _Header) -> Iterator[tuple[list[str], int]]:
    """Yields the cells of each row and its line; empty lines are passed over."""
    width = len(header.names)
    reader = csv.reader(file, delimiter=header.separator, skipinitialspace=True, strict=True)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            limit = csv.field_size_limit()
            what = (
                f"a cell of more than {limit} characters"
                if "field larger" in str(error)
                else f"its cells cannot be told apart ({error})"
            )
            raise UserError(
                f"{path}, line {header.line + reader.line_num}: {what}; "
                "look for a quotation mark that is opened and not closed"
            ) from error
        line = header.line + reader.line_num
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) < width or any(cell.strip() for cell in cells[width:]):
            raise UserError(
                f"{path}, line {line}: {len(cells)} cells where the header has {width}; quote a cell that holds the "
                "separator, or take semicolons where numbers have decimal commas"
            )
        yield cells, line
