"""What the benchmarks run: batches drawn on the device, kdjax's own training steps."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data_pipeline.augment import make_augment, to_float
from kdjax import methods, models
from kdjax.methods import Network
from kdjax.train.optim import make_optimizer, make_schedule
from kdjax.train.parallel import axis_name, compile_step, replicate, shard
from kdjax.train.state import TrainState, create_state, student_variables
from kdjax.train.step import StepParts, make_train_step
from kdjax.types import Array, Batch, PyTree

METHOD_OPTIONS: dict[str, dict[str, Any]] = {
    "supervised": {},
    "kd": {"temperature": 4.0, "cross_entropy_weight": 0.1, "kd_weight": 0.9},
    "add": {
        "frequency_weight": 1.0,
        "view_weight": 16.0,
        "frequency_layers": (0.0, 1.0, 2.0, 0.25),
        "view_layers": (0.0, 0.5, 2.5, 2.0),
        "frequency_gamma": 1.0,
        "view_gamma": 100.0,
        "view_eta": 50.0,
        "margin": 0.012,
        "views": 12,
        "adapter": "none",
        "scale": "sum",
        "coordinates": "index",
        "cost": "squared",
        "both_directions": False,
        "relative_margin": False,
        "mode": "paper",
    },
}
"""The shipped configurations' options again: those need ml_collections (a test compares them)."""

GROUPS = ("student", "classifier", "heads", "rotation")
"""Labels of the parameters that the optimiser is made for."""

STUDENT_QUALITY = "c40"
TEACHER_QUALITY = "raw"


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

    `raw` shows the grid clearly; in `c40` it is weaker, with blocks of noise beside it.
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
        TEACHER_QUALITY: field + 0.06 * grid,
        STUDENT_QUALITY: field + 0.03 * grid + 0.02 * noise,
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


def network(setting: Setting, *, axis: str | None = None) -> Network:
    """Returns the untrained network of a setting, with the normalisation it expects."""
    module = models.create(setting.network, dtype=jnp.dtype(setting.dtype), axis_name=axis)
    mean, std = models.normalization(setting.network)
    return Network(module, tuple(map(float, mean)), tuple(map(float, std)))


def build_method(
    name: str, setting: Setting, *, quality: str = STUDENT_QUALITY
) -> tuple[Network, list[Network], methods.Method]:
    """Returns the student, its teachers (one, or none for `supervised`) and the method itself."""
    student = network(setting, axis=axis_name(setting.devices))
    teachers = [] if name == "supervised" else [network(setting)]
    options = dict(METHOD_OPTIONS[name], qualities=(quality,))
    if teachers:
        options["teacher_quality"] = TEACHER_QUALITY
    return student, teachers, methods.create(name, student, teachers, **options)


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
        quality: str = STUDENT_QUALITY,
        steps: int = 1000,
        learning_rate: float = 1e-3,
    ) -> None:
        """Creates the state and the step, which compiles when it is first called.

        Args:
          method: name in `METHOD_OPTIONS`.
          setting: network, dtype and sizes.
          teacher: variables of the teacher; when None, a copy of the student's first ones.
          quality: what the student sees.
          steps: length of the schedule.
          learning_rate: its peak.
        """
        self.setting = setting
        self.student, teachers, built = build_method(method, setting, quality=quality)
        parts = _parts(built, setting.size, steps)
        self.batch = draw_batch(jax.random.key(2), setting.size, setting.batch)
        state = create_state(
            jax.random.key(0),
            self.student,
            built,
            parts.optimizer,
            float_images(self.batch),
            {"learning_rate": learning_rate},
        )
        # a copy: the step gives the state's own buffers away
        untrained = jax.tree.map(jnp.copy, student_variables(state))
        given = [teacher or untrained for _ in teachers]
        self.state: TrainState = replicate(state, setting.devices)
        self.teachers: PyTree = replicate(given, setting.devices)
        train_step = make_train_step(parts, axis_name(setting.devices))
        self._step = compile_step(train_step, setting.devices, donate=True)

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
        augment=make_augment(0, size, flip=True, random_crop=True),
        student_seed=0,
        steps_per_epoch=steps,
    )
