"""The steps between two lines of a log: their metrics, looked at before they are averaged or saved."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kdjax.train import finite, parallel, spikes

MOST_SKIPPED = 100
"""Steps in a row that are left out before the run stops: no later one will be better."""


class Rows:
    """Metrics of the steps since the last line of the log, and what is known of the terms' last steps.

    They are a part of a checkpoint, so that the line that a run is stopped in comes out as if it had not been.
    """

    def __init__(self, run: Path, devices: int, saved: Mapping[str, Any], skipped: int) -> None:
        """Goes on from what `to_json` gave.

        Args:
          run: folder of the run, for messages.
          devices: local devices in use.
          saved: what a checkpoint holds; empty: nothing.
          skipped: steps that were left out before.
        """
        self._run, self._devices, self._skipped, self._streak = run, devices, skipped, 0
        self._pending: list[Mapping[str, Any]] = []
        self._rows: list[dict[str, float]] = list(saved.get("rows", ()))
        self._left_out: list[bool] = list(saved.get("left_out", ()))
        self._watch = spikes.watch_from_json(saved.get("watch", {}))

    def add(self, metrics: Mapping[str, Any]) -> None:
        """Adds a step's metrics as they are on the devices; nothing waits for them."""
        self._pending.append(metrics)

    def fetch(self, step: int) -> Iterator[str]:
        """Fetches what was added up to a step and yields lines that tell of it.

        Raises:
          NotFiniteError: for a loss that is not finite and whose step was not left out.
        """
        fetched = jax.device_get([parallel.unreplicate(m, self._devices) for m in self._pending])
        self._pending = []
        rows = [{name: float(value) for name, value in row.items()} for row in fetched]
        first = step - len(rows) + 1
        self._watch, found = spikes.watch_rows(self._watch, step, rows)
        for spike in found:
            yield f"{self._run.name} {spikes.describe(spike)}"
        for number, row in enumerate(rows, first):
            count = int(row.get("skipped", self._skipped))
            left_out, self._skipped = count > self._skipped, count
            self._streak = self._streak + 1 if left_out else 0
            if left_out:
                yield f"{self._run.name} {finite.describe_skip(number, row)}"
            if self._streak >= MOST_SKIPPED or not (left_out or np.isfinite(row["loss"])):
                raise finite.NotFiniteError(self._run, number, row)
            self._rows.append(row)
            self._left_out.append(left_out)

    def take(self) -> dict[str, float]:
        """Returns the means of what was fetched, but for steps that were left out, and forgets it."""
        counted = [row for row, out in zip(self._rows, self._left_out, strict=True) if not out]
        rows, last = counted or self._rows, self._rows[-1]
        values = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        if "skipped" in last:
            values["skipped"] = last["skipped"]
        self._rows, self._left_out = [], []
        return values

    def to_json(self) -> dict[str, Any]:
        """Returns all that a run needs to go on in the middle of a line, as JSON; later steps change nothing of it."""
        watch = spikes.watch_to_json(self._watch)
        return {"rows": list(self._rows), "left_out": list(self._left_out), "watch": watch}
