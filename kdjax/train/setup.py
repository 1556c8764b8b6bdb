"""From a configuration to what the loop runs: teachers, method, optimiser, compiled functions."""

from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from kdjax import configs, methods
from kdjax.checks import UserError
from kdjax.data_pipeline import augment, made
from kdjax.data_pipeline.dataset import Dataset
from kdjax.data_pipeline.loader import steps_per_epoch
from kdjax.data_pipeline.sampling import Group
from kdjax.extensions import NOTHING, Extensions, check_extensions
from kdjax.methods import Method, Network, Teacher
from kdjax.train import checkpoint, config_checks, determinism, optim, parallel, parameters
from kdjax.train.accumulation import check_exact
from kdjax.train.augmentation import make_augment
from kdjax.train.balancing import make_balance
from kdjax.train.calls import check_direction, own_methods, own_optimizers, own_schedules
from kdjax.train.data import naming_data, open_data
from kdjax.train.examples import (
    kept_indices,
    training_facts,
    training_groups,
    training_indices,
)
from kdjax.train.networks import normalising, own_options, running, student_network
from kdjax.train.pretrained import load_teachers
from kdjax.train.ramps import make_ramps
from kdjax.train.records import Records, read_records
from kdjax.train.step import Augment, StepParts
from kdjax.types import PyTree


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
      teachers: the frozen networks (of runs, then of weight files), then the recorded ones.
      teacher_variables: their weights, in the same order; `()` of the recorded ones.
      method: what is computed in a step.
      parts: the step's parts.
      records: what the recorded teachers say, by index.
      indices: the training images in use; None for all.
      groups: how often which of them are drawn; None: each once an epoch.
      extensions: the user's own.
      validated: the validation images in use; None for all.
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
    groups: list[Group] | None = None
    extensions: Extensions = NOTHING
    validated: np.ndarray | None = None

    @property
    def seen(self) -> tuple[str, ...]:
        """The qualities that networks see: the student's, and the teachers' where there are any."""
        return seen_qualities(self.config, self.teachers)

    @property
    def qualities(self) -> tuple[str, ...]:
        """The stored qualities that have to be read for that."""
        return made.needed(self.seen, self.dataset.qualities)

    def inputs(self) -> dict[str, Any]:
        """What tells the data set and the teachers' weights from others, and what of it is trained on, as JSON."""
        trees = [tree for tree in self.teacher_variables if tree != ()]
        return {
            "dataset": self.dataset.identity(),
            "training": training_facts(self.dataset, self.indices),
            "teachers": [checkpoint.fingerprint(tree) for tree in (*trees, *self.records.tables)],
        }


def seen_qualities(config: ConfigDict, teachers: tuple[Teacher, ...]) -> tuple[str, ...]:
    """Returns the qualities that the student and those teachers that are networks see."""
    networks = any(isinstance(teacher, Network) for teacher in teachers)
    teacher = (config.teacher.quality,) if networks else ()
    return tuple(dict.fromkeys((*config.student.qualities, *teacher)))


def make_plan(config: ConfigDict, extensions: Extensions = NOTHING) -> Plan:
    """Checks a configuration against the data set, the machine and the teachers, and builds the run.

    Args:
      config: the configuration, as a file, a program or the command line made it.
      extensions: the user's own.

    Raises:
      UserError: naming the key that does not fit, before anything is written.
    """
    check_extensions(extensions)
    config = configs.checked(config, extensions)
    if config.train.deterministic:
        started = determinism.has_started()
        platform = jax.default_backend() if started else ""
        determinism.ask(True, started=started, platform=platform)
    dataset = open_data(config, extensions)
    try:
        return _make_plan(config, dataset, extensions)
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from error


