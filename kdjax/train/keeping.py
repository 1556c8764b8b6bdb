"""What the loop keeps of a run: what is due is saved, and what is not finite is put aside and ends the run."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from kdjax import configs
from kdjax.train import finite, parallel
from kdjax.train.ema import Used
from kdjax.train.owner import Owner
from kdjax.train.rows import Rows
from kdjax.train.saving import Checkpoints, Due
from kdjax.train.setup import Plan
from kdjax.train.state import TrainState, student_variables


class Keeper:
    """Metrics until they are logged, and the checkpoints.

    Attributes:
      rows: the metrics of the steps since the last line of the log.
      due: when to save between validations.
    """

    def __init__(
        self,
        plan: Plan,
        run: Path,
        owner: Owner | None,
        checkpoints: Checkpoints,
        journal: Mapping[str, Any],
        skipped: int,
    ) -> None:
        """Goes on from a checkpoint's `journal` and its count of steps that were left out."""
        self._plan, self._run, self._owner, self._checkpoints = plan, run, owner, checkpoints
        self.rows = Rows(run, plan.devices, journal, skipped)
        self.due = Due(plan.config.train)

    def look(self, replicated: TrainState, step: int, say: Callable[[str], None]) -> None:
        """Fetches the metrics up to a step and says what they tell.

        Raises:
          NotFiniteError: when a loss is not finite; the state is put aside.
          UserError: when a save that was begun has failed.
        """
        try:
            for line in self.rows.fetch(step):
                say(line)
        except finite.NotFiniteError as error:
            state = parallel.unreplicate(replicated, self._plan.devices)
            self._checkpoints.save_broken(state, error)
            raise
        self._checkpoints.check()

    def check(self, state: TrainState) -> None:
        """Looks at the student's variables.

        Raises:
          NotFiniteError: when one is not finite, so that no such state is taken for a good one; it is put aside.
          UserError: when another process has taken the folder.
        """
        if self._owner is not None:
            self._owner.check()
        variables = jax.device_get(student_variables(state))
        try:
            finite.check_weights(self._run, int(state.step), variables)
        except finite.NotFiniteError as error:
            self._checkpoints.save_broken(state, error)
            raise

    def save(self, state: TrainState, *, validated: bool = False) -> None:
        """Begins to save all that is needed to go on; errors as of `Checkpoints.save_latest` and `check`.

        Args:
          state: the state.
          validated: whether the validation of its step is in it; if not, the run begins with it.
        """
        self.check(state)
        config = configs.to_json(self._plan.config)
        journal = {**self.rows.to_json(), "validated": validated}
        self._checkpoints.save_latest(state, config, journal)
        self.due.saved()

    def save_validated(self, state: TrainState, value: float, seen: Used) -> None:
        """Saves a state after its validation, and what was validated where it is among the best.

        The best first: a crash in between repeats the validation and finds them saved.
        """
        self.check(state)
        self._checkpoints.save_best(state, value, seen)
        self.save(state, validated=True)
