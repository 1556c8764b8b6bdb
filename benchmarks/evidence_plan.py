"""What a table asks for: its runs, their configurations, and what of them decides a result."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import evidence_store as store
from evidence_settings import TEACHER_SEED, TEACHERS
from evidence_types import Row, Table
from ml_collections import ConfigDict

from kdjax import configs
from kdjax.checks import UserError


class Job(NamedTuple):
    """One run to be: a row of a table with a seed, and what decides its result."""

    row: Row
    seed: int
    wanted: dict[str, Any]


def plan(table: Table, seeds: range, rows: tuple[str, ...] = ()) -> list[Job]:
    """Returns the runs of a table, all rows of a seed before the next seed.

    Raises:
      UserError: for a setting that the library does not know.
    """
    known = [row.name for row in table.rows]
    for name in rows:
        if name not in known:
            raise UserError(f"no row is called {name!r}; known: {', '.join(known)}")
    trained = [row for row in table.rows if not row.by_quality and (not rows or row.name in rows)]
    decisive = {row.name: wanted(table, row) for row in trained}
    return [Job(row, seed, decisive[row.name]) for seed in seeds for row in trained]


def current(content: store.Content, table: Table) -> store.Content:
    """Returns a table's content without rows that were trained with settings other than today's."""
    by_name = {row.name: row for row in table.rows if not row.by_quality}
    kept = {
        name: entry
        for name, entry in content["rows"].items()
        if name in by_name and store.same_row(entry, wanted(table, by_name[name]))
    }
    return {**content, "rows": kept}


def missing(content: store.Content, jobs: list[Job]) -> list[Job]:
    """Returns the jobs whose result is not there."""
    return [job for job in jobs if not store.finished(content, job.row, job.wanted, job.seed)]


def wanted(table: Table, row: Row) -> dict[str, Any]:
    """Returns what decides the result of a row, as it is stored with its runs."""
    teacher = None
    if row.teacher:
        teacher = store.settings_of(dict(configs.flatten(teacher_config(table, row.teacher))))
        if row.teacher_scale != 1:
            teacher["feature_scale"] = row.teacher_scale
        for name in row.more_teachers:
            config = teacher_config(table, name)
            teacher[f"and {name}"] = store.settings_of(dict(configs.flatten(config)))
    config = student_config(table, row)
    return {
        "revision": table.revision,
        "settings": store.settings_of(dict(configs.flatten(config))),
        "teacher": teacher,
    }


def student_config(table: Table, row: Row, seed: int = 0, **places: Any) -> ConfigDict:
    """Returns the configuration of a row; `places` are `data`, a folder, and `teachers`, folders of runs."""
    spec = row.config if ":" in row.config else f"{row.config}:{table.network}"
    settings = {**table.settings, **row.overrides}
    if places.get("teachers"):
        settings["teacher.runs"] = tuple(map(str, places["teachers"]))
    return _config(spec, settings, seed, places.get("data", ""))


def teacher_config(table: Table, name: str, seed: int = 0, data: str | Path = "") -> ConfigDict:
    """Returns the configuration of a table's teacher for students of a seed."""
    teacher = table.teachers[name]
    settings = {**teacher.settings, "train.gradient_ratio_every": 0}
    return _config(f"supervised:{teacher.network}", settings, TEACHER_SEED + seed % TEACHERS, data)


def _config(spec: str, settings: Mapping[str, Any], seed: int, data: str | Path) -> ConfigDict:
    config = configs.load(spec)
    # seeds differ in everything that is drawn: weights, order of the images, which few images
    own = {"seed.student": seed, "seed.data": seed, "data.subset_seed": seed}
    for key, value in {**settings, **own, "data.path": str(data)}.items():
        configs.override(config, key, value)
    return config
