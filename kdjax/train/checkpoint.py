"""Checkpoints: state and configuration in one commit; the best weights beside them.

The state's step is the position in the data too: the loader begins at any batch, with any number of processes.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from ml_collections import ConfigDict

from kdjax import configs
from kdjax.checks import UserError, first_line
from kdjax.extensions import NOTHING, Extensions
from kdjax.folder import RunFolder
from kdjax.methods import Network
from kdjax.models.weights.runs import last_step, restore, restore_best
from kdjax.train.ema import AVERAGED, Used
from kdjax.train.networks import network, own_options, variable_shapes
from kdjax.train.programs import check_known_network
from kdjax.train.state import TrainState
from kdjax.types import PyTree


class Checkpoints:
    """The checkpoints of one run: the latest for going on, the best for use."""

    def __init__(self, run: Path) -> None:
        """Opens or creates the folders `checkpoints` and `best` of a run."""
        options = self._options = ocp.CheckpointManagerOptions(
            max_to_keep=1, enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        files = self._files = RunFolder(run)
        self._latest = ocp.CheckpointManager(files.checkpoints.absolute(), options=options)
        self._best = ocp.CheckpointManager(files.best.absolute(), options=options)
        self._beside: dict[str, ocp.CheckpointManager] = {}

    def save_latest(self, state: TrainState, config: Mapping[str, Any]) -> None:
        """Saves all that is needed to go on, in one commit."""
        self._latest.save(
            int(state.step),
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(_saved(state)),
                config=ocp.args.JsonSave(dict(config)),
            ),
        )

    def save_best(self, step: int, used: Used) -> None:
        """Saves the chosen variables, and what stands beside them; a step that is there is the same one, trained again.

        What stands beside them is saved first: where the best are, those are too.
        """
        for kind, variables in used.beside.items():
            self._save(self._beside_of(kind), step, variables)
        self._save(self._best, step, used.chosen)

    def _beside_of(self, kind: str) -> ocp.CheckpointManager:
        if kind not in self._beside:
            folder = self._files.best_beside(kind).absolute()
            self._beside[kind] = ocp.CheckpointManager(folder, options=self._options)
        return self._beside[kind]

    def _save(self, manager: ocp.CheckpointManager, step: int, variables: PyTree) -> None:
        if step not in manager.all_steps():
            manager.save(step, args=ocp.args.StandardSave(jax.device_get(variables)))

    def restore_latest(self, state: TrainState) -> TrainState | None:
        """Returns the saved state; None when nothing is saved.

        Args:
          state: one of the same model, for its shapes.

        Raises:
          UserError: when the checkpoint is of another model.
        """
        step = self._latest.latest_step()
        if step is None:
            return None
        try:
            restored = self._latest.restore(
                step,
                args=ocp.args.Composite(state=ocp.args.StandardRestore(_saved(state))),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self._latest.directory}/{step} is damaged or of another model "
                f"({first_line(error)}); use another --workdir"
            ) from error
        return state.replace(**restored["state"])

    def close(self) -> None:
        """Waits for pending work and lets go of the folders."""
        for manager in (self._latest, self._best, *self._beside.values()):
            manager.close()


def _saved(state: TrainState) -> dict[str, PyTree]:
    """Returns the state's fields, without those that came later and are empty: runs from before them go on."""
    found = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    for later in ("balance", "ema"):
        if not found[later]:
            del found[later]
    return jax.device_get(found)


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
    run: str | Path, *, dtype: str = "", extensions: Extensions = NOTHING
) -> tuple[Network, PyTree, int]:
    """Returns network, variables and step of a run's best checkpoint.

    Args:
      run: folder of a run.
      dtype: the dtype to compute in; the run's own when empty.
      extensions: the user's own, among them the network where it is not shipped.

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
    variables, step = restore_best(folder)
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
    return last_step(RunFolder(run).best)


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


def load_beside(run: str | Path, kind: str) -> PyTree:
    """Returns the variables that were kept beside the best ones, of the same step, by their kind.

    Raises:
      UserError: when there are none, or they cannot be read.
    """
    folder, step = RunFolder(run).best_beside(kind), best_step(run)
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
