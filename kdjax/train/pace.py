"""How fast a run goes: what is measured between two lines of its log."""

import time
from typing import NamedTuple

import jax

from kdjax.train.utilisation import peak


class Pace(NamedTuple):
    """What is known of the steps beside the student's own part.

    Attributes:
      input_seconds: what reading and sending has taken the loop so far.
      lesson_operations: of a lesson, on one device.
      students: how many learn from it.
    """

    input_seconds: float
    lesson_operations: float = 0.0
    students: int = 1

    def utilisation(self, student_operations: float, steps: int, seconds: float) -> float | None:
        """Returns the share of the device's peak that so many steps have used; None where it is not known.

        `(lesson + students * student) * steps / (seconds * peak)`: of all students of a group together.
        """
        most = peak(jax.local_devices()[0])
        if most is None or not student_operations:
            return None
        done = self.lesson_operations + self.students * student_operations
        return done * steps / (max(seconds, 1e-9) * most)


class Meter:
    """Measures a student's steps from one line of its log to the next."""

    def __init__(self, batch_size: int, step: int) -> None:
        """Begins at a step; `batch_size` images are in each."""
        self._batch_size, self._step, self._input_seconds = batch_size, step, 0.0
        self.restart()

    def restart(self) -> None:
        """Counts from now: what went before was no training."""
        self._clock = time.monotonic()

    def measure(self, step: int, pace: Pace, operations: float) -> dict[str, float]:
        """Returns `seconds`, `input_seconds`, `images_per_second` and, where the device is known, `mfu`.

        Args:
          step: steps done.
          pace: what is known beside the student's own part.
          operations: of the student's own part, on one device.
        """
        count, self._step = step - self._step, step
        seconds = time.monotonic() - self._clock
        waited, self._input_seconds = pace.input_seconds - self._input_seconds, pace.input_seconds
        self.restart()
        found = {
            "seconds": seconds,
            "input_seconds": waited,
            "images_per_second": count * self._batch_size / max(seconds, 1e-9),
        }
        used = pace.utilisation(operations, count, seconds)
        return found if used is None else {**found, "mfu": used}
