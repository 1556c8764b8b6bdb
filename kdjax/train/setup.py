"""From a configuration to what the loop runs: teachers, method, optimiser, compiled functions."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

import configs
from data_pipeline import augment
from data_pipeline.loader import Dataset, open_dataset, read_labels, steps_per_epoch
from data_pipeline.subsets import choose_subset
from kdjax import methods
from kdjax.checks import UserError, check_choice, check_non_negative, check_positive
from kdjax.methods import Method, Network, Teacher
from kdjax.train import checkpoint, optim, parallel
from kdjax.train.ramps import make_ramps
from kdjax.train.records import Records, read_records
from kdjax.train.state import TrainState, create_state
from kdjax.train.step import StepParts, make_predict_step
from kdjax.types import QUALITIES, Batch, PyTree

SELECTIONS = ("accuracy", "auc", "recall_at_1", "video_auc")
"""Validation metrics by which the best weights can be chosen: higher is better."""


class Plan(NamedTuple):
    """Everything about a run that does not change while it trains.

    Attributes:
      config: the run's configuration.
      dataset: the prepared data set.
      devices: local devices in use.
      image_size: side of the crop in pixels.
      total_steps: length of the run.
      steps_per_epoch: whole batches in the training split.
      student: the network, with batch statistics over the device axis.
      teachers: the frozen networks, then the recorded ones.
      teacher_variables: their weights, in the same order; `()` of the recorded ones.
      method: what is computed in a step.
      parts: the step's parts.
      records: what the recorded teachers say, by index.
      indices: the training images in use; None for all.
    """

    config: ConfigDict
    dataset: Dataset
    devices: int
    image_size: int
    total_steps: int
    steps_per_epoch: int
    student: Network
    teachers: tuple[Teacher, ...]
    teacher_variables: tuple[PyTree, ...]
    method: Method
    parts: StepParts
    records: Records
    indices: np.ndarray | None

    @property
    def qualities(self) -> tuple[str, ...]:
        """The qualities that have to be read: the student's, and the teachers' where there are any."""
        networks = any(isinstance(teacher, Network) for teacher in self.teachers)
        teacher = (self.config.teacher.quality,) if networks else ()
        return tuple(dict.fromkeys((*self.config.student.qualities, *teacher)))

    def inputs(self) -> dict[str, Any]:
        """What tells the data set and the teachers' weights from others, as JSON."""
        trees = [tree for tree in self.teacher_variables if tree != ()]
        return {
            "dataset": self.dataset.identity(),
            "teachers": [checkpoint.fingerprint(tree) for tree in (*trees, *self.records.tables)],
        }


def make_plan(config: ConfigDict) -> Plan:
    """Checks a configuration against the data set, the machine and the teachers, and builds the run.

    Raises:
      UserError: naming the key that does not fit, before anything is written.
    """
    dataset = open_dataset(config.data.path)
    try:
        return _make_plan(config, dataset)
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from error


def _make_plan(config: ConfigDict, dataset: Dataset) -> Plan:
    if jax.process_count() > 1:
        raise ValueError("training over several hosts is not supported yet; start one process")
    check_lengths(config)
    check_qualities(config)
    devices = device_count(config.train.devices)
    parallel.check_batch_size(config.data.batch_size, devices, jax.process_count())
    image_size = config.data.image_size or dataset.image_size
    augment.check_crop(dataset.image_size, image_size)
    indices = training_indices(config, dataset)
    per_epoch = steps_per_epoch(dataset, config.data.batch_size, indices=indices)
    split_size = dataset.sizes.get("train", 0)
    if not per_epoch:
        part = f"data.subset={config.data.subset}" if config.data.subset else "the training split"
        raise ValueError(
            f"data.batch_size={config.data.batch_size} is larger than {part} of "
            f"{dataset.path} ({config.data.subset or split_size} images)"
        )
    total_steps = config.train.steps or max(1, round(config.train.epochs * per_epoch))
    if not dataset.sizes.get("validation"):
        raise ValueError(f"{dataset.path} has no validation images; prepare more identities")
    for run in config.teacher.runs:
        checkpoint.check_finished(run)
    student = checkpoint.student_network(config, parallel.axis_name(devices))
    loaded = [checkpoint.load_best(run, dtype=config.teacher.dtype) for run in config.teacher.runs]
    records = read_records(config.teacher.recorded, len(loaded))
    wanted = np.arange(split_size) if indices is None else indices
    records.check(wanted, config.teacher.recorded)
    check_records(config, records)
    recorded = records.teachers()
    teachers = (*(network for network, _, _ in loaded), *recorded)
    method = make_method(
        config,
        student,
        teachers,
        dataset_size=len(wanted),
        split_size=split_size,
        steps_per_epoch=per_epoch,
    )
    parts = make_parts(config, method, image_size, total_steps, per_epoch)
    variables = (*(variables for _, variables, _ in loaded), *(() for _ in recorded))
    return Plan(
        config, dataset, devices, image_size, total_steps, per_epoch,
        student, teachers, variables, method, parts, records, indices,
    )  # fmt: skip


