"""The rows of evaluation protocols as tables of text and as records."""

from collections.abc import Sequence
from typing import Any

from kdjax.evaluate.protocols import ALONE, OWN, Row, in_order
from kdjax.evaluate.tables import HEADINGS, interval_text


def protocol_tables(rows: Sequence[Row]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Returns headings and rows for `tables.format_table`: one table, or one for each metric where columns are several.

    The column of data sets is left out where all are the runs' own.
    """
    hidden = {"data"} if all(row.facts["data"] == OWN for row in rows) else set()
    facts = [{name: v for name, v in row.facts.items() if name not in hidden} for row in rows]
    columns = in_order(dict.fromkeys(name for row in rows for name in row.cells))
    if columns == [ALONE]:
        found = [
            {HEADINGS[name]: interval_text(each) for name, each in row.cells[ALONE].items()}
            for row in rows
        ]
        return [("", [own | cells for own, cells in zip(facts, found, strict=True)])]
    metrics = dict.fromkeys(name for row in rows for cell in row.cells.values() for name in cell)
    tables = []
    for metric in metrics:
        found = [
            {
                name: interval_text(row.cells[name][metric]) if name in row.cells else ""
                for name in columns
            }
            for row in rows
        ]
        lines = [own | cells for own, cells in zip(facts, found, strict=True)]
        tables.append((HEADINGS[metric], lines))
    return tables


def protocol_records(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Returns a record for each number: what it is of, `column`, `metric`, `value` and the bounds `low` and `high`."""
    return [
        {**row.facts, "column": column, "metric": name, "value": each.estimate}
        | {"low": each.low, "high": each.high}
        for row in rows
        for column, cell in row.cells.items()
        for name, each in cell.items()
    ]
