"""What the benchmarks run: batches drawn on the device, kdjax's own training steps."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import methods, models
from kdjax.data_pipeline.augment import make_augment, to_float
from kdjax.methods import Network
from kdjax.methods.base import feature_shapes
from kdjax.train.optim import GROUPS, make_optimizer, make_schedule
from kdjax.train.parallel import axis_name, compile_step, replicate, shard
from kdjax.train.state import TrainState, create_state
from kdjax.train.step import StepParts, make_train_step
from kdjax.train.utilisation import operations
from kdjax.types import Array, Batch, PyTree

METHODS = ("supervised", "kd", "ckd", "add", "tokd", "qad")
"""The methods that are timed, at their defaults."""

STUDENT_QUALITY = "c40"
TEACHER_QUALITY = "raw"
ALL_QUALITIES = ("raw", "c23", "c40")
DATASET_SIZE = 1024
"""Images that CKD's bank has room for."""

ROTATION_SIZE = 512
"""Of TOKD's rotations, where the map is that wide."""


class Setting(NamedTuple):
    """What a training step is timed at.

    Attributes:
      network: name of the student's and the teacher's network.
      dtype: dtype they compute in.
      size: side of the images in pixels.
      batch: number of images.
      devices: local devices that share the batch.
    """

    network: str
    dtype: str = "float32"
    size: int = 128
    batch: int = 16
    devices: int = 1


