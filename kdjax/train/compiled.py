"""The programs that train a student: compiled once for a run, or for a group whose students differ in numbers only."""

import jax

from kdjax.train import parallel
from kdjax.train.balancing import Gradients
from kdjax.train.lessons import Lessons
from kdjax.train.predict import compile_predict
from kdjax.train.setup import Plan
from kdjax.train.state import TrainState
from kdjax.train.step import make_student_step
from kdjax.types import Batch


class Compiled:
    """What a trainer runs on the devices.

    Attributes:
      student_step: `(state, lesson) -> (state, metrics)`; the state is donated.
      predict: `(variables, images) -> (probabilities, features)`.
      gradients: measures the terms' gradients.
      operations: floating-point operations of a student's step, on one device; None before the first.
    """

    operations: float | None = None

    def __init__(self, plan: Plan, lessons: Lessons) -> None:
        """Compiles nothing yet: each program is when it first runs."""
        self._devices, self._lessons = plan.devices, lessons
        axis = parallel.axis_name(plan.devices)
        self.student_step = parallel.compile_step(
            make_student_step(plan.parts, axis), plan.devices, donate=True
        )
        self.predict = compile_predict(plan.student, plan.image_size, plan.devices)
        self.gradients = Gradients(plan.parts, plan.config.train, plan.devices)

    def check(self, state: TrainState, batch: Batch) -> None:
        """Traces a step of a batch; ValueError or TypeError where it cannot be built."""
        state, lessons = parallel.replicate(state, self._devices), self._lessons
        sharded = parallel.shard(batch, self._devices)
        given = (state.data_key, state.step, lessons.teachers, sharded)
        jax.eval_shape(self.student_step, state, jax.eval_shape(lessons.make, *given))
