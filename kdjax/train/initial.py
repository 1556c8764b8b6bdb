"""Where a run starts: its first state, and whether there can be one."""

import contextlib
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from kdjax.checks import UserError
from kdjax.data_pipeline.dataset import IDS
from kdjax.extensions import NOTHING, Extensions
from kdjax.train.calls import calling
from kdjax.train.networks import variable_shapes
from kdjax.train.optim import FACTOR
from kdjax.train.parameters import factors
from kdjax.train.pretrained import check_student, load_student
from kdjax.train.setup import Plan, make_plan
from kdjax.train.state import TrainState, begin_average, create_state
from kdjax.types import Batch


def blank_batch(plan: Plan) -> Batch:
    """Returns zeros where the data have a training batch: the same names, shapes and dtypes."""
    count, side = plan.config.data.batch_size, plan.dataset.image_size
    chosen = np.zeros(1, np.int32) if plan.indices is None else plan.indices
    return {
        **{name: np.zeros(count, np.int32) for name in IDS},
        "index": np.resize(chosen, count).astype(np.int32),
        "mask": np.ones(count, np.float32),
        "image": {
            quality: np.zeros((count, side, side, 3), plan.dataset.image_dtype)
            for quality in plan.qualities
        },
    }


def check_plan(config: ConfigDict, extensions: Extensions = NOTHING) -> None:
    """Raises UserError when the method, its heads or the student's weights do not fit; writes nothing."""
    plan = make_plan(config, extensions)
    check_student(plan.config, plan.student, plan.image_size)
    try:
        heads, _ = jax.eval_shape(plan.method.init, jax.random.key(0), _example(plan))
        chosen = plan.config.optimizer
        if chosen.decay_mask or chosen.groups or chosen.freeze:
            student = variable_shapes(plan.student, plan.image_size)["params"]
            jax.eval_shape(plan.parts.optimizer.init, {"student": student, **heads})
    except ValueError as error:
        raise UserError(str(error)) from error


def initial_state(plan: Plan, *, pretrained: bool = True) -> TrainState:
    """Returns the state before the first step, from the student's seed and its pretrained weights.

    Args:
      plan: the run.
      pretrained: whether `student.weights` is read; a run that goes on has its weights already.

    Raises:
      UserError: when the networks cannot be built, or the weights do not fit.
    """
    seed = plan.config.seed
    options = plan.config.optimizer
    hyper = {
        "learning_rate": options.learning_rate,
        "rotation_learning_rate": options.rotation_learning_rate,
    }
    for number, (_, factor) in enumerate(factors(options.groups)):
        hyper[f"{FACTOR}{number:04}"] = factor
    balance, decay = plan.parts.balance, plan.config.ema.decay
    if decay:
        hyper["ema_decay"] = decay
    try:
        with _naming_network(plan):
            state = create_state(
                jax.random.key(seed.student),
                jax.random.key(seed.data),
                plan.student,
                plan.method,
                plan.parts.optimizer,
                _example(plan),
                hyper,
                () if balance is None else balance.init(),
                ema=bool(decay),
            )
    except ValueError as error:
        raise UserError(str(error)) from error
    except NotImplementedError as error:
        # more parameters than a random draw has places for
        raise UserError(f"the networks are too large (student.width): {error}") from error
    if not pretrained:
        return state
    state = load_student(plan.config, state)
    return begin_average(state) if decay else state


def _naming_network(plan: Plan) -> contextlib.AbstractContextManager[Any]:
    """Returns a context that names the user's own network, where the student is one, in errors that name nothing."""
    name, own = plan.config.student.network, plan.extensions
    if name not in own.networks:
        return contextlib.nullcontext()
    return calling("network", name, own, passing=(ValueError, NotImplementedError))


def _example(plan: Plan) -> Batch:
    """Returns two images in every quality, for what only asks for shapes."""
    shape = (2, plan.image_size, plan.image_size, 3)
    return {
        "image": {quality: np.zeros(shape, np.float32) for quality in plan.seen},
        "label": np.array([0, 1], np.int32),
        "mask": np.ones(2, np.float32),
    }