@partial(jax.jit, static_argnums=(1, 2))
def draw_batch(key: Array, size: int, batch: int) -> Batch:
    """Returns a batch of smooth colour fields, half of them with the grid that upsampling leaves.

    `raw` shows the grid clearly; in `c23` and `c40` it is weaker, with blocks of noise beside it.
    """
    field_key, noise_key = jax.random.split(key)
    label = jnp.arange(batch, dtype=jnp.int32) % 2
    coarse = jax.random.uniform(field_key, (batch, 6, 6, 3), minval=0.2, maxval=0.8)
    field = jax.image.resize(coarse, (batch, size, size, 3), "cubic")
    wave = jnp.where(jnp.arange(size) % 4 < 2, 1.0, -1.0)
    grid = label[:, None, None, None] * (wave[:, None] * wave[None, :])[None, :, :, None]
    blocks = jax.random.normal(noise_key, (batch, size // 8, size // 8, 1))
    noise = jnp.repeat(jnp.repeat(blocks, 8, axis=1), 8, axis=2)
    images = {
        "raw": field + 0.06 * grid,
        "c23": field + 0.05 * grid + 0.01 * noise,
        "c40": field + 0.03 * grid + 0.02 * noise,
    }
    index = jnp.arange(batch, dtype=jnp.int32)
    return {
        "image": {
            name: jnp.clip(jnp.round(image * 255), 0, 255).astype(jnp.uint8)
            for name, image in images.items()
        },
        "label": label,
        "index": index,
        "mask": jnp.ones(batch, jnp.float32),
    }


def network(setting: Setting, *, axis: str | None = None, dual: bool = False) -> Network:
    """Returns the untrained network of a setting, or its dual-branch one, with the normalisation it expects."""
    name = models.DUAL + setting.network if dual else setting.network
    module = models.create(name, dtype=jnp.dtype(setting.dtype), axis_name=axis)
    mean, std = models.normalization(name)
    return Network(module, tuple(map(float, mean)), tuple(map(float, std)))


def build_method(
    name: str, setting: Setting, *, qualities: tuple[str, ...] = (), **options: Any
) -> tuple[Network, list[Network], methods.Method]:
    """Returns the student, its teachers (one, or none for those that need none) and the method itself.

    Args:
      name: one of `METHODS`.
      setting: network, dtype and sizes.
      qualities: what the student sees; empty: all for QAD, else c40.
      **options: what differs from the method's defaults.
    """
    student = network(setting, axis=axis_name(setting.devices))
    alone = name in ("supervised", "qad")
    teachers = [] if alone else [network(setting, dual=name == "tokd")]
    built = methods.create(
        name,
        student,
        teachers,
        qualities=qualities or (ALL_QUALITIES if name == "qad" else (STUDENT_QUALITY,)),
        teacher_quality=TEACHER_QUALITY,
        dataset_size=DATASET_SIZE,
        steps_per_epoch=DATASET_SIZE // setting.batch,
        **({"rotation_size": _rotation_size(student)} if name == "tokd" else {}) | options,
    )
    return student, teachers, built


def _rotation_size(student: Network) -> int:
    shapes = feature_shapes(student, {"image": {TEACHER_QUALITY: jnp.zeros((1, 64, 64, 3))}})
    return min(ROTATION_SIZE, shapes["stage4"][-1])


def float_images(batch: Batch) -> Batch:
    """Returns the batch as a method's gradients take it, without augmentation."""
    return {**batch, "image": {name: to_float(image) for name, image in batch["image"].items()}}


class Training:
    """A run of one method: kdjax's state and compiled step, on batches drawn on the device."""

    def __init__(
        self,
        method: str,
        setting: Setting,
        *,
        teacher: PyTree | None = None,
        qualities: tuple[str, ...] = (),
        steps: int = 1000,
        learning_rate: float = 1e-3,
        **options: Any,
    ) -> None:
        """Creates the state and the step, which compiles when it is first called.

        Args:
          method: one of `METHODS`.
          setting: network, dtype and sizes.
          teacher: variables of the teacher; when None, untrained ones.
          qualities: what the student sees; empty: as `build_method` chooses.
          steps: length of the schedule.
          learning_rate: its peak.
          **options: of the method, where they differ from its defaults.
        """
        self.setting = setting
        self.student, teachers, built = build_method(
            method, setting, qualities=qualities, **options
        )
        parts = _parts(built, setting.size, steps)
        self.batch = draw_batch(jax.random.key(2), setting.size, setting.batch)
        state = create_state(
            jax.random.key(0),
            jax.random.key(0),
            self.student,
            built,
            parts.optimizer,
            float_images(self.batch),
            {"learning_rate": learning_rate, "rotation_learning_rate": 0.05},
        )
        image = jnp.zeros((1, setting.size, setting.size, 3))
        given = [
            teacher or jax.jit(partial(each.module.init, train=False))(jax.random.key(1), image)
            for each in teachers
        ]
        self.state: TrainState = replicate(state, setting.devices)
        self.teachers: PyTree = replicate(given, setting.devices)
        self.method = built
        train_step = make_train_step(parts, axis_name(setting.devices))
        self._step = compile_step(train_step, setting.devices, donate=True)

    def lower(self) -> Any:
        """Returns the step as JAX lowers it, for compiling it by hand."""
        shared = shard(self.batch, self.setting.devices)
        return self._step.lower(self.state, self.teachers, shared)

    def step(self, batch: Batch) -> dict[str, Array]:
        """Trains one step and returns its metrics, without waiting for the device."""
        shared = shard(batch, self.setting.devices)
        self.state, metrics = self._step(self.state, self.teachers, shared)
        return metrics

    def advance(self, count: int = 1) -> None:
        """Trains `count` steps on the same batch and waits for the last."""
        for _ in range(count):
            self.step(self.batch)
        jax.block_until_ready(self.state)

    def operations(self) -> float:
        """Returns the floating-point operations of a step, as `utilisation.operations` counts them."""
        return operations(self._step, self.state, self.teachers, self.batch)

    def teach(self) -> Callable[[], Any]:
        """Returns the work of the teachers alone, on one device."""
        targets = jax.jit(self.method.targets)
        batch = float_images(self.batch)
        return lambda: jax.block_until_ready(targets(self.teachers, batch))

    def learn(self, steps: int) -> list[float]:
        """Trains on a new batch every step; returns the loss of each."""
        keys = jax.random.split(jax.random.key(3), steps)
        size, count = self.setting.size, self.setting.batch
        losses = [self.step(draw_batch(key, size, count))["loss"] for key in keys]
        return [float(np.mean(loss)) for loss in jax.device_get(losses)]


def _parts(method: methods.Method, size: int, steps: int) -> StepParts:
    optimizer = make_optimizer(
        "adam",
        groups=GROUPS,
        beta1=0.9,
        beta2=0.999,
        epsilon=1e-8,
        momentum=0.9,
        weight_decay=0.0,
        clip_norm=0.0,
    )
    schedule = make_schedule(
        "one_cycle", total_steps=steps, warmup_fraction=0.05, decay_steps=1, decay_factor=1.0
    )
    return StepParts(
        method=method,
        optimizer=optimizer,
        schedule=schedule,
        augment=make_augment(size, flip=True, random_crop=True),
        steps_per_epoch=steps,
    )
