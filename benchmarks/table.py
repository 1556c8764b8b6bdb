"""Prints result files as Markdown tables, for docs/performance.md.

python benchmarks/table.py FILE...
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HIDDEN = ("name", "wall_seconds")


def table(content: Mapping[str, Any]) -> Iterator[str]:
    """Yields the lines of a table: one a value, under the name of its row; quartiles in brackets."""
    yield "| row | what | value |"
    yield "|---|---|---|"
    for row in content["rows"]:
        values = [(key, value) for key, value in row.items() if key not in HIDDEN]
        for number, (key, value) in enumerate(values):
            yield f"| {'' if number else row['name']} | {key} | {show(value)} |"


def show(value: Any) -> str:
    """Returns a value as a cell: a summary as its median and quartiles, a mapping as `key value`."""
    if isinstance(value, Mapping) and "median" in value:
        low, high = value["quartiles"]
        return f"{value['median']:g} ({low:g} to {high:g})"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {show(part)}" for key, part in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Prints one table a file, with the machine above it."""
    for path in map(Path, sys.argv[1:]):
        content = json.loads(path.read_text())
        print(f"### {content['title']} (`{path.name}`)\n\n{show(content['machine'])}\n")
        print("\n".join(table(content)) + "\n")


if __name__ == "__main__":
    main()
