"""A table of the page: what it is called, its columns, and rows of cells that can be sorted."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from kdjax.evaluate.statistics import Interval

MISSING = "–"

COLUMNS = 8
"""Columns beside the first that a table has at most; `in_columns` makes several of a wider one."""


class Cell(NamedTuple):
    """What stands in a cell.

    Attributes:
      text: what is read.
      bounds: an interval, shown below it.
      value: what the column is sorted by; None of what is missing, which comes last, and of text.
      mark: classes of the style sheet.
      strength: how strong its colour is, in percent.
    """

    text: str = MISSING
    bounds: str = ""
    value: float | None = None
    mark: str = ""
    strength: int | None = None


class Row(NamedTuple):
    """A row: the number of a run that it is of, None of others; its name; its cells."""

    run: int | None
    name: str
    cells: Sequence[Cell]


class Table(NamedTuple):
    """A table.

    Attributes:
      caption: what it is called; no two of a page alike.
      first: heading of the rows' names.
      heads: of the other columns.
      rows: the rows.
      texts: places of the columns that hold no numbers.
    """

    caption: str
    first: str
    heads: Sequence[str]
    rows: Sequence[Row]
    texts: frozenset[int] = frozenset()


def number(value: float | None, form: str = "%.3f", *, mark: str = "") -> Cell:
    """Returns a cell of a number; one that is missing or not finite says so."""
    if value is None or not math.isfinite(value):
        return Cell()
    return Cell(form % value, value=float(value), mark=mark)


def bounded(interval: Interval, form: str = "%.3f", *, mark: str = "") -> Cell:
    """Returns a cell of an estimate with its interval."""
    if not math.isfinite(interval.estimate):
        return Cell()
    bounds = (
        f"{form % interval.low} to {form % interval.high}" if math.isfinite(interval.low) else ""
    )
    return Cell(form % interval.estimate, bounds, float(interval.estimate), mark)


def text(value: object) -> Cell:
    """Returns a cell of text; nothing is missing."""
    return Cell(str(value)) if value not in (None, "") else Cell()


def in_columns(table: Table, most: int = COLUMNS) -> Iterator[Table]:
    """Yields the table, or several with some of its columns each where it is wider than a screen."""
    if len(table.heads) <= most:
        yield table
        return
    parts = math.ceil(len(table.heads) / most)
    size = math.ceil(len(table.heads) / parts)
    for start in range(0, len(table.heads), size):
        part = slice(start, start + size)
        heads = table.heads[part]
        yield Table(
            f"{table.caption}: {heads[0]} to {heads[-1]}"
            if len(heads) > 1
            else f"{table.caption}: {heads[0]}",
            table.first,
            heads,
            [row._replace(cells=row.cells[part]) for row in table.rows],
            frozenset(place - start for place in table.texts if start <= place < start + size),
        )
