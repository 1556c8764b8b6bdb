"""Writing checkpoints: the latest two for going on, behind the loop's back; the best weights for use; broken states."""

import contextlib
import dataclasses
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp
from ml_collections import ConfigDict

from kdjax.checks import UserError, first_line
from kdjax.files import write_json
from kdjax.folder import RunFolder
from kdjax.models.weights.runs import all_steps
from kdjax.train import hosts
from kdjax.train.best import Best
from kdjax.train.ema import Used
from kdjax.train.finite import NotFiniteError
from kdjax.train.state import TrainState
from kdjax.types import PyTree

KEPT = 2
"""Checkpoints for going on: should the newest be damaged, the run goes on from the one before."""

LATER_FIELDS = ("skipped",)
"""Fields of the state that came later: a checkpoint without them leaves them as they begin."""

OPTIONAL_FIELDS = ("balance", "ema")
"""Fields that came later and are mostly empty: those are not saved, so that runs from before them go on."""


class Restored(NamedTuple):
    """What a run goes on from.

    Attributes:
      state: the state.
      journal: what was saved beside it (`Rows.to_json`), empty of runs from before there was any.
      said: lines for the user, of damaged checkpoints.
    """

    state: TrainState
    journal: Mapping[str, Any]
    said: tuple[str, ...]


class Due:
    """Whether a save is due between validations, by steps and by time."""

    def __init__(self, train: ConfigDict) -> None:
        """Takes the configuration's block; time counts from now."""
        self._steps, self._seconds = train.save_every, 60 * train.save_minutes
        self.saved()

    def saved(self) -> None:
        """Notes that something was saved just now."""
        self._last = time.monotonic()

    def by_step(self, step: int) -> bool:
        """Returns whether the state after a step is to be saved for its number."""
        return bool(self._steps) and step % self._steps == 0

    def by_time(self) -> bool:
        """Returns whether the last save is too long ago."""
        return bool(self._seconds) and time.monotonic() - self._last >= self._seconds


