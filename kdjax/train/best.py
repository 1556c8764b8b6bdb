"""The best weights of a run: as many as are wanted, by what they were worth on the validation images."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from kdjax.files import write_json
from kdjax.folder import RunFolder
from kdjax.models.weights.runs import rank_steps
from kdjax.train import hosts
from kdjax.train.ema import Used
from kdjax.train.state import TrainState
from kdjax.types import PyTree


class Best:
    """The folder of the best weights, and those of what stands beside them."""

    def __init__(self, files: RunFolder, keep: int) -> None:
        """Opens or creates the folder; `keep` is how many are kept. UserError where values cannot be read."""
        self._files, self._keep = files, keep
        # a damaged file is told of now, not at the first validation
        files.read_best_values()
        self._chosen = _open(files.best)
        self._beside: dict[str, ocp.CheckpointManager] = {}

    def save(self, state: TrainState, value: float, seen: Used) -> None:
        """Saves the variables that were chosen where they are among the best, whole before this returns.

        What stands beside them is saved first: where the best are, those are too.

        Args:
          state: after a validation.
          value: what they were worth; of equal ones the earlier is better.
          seen: the variables.
        """
        step = int(state.step)
        # later ones are from before a crash: made again, or of settings that have changed since
        there = [each for each in self._chosen.all_steps() if each < step]
        values = {each: self._value(each, state) for each in there}
        values[step] = value
        kept = rank_steps(values)[: self._keep]
        if step not in kept:
            return
        # the values first: one without weights is passed over, weights without a value would be nobody's best
        self._note_values(values)
        for kind, variables in seen.beside.items():
            if kind not in self._beside:
                self._beside[kind] = _open(self._files.best_beside(kind))
            _replace(self._beside[kind], step, variables, kept)
        _replace(self._chosen, step, seen.chosen, kept)
        self._note_values({each: values[each] for each in sorted(kept)})

    def close(self) -> None:
        """Lets go of the folders."""
        for each in (self._chosen, *self._beside.values()):
            each.close()

    def _note_values(self, values: Mapping[int, float]) -> None:
        if hosts.is_first():
            write_json(self._files.best_values, {str(step): each for step, each in values.items()})

    def _value(self, step: int, state: TrainState) -> float:
        known = self._files.read_best_values()
        # runs from before there were values kept the very best
        old = float(state.best_metric) if step == int(state.best_step) else -np.inf
        return max(known.get(step, old), float(np.finfo(np.float32).min))


def _open(folder: Path) -> ocp.CheckpointManager:
    # which are kept is decided here, by their values
    options = ocp.CheckpointManagerOptions(
        max_to_keep=None, enable_async_checkpointing=False, cleanup_tmp_directories=True
    )
    return ocp.CheckpointManager(folder.absolute(), options=options)


def _replace(
    manager: ocp.CheckpointManager, step: int, variables: PyTree, kept: Sequence[int]
) -> None:
    """Saves variables, and lets go of all steps but those that are kept."""
    if step in manager.all_steps():
        # from before a crash, or of a schedule that has changed since
        manager.delete(step)
    manager.save(step, args=ocp.args.StandardSave(jax.device_get(variables)), force=True)
    for each in set(manager.all_steps()) - set(kept):
        manager.delete(each)
