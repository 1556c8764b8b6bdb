"""What is kept of the logs of a run of the evidence."""

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kdjax.folder import RunFolder
from kdjax.methods.part import TERM
from kdjax.train.spikes import Watch, watch

RATIO = "gradient_ratio/"


def gradients(folder: Path) -> dict[str, list[float | None]]:
    """Returns each term's gradient over the cross-entropy's: at the start, after a tenth, at the end."""
    rows = [row for row in _training(folder) if any(key.startswith(RATIO) for key in row)]
    found = _three(rows)
    return {key.removeprefix(RATIO): found[key] for key in found if key.startswith(RATIO)}


def logged(folder: Path) -> dict[str, list[float | None]]:
    """Returns the loss, its terms and what methods log beside: at the start, after a tenth, at the end."""
    found = _three(list(_training(folder)))
    hidden = ("step", "epoch", "learning_rate")
    return {
        key: values
        for key, values in found.items()
        if key not in hidden and not key.startswith(RATIO)
    }


def _training(folder: Path) -> Iterator[dict[str, Any]]:
    for row in RunFolder(folder).read_metrics():
        if row.get("kind") == "train":
            yield row


def _three(rows: list[dict[str, Any]]) -> dict[str, list[float | None]]:
    if not rows:
        return {}
    last = rows[-1]["step"]
    tenth = next(row for row in rows if row["step"] >= last / 10)
    names = dict.fromkeys(key for row in rows for key in row if key != "kind")
    return {
        name: [_significant(row.get(name)) for row in (rows[0], tenth, rows[-1])] for name in names
    }


def _significant(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")


def speed(folder: Path) -> float | None:
    """Returns the median images a second of a run's training, compilation and validation left out."""
    rates = [row.get("images_per_second") for row in RunFolder(folder).read_timings()]
    found = [rate for rate in rates if isinstance(rate, int | float)]
    return round(statistics.median(found), 1) if found else None


def extremes(folder: Path) -> dict[str, list[float | None]]:
    """Returns each term's smallest and largest measured gradient over the cross-entropy's after the first tenth."""
    rows = [row for row in _training(folder) if any(key.startswith(RATIO) for key in row)]
    late = [row for row in rows if row["step"] > rows[-1]["step"] / 10]
    names = dict.fromkeys(key for row in late for key in row if key.startswith(RATIO))
    found = {}
    for name in names:
        values = [row[name] for row in late if row.get(name) is not None]
        found[name.removeprefix(RATIO)] = [_significant(min(values)), _significant(max(values))]
    return found


def spikes(folder: Path) -> list[str]:
    """Returns the terms that grew a hundredfold within a window, each as often as it was seen to.

    Rows are means over `train.log_every` steps: with 1 there, nothing is missed.
    """
    state, found = Watch(), []
    for row in _training(folder):
        terms = {
            name.removeprefix(TERM): value
            for name, value in row.items()
            if name.startswith(TERM) and value is not None
        }
        state, new = watch(state, row["step"], terms)
        found += [spike.name for spike in new]
    return found