class Checkpoints:
    """The checkpoints of one run: the latest for going on, the best for use."""

    def __init__(self, run: Path, keep_best: int = 1) -> None:
        """Opens or creates the folders `checkpoints` and `best` of a run.

        Raises:
          UserError: when nothing can be written there.
        """
        self.run, self._files = run, RunFolder(run)
        self._writing: int | None = None
        for folder in (self._files.checkpoints, self._files.best):
            _check_writable(folder)

        options = ocp.CheckpointManagerOptions(
            max_to_keep=KEPT, enable_async_checkpointing=True, cleanup_tmp_directories=True
        )
        self._latest = ocp.CheckpointManager(self._files.checkpoints.absolute(), options=options)
        self._best = Best(self._files, keep_best)

    def save_latest(
        self, state: TrainState, config: Mapping[str, Any], journal: Mapping[str, Any]
    ) -> None:
        """Begins to save all that is needed to go on, in one commit; returns once the state is copied.

        Raises:
          UserError: when this save, or the one before, cannot be written.
        """
        self.check(wait=True)
        step = int(state.step)
        with self._naming(step):
            self._make_way(step)
            self._latest.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(_saved(state)),
                    config=ocp.args.JsonSave(dict(config)),
                    journal=ocp.args.JsonSave(dict(journal)),
                ),
                force=True,
            )
        self._writing = step

    def save_best(self, state: TrainState, value: float, seen: Used) -> None:
        """Saves what was validated where it is among the best; see `Best.save`.

        Raises:
          UserError: when it cannot be written.
        """
        with self._naming(int(state.step)):
            self._best.save(state, value, seen)

    def restore_latest(self, state: TrainState) -> Restored | None:
        """Returns what was saved last, or before that where the last is damaged; None when nothing is saved.

        Args:
          state: one of the same model, for its shapes.

        Raises:
          UserError: when all checkpoints are damaged, or of another model.
        """
        problems: dict[int, Exception] = {}
        for step in sorted(self._latest.all_steps(), reverse=True):
            try:
                found, journal = self._read(step, state)
            except Exception as error:
                problems[step] = error
                continue
            hosts.on_first(lambda: self._remove(problems))
            self._latest.reload()
            said = (
                f"{self._latest.directory}/{damaged} is damaged ({first_line(problem)}): "
                f"going on from the checkpoint before it, of step {step}"
                for damaged, problem in problems.items()
            )
            return Restored(state.replace(**found), journal, tuple(said))
        if not problems:
            return None
        newest, *others = problems
        also = f", and so is {' and '.join(map(str, others))}" if others else ""
        raise UserError(
            f"{self._latest.directory}/{newest} is damaged or of another model "
            f"({first_line(problems[newest])}){also}; use another --workdir"
        ) from problems[newest]

    def _remove(self, steps: Iterable[int]) -> None:
        for step in steps:
            shutil.rmtree(self._latest.directory / str(step), ignore_errors=True)

    def _read(self, step: int, state: TrainState) -> tuple[dict[str, PyTree], dict[str, Any]]:
        with ocp.StandardCheckpointer() as checkpointer:
            there = checkpointer.metadata(self._latest.directory / str(step) / "state")
        if there.item_metadata is None:
            raise ValueError("what it holds is not told")
        fields = _saved(state)
        for name in LATER_FIELDS:
            if name not in there.item_metadata.tree:
                del fields[name]
        items = {"state": ocp.args.StandardRestore(fields)}
        if (self._latest.directory / str(step) / "journal").is_dir():
            items["journal"] = ocp.args.JsonRestore()
        restored = self._latest.restore(step, args=ocp.args.Composite(**items))
        return restored["state"], restored.get("journal") or {}

    def _make_way(self, step: int) -> None:
        """Lets a step be saved that is there: a run stopped in a validation, which has it behind itself now.

        The one that is there is not gone for a moment: the state tells its step, not the folder's name.
        """
        steps, folder = self._latest.all_steps(), self._latest.directory
        if step not in steps:
            return
        if step - 1 in steps:
            self._latest.delete(step - 1)
        hosts.on_first(lambda: os.rename(folder / str(step), folder / str(step - 1)))
        self._latest.reload()

    def save_broken(self, state: TrainState, error: NotFiniteError) -> None:
        """Saves a state that broke, to be looked at; no run goes on from it."""
        folder = self._files.broken
        hosts.on_first(lambda: shutil.rmtree(folder, ignore_errors=True))
        with self._naming(int(state.step)), ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(folder.absolute() / "state", _saved(state))
        texts = {name: repr(value) for name, value in error.values.items()}
        why = {"step": error.step, "state_step": int(state.step), "reason": str(error)}
        if hosts.is_first():
            write_json(folder / "why.json", {**why, "metrics": texts, "weights": error.weights})

    def check(self, *, wait: bool = False) -> None:
        """Raises UserError when the last save has failed; `wait`: for its end, else only if it has ended."""
        if self._writing is None or not (wait or not self._latest.is_saving_in_progress()):
            return
        step, self._writing = self._writing, None
        with self._naming(step):
            self._latest.wait_until_finished()

    def close(self) -> None:
        """Waits for pending work and lets go of the folders.

        Raises:
          UserError: when the last save has failed.
        """
        try:
            self.check(wait=True)
        finally:
            # after an error of the background there is nothing left to wait for
            with contextlib.suppress(Exception):
                self._latest.close()
            self._best.close()

    @contextlib.contextmanager
    def _naming(self, step: int) -> Iterator[None]:
        """Turns what a write raises into one line, which names what is whole."""
        try:
            yield
        except Exception as error:
            whole = [each for each in all_steps(self._files.checkpoints) if each != step]
            last = f"its checkpoint of step {max(whole)} is whole" if whole else "nothing was saved"
            raise UserError(
                f"cannot save {self.run} at step {step}: {reason(error)}; {last}: mend that, and the same command "
                "goes on from there"
            ) from error


def reason(error: BaseException) -> str:
    """Returns what an error of a write says, by the system's own words where a number is in it."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    number = re.search(r"os_error_code='(\d+)'", str(error))
    return os.strerror(int(number[1])) if number else first_line(error)


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".writable-"):
            pass
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written: {error.strerror or error}; nothing was trained"
        ) from error


def _saved(state: TrainState) -> dict[str, PyTree]:
    """Returns the state's fields that are saved."""
    found = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    for name in OPTIONAL_FIELDS:
        if not found[name]:
            del found[name]
    return jax.device_get(found)
