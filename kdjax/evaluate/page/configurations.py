"""The page's part on configurations: in what the runs differ, all of each, and the versions that are known."""

import contextlib
import platform
from collections.abc import Sequence
from importlib import metadata

from kdjax.checks import UserError
from kdjax.evaluate.page.table import Cell, Row, Table, in_columns
from kdjax.evaluate.runs import Run, config_differences, flatten
from kdjax.folder import RunFolder
from kdjax.version import __version__

RUNS = 6
"""Runs beside each other in a table of keys."""

PACKAGES = ("jax", "flax", "optax", "numpy", "scipy", "scikit-learn", "plotly")
"""What numbers and pictures of the page depend on."""


def difference_tables(runs: Sequence[Run]) -> list[Table]:
    """Returns the keys in which the runs differ, keys down and runs across; empty where they differ nowhere."""
    differences = config_differences(runs)
    if not differences:
        return []
    rows = [Row(None, key, [_value(value) for value in row]) for key, row in differences.items()]
    names = [run.name for run in runs]
    texts = frozenset(range(len(runs)))
    whole = Table("Where the configurations differ", "key", names, rows, texts)
    return [
        # keys of a method that is not among these runs
        table._replace(rows=[row for row in table.rows if set(row.cells) != {Cell()}])
        for table in in_columns(whole, RUNS)
    ]


def _value(value: str | None) -> Cell:
    return Cell() if value is None else Cell(value or "(empty)", mark="code")


def exact(run: Run) -> dict[str, dict[str, str]]:
    """Returns what a run was made of: its configuration, and what it noted of inputs, programs and versions."""
    found = {"configuration": flatten(run.config)}
    files = RunFolder(run.path)
    for title, read in (
        ("data set and teachers", files.read_inputs),
        ("program", files.read_program),
    ):
        try:
            found[title] = flatten(read())
        except (UserError, OSError):
            continue
    with contextlib.suppress(UserError, OSError):
        for each in files.read_versions():
            found[f"trained with, from step {each['step']} on"] = flatten(each["versions"])
    return {title: values for title, values in found.items() if values}


def versions() -> dict[str, str]:
    """Returns the versions of what wrote the page."""
    found = {"kdjax": __version__, "Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
