"""Checkpoints: state, data position and configuration in one commit; the best weights beside them."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grain.checkpoint
import jax
import numpy as np
import orbax.checkpoint as ocp
from ml_collections import ConfigDict

from kdjax import configs
from kdjax.checks import UserError
from kdjax.extensions import NOTHING, Extensions
from kdjax.files import read_json, write_json
from kdjax.methods import Network
from kdjax.models.weights.runs import restore_best
from kdjax.train.networks import network, own_options, variable_shapes
from kdjax.train.programs import PROGRAM, check_known_network
from kdjax.train.state import TrainState
from kdjax.types import PyTree

RUNTIME_KEYS = frozenset(
    {
        "data.threads",
        "data.read_ahead",
        "train.devices",
        "train.log_every",
        "evaluation.batch_size",
    }
)
"""Keys that do not change what a run computes: a run may go on with other values."""


OWN_FILES = frozenset({".lock", "inputs.json"})
"""What a run cut off at its very beginning has left."""


class Checkpoints:
    """The checkpoints of one run: the latest for going on, the best for use."""

    def __init__(self, run: Path) -> None:
        """Opens or creates the folders `checkpoints` and `best` of a run."""
        options = ocp.CheckpointManagerOptions(
            max_to_keep=1, enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        self._latest = ocp.CheckpointManager((run / "checkpoints").absolute(), options=options)
        self._best = ocp.CheckpointManager((run / "best").absolute(), options=options)

    def save_latest(self, state: TrainState, position: Any, config: Mapping[str, Any]) -> None:
        """Saves all that is needed to go on, in one commit."""
        self._latest.save(
            int(state.step),
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(_saved(state)),
                data=grain.checkpoint.CheckpointSave(position),
                config=ocp.args.JsonSave(dict(config)),
            ),
        )

    def save_best(self, state: TrainState) -> None:
        """Saves the student's variables; a step that is there already is the same one, trained again."""
        step = int(state.step)
        if step not in self._best.all_steps():
            variables = {"params": state.params["student"], "batch_stats": state.batch_stats}
            self._best.save(step, args=ocp.args.StandardSave(jax.device_get(variables)))

    def restore_latest(self, state: TrainState, position: Any) -> TrainState | None:
        """Returns the saved state and moves `position` to where it was; None when nothing is saved.

        Raises:
          UserError: when the checkpoint is of another model.
        """
        step = self._latest.latest_step()
        if step is None:
            return None
        try:
            restored = self._latest.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(_saved(state)),
                    data=grain.checkpoint.CheckpointRestore(position),
                ),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self._latest.directory}/{step} is damaged or of another model "
                f"({_first_line(error)}); use another --workdir"
            ) from error
        return state.replace(**restored["state"])

    def close(self) -> None:
        """Waits for pending work and lets go of the folders."""
        self._latest.close()
        self._best.close()


def _saved(state: TrainState) -> dict[str, PyTree]:
    """Returns the state's fields; without a balance that is empty, so that runs from before it go on."""
    found = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    if not found["balance"]:
        del found["balance"]
    return jax.device_get(found)


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__


def has_started(run: Path) -> bool:
    """Returns whether a run has a checkpoint to go on from."""
    folder = run / "checkpoints"
    return folder.is_dir() and bool(ocp.utils.checkpoint_steps(folder.absolute()))


def has_results(run: Path) -> bool:
    """Returns whether a run has anything that another configuration in its folder would spoil."""
    return has_started(run) or any(
        (run / name).exists() for name in ("finished.json", "evaluation")
    )


def check_folder(run: Path) -> None:
    """Raises UserError when the folder of a run-to-be is a file or holds something else."""
    if run.exists() and not run.is_dir():
        raise UserError(f"{run} is a file; give --workdir a folder")
    if not run.exists() or (run / "config.json").exists():
        return
    if any(path.name not in OWN_FILES for path in run.iterdir()):
        raise UserError(f"{run} is not empty and not a run; give --workdir a new folder")


def claim_run(run: Path, config: ConfigDict, inputs: Mapping[str, Any]) -> None:
    """Writes configuration and inputs of a new run, or checks that an existing run has the same.

    A run that was cut off, or refused, before its first checkpoint has nothing to go on from: it begins anew.

    Args:
      run: folder of the run.
      config: the configuration.
      inputs: what tells the data set and the teachers' weights from others (`Plan.inputs`).

    Raises:
      UserError: when the folder holds a run of another configuration, data set or teacher.
    """
    if (run / "config.json").exists() and has_results(run):
        _check_same_config(run, config)
        found = read_json(run / "inputs.json", "a run of `kdjax train`")
        if found.get("dataset") != inputs["dataset"]:
            raise UserError(
                f"the data set at {config.data.path} is not the one that {run} was begun with; "
                "give another --workdir, or prepare the data set as it was"
            )
        teachers = (*config.teacher.runs, *config.teacher.weights, *config.teacher.recorded)
        for name, old, new in zip(
            teachers, found.get("teachers", ()), inputs["teachers"], strict=False
        ):
            if old != new:
                raise UserError(
                    f"the teacher {name} is not what {run} was begun with; give another --workdir"
                )
        return
    write_json(run / "inputs.json", dict(inputs))
    write_json(run / "config.json", configs.to_json(config))


def fingerprint(variables: PyTree) -> str:
    """Returns a hash of a tree of arrays: of their names, shapes, dtypes and bytes."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.shape} {array.dtype}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _check_same_config(run: Path, config: ConfigDict) -> None:
    found, asked = dict(configs.flatten(read_config(run))), dict(configs.flatten(config))
    differing = sorted(
        key
        for key in asked.keys() | found.keys()
        if asked.get(key) != found.get(key) and key not in RUNTIME_KEYS
    )
    if differing:
        key = differing[0]
        more = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
        raise UserError(
            f"{run} holds a run with {key}={found.get(key)!r}, asked for {asked.get(key)!r}{more}; "
            "give another --workdir or the run's own settings"
        )


def read_config(run: str | Path) -> ConfigDict:
    """Returns the configuration of a run.

    Raises:
      UserError: when the folder is not a run.
    """
    values = read_json(Path(run) / "config.json", "a run of `kdjax train`")
    return configs.from_json(values, recorded=(Path(run) / PROGRAM).exists())


def image_size_of(run: str | Path, config: ConfigDict) -> int:
    """Returns the side of the images that a run was trained on, in pixels; 64 where its files do not tell."""
    if config.data.image_size or not (Path(run) / "inputs.json").exists():
        return config.data.image_size or 64
    inputs = read_json(Path(run) / "inputs.json", "a run of `kdjax train`")
    dataset = inputs.get("dataset") if isinstance(inputs, dict) else None
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


def mark_finished(run: Path, result: Mapping[str, Any]) -> None:
    """Notes in the run's folder that it was trained to its end."""
    write_json(run / "finished.json", dict(result))


def check_finished(run: str | Path) -> None:
    """Raises UserError when a run that is to teach was not trained to its end."""
    read_config(run)
    if not (Path(run) / "finished.json").exists():
        raise UserError(
            f"the teacher {run} is not trained to its end; run its `kdjax train` again to finish it"
        )


def best_step(run: str | Path) -> int | None:
    """Returns the step of a run's best checkpoint, None without any."""
    folder = Path(run) / "best"
    if not folder.is_dir():
        return None
    with ocp.CheckpointManager(
        folder.absolute(), options=ocp.CheckpointManagerOptions(read_only=True)
    ) as manager:
        return manager.latest_step()


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
