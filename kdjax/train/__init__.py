"""Training: pure steps, one loop, checkpoints, sweeps; each name is imported when it is used."""

from typing import TYPE_CHECKING

from kdjax.lazy import lazily

if TYPE_CHECKING:
    from kdjax.train.calibration import calibrate_run as calibrate_run
    from kdjax.train.evaluation import evaluate_run as evaluate_run
    from kdjax.train.loop import Member as Member
    from kdjax.train.loop import train as train
    from kdjax.train.loop import train_group as train_group
    from kdjax.train.optim import make_optimizer as make_optimizer
    from kdjax.train.optim import make_schedule as make_schedule
    from kdjax.train.optim import with_given_rate as with_given_rate
    from kdjax.train.predict import make_predict as make_predict
    from kdjax.train.protocols import evaluate_protocol as evaluate_protocol
    from kdjax.train.state import TrainState as TrainState
    from kdjax.train.state import create_state as create_state
    from kdjax.train.step import Lesson as Lesson
    from kdjax.train.step import StepParts as StepParts
    from kdjax.train.step import make_lesson as make_lesson
    from kdjax.train.step import make_student_step as make_student_step
    from kdjax.train.step import make_train_step as make_train_step

PLACES = {
    "Lesson": "step",
    "Member": "loop",
    "StepParts": "step",
    "TrainState": "state",
    "calibrate_run": "calibration",
    "create_state": "state",
    "evaluate_protocol": "protocols",
    "evaluate_run": "evaluation",
    "make_lesson": "step",
    "make_optimizer": "optim",
    "make_predict": "predict",
    "make_schedule": "optim",
    "make_student_step": "step",
    "make_train_step": "step",
    "train": "loop",
    "train_group": "loop",
    "with_given_rate": "optim",
}
"""The module of each public name."""

__all__ = list(PLACES)

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, PLACES)
