"""From rows to runs: what each is configured as, and the folder that its settings find.

A run's folder is called by the number of its row and a hash of its settings and seed. The number is for the eye; a run
is found by the hash alone, so that a file whose rows have moved finds what was trained.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from kdjax import configs
from kdjax.checks import UserError
from kdjax.defaults import GROUP
from kdjax.extensions import NOTHING, Extensions
from kdjax.folder import RunFolder
from kdjax.train.checkpoint import read_config
from kdjax.train.claim import RUNTIME_KEYS
from kdjax.train.grouping import group_key
from kdjax.train.sweeps.rows import TEXTS, is_read, row_name

SEED = "seed.student"
HASH_LENGTH = 12
FOLDER = re.compile(rf"\d{{3,}}-([0-9a-f]{{{HASH_LENGTH}}})")
"""The name of a run's folder: a number and a hash."""


class Planned(NamedTuple):
    """One run of a sweep: a row with a seed.

    Attributes:
      row: the number of its row; rows that differ in their seed alone are one.
      name: what the row is called.
      seed: the student's.
      spec: the configuration's name, `NAME[:NETWORK]`.
      overrides: the row's own settings as the configuration has them, without the seed.
      key: a hash of the row, without the seed.
      digest: a hash of the row and the seed: the run's own.
      folder: where it goes, or lies already.
      config: its configuration.
      extensions: the user's own that it names.
      differing: the keys that are not the same in all runs of the sweep, with this run's values; what is equal in these
        but for numbers of the student's side may share a compiled program, and its batches.
    """

    row: int
    name: str
    seed: int
    spec: str
    overrides: dict[str, Any]
    key: str
    digest: str
    folder: Path
    config: ConfigDict
    extensions: Extensions = NOTHING
    differing: Mapping[str, Any] = {}


def plan_runs(
    rows: Iterable[Mapping[str, Any]],
    spec: str,
    common: Mapping[str, Any],
    folder: Path,
    *,
    seeds: int = 1,
    extensions: Extensions = NOTHING,
) -> list[Planned]:
    """Returns a sweep's runs, all rows of a seed before any of the next; nothing is written.

    Args:
      rows: overrides by row; a key `config` chooses another configuration than `spec`, by default with its network; a
        key `name` is what the row is called.
      spec: the configuration, `NAME[:NETWORK]`.
      common: overrides of all runs.
      folder: the sweep's.
      seeds: runs of each row, with `seed.student` from the configured one on.
      extensions: the user's own, beside those of the configurations' programs.

    Raises:
      UserError: for an unknown key or a wrong value in any row, two rows that are one, two of one name, or a wrong
        number of seeds.
    """
    if seeds < 1:
        raise UserError(f"--seeds={seeds} must be at least 1")
    table = [dict(configs.flatten_mapping(row)) for row in rows]
    if not table:
        raise UserError("the sweep has no row; a row is a dict such as {'seed.student': 1}")
    name = spec.partition(":")[0]
    if configs.programs.is_program(name):
        # what the sweep's program adds, rows of other configurations may use
        extensions = extensions.join(configs.program(name))
    own = [_read_row(number, row, spec, common, extensions) for number, row in enumerate(table)]
    if seeds > 1 and (fixed := [each.number for each in own if SEED in table[each.number]]):
        raise UserError(
            f"row {fixed[0]} of the sweep sets {SEED}, which --seeds={seeds} does; leave one out"
        )
    _check_alike(own)
    keys = list(dict.fromkeys(each.key for each in own))
    own = _named(own, table)
    places = Places(folder)
    planned = [
        _planned(each, keys.index(each.key), offset, table[each.number], places)
        for offset in range(seeds)
        for each in own
    ]
    return _with_differences(planned)


class _Row(NamedTuple):
    number: int
    name: str
    spec: str
    overrides: dict[str, Any]
    key: str
    config: ConfigDict
    extensions: Extensions


def _read_row(
    number: int,
    row: Mapping[str, Any],
    spec: str,
    common: Mapping[str, Any],
    extensions: Extensions,
) -> _Row:
    network = spec.partition(":")[2]
    named = row.get("config", spec)
    full = named if ":" in named or not network else f"{named}:{network}"
    own = {key: value for key, value in row.items() if key not in TEXTS}
    try:
        config, added = configs.read(full, {**common, **own}, extensions)
    except UserError as error:
        # what goes wrong without the row is no fault of it
        if own and is_read(full, common, extensions):
            raise UserError(f"row {number} of the sweep: {error}") from error
        raise
    # as the configuration has them: a text of the command line and a number are one setting
    values = dict(configs.flatten(config))
    overrides = {key: values.get(key, own[key]) for key in own if key != SEED}
    name = row_name(row, overrides, full)
    key = _hash({"config": _label(full), "overrides": overrides})
    return _Row(number, name, full, overrides, key, config, added)


def _label(spec: str) -> str:
    """Returns a configuration's name as it is from any folder."""
    name, colon, network = spec.partition(":")
    return f"{Path(name).name if name.endswith('.py') else name}{colon}{network}"


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]


