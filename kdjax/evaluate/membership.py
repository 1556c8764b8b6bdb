"""Which runs are one row with several seeds: as a sweep says, or by their configurations."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kdjax.checks import UserError
from kdjax.evaluate.evaluation import Evaluation
from kdjax.evaluate.files import parse_json
from kdjax.evaluate.grouped import Group
from kdjax.evaluate.runs import Run
from kdjax.folder import RunFolder

RESULTS = "results.json"
FORMAT = 1
SEED_KEYS = ("student", "data")


class Membership(NamedTuple):
    """Which runs belong together.

    Attributes:
      names: the rows, in order.
      runs: the folder of each run, with its row and seed.
      baseline: the row that others are compared with; empty: none.
    """

    names: list[str]
    runs: dict[Path, tuple[str, int]]
    baseline: str


def is_sweep(folder: Path) -> bool:
    """Returns whether a folder holds what `kdjax sweep --seeds` has written."""
    return (folder / RESULTS).is_file() and not RunFolder(folder).is_run


def read_membership(folder: Path) -> Membership:
    """Returns the rows of a sweep's folder and the runs that are there.

    Raises:
      UserError: results.json is damaged or names something beside runs of the folder.
    """
    names, runs = [], {}
    try:
        content = parse_json((folder / RESULTS).read_text("utf-8"))
        if content["format"] != FORMAT:
            raise ValueError("another format")
        baseline = str(content["baseline"])
        for row in content["rows"]:
            names.append(str(row["name"]))
            for seed, run in row["runs"].items():
                path = folder / run["folder"]
                if path.parent != folder or path.name in ("", ".", ".."):
                    raise ValueError("a run outside")
                if RunFolder(path).is_run:
                    runs[path] = (names[-1], int(seed))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{folder / RESULTS} holds no readable sweep ({type(error).__name__}); "
            "run its `kdjax sweep` again"
        ) from error
    if not runs:
        raise UserError(f"{folder} has no run yet; run its `kdjax sweep` first")
    return Membership(names, runs, baseline)


def group_alike(runs: Sequence[Run]) -> Membership:
    """Returns the runs grouped by configurations that are equal but for their seeds; no baseline."""
    found: dict[str, list[tuple[Run, int]]] = {}
    for run in runs:
        seeds = run.config.get("seed")
        seed = seeds.get("student") if isinstance(seeds, dict) else None
        if isinstance(seed, bool) or not isinstance(seed, int):
            continue
        others = {key: value for key, value in (seeds or {}).items() if key not in SEED_KEYS}
        alike = json.dumps({**run.config, "seed": others}, sort_keys=True)
        if seed not in [used for _, used in found.get(alike, [])]:
            found.setdefault(alike, []).append((run, seed))
    members = {}
    names = []
    for group in found.values():
        count = f" and {len(group) - 1} more" if len(group) > 1 else ""
        names.append(group[0][0].name + count)
        members.update({run.path: (names[-1], seed) for run, seed in group})
    return Membership(names, members, "")


def groups_of(runs: Sequence[Run], membership: Membership) -> list[Group]:
    """Returns the evaluated runs by group, in the order of the groups."""
    found: dict[str, dict[int, Evaluation]] = {name: {} for name in membership.names}
    for run in runs:
        name, seed = membership.runs.get(run.path, ("", 0))
        if run.evaluation is not None and name in found:
            found[name][seed] = run.evaluation
    return [Group(name, members) for name, members in found.items() if members]
