"""What a sweep writes: a line a run, and with several seeds a line a row with its interval."""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from kdjax.evaluate.evaluation import OVERALL, Evaluation
from kdjax.evaluate.grouped import Group, Line, Summary, line_row, line_to_json
from kdjax.evaluate.membership import FORMAT, RESULTS
from kdjax.extensions import NOTHING, Extensions
from kdjax.files import write_json, write_text
from kdjax.types import QUALITIES


class Run(NamedTuple):
    """One run of a sweep.

    Attributes:
      row: the number of its row.
      seed: the student's.
      folder: where it goes; a row's first seed has the folder that it has without any other.
      config: its configuration.
      extensions: the user's own that it names.
    """

    row: int
    seed: int
    folder: Path
    config: ConfigDict
    extensions: Extensions = NOTHING


class Done(NamedTuple):
    """What came of a run; `problem` says why there is no evaluation."""

    run: Run
    evaluation: Evaluation | None
    problem: str


class Results:
    """The files of a sweep, written anew after each run."""

    def __init__(
        self,
        folder: Path,
        names: list[str],
        rows: list[Mapping[str, Any]],
        split: str,
        baseline: str,
        *,
        grouped: bool,
    ) -> None:
        """Takes the rows and their names; `grouped` asks for the summary over seeds."""
        self.done: list[Done] = []
        self._folder, self._names, self._rows, self._split = folder, names, rows, split
        self._baseline, self._grouped, self._summary = baseline, grouped, Summary()

    def add(self, run: Run, evaluation: Evaluation | None, problem: str) -> None:
        """Adds what came of a run and writes the files."""
        self.done.append(Done(run, evaluation, problem))
        table = [
            {
                "run": done.run.folder.name,
                **self._rows[done.run.row],
                **({"seed.student": done.run.seed} if self._grouped else {}),
                **_flat(done.evaluation),
                "problem": done.problem,
            }
            for done in self.done
        ]
        write_text(self._folder / "results.csv", to_csv(table))
        if self._grouped:
            self._write_summary()

    def _write_summary(self) -> None:
        groups = [
            Group(
                name,
                {
                    done.run.seed: done.evaluation
                    for done in self.done
                    if done.run.row == number and done.evaluation is not None
                },
            )
            for number, name in enumerate(self._names)
        ]
        own = {
            name: None
            for done in self.done
            if done.evaluation is not None
            for name in done.evaluation.scores
            if name not in QUALITIES
        }
        qualities = [*QUALITIES, *own, OVERALL]
        lines = {
            quality: self._summary.lines(groups, self._baseline, quality) for quality in qualities
        }
        write_json(self._folder / RESULTS, self._to_json(lines))
        table = [
            {"quality": quality, **line_row(line)}
            for quality in qualities
            for line in lines[quality]
        ]
        write_text(self._folder / "summary.csv", to_csv(table))

    def _to_json(self, lines: Mapping[str, list[Line]]) -> dict[str, Any]:
        rows = [
            {
                "name": name,
                "overrides": json.loads(json.dumps(dict(self._rows[number]), default=str)),
                "runs": {
                    str(done.run.seed): {"folder": done.run.folder.name, "problem": done.problem}
                    for done in self.done
                    if done.run.row == number
                },
                "summary": {quality: line_to_json(each[number]) for quality, each in lines.items()},
            }
            for number, name in enumerate(self._names)
        ]
        return {
            "format": FORMAT,
            "split": self._split,
            "metric": "auc",
            "baseline": self._baseline,
            "rows": rows,
        }


def _flat(evaluation: Evaluation | None) -> dict[str, Any]:
    if evaluation is None:
        return {}
    return {
        f"{quality}/{name}": value
        for quality, values in evaluation.metrics.items()
        for name, value in values.items()
    }


def to_csv(rows: list[dict[str, Any]]) -> str:
    """Returns rows as comma-separated values; columns in order of appearance, what is not a number empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {key: "" if value != value else value for key, value in row.items()} for row in rows
    )
    return text.getvalue()
