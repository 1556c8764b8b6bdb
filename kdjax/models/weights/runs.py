"""The best weights of a run of `kdjax train`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from kdjax.checks import UserError, first_line
from kdjax.folder import RunFolder
from kdjax.models.families import layouts
from kdjax.types import PyTree

HEAD = "params/classifier/"


def read_run(
    name: str, run: Path, layout: str, wanted: dict[str, Any]
) -> tuple[dict[str, np.ndarray], str]:
    """Returns the variables of a run's best checkpoint by path, and a line about a head of other classes.

    Args:
      name: name of the network that they are for.
      run: folder of the run.
      layout: layout of the network.
      wanted: the network's variables by path, `{"params/stem_conv/kernel": array}`.

    Raises:
      UserError: when the folder is no run with a checkpoint, or one of another network.
    """
    student = _student(run)
    # runs of earlier versions name no layout; they have the network's first
    theirs = (student["network"], student.get("layout") or layouts(name)[0])
    for key, found, asked in zip(("network", "layout"), theirs, (name, layout), strict=True):
        if found != asked:
            raise UserError(f"{run} is a run with student.{key}={found}, not {asked}")
    tree, step = restore_best(run)
    found = {path: np.asarray(leaf) for path, leaf in flatten_dict(tree, sep="/").items()}
    line, bias = "", f"{HEAD}bias"
    if {bias} <= found.keys() & wanted.keys() and found[bias].shape != wanted[bias].shape:
        classes = [tree[bias].shape[0] for tree in (found, wanted)]
        line = (
            f"{run}: these keep their initial values: classifier (the run's has {classes[0]} classes, "
            f"ours {classes[1]})"
        )
        found |= {path: leaf for path, leaf in wanted.items() if path.startswith(HEAD)}
    for path in sorted(found.keys() | wanted.keys()):
        shapes = [np.shape(tree[path]) if path in tree else "missing" for tree in (found, wanted)]
        if shapes[0] != shapes[1]:
            raise UserError(
                f"{run}/best/{step} does not fit: {path} is {shapes[0]} there, {shapes[1]} here; "
                f"the run has student.width={student.get('width', 1.0)}"
            )
    return found, line


def _student(run: Path) -> dict[str, Any]:
    config = RunFolder(run).read_config()
    student = config.get("student") if isinstance(config, dict) else None
    if not isinstance(student, dict) or not isinstance(student.get("network"), str):
        raise UserError(f"{RunFolder(run).config} names no student.network: {run} is not a run")
    return student


def restore_best(run: Path, step: int | None = None) -> tuple[PyTree, int]:
    """Returns variables and step of a run's best checkpoint, or of another of the best that are kept.

    Raises:
      UserError: when there is none, or it cannot be read.
    """
    step = best_step(run) if step is None else step
    if step is None:
        raise UserError(f"{run} has no checkpoint yet; finish `kdjax train` there first")
    return restore(RunFolder(run).best, step, "default"), step


def best_step(run: Path) -> int | None:
    """Returns the step of a run's very best weights, None without any."""
    return next(iter(best_steps(run)), None)


def best_steps(run: Path) -> list[int]:
    """Returns the steps of the best weights that a run keeps, the very best first."""
    files = RunFolder(run)
    steps, values = all_steps(files.best), files.read_best_values()
    # a run from before there were values keeps one
    known = {step: values[step] for step in steps if step in values}
    return rank_steps(known) if known else sorted(steps, reverse=True)


def rank_steps(values: Mapping[int, float]) -> list[int]:
    """Returns steps by what they are worth, the best first; of equal ones the earlier."""
    return sorted(values, key=lambda step: (-values[step], step))


def last_step(folder: Path) -> int | None:
    """Returns the last step that a folder of checkpoints has whole, None without any."""
    return max(all_steps(folder), default=None)


def all_steps(folder: Path) -> list[int]:
    """Returns the steps that a folder of checkpoints has whole."""
    # where no run is read, Orbax need not be installed
    import orbax.checkpoint as ocp

    return list(ocp.utils.checkpoint_steps(folder.absolute())) if folder.is_dir() else []


def restore(folder: Path, step: int, item: str) -> PyTree:
    """Returns an item of a checkpoint, as it was saved; nothing in the folder is changed.

    Raises:
      UserError: when it cannot be read.
    """
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        try:
            return checkpointer.restore(folder.absolute() / str(step) / item)
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise UserError(f"{folder}/{step} cannot be read: {first_line(error)}") from error