def training_indices(config: ConfigDict, dataset: Dataset) -> np.ndarray | None:
    """Returns the places of the training images in use, or None for all of them."""
    if not config.data.subset:
        return None
    found = read_labels(dataset, "train")
    return choose_subset(
        found["label"],
        found["identity"],
        size=config.data.subset,
        seed=config.data.subset_seed,
    )


def check_records(config: ConfigDict, records: Records) -> None:
    """Raises ValueError when recorded maps would not be aligned with what the student sees."""
    moves = [key for key in ("flip", "random_crop") if config.data[key]]
    for table in records.tables:
        maps = [name for name, array in table.items() if array.ndim == 4]
        if maps and moves:
            raise ValueError(
                f"teacher.recorded holds maps ({', '.join(maps)}), which do not follow the student's "
                f"augmentation; set {' and '.join(f'data.{key}=false' for key in moves)}"
            )


def device_count(wanted: int) -> int:
    """Returns the number of local devices to use; 0 stands for all.

    Raises:
      ValueError: when there are fewer than wanted.
    """
    present = jax.local_device_count()
    if not 0 <= wanted <= present:
        raise ValueError(f"train.devices={wanted}, but this machine has {present}")
    return wanted or present


def check_lengths(config: ConfigDict) -> None:
    """Raises ValueError for a number of steps, epochs or images that makes no run."""
    values = dict(configs.flatten(config))
    for key, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{key}={value} is not finite")
        if isinstance(value, int) and abs(value) >= 2**31:
            raise ValueError(f"{key}={value} is too large; less than 2**31 is allowed")
    check_choice("train.selection", config.train.selection, SELECTIONS)
    for key in ("data.batch_size", "evaluation.batch_size", "student.width"):
        check_positive(key, values[key])
    for key in (
        *("train.epochs", "train.steps", "train.validations_per_epoch", "train.patience"),
        *("train.head_epochs", "train.gradient_ratio_every", "train.log_every"),
        *("optimizer.rotation_learning_rate", "data.image_size", "data.threads", "data.workers", "data.read_ahead"),
        *("evaluation.validation_limit", "optimizer.learning_rate", "optimizer.momentum"),
        *("seed.data", "seed.student", "optimizer.decay_epochs", "optimizer.decay_factor"),
    ):
        check_non_negative(key, values[key])
    for key in ("optimizer.beta1", "optimizer.beta2"):
        if not 0 <= values[key] < 1:
            raise ValueError(f"{key}={values[key]} must be in [0, 1)")
    if not (config.train.steps or config.train.epochs):
        raise ValueError("train.steps and train.epochs are both 0; set one of them")


def check_qualities(config: ConfigDict) -> None:
    """Raises ValueError for a quality that no data set has, or an empty list."""
    if not config.student.qualities:
        raise ValueError(f"student.qualities is empty; choose from {', '.join(QUALITIES)}")
    for key, quality in [
        *(("student.qualities", quality) for quality in config.student.qualities),
        ("teacher.quality", config.teacher.quality),
    ]:
        if quality not in QUALITIES:
            raise ValueError(f"{key} names {quality!r}; known: {', '.join(QUALITIES)}")


