"""What a configuration is refused for before anything is written: one line, naming the key."""

from collections.abc import Sequence

import jax
from ml_collections import ConfigDict

from kdjax.checks import counted
from kdjax.data_pipeline import made, manifest
from kdjax.data_pipeline.dataset import Dataset
from kdjax.train.augmentation import moves_pixels
from kdjax.train.records import Records
from kdjax.types import LABELS, QUALITIES


def check_records(config: ConfigDict, records: Records) -> None:
    """Raises ValueError when recorded maps would not be aligned with what the student sees."""
    moves = [f"data.{key}=false" for key in ("flip", "random_crop") if config.data[key]]
    moves += ["data.augmentation without what moves pixels"] if moves_pixels(config) else []
    for table in records.tables:
        maps = [name for name, array in table.items() if array.ndim == 4]
        if maps and moves:
            raise ValueError(
                f"teacher.recorded holds maps ({', '.join(maps)}), which do not follow the student's "
                f"augmentation; set {' and '.join(moves)}"
            )


def check_classes(dataset: Dataset) -> None:
    """Raises ValueError unless the training images are real and fake ones, and nothing else."""
    counts = manifest.class_counts(dataset, "train")
    strange = sorted(set(counts) - set(range(len(LABELS))))
    if strange:
        raise ValueError(
            f"data.path={dataset.where}: {counts[strange[0]]} training images have the label {strange[0]}; "
            "0 is real, 1 fake"
        )
    for label, name in enumerate(LABELS):
        if not counts.get(label):
            raise ValueError(
                f"data.path={dataset.where} has no {name} training image; prepare one with both classes"
            )


def device_count(wanted: int) -> int:
    """Returns the number of local devices to use; 0 stands for all.

    Raises:
      ValueError: when there are fewer than wanted.
    """
    present = jax.local_device_count()
    if not 0 <= wanted <= present:
        raise ValueError(f"train.devices={wanted}, but this machine has {present}")
    if wanted not in (0, present) and jax.process_count() > 1:
        raise ValueError(
            f"train.devices={wanted}: of several hosts all devices are used; leave it out"
        )
    return wanted or present


def check_accumulation(config: ConfigDict, devices: int) -> None:
    """Raises ValueError unless the micro-batches divide what each device has of a batch."""
    steps, size = config.accumulation.steps, config.data.batch_size
    if size % (devices * steps):
        raise ValueError(
            f"data.batch_size={size} is not divisible by accumulation.steps={steps} on "
            f"{counted(devices, 'device')}; choose a multiple of {devices * steps}"
        )


def check_qualities(config: ConfigDict, known: Sequence[str] = QUALITIES) -> None:
    """Raises ValueError for a quality that the data set does not have, or an empty list."""
    if not config.student.qualities:
        raise ValueError(f"student.qualities is empty; choose from {', '.join(known)}")
    teaches = config.teacher.runs or config.teacher.weights
    for key, quality in [
        *(("student.qualities", quality) for quality in config.student.qualities),
        *([("teacher.quality", config.teacher.quality)] if teaches else []),
    ]:
        if quality not in known and not made.is_made(quality, known):
            raise ValueError(
                f"{key} names {quality!r}; the data set has: {', '.join(known)}; {made.FORM} is made from {known[0]}"
            )
    if len(set(config.student.qualities)) < len(config.student.qualities):
        raise ValueError(
            f"student.qualities={','.join(config.student.qualities)} names a quality twice"
        )


def rotation_power(
    config: ConfigDict, *, decay_steps: int, total_steps: int, steps_per_epoch: int
) -> float:
    """Returns the power of the rotations' schedule; ValueError when that would not decay faster.

    A run of an epoch or less is a trial, in which nothing has to decay.
    """
    block = config.method.to_dict()
    parts = block.get("parts", (block["name"],))
    rotates = "tokd" in parts and block.get("tokd", block)["rotation"] != "none"
    power, schedule = config.optimizer.rotation_power, config.optimizer.schedule
    factor = config.optimizer.decay_factor
    shown, decays = schedule, schedule not in ("constant", "optax:constant_schedule")
    if schedule == "step":
        decays = factor < 1 and (decay_steps < total_steps or total_steps <= steps_per_epoch)
        shown = f"step (times {factor} every {decay_steps} steps of {total_steps})"
    if rotates and (power <= 1 or not decays):
        raise ValueError(
            f"optimizer.rotation_power={power} with optimizer.schedule={shown}: the rotations' learning "
            "rate must decay faster than the student's; give a power above 1 and a schedule that decays "
            "within the run, by optimizer.decay_epochs or optimizer.schedule=one_cycle"
        )
    return power
