"""A run's folder: the one place that knows its files by name."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kdjax.checks import UserError
from kdjax.files import read_json, read_json_lines, write_json

WHAT = "a run of `kdjax train`"


class RunFolder:
    """Paths and plain files of a run; what is in its checkpoints, `train.checkpoint` reads.

    Attributes:
      path: the folder.
      config: the resolved configuration, JSON.
      inputs: what tells data and teachers from others, JSON.
      metrics: a JSON line for each logged step.
      timings: the same of times, which no two runs share.
      finished: what training found, there when it came to its end.
      program: which program of the user's added what, JSON.
      program_text: a copy of it to read; `program_copy` are those of others.
      checkpoints: state and data position, for going on.
      best: the best weights.
      best_values: what they were worth at their validations, by step, JSON.
      broken: the state of a run that stopped because a number was not finite, to look at.
      versions: what it was trained with, and from which step on, JSON.
      config_changes: what was changed of the configuration while the run went on, JSON.
      tensorboard: events.
      profile: traces of steps.
      evaluation: evaluations by name.
      calibration: temperature and threshold by validation data, JSON.
      export: models and weights for elsewhere.
      lock: held while a process trains.
      owner: which process that is, with its signs of life, for where no lock reaches.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Takes the folder, which need not exist."""
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.inputs = self.path / "inputs.json"
        self.metrics = self.path / "metrics.jsonl"
        self.timings = self.path / "timings.jsonl"
        self.finished = self.path / "finished.json"
        self.program = self.path / "program.json"
        self.program_text = self.path / "program.txt"
        self.checkpoints = self.path / "checkpoints"
        self.best = self.path / "best"
        self.best_values = self.path / "best.json"
        self.broken = self.path / "broken"
        self.versions = self.path / "versions.json"
        self.config_changes = self.path / "config_changes.json"
        self.tensorboard = self.path / "tensorboard"
        self.profile = self.path / "profile"
        self.evaluation = self.path / "evaluation"
        self.calibration = self.path / "calibration.json"
        self.export = self.path / "export"
        self.lock = self.path / ".lock"
        self.owner = self.path / ".owner.json"

    def __str__(self) -> str:
        return str(self.path)

    @property
    def is_run(self) -> bool:
        """Whether a run was begun here."""
        return self.config.is_file()

    @property
    def is_finished(self) -> bool:
        """Whether the run was trained to its end."""
        return self.finished.exists()

    def finish(self, result: Mapping[str, Any]) -> None:
        """Notes that the run was trained to its end."""
        write_json(self.finished, dict(result))

    def read_config(self) -> Any:
        """Returns the configuration as JSON; UserError where the folder is not a run."""
        return read_json(self.config, WHAT)

    def read_inputs(self) -> dict[str, Any]:
        """Returns what the run was begun with."""
        found = read_json(self.inputs, WHAT)
        return found if isinstance(found, dict) else {}

    def read_best_values(self) -> dict[int, float]:
        """Returns what the best weights were worth, by step; empty of runs from before that was kept.

        Raises:
          UserError: for a file that is damaged.
        """
        if not self.best_values.exists():
            return {}
        lost = (
            f'{self.best_values} is damaged: it must hold what weights are worth by step, as {{"100": 0.9}}; '
            "remove it, and the latest of the best weights that are kept counts as the best"
        )
        try:
            found = read_json(self.best_values, WHAT)
        except UserError as error:
            raise UserError(lost) from error
        if not isinstance(found, dict) or not all(
            step.isdecimal() and len(step) < 20 and _is_number(value)
            for step, value in found.items()
        ):
            raise UserError(lost)
        return {int(step): float(value) for step, value in found.items() if value is not None}

    def read_config_changes(self) -> list[dict[str, Any]]:
        """Returns what was changed of the configuration: `step` and `changes`, `{key: [before, after]}`."""
        found = read_json(self.config_changes, WHAT) if self.config_changes.exists() else []
        listed = found if isinstance(found, list) else []
        return [
            each
            for each in listed
            if isinstance(each, dict) and isinstance(each.get("changes"), dict)
        ]

    def read_versions(self) -> list[dict[str, Any]]:
        """Returns what the run was trained with, latest last: `step` and `versions`, `{name: version}`."""
        found = read_json(self.versions, WHAT) if self.versions.exists() else []
        listed = found if isinstance(found, list) else []
        return [
            each
            for each in listed
            if isinstance(each, dict)
            and isinstance(each.get("step"), int)
            and isinstance(each.get("versions"), dict)
        ]

    def read_program(self) -> dict[str, Any]:
        """Returns what is known of the user's program; empty where there was none."""
        found = read_json(self.program, WHAT) if self.program.exists() else {}
        return found if isinstance(found, dict) else {}

    def program_copy(self, number: int) -> Path:
        """Returns where a copy of the user's first, second, ... program lies."""
        return self.program_text if number == 1 else self.path / f"program-{number}.txt"

    def read_metrics(self) -> Iterator[dict[str, Any]]:
        """Yields the logged lines: numbers by name and a `kind`; one that is damaged is left out."""
        return (line for line in read_json_lines(self.metrics) if _is_logged(line))

    def read_timings(self) -> Iterator[dict[str, Any]]:
        """Yields the logged times."""
        return read_json_lines(self.timings)

    def best_beside(self, kind: str) -> Path:
        """Returns where variables of another kind lie beside the best ones: `trained` or `averaged`."""
        return self.path / f"best-{kind}"

    def evaluations(self) -> list[str]:
        """Returns the names of the evaluations that are there."""
        return sorted(path.stem for path in self.evaluation.glob("*.json"))

    def has_evaluation(self, name: str) -> bool:
        """Returns whether there is an evaluation of a name."""
        return (self.evaluation / f"{name}.json").exists()

    def check_free(self) -> None:
        """Raises UserError when the folder of a run-to-be is a file or holds something else."""
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file; give --workdir a folder")
        if not self.path.exists() or self.config.exists():
            return
        # a run cut off at its very beginning has left these
        begun = {self.lock, self.owner, self.inputs}
        if any(path not in begun for path in self.path.iterdir()):
            raise UserError(f"{self.path} is not empty and not a run; give --workdir a new folder")


def _is_logged(line: Mapping[str, Any]) -> bool:
    """Returns whether everything in a line but its kind is a number, or null in place of one."""
    values = [value for name, value in line.items() if name != "kind"]
    return isinstance(line.get("kind"), str) and all(map(_is_number, values))


def _is_number(value: Any) -> bool:
    if value is None or isinstance(value, float):
        return True
    # Python's integers have no end, those of a log fit into a float
    return isinstance(value, int) and abs(value) < 1 << 1000
