"""The training step: augmentation, the teachers' targets, the method's gradients, one update."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from kdjax.methods import Inputs, Method, Network
from kdjax.methods.base import BALANCE, normalize
from kdjax.train import ema
from kdjax.train.accumulation import accumulated, weighted_mean
from kdjax.train.optim import CLASSIFIER, FACTOR, ROTATION, Schedule
from kdjax.train.parameters import without
from kdjax.train.ramps import Ramp
from kdjax.train.skipping import skip_broken
from kdjax.train.state import TrainState, student_variables
from kdjax.transforms.balance import Balance
from kdjax.types import Array, Batch, Images, Metrics, PyTree

Augment = Callable[[Array, Images, Array, Array, Array], Images]
"""`(key, uint8 images by quality, index [B], epoch [], step []) -> float images in [0, 1]`, one draw an example."""


class StepParts(NamedTuple):
    """What a training step is composed of; a sweep calls the parts.

    Attributes:
      method: gives targets and gradients.
      optimizer: the partitioned optimiser.
      schedule: factor on the learning rate by step; None: the optimiser has its own rates, any optax optimiser.
      augment: draws each example's flip and crop.
      steps_per_epoch: steps an epoch, for the augmentation's draw.
      warmup_steps: steps in which the classifier alone is trained.
      ramps: factors on traced numbers by step.
      rotation_power: the schedule's factor to this power is that of the rotations.
      balance: gives the terms' factors from the state; None: none.
      accumulation: micro-batches of an update.
      freeze: expressions of the paths of parameters that are never updated: no term's gradient is measured there.
      skips: whether a step that is not finite is left out.
    """

    method: Method
    optimizer: optax.GradientTransformation
    schedule: Schedule | None
    augment: Augment
    steps_per_epoch: int
    warmup_steps: int = 0
    ramps: Mapping[str, Ramp] = MappingProxyType({})
    rotation_power: float = 2.0
    balance: Balance | None = None
    freeze: tuple[str, ...] = ()
    accumulation: int = 1
    skips: bool = False


class Lesson(NamedTuple):
    """What a step teaches, the same for all students that learn from it.

    Attributes:
      batch: the batch with its images augmented.
      targets: what the frozen teachers say of it.
    """

    batch: Batch
    targets: PyTree


def prepare_batch(parts: StepParts, state: TrainState, batch: Batch) -> Batch:
    """Returns the batch with its images augmented, drawn from the epoch and each example's index."""
    return _augmented(parts, state.data_key, state.step, batch)


def _augmented(parts: StepParts, data_key: Array, step: Array, batch: Batch) -> Batch:
    epoch, key = step // parts.steps_per_epoch, jax.random.wrap_key_data(data_key)
    return {**batch, "image": parts.augment(key, batch["image"], batch["index"], epoch, step)}


def method_inputs(
    parts: StepParts,
    state: TrainState,
    targets: PyTree,
    batch: Batch,
    axis_name: str | None,
    *,
    bare: Array | bool = False,
) -> Inputs:
    """Returns what the method's terms and gradients depend on at this step.

    Where `bare` holds, weights are as configured: without their ramps and the balance's factors.
    """
    trained = (state.step >= parts.warmup_steps).astype(jnp.float32)
    numbers: dict[str, Array] = dict(state.hyper)
    for name, ramp in parts.ramps.items():
        numbers[name] *= jnp.where(bare, 1.0, ramp(state.step))
    if parts.balance is not None:
        for name, factor in parts.balance.factors(state.balance).items():
            numbers[f"{BALANCE}{name}"] = jnp.where(bare, 1.0, factor)
    hyper: Mapping[str, Array] = {
        **numbers,
        "backbone_trains": trained,
        "step": state.step,
    }
    rng = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    return Inputs(state.batch_stats, state.aux, targets, batch, hyper, rng, axis_name)


def update(
    parts: StepParts,
    state: TrainState,
    targets: PyTree,
    batch: Batch,
    axis_name: str | None = None,
) -> tuple[TrainState, Metrics]:
    """Returns the state after one update of a prepared batch, and the step's metrics."""
    inputs = method_inputs(parts, state, targets, batch, axis_name)
    grads, batch_stats, aux, metrics = accumulated(
        parts.method, state.params, inputs, parts.accumulation
    )
    grads, metrics = mean_over_axis((grads, metrics), axis_name)
    rates = learning_rates(parts, state)
    optimizer = optax.with_extra_args_support(parts.optimizer)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params, **rates)
    if parts.warmup_steps:
        trains = inputs.hyper["backbone_trains"] > 0
        held = hold_backbone(updates["student"], trains)
        updates = {**updates, "student": held}
        opt_state = hold_moments(opt_state, state.opt_state, trains)
    new_state = state.replace(
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        batch_stats=batch_stats,
        opt_state=opt_state,
        aux=aux,
    )
    if state.ema:
        # an average counts updates: a step that was left out is none
        new_state = new_state.replace(
            ema=ema.moved(
                *(state.ema, student_variables(new_state), new_state.step - state.skipped),
                state.hyper["ema_decay"],
            )
        )
    factors = {name: value for name, value in inputs.hyper.items() if name.startswith(BALANCE)}
    if factors:
        factors["balance_skipped"] = state.balance.skipped
    logged = {name: rate for name, rate in rates.items() if name == "learning_rate"}
    return new_state, {**metrics, **factors, **logged}


