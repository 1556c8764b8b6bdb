"""Prints the stored results of exporting.py as docs/export.md shows them.

python benchmarks/exporting_table.py [FILE]
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "cpu-exporting.json"


def table(content: Mapping[str, Any], what: str = "cpu ms") -> Iterator[str]:
    """Yields a line for each form of each network: size, milliseconds of a call, and their ratio to StableHLO's.

    Args:
      content: the stored results.
      what: `ms` by the clock, or `cpu ms` of the processor.
    """
    yield "| network | form | MB | 1 image | to StableHLO's | 32 images | to StableHLO's |"
    yield "|---" * 7 + "|"
    for row in content["rows"]:
        if f"{what}, 1 images" not in row:
            continue
        for number, (form, size) in enumerate(row["megabytes"].items()):
            cells = [f"`{row['name']}`" if number == 0 else "", form, f"{size:.1f}"]
            for count in (1, 32):
                cells.append(_summary(row[f"{what}, {count} images"][form]))
                ratios = row[f"{what}, {count} images: ratio to stablehlo"]
                cells.append(_summary(ratios[form]) if form in ratios else "")
            yield f"| {' | '.join(cells)} |"


def _summary(found: Mapping[str, Any]) -> str:
    low, high = found["quartiles"]
    return f"{found['median']:.3g} ({low:.3g} to {high:.3g})"


def main() -> None:
    """Prints the table."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    print("\n".join(table(json.loads(path.read_text()))))


if __name__ == "__main__":
    main()
