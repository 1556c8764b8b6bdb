"""The gradients of the terms of methods at their defaults, over all stored runs."""

from collections.abc import Iterator, Mapping
from typing import Any

from evidence_analysis import Analysis

CHANGED = ("method.", "train.", "optimizer.")
"""Keys by which a row is no longer at its defaults."""

LEAST, MOST = 0.01, 3.0
"""What the gradient of a term over the cross-entropy's should stay between, from a tenth of a run on."""


def share_lines(analyses: Mapping[str, Analysis]) -> Iterator[str]:
    """Yields the table of gradient shares at defaults, over every stored run that has them."""
    yield _line(["method", "term", "runs", "smallest", "largest", f"outside {LEAST:g} to {MOST:g}"])
    yield "|---" * 6 + "|"
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for analysis in analyses.values():
        for row in analysis.rows.values():
            method = row.config.partition(":")[0]
            changed = any(key.startswith(CHANGED) for key in row.overrides)
            if changed or row.teacher_scale != 1:
                continue
            for run in analysis.runs(row.name).values():
                for term, values in late_shares(run).items():
                    found.setdefault((method, term), []).append((min(values), max(values)))
    for (method, term), ranges in sorted(found.items()):
        outside = sum(low < LEAST or high > MOST for low, high in ranges)
        smallest, largest = min(low for low, _ in ranges), max(high for _, high in ranges)
        yield _line(
            [method, term, str(len(ranges)), f"{smallest:.2g}", f"{largest:.2g}", str(outside)]
        )


def late_shares(run: Mapping[str, Any]) -> dict[str, list[float]]:
    """Returns what was measured of each term's gradient from the first tenth of a run on."""
    found = {}
    for term, (_, *late) in run.get("gradients", {}).items():
        values = [*late, *run.get("extremes", {}).get(term, ())]
        if known := [value for value in values if value is not None]:
            found[term] = known
    return found


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