def learning_rates(parts: StepParts, state: TrainState) -> dict[str, Any]:
    """Returns the rates of a step, as the optimisers of `optim` take them; none where there is no schedule."""
    if parts.schedule is None:
        return {}
    factor = parts.schedule(state.step)
    rates: dict[str, Any] = {"learning_rate": state.hyper["learning_rate"] * factor}
    scales = [state.hyper[name] for name in sorted(state.hyper) if name.startswith(FACTOR)]
    if scales:
        rates["factors"] = scales
    if ROTATION in state.params:
        power = factor**parts.rotation_power
        rates["rotation_learning_rate"] = state.hyper["rotation_learning_rate"] * power
    return rates


def hold_backbone(updates: PyTree, trains: Array) -> PyTree:
    """Returns the student's updates with all but the classifier's 0 until the backbone trains."""
    return {
        name: value if name == CLASSIFIER else keep_unless(trains, value, _zeros(value))
        for name, value in updates.items()
    }


def hold_moments(new: Any, old: Any, trains: Array) -> Any:
    """Returns the optimiser's state with the backbone's chain at rest until the backbone trains.

    Fed with zeros instead, Adam would have counted the warm-up's steps and start without its bias correction.
    """
    held = keep_unless(trains, new.inner_states["student"], old.inner_states["student"])
    return new._replace(inner_states={**new.inner_states, "student": held})


def keep_unless(condition: Array, new: PyTree, old: PyTree) -> PyTree:
    """Returns `new` where the condition holds, else `old`, leaf by leaf."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def _zeros(tree: PyTree) -> PyTree:
    return jax.tree.map(jnp.zeros_like, tree)


def mean_over_axis(tree: PyTree, axis_name: str | None) -> PyTree:
    """Returns the mean over the device axis; unchanged without one."""
    return tree if axis_name is None else jax.lax.pmean(tree, axis_name)


def make_lesson(parts: StepParts) -> Callable[[Array, Array, PyTree, Batch], Lesson]:
    """Returns `lesson(data_key, step, teachers, batch) -> Lesson`: the part of a step without the student."""

    def lesson(data_key: Array, step: Array, teachers: PyTree, batch: Batch) -> Lesson:
        prepared = _augmented(parts, data_key, step, batch)
        return Lesson(prepared, parts.method.targets(teachers, prepared))

    return lesson


def make_student_step(
    parts: StepParts, axis_name: str | None = None
) -> Callable[[TrainState, Lesson], tuple[TrainState, Metrics]]:
    """Returns `student_step(state, lesson) -> (state, metrics)`: the part of a step that is the student's."""

    def student_step(state: TrainState, lesson: Lesson) -> tuple[TrainState, Metrics]:
        new, metrics = update(parts, state, lesson.targets, lesson.batch, axis_name)
        return skip_broken(state, new, metrics, axis_name) if parts.skips else (new, metrics)

    return student_step


def make_train_step(
    parts: StepParts, axis_name: str | None = None
) -> Callable[[TrainState, PyTree, Batch], tuple[TrainState, Metrics]]:
    """Returns `train_step(state, teachers, batch) -> (state, metrics)`, to be compiled by `compile_step`.

    One program of what the loop runs as two, `make_lesson` and `make_student_step`.
    """
    lesson, student_step = make_lesson(parts), make_student_step(parts, axis_name)

    def train_step(state: TrainState, teachers: PyTree, batch: Batch) -> tuple[TrainState, Metrics]:
        return student_step(state, lesson(state.data_key, state.step, teachers, batch))

    return train_step


def make_gradient_norms(parts: StepParts, axis_name: str | None = None) -> Callable[..., Array]:
    """Returns `norms(state, lesson, selection, bare)`: the gradient norm of the selected loss terms.

    `selection` maps every term to 1 or 0 and is traced: one compilation serves all terms, each called in turn.
    `bare` is as `method_inputs` takes it. The norm is over the student's parameters.
    """

    def gradient_norm(
        state: TrainState,
        lesson: Lesson,
        selection: Mapping[str, Array],
        bare: Array | bool = False,
    ) -> Array:
        inputs = method_inputs(parts, state, lesson.targets, lesson.batch, axis_name, bare=bare)

        def selected(student: PyTree, own: Inputs) -> Array:
            terms, _ = parts.method.terms({**state.params, "student": student}, own)
            # where, not a product: a selected-out infinity must not become NaN
            return sum(
                (jnp.where(selection[name] > 0, value, 0.0) for name, value in terms.items()),
                start=jnp.zeros(()),
            )

        grads = weighted_mean(
            jax.grad(selected), state.params["student"], inputs, parts.accumulation
        )
        grads = mean_over_axis(grads, axis_name)
        return optax.tree.norm(without(grads, parts.freeze, "student"))

    return gradient_norm


def make_predict_step(student: Network, crop: Callable[[Array], Array]) -> Callable[..., Any]:
    """Returns `predict(variables, images) -> (probability of fake [B], pooled features [B, D])`.

    Args:
      student: the network.
      crop: maps stored images to the float images in [0, 1] that the network is evaluated on.
    """

    def predict(variables: PyTree, images: Array) -> tuple[Array, Array]:
        outputs = student.module.apply(variables, normalize(student, crop(images)), train=False)
        probabilities = jax.nn.softmax(outputs.logits.astype(jnp.float32), axis=-1)
        return probabilities[:, 1], outputs.features["pooled"].astype(jnp.float32)

    return predict