def _check_alike(rows: Sequence[_Row]) -> None:
    """Raises UserError for two rows that come to the same settings and seed."""
    seen: dict[str, int] = {}
    for row in rows:
        name = row.spec.partition(":")[0]
        program = name if configs.programs.is_program(name) else ""
        other = seen.setdefault(
            json.dumps([program, configs.to_json(row.config)], sort_keys=True), row.number
        )
        if other != row.number:
            raise UserError(
                f"rows {other} and {row.number} of the sweep come to the same settings ({row.name}); leave one out"
            )


def _named(rows: Sequence[_Row], table: Sequence[Mapping[str, Any]]) -> list[_Row]:
    """Returns the rows with names of their own; UserError where two were given one."""
    taken: dict[str, str] = {}
    found = []
    for row in rows:
        if taken.setdefault(row.name, row.key) != row.key:
            if table[row.number].get("name"):
                raise UserError(
                    f"two rows of the sweep are called {row.name!r}; give each a name of its own"
                )
            name = row_name(table[row.number], row.overrides, row.spec, whole=True)
            if taken.setdefault(name, row.key) != row.key:
                name = f"{name} ({row.number})"
            row = row._replace(name=name)
        taken[row.name] = row.key
        found.append(row)
    return found


def _planned(
    row: _Row, number: int, offset: int, written: Mapping[str, Any], places: "Places"
) -> Planned:
    config = row.config.copy_and_resolve_references()
    config.seed.student += offset
    seed = config.seed.student
    digest = _hash({"row": row.key, "seed": seed})
    old = f"{_old_name(row.number, written)}{f'-seed{seed}' if offset else ''}"
    return Planned(
        number,
        row.name,
        seed,
        row.spec,
        row.overrides,
        row.key,
        digest,
        places.find(number, digest, config, old),
        config,
        row.extensions,
    )


def _with_differences(planned: Sequence[Planned]) -> list[Planned]:
    flat = [dict(configs.flatten(run.config)) for run in planned]
    keys = sorted({key for values in flat for key in values})
    varying = [key for key in keys if len({repr(values.get(key)) for values in flat}) > 1]
    return [
        run._replace(differing={key: values[key] for key in varying if key in values})
        for run, values in zip(planned, flat, strict=True)
    ]


def groups(runs: Sequence[Planned], most: int = GROUP) -> list[list[Planned]]:
    """Returns the runs that are trained side by side (`grouping`), in the order of their first ones.

    Args:
      runs: the runs.
      most: of a group; a row's seeds come one after the other in it.
    """
    found: list[list[Planned]] = []
    open_groups: dict[str, list[Planned]] = {}
    for run in runs:
        key = group_key(run.config)
        mine = open_groups.get(key)
        if mine is None or len(mine) >= most or mine[0].extensions != run.extensions:
            mine = open_groups[key] = []
            found.append(mine)
        mine.append(run)
    return found


def differing_keys(runs: Sequence[Planned]) -> list[str]:
    """Returns the keys that are not the same in some runs."""
    keys = sorted({key for run in runs for key in run.differing})
    return [key for key in keys if len({repr(run.differing.get(key)) for run in runs}) > 1]


class Places:
    """The runs' folders that a sweep's folder has, found by settings; older sweeps named them by these."""

    def __init__(self, folder: Path) -> None:
        """Looks at what is there."""
        self._folder = folder
        found = (
            sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
        )
        self._named = {match[1]: path for path in found if (match := FOLDER.fullmatch(path.name))}
        self._old = dict(_old_runs(found))

    def find(self, number: int, digest: str, config: ConfigDict, old: str) -> Path:
        """Returns the folder of a run: the one that is there, of whatever number, or a new one."""
        known = self._named.get(digest) or self._old.get(settings_of(config))
        if known is None and RunFolder(self._folder / old).is_run:
            known = self._folder / old
        return known or self._folder / f"{number:03d}-{digest}"


def _old_runs(folders: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    for path in folders:
        if FOLDER.fullmatch(path.name) or not RunFolder(path).is_run:
            continue
        try:
            yield settings_of(read_config(path)), path
        except UserError:
            # of a program that is not given: its name may still be that of a row
            continue


def settings_of(config: ConfigDict) -> str:
    """Returns all that a configuration says of what a run computes, as a text to compare."""
    kept = {
        key: value
        for key, value in configs.flatten(config)
        if key not in RUNTIME_KEYS and not key.startswith(configs.NOTES)
    }
    return json.dumps(kept, sort_keys=True, default=str)


def _old_name(number: int, overrides: Mapping[str, Any]) -> str:
    """Returns what a row's first folder was called before: its number and its name or settings."""
    shown = {
        key: "+".join(map(str, value)) if isinstance(value, list | tuple) else value
        for key, value in overrides.items()
    }
    text = ",".join(f"{key}={value}" for key, value in shown.items() if value != "")
    text = str(overrides.get("name") or text)
    return f"{number:03d}-{re.sub(r'[^A-Za-z0-9=.,_-]+', '_', text)[:100]}".rstrip("-.")