def _make_plan(config: ConfigDict, dataset: Dataset, extensions: Extensions) -> Plan:
    config_checks.check_qualities(config, dataset.qualities)
    devices = config_checks.device_count(config.train.devices)
    parallel.check_batch_size(config.data.batch_size, devices, jax.process_count())
    config_checks.check_accumulation(config, devices * jax.process_count())
    image_size = config.data.image_size or dataset.image_size
    augment.check_crop(dataset.image_size, image_size)
    with naming_data(config, extensions):
        indices = training_indices(config, dataset)
        per_epoch = steps_per_epoch(dataset, config.data.batch_size, indices=indices)
        split_size = dataset.sizes.get("train", 0)
    if not per_epoch:
        part = f"data.subset={config.data.subset}" if config.data.subset else "the training split"
        raise ValueError(
            f"data.batch_size={config.data.batch_size} is larger than {part} of "
            f"{dataset.where} ({split_size if indices is None else len(indices)} images)"
        )
    total_steps = config.train.steps or max(1, round(config.train.epochs * per_epoch))
    if not dataset.sizes.get("validation"):
        raise ValueError(f"{dataset.where} has no validation images; prepare more identities")
    with naming_data(config, extensions):
        validated = kept_indices(config, dataset, "validation")
    there = dataset.sizes["validation"] if validated is None else len(validated)
    looked_at = min(config.evaluation.validation_limit or np.inf, there)
    if looked_at < jax.process_count():
        raise ValueError(
            f"{looked_at} validation images of {dataset.where} are looked at, fewer than there are hosts"
        )
    with naming_data(config, extensions):
        config_checks.check_classes(dataset)
        groups = training_groups(config, dataset, indices)
    for run in config.teacher.runs:
        try:
            checkpoint.check_finished(run)
        except UserError as error:
            raise UserError(f"teacher.runs: {error}") from error
    student = student_network(
        config, parallel.axis_name(devices), extensions, image_size=image_size
    )
    student = running(config, student, image_size, extensions)
    loaded = [
        checkpoint.load_best(run, dtype=config.teacher.dtype, extensions=extensions)
        for run in config.teacher.runs
    ]
    loaded_files = load_teachers(config, image_size)
    records = read_records(config.teacher.recorded, len(loaded) + len(loaded_files))
    wanted = np.arange(split_size) if indices is None else indices
    records.check(wanted, config.teacher.recorded)
    config_checks.check_records(config, records)
    recorded = records.teachers()
    trained = [*(pair[:2] for pair in loaded), *loaded_files]
    teachers: tuple[Teacher, ...] = (*(network for network, _ in trained), *recorded)
    method = make_method(
        config,
        student,
        teachers,
        dataset_size=len(wanted),
        indices=indices,
        steps_per_epoch=per_epoch,
        extensions=extensions,
    )
    check_exact(
        method,
        config.accumulation.steps,
        normalised=normalising(student, image_size) if config.accumulation.steps > 1 else "",
        batch_norm=config.accumulation.batch_norm,
    )
    drawn = make_augment(
        config, image_size, extensions, seen_qualities(config, teachers), dataset.qualities
    )
    parts = make_parts(config, method, drawn, total_steps, per_epoch, extensions)
    variables = (*(variables for _, variables in trained), *(() for _ in recorded))
    return Plan(
        config, dataset, devices, image_size, total_steps, per_epoch,
        student, teachers, variables, method, parts, records, indices, groups, extensions, validated,
    )  # fmt: skip


def make_method(
    config: ConfigDict,
    student: Network,
    teachers: tuple[Teacher, ...],
    *,
    dataset_size: int = 0,
    indices: np.ndarray | None = None,
    steps_per_epoch: int = 1,
    extensions: Extensions = NOTHING,
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
        indices=indices,
        steps_per_epoch=steps_per_epoch,
        own=own_methods(extensions),
        **options,
    )


def make_parts(
    config: ConfigDict,
    method: Method,
    augmented: Augment,
    total_steps: int,
    per_epoch: int,
    extensions: Extensions = NOTHING,
) -> StepParts:
    """Returns optimiser and schedule of a configuration with the method and the augmentation."""
    options = config.optimizer
    decay_steps = max(1, round(options.decay_epochs * per_epoch))
    schedule = optim.make_schedule(
        options.schedule,
        total_steps=total_steps,
        warmup_fraction=options.warmup_fraction,
        decay_steps=decay_steps,
        decay_factor=options.decay_factor,
        own=own_schedules(extensions),
        own_options=own_options(config, options.schedule),
    )
    head = f"{parameters.STUDENT}/{optim.CLASSIFIER}/kernel"
    if config.train.head_epochs and parameters.matches(head, options.freeze):
        raise ValueError(
            f"train.head_epochs={config.train.head_epochs} trains the classifier alone, which optimizer.freeze "
            "freezes; set one of them only"
        )
    if options.name in extensions.optimizers:
        check_direction(options.name, extensions, own_options(config, options.name))
    optimizer = optim.make_optimizer(
        options.name,
        groups=optim.GROUPS,
        beta1=options.beta1,
        beta2=options.beta2,
        epsilon=options.epsilon,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
        clip_norm=options.clip_norm,
        decay_mask=options.decay_mask,
        scaled=[pattern for pattern, _ in parameters.factors(options.groups)],
        freeze=options.freeze,
        own=own_optimizers(extensions),
        own_options=own_options(config, options.name),
    )
    return StepParts(
        method=method,
        optimizer=optimizer,
        schedule=schedule,
        augment=augmented,
        steps_per_epoch=per_epoch,
        warmup_steps=round(config.train.head_epochs * per_epoch),
        ramps=make_ramps(config.train.weight_schedules, method.hyper, total_steps),
        rotation_power=config_checks.rotation_power(
            config,
            decay_steps=decay_steps,
            total_steps=total_steps,
            steps_per_epoch=per_epoch,
        ),
        balance=make_balance(config, method),
        freeze=tuple(options.freeze),
        accumulation=config.accumulation.steps,
        skips=config.train.nonfinite == "skip",
    )