def make_method(
    config: ConfigDict,
    student: Network,
    teachers: tuple[Teacher, ...],
    *,
    dataset_size: int = 0,
    split_size: int = 0,
    steps_per_epoch: int = 1,
) -> Method:
    """Returns the method of a configuration, built with its options and what it has to know of the data."""
    options = config.method.to_dict()
    return methods.create(
        options.pop("name"),
        student,
        teachers,
        qualities=tuple(config.student.qualities),
        teacher_quality=config.teacher.quality,
        dataset_size=dataset_size,
        split_size=split_size,
        steps_per_epoch=steps_per_epoch,
        **options,
    )


def make_parts(
    config: ConfigDict, method: Method, image_size: int, total_steps: int, per_epoch: int
) -> StepParts:
    """Returns optimiser, schedule and augmentation of a configuration with the method."""
    options = config.optimizer
    schedule = optim.make_schedule(
        options.schedule,
        total_steps=total_steps,
        warmup_fraction=options.warmup_fraction,
        decay_steps=max(1, round(options.decay_epochs * per_epoch)),
        decay_factor=options.decay_factor,
    )
    optimizer = optim.make_optimizer(
        options.name,
        groups=optim.GROUPS,
        beta1=options.beta1,
        beta2=options.beta2,
        epsilon=options.epsilon,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
        clip_norm=options.clip_norm,
    )
    draw = augment.make_augment(
        config.seed.data, image_size, flip=config.data.flip, random_crop=config.data.random_crop
    )
    return StepParts(
        method=method,
        optimizer=optimizer,
        schedule=schedule,
        augment=draw,
        student_seed=config.seed.student,
        steps_per_epoch=per_epoch,
        warmup_steps=round(config.train.head_epochs * per_epoch),
        ramps=make_ramps(config.train.weight_schedules, method.hyper, total_steps),
        rotation_power=_rotation_power(config),
    )


def _rotation_power(config: ConfigDict) -> float:
    """Returns the power of the rotations' schedule; ValueError when that would not decay faster."""
    block = config.method.to_dict()
    parts = block.get("parts", (block["name"],))
    rotates = "tokd" in parts and block.get("tokd", block)["rotation"] != "none"
    power, schedule = config.optimizer.rotation_power, config.optimizer.schedule
    if rotates and (power <= 1 or schedule == "constant"):
        raise ValueError(
            f"optimizer.rotation_power={power} with optimizer.schedule={schedule}: the rotations' learning "
            "rate must decay faster than the student's; give a power above 1 and a schedule that decays"
        )
    return power


def initial_state(plan: Plan) -> TrainState:
    """Returns the state before the first step, from the student's seed."""
    shape = (2, plan.image_size, plan.image_size, 3)
    example: Batch = {
        "image": {quality: np.zeros(shape, np.float32) for quality in plan.qualities},
        "label": np.array([0, 1], np.int32),
        "mask": np.ones(2, np.float32),
    }
    rng = jax.random.key(plan.config.seed.student)
    options = plan.config.optimizer
    hyper = {
        "learning_rate": options.learning_rate,
        "rotation_learning_rate": options.rotation_learning_rate,
    }
    try:
        return create_state(rng, plan.student, plan.method, plan.parts.optimizer, example, hyper)
    except ValueError as error:
        raise UserError(str(error)) from error


def make_predict(
    network: Network, variables: PyTree, image_size: int, devices: int = 1
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Returns the evaluator's `predict(uint8 images) -> (probability of fake, pooled features)`."""
    compiled = compile_predict(network, image_size, devices)
    return lambda images: compiled(variables, images)


def compile_predict(network: Network, image_size: int, devices: int = 1) -> Callable[..., Any]:
    """Returns `predict(variables, images)`, compiled once; variables as on one device, or replicated."""
    step = make_predict_step(
        network, lambda images: augment.to_float(augment.center_crop(images, image_size))
    )
    compiled = parallel.compile_step(step, devices)

    def predict(variables: PyTree, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scores, pooled = compiled(variables, parallel.shard(images, devices))
        count = len(images)
        return np.asarray(scores).reshape(count), np.asarray(pooled).reshape((count, -1))

    return predict
