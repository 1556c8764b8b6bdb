"""Reading runs: their configurations, and the weights in their checkpoints.

A checkpoint is state and configuration in one commit. The state's step is the position in the data too: the loader
begins at any batch, with any number of processes.
"""

import hashlib
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from kdjax import configs
from kdjax.checks import UserError
from kdjax.extensions import NOTHING, Extensions
from kdjax.folder import RunFolder
from kdjax.methods import Network
from kdjax.models.weights import runs
from kdjax.models.weights.runs import last_step, restore, restore_best
from kdjax.train.ema import AVERAGED
from kdjax.train.networks import network, own_options, variable_shapes
from kdjax.train.programs import check_known_network
from kdjax.types import PyTree


def has_started(run: Path) -> bool:
    """Returns whether a run has a checkpoint to go on from."""
    return last_step(RunFolder(run).checkpoints) is not None


def fingerprint(variables: PyTree) -> str:
    """Returns a hash of a tree of arrays: of their names, shapes, dtypes and bytes."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.shape} {array.dtype}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def read_config(run: str | Path) -> ConfigDict:
    """Returns the configuration of a run.

    Raises:
      UserError: when the folder is not a run.
    """
    files = RunFolder(run)
    written = files.read_config()
    try:
        return configs.from_json(written, recorded=files.program.exists())
    except UserError as error:
        raise UserError(f"{files.config}: {error}") from error


def image_size_of(run: str | Path, config: ConfigDict) -> int:
    """Returns the side of the images that a run was trained on, in pixels; 64 where its files do not tell."""
    files = RunFolder(run)
    if config.data.image_size or not files.inputs.exists():
        return config.data.image_size or 64
    dataset = files.read_inputs().get("dataset")
    stored = dataset.get("image_size") if isinstance(dataset, dict) else None
    return stored if isinstance(stored, int) and stored > 0 else 64


def load_best(
    run: str | Path, *, dtype: str = "", extensions: Extensions = NOTHING, step: int | None = None
) -> tuple[Network, PyTree, int]:
    """Returns network, variables and step of a run's best checkpoint.

    Args:
      run: folder of a run.
      dtype: the dtype to compute in; the run's own when empty.
      extensions: the user's own, among them the network where it is not shipped.
      step: another one of those that are kept (`train.keep_best`); None: the very best.

    Raises:
      UserError: when there is no checkpoint, or it is of another model.
    """
    folder = Path(run)
    config = read_config(folder)
    check_known_network(folder, config, extensions)
    options = own_options(config, config.student.network)
    dtype = dtype or config.student.dtype
    net = network(config.student, dtype, key="teacher", extensions=extensions, options=options)
    shapes = variable_shapes(net, image_size_of(folder, config))
    variables, step = restore_best(folder, step)
    check_variables(variables, shapes, f"{folder}/best/{step}", config.student.network)
    return net, jax.tree.map(np.asarray, variables), step


def check_finished(run: str | Path) -> None:
    """Raises UserError when a run that is to teach was not trained to its end."""
    read_config(run)
    if not RunFolder(run).is_finished:
        raise UserError(
            f"the teacher {run} is not trained to its end; run its `kdjax train` again to finish it"
        )


def best_step(run: str | Path) -> int | None:
    """Returns the step of a run's best checkpoint, None without any."""
    return runs.best_step(Path(run))


def best_steps(run: str | Path) -> list[int]:
    """Returns the steps of a run's best checkpoints that are kept, the very best first."""
    return runs.best_steps(Path(run))


def latest_step(run: str | Path) -> int | None:
    """Returns the step of a run's latest checkpoint, None without any."""
    return last_step(RunFolder(run).checkpoints)


def load_latest(run: str | Path, kind: str = "trained") -> PyTree:
    """Returns the student's variables as they are in the latest checkpoint.

    Args:
      run: folder of a run.
      kind: `trained`, or `averaged` of a run that has an average.

    Raises:
      UserError: when there is none, or it cannot be read.
    """
    folder = RunFolder(run).checkpoints
    step = last_step(folder)
    if step is None:
        raise UserError(f"{run} has no checkpoint yet; finish `kdjax train` there first")
    state = restore(folder, step, "state")
    variables = {"params": state["params"]["student"], "batch_stats": state["batch_stats"]}
    return jax.tree.map(np.asarray, state["ema"] if kind == AVERAGED else variables)


def load_beside(run: str | Path, kind: str, step: int | None = None) -> PyTree:
    """Returns the variables that were kept beside the best ones, of the same step, by their kind.

    Raises:
      UserError: when there are none, or they cannot be read.
    """
    folder = RunFolder(run).best_beside(kind)
    step = best_step(run) if step is None else step
    if step is None or not folder.is_dir():
        raise UserError(f"{run} has no {kind} weights beside its best ones")
    return jax.tree.map(np.asarray, restore(folder, step, "default"))


def check_variables(found: PyTree, expected: PyTree, where: str, name: str) -> None:
    """Raises UserError unless both trees have the same leaves with the same shapes."""

    def shapes(tree: PyTree) -> dict[str, tuple[int, ...]]:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        return {jax.tree_util.keystr(path): tuple(np.shape(leaf)) for path, leaf in leaves}

    got, wanted = shapes(found), shapes(expected)
    for key in sorted(got.keys() | wanted.keys()):
        if got.get(key) != wanted.get(key):
            raise UserError(
                f"{where} is a checkpoint of another model than {name}: {key} is "
                f"{got.get(key, 'missing')}, expected {wanted.get(key, 'nothing of that name')}"
            )
