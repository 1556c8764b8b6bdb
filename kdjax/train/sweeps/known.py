"""The rows that a sweep's folder knows of, whatever its file says by now: `.sweep/plan.json`."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kdjax.checks import UserError
from kdjax.files import read_json, write_json
from kdjax.folder import RunFolder
from kdjax.train.sweeps.plan import HASH_LENGTH, Planned

FORMAT = 1
OWN = ".sweep"
"""The folder within a sweep's that its commands keep their notes in."""


class Entry(NamedTuple):
    """A run as a sweep's folder knows it: the hash of its settings and seed, its folder, the seed."""

    digest: str
    folder: Path
    seed: int


class Row(NamedTuple):
    """A row as a sweep's folder knows it.

    Attributes:
      key: the hash of its settings.
      name: what it is called.
      config: its configuration, `NAME[:NETWORK]`.
      overrides: its settings as JSON.
      runs: one for each seed.
    """

    key: str
    name: str
    config: str
    overrides: dict[str, Any]
    runs: list[Entry]


class Known(NamedTuple):
    """What a sweep's folder knows.

    Attributes:
      split: that is evaluated.
      baseline: the row that others are compared with, empty for none.
      rows: in order.
    """

    split: str
    baseline: str
    rows: list[Row]


def is_begun(folder: Path) -> bool:
    """Returns whether a sweep was begun in a folder."""
    return _path(folder).is_file()


def _path(folder: Path) -> Path:
    return folder / OWN / "plan.json"


def read(folder: Path) -> Known:
    """Returns what a sweep's folder knows; nothing where none was begun.

    Raises:
      UserError: when it is damaged.
    """
    if not is_begun(folder):
        return Known("test", "", [])
    path = _path(folder)
    try:
        document = read_json(path, "a sweep")
        if document["format"] != FORMAT:
            raise ValueError("another format")
        rows = [
            Row(
                key,
                str(row["name"]),
                str(row["config"]),
                dict(row["overrides"]),
                [
                    Entry(digest, folder / _inside(run["folder"]), int(run["seed"]))
                    for digest, run in row["runs"].items()
                ],
            )
            for key, row in document["rows"].items()
        ]
        return Known(str(document["split"]), str(document["baseline"]), rows)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path} is damaged ({type(error).__name__}); delete it and run the sweep again: its runs are found"
        ) from error


def _inside(name: Any) -> str:
    if not isinstance(name, str) or name != Path(name).name or name in ("", ".", ".."):
        raise ValueError("a folder outside")
    return name


def remember(
    folder: Path,
    planned: Sequence[Planned],
    split: str,
    baseline: str,
    is_kept: Callable[[Entry], bool],
) -> None:
    """Notes the rows of a plan beside those that are there; under the sweep's lock.

    Args:
      folder: the sweep's.
      planned: the runs of the sweep's file as it is now.
      split: that is evaluated.
      baseline: the row to compare with; empty: the one that there was.
      is_kept: whether a run that the plan has no more is kept: one that has results.
    """
    before = read(folder)
    rows: dict[str, dict[str, Any]] = {}
    for run in planned:
        place = rows.setdefault(run.key, _row(run.name, run.spec, run.overrides))
        place["runs"][run.digest] = {"folder": run.folder.name, "seed": run.seed}
    old = [(row, entry) for row in before.rows for entry in row.runs]
    old += [(Row(each.digest, each.folder.name, "", {}, []), each) for each in strays(folder)]
    listed = {run.folder.name for run in planned}
    for row, entry in old:
        if entry.folder.name not in listed and is_kept(entry):
            listed.add(entry.folder.name)
            place = rows.setdefault(row.key, _row(row.name, row.config, row.overrides))
            place["runs"][entry.digest] = {"folder": entry.folder.name, "seed": entry.seed}
    document = {
        "format": FORMAT,
        "split": split,
        "baseline": baseline or before.baseline,
        "rows": rows,
    }
    write_json(_path(folder), document)


def _row(name: str, config: str, overrides: dict[str, Any]) -> dict[str, Any]:
    values = json.loads(json.dumps(overrides, default=str))
    return {"name": name, "config": config, "overrides": values, "runs": {}}


def strays(folder: Path) -> Iterator[Entry]:
    """Yields the runs in a sweep's folder that are called as its runs are, by a number, with their seeds."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        number = path.name.partition("-")[0]
        if not (number.isdecimal() and len(number) >= 3 and RunFolder(path).is_run):
            continue
        try:
            seed = RunFolder(path).read_config()["seed"]["student"]
        except (UserError, KeyError, TypeError):
            continue
        digest = hashlib.sha256(path.name.encode()).hexdigest()[:HASH_LENGTH]
        yield Entry(digest, path, seed if isinstance(seed, int) else 0)
