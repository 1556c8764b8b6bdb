"""A sweep as an object: its table by settings and by seeds, its runs."""

import os
from pathlib import Path
from typing import Any

from kdjax.checks import UserError, check_choice
from kdjax.extensions import NOTHING, Extensions, check_extensions
from kdjax.folder import RunFolder
from kdjax.train.run import Run
from kdjax.train.sweeps import known
from kdjax.train.sweeps.ledger import Ledger
from kdjax.train.sweeps.rows import find_row
from kdjax.train.sweeps.status import status_rows
from kdjax.train.sweeps.tables import Tables, run_rows, summary_rows

BY = ("settings", "seeds")


class Sweep:
    """A folder that `kdjax sweep` wrote; read anew at every call, and right while others work in it.

    sweep = kdjax.Sweep("runs/sweep")
    sweep.table()
    [run.predict(images) for run in sweep.runs]
    """

    def __init__(self, folder: str | os.PathLike[str], extensions: Extensions = NOTHING) -> None:
        """Takes the folder of a sweep.

        Args:
          folder: the folder.
          extensions: the user's own, for runs whose networks or data are not shipped.

        Raises:
          UserError: when it is no sweep.
        """
        check_extensions(extensions)
        self.folder, self.extensions = Path(folder).absolute(), extensions
        if not known.is_begun(self.folder):
            raise UserError(
                f"{folder} is not a sweep; `kdjax sweep` makes one, and the same command again one of an older version"
            )
        self._ledger = Ledger(self.folder, known.read(self.folder).split)
        self._tables = Tables(self._ledger)

    def __repr__(self) -> str:
        return f"Sweep({str(self.folder)!r})"

    @property
    def baseline(self) -> str:
        """The row that others are compared with; empty: none."""
        return known.read(self.folder).baseline

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows: `name`, `config` and the settings by key of the configuration."""
        return [
            {"name": row.name, "config": row.config, **row.overrides}
            for row in known.read(self.folder).rows
        ]

    @property
    def runs(self) -> list[Run]:
        """The runs that have begun, by row and seed."""
        return [Run(entry.folder, self.extensions) for _, entry in self._begun()]

    def run(self, row: str | int, seed: int | None = None) -> Run:
        """Returns the run of a row, by name or number, with a seed; None: the row's first.

        Raises:
          UserError: when there is none that has begun.
        """
        names = [each.name for each in known.read(self.folder).rows]
        wanted = find_row(names, str(row), "row")
        found = {each.seed: each for name, each in self._begun() if name == wanted}
        if not found or (seed is not None and seed not in found):
            seeds = ", ".join(map(str, sorted(found))) or "none"
            raise UserError(f"{self.folder}: row {wanted!r} has begun with the seeds: {seeds}")
        return Run(found[min(found) if seed is None else seed].folder, self.extensions)

    def _begun(self) -> list[tuple[str, known.Entry]]:
        entries = [(row.name, each) for row in known.read(self.folder).rows for each in row.runs]
        placed = [(name, self._ledger.placed(each)) for name, each in entries]
        return [pair for pair in placed if RunFolder(pair[1].folder).is_run]

    def table(
        self, by: str = "settings", *, quality: str = "", baseline: str | None = None
    ) -> list[dict[str, Any]]:
        """Returns what came out, a dict a line.

        Args:
          by: `settings`: a line for each row in each quality, its mean AUC over seeds with a 95 % interval, and the
            paired difference to the baseline, p-values corrected by Holm's method within a quality; `seeds`: a line for
            each run with its state and all metrics, as `QUALITY/METRIC`.
          quality: of `settings`, this one alone; empty: all that were measured.
          baseline: another row to compare with, by name or number; None: the sweep's.

        Raises:
          ValueError: for another `by`, or a quality that was not measured anywhere.
          UserError: for an unknown baseline.
        """
        check_choice("by", by, BY)
        found = self._tables.found()
        if by == "seeds":
            return run_rows(found)
        names = [row.name for row, _ in found]
        reference = (
            self.baseline
            if baseline is None
            else baseline and find_row(names, baseline, "baseline")
        )
        lines = self._tables.lines(found, reference)
        if quality:
            check_choice("quality", quality, tuple(lines))
        settings = {row.name: {"config": row.config, **row.overrides} for row, _ in found}
        return [
            {"row": line["row"], **settings[line["row"]], **line}
            for line in summary_rows(lines)
            if line["quality"] == (quality or line["quality"]) and line["AUC"] == line["AUC"]
        ]

    def status(self) -> list[dict[str, Any]]:
        """Returns a line for each run: its folder, row, seed, state, time so far, and why it failed."""
        pairs = [
            (row.name, run, state) for row, runs in self._tables.found() for run, state in runs
        ]
        return status_rows([pair[:2] for pair in pairs], [pair[2] for pair in pairs])
