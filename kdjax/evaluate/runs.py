"""What is left of a run in its folder: configuration, logged numbers, evaluation."""

import dataclasses
import math
import os
import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from kdjax.checks import UserError
from kdjax.evaluate.evaluation import Evaluation
from kdjax.evaluate.files import parse_json
from kdjax.folder import RunFolder


@dataclasses.dataclass(frozen=True)
class Run:
    """One run as far as its files go.

    Attributes:
      name: shortest end of its path that tells it from the others.
      path: its folder.
      config: the resolved configuration, empty if unreadable.
      train: logged training lines by increasing step, `{name: finite number}`.
      validation: logged validation lines, likewise.
      evaluation: the evaluation on the split asked for, None if there is none.
      notes: what is missing or damaged, a sentence each.
    """

    name: str
    path: Path
    config: dict[str, Any]
    train: list[dict[str, float]]
    validation: list[dict[str, float]]
    evaluation: Evaluation | None
    notes: tuple[str, ...]


def read_runs(paths: Sequence[str | os.PathLike[str]], split: str = "test") -> list[Run]:
    """Reads run folders; what is missing or damaged inside one becomes a note of that run.

    Raises:
      UserError: nothing was named, or a folder is not a run.
    """
    folders = [Path(path) for path in paths]
    if not folders:
        raise UserError("no run named; give one or more folders that `kdjax train` wrote")
    for folder in folders:
        if not RunFolder(folder).is_run:
            problem = (
                "is not a run (it has no config.json)" if folder.is_dir() else "does not exist"
            )
            raise UserError(f"{folder} {problem}; give a folder that `kdjax train` wrote")
    kept = sorted({name for folder in folders for name in RunFolder(folder).evaluations()})
    # a run that is not evaluated yet has curves to show; a name that none has is a slip
    if kept and split not in kept:
        raise UserError(f"no run has an evaluation on {split!r}; there are: {', '.join(kept)}")
    return [
        _read_run(folder, name, split)
        for folder, name in zip(folders, short_names(folders), strict=True)
    ]


def _read_run(folder: Path, name: str, split: str) -> Run:
    notes: list[str] = []
    files = RunFolder(folder)
    config = _read_config(files.config, notes)
    lines = _read_lines(files.metrics, notes)
    evaluation = None
    if files.has_evaluation(split):
        try:
            evaluation = Evaluation.load(files.evaluation, split)
        except UserError:
            notes.append(f"its evaluation on {split} is damaged: run `kdjax evaluate` on it again")
    else:
        notes.append(f"it has no evaluation on {split}: run `kdjax evaluate` on it")
    by_kind = {
        kind: [_finite_numbers(line) for line in lines if line.get("kind") == kind]
        for kind in ("train", "validation")
    }
    notes += _changes(files)
    return Run(name, folder, config, **by_kind, evaluation=evaluation, notes=tuple(notes))


def _changes(files: RunFolder) -> list[str]:
    """Returns a sentence for each time that settings were changed while the run went on."""
    try:
        found = files.read_config_changes()
    except UserError:
        return ["its config_changes.json is damaged"]
    return [
        f"its settings were changed at step {each.get('step')}: {', '.join(map(str, each.get('changes', ())))}"
        for each in found
    ]


def _read_config(path: Path, notes: list[str]) -> dict[str, Any]:
    try:
        config = parse_json(path.read_text("utf-8"))
    except (OSError, ValueError):
        config = None
    if isinstance(config, dict):
        return config
    notes.append("its config.json is damaged")
    return {}


def _read_lines(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    """Returns the readable lines in order of their steps.

    A last line cut off in mid-writing is no news. A step logged twice, which is what a run that was
    interrupted after its last checkpoint does when it goes on, counts as it was logged last.
    """
    try:
        texts = path.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        notes.append("it has no metrics.jsonl, so no learning curves")
        return []
    found: dict[tuple[str, float], dict[str, Any]] = {}
    damaged = 0
    for number, text in enumerate(texts):
        try:
            line = parse_json(text)
            key = (str(line["kind"]), float(line["step"]))
        except (ValueError, KeyError, TypeError, OverflowError):
            damaged += bool(text.strip()) and number < len(texts) - 1
            continue
        found[key] = line
    if damaged:
        notes.append(f"{damaged} lines of its metrics.jsonl are damaged and left out")
    if not found:
        notes.append("its metrics.jsonl holds no line yet")
    return [found[key] for key in sorted(found, key=lambda key: key[1])]


def _finite_numbers(line: dict[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in line.items()
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) < 1e300
        and math.isfinite(value)
    }


def short_names(folders: Sequence[Path]) -> list[str]:
    """Returns the last part of each path, with as many before it as it takes to be distinct."""
    parts = [folder.resolve().parts for folder in folders]
    longest = max(map(len, parts))
    for length in range(1, longest + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(set(parts)):
            break
    return names


def describe(run: Run) -> dict[str, Any]:
    """Returns what a reader wants to know of a run first; None where its files do not tell.

    Keys: `method`, `network`, `qualities` (trained on), `teacher`, `steps`, `parameters`.
    """
    values = flatten(run.config)
    keys = ("teacher.runs", "teacher.weights")
    teachers = [Path(path).name for key in keys for path in values.get(key, "").split(", ") if path]
    seen_by = values.get("teacher.quality")
    return {
        "method": values.get("method.name") or None,
        "network": values.get("student.network") or None,
        "qualities": values.get("student.qualities") or None,
        "teacher": f"{', '.join(teachers)} on {seen_by}" if teachers else None,
        "steps": int(run.train[-1]["step"]) if run.train else None,
        "parameters": None if run.evaluation is None else run.evaluation.parameters,
    }


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Returns `{dotted key: value as text}` of a nested configuration."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = as_text(value)
    return flat


def as_text(value: Any) -> str:
    """Returns a JSON value as people write it: lists by commas, null and {} as nothing."""
    if value is None or value == {}:
        return ""
    if isinstance(value, list):
        return ", ".join(map(as_text, value))
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def config_differences(runs: Sequence[Run]) -> dict[str, list[str | None]]:
    """Returns `{dotted key: value of each run}` for the keys that are not the same in all runs.

    A value is None where a run's configuration lacks the key; runs without one are passed over.
    """
    flats = [flatten(run.config) for run in runs]
    known = [flat for flat in flats if flat]
    keys: Iterable[str] = dict.fromkeys(key for flat in known for key in flat)
    return {
        key: [flat.get(key) for flat in flats]
        for key in keys
        if len({flat.get(key) for flat in known}) > 1
    }


def train_command(run: Run, workdir: str, defaults: Callable[[str], dict[str, Any]]) -> str:
    """Returns the command that trains a run like this one.

    Args:
      run: the run.
      workdir: where the new run goes.
      defaults: `METHOD:NETWORK -> configuration as JSON` before any override.
    """
    values = flatten(run.config)
    spec = f"{values.get('method.name', '')}:{values.get('student.network', '')}"
    usual = flatten(defaults(spec))
    changed = [
        f"--config.{key}={value.replace(', ', ',')}"
        for key, value in values.items()
        if value != usual.get(key)
    ]
    words = ["kdjax", "train", f"--config={spec}", f"--workdir={workdir}", *changed]
    return " ".join(map(shlex.quote, words))
