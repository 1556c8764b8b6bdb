"""Every method on one tiny network, as the common suite runs it."""

import dataclasses
import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from kdjax import methods
from kdjax.data_pipeline.augment import make_augment
from kdjax.methods import Inputs, Network
from kdjax.methods.base import apply_student
from kdjax.models.stochastic import dropout, example_keys
from kdjax.train import optim, parallel
from kdjax.train.accumulation import accumulated
from kdjax.train.state import create_state
from kdjax.train.step import StepParts, make_lesson, make_train_step, method_inputs, prepare_batch
from kdjax.types import Outputs

SIZE = 32
STORED = 36
BATCH = 8

ALL = ("raw", "c23", "c40")


class Case(NamedTuple):
    """How the suite runs a method: what differs from its defaults."""

    options: Mapping[str, Any] = MappingProxyType({})
    qualities: tuple[str, ...] = ("c40",)
    teachers: int = 1


TINY_CKD = {"negatives": 6, "width": 8, "bank_size": 24}
TINY_TOKD = {"width": 8, "rotation_size": 6}

CASES: dict[str, Case] = {
    "supervised": Case(teachers=0),
    "kd": Case(),
    "ckd": Case(TINY_CKD),
    "add": Case({"views": 4}),
    "tokd": Case(TINY_TOKD),
    "qad": Case({"gamma": 0.02, "collaborative_weight": 0.5}, ALL, teachers=0),
    "baselines": Case(),
    "combine": Case({"parts": ("qad", "kd")}, ("raw", "c40")),
}
"""Every method once, with what makes it small."""


class TinyNetwork(nn.Module):
    """One strided convolution a stage: all that a method looks at, and quick to compile."""

    dtype: Any = jnp.float32
    axis_name: str | None = None
    dual: bool = False
    normalised: bool = True
    """Whether the batch is normalised; else what it draws for each example is multiplied with it."""

    @nn.compact
    def __call__(self, images, train=False):
        double = jnp.promote_types(self.dtype, jnp.float32)
        x, features = images.astype(self.dtype), {}
        for stage in range(1, 5):
            x = nn.Conv(
                *(4 * stage, (3, 3), (2, 2)),
                use_bias=stage > 1,
                dtype=self.dtype,
                param_dtype=double,
            )(x)
            if stage == 1 and not self.normalised:
                keys = example_keys(self, len(images)) if train else None
                x = dropout(x, 0.3, keys, 0)
            elif stage == 1:
                # once: a second one would take out what the first one's bias puts in, and leave
                # a gradient made of rounding
                x = nn.BatchNorm(
                    not train,
                    dtype=self.dtype,
                    param_dtype=double,
                    axis_name=self.axis_name,
                    use_fast_variance=False,
                )(x)
            # smooth: where a rectifier sits on its kink, rounding decides the gradient
            x = nn.softplus(x)
            features[f"stage{stage}"] = x
        if self.dual:
            features |= {"rgb": x, "frequency": jnp.concatenate([x, -0.5 * x**2], axis=-1)}
        features["pooled"] = jnp.mean(x.astype(double), axis=(1, 2))
        head = nn.Dense(2, dtype=double, param_dtype=double, name="classifier")
        return Outputs(head(features["pooled"]), features)


@dataclasses.dataclass(frozen=True, eq=False)
class Bench:
    """One method, built, with a batch to train on."""

    name: str
    student: Network
    qualities: tuple[str, ...]
    method: methods.Method
    parts: StepParts
    state: Any
    teachers: Any
    batch: Any
    axis_name: str | None
    devices: int

    @functools.cache  # noqa: B019 benches live as long as the session
    def compiled(self):
        return parallel.compile_step(
            make_train_step(self.parts, self.axis_name), self.devices, donate=True
        )

    @functools.cache  # noqa: B019 benches live as long as the session
    def _lesson(self):
        return parallel.compile_step(make_lesson(self.parts), self.devices)

    def lesson(self, batch, state=None):
        """Returns what a step teaches of a batch `[B, ...]`, as it lies on the devices."""
        state = parallel.replicate(self.state, self.devices) if state is None else state
        teachers = parallel.replicate(self.teachers, self.devices)
        batch = parallel.shard(batch, self.devices)
        return self._lesson()(state.data_key, state.step, teachers, batch)

    def outputs(self, batch):
        """Returns the student's outputs in training mode on a prepared batch, and its batch statistics."""
        inputs = Inputs(self.state.batch_stats, (), (), batch, {}, jax.random.key(0))
        return jax.jit(apply_student, static_argnums=(0, 3))(
            self.student, self.state.params, inputs, self.qualities
        )

    def first_step(self, batch=None):
        """Returns a step's gradients, new auxiliary state and metrics, the mean over devices."""

        def first(state, teachers, batch):
            batch = prepare_batch(self.parts, state, batch)
            targets = self.method.targets(teachers, batch)
            inputs = method_inputs(self.parts, state, targets, batch, self.axis_name)
            grads, _, aux, metrics = accumulated(
                self.method, state.params, inputs, self.parts.accumulation
            )
            if self.axis_name is not None:
                grads, metrics = jax.lax.pmean((grads, metrics), self.axis_name)
            return grads, aux, metrics

        found = parallel.compile_step(first, self.devices)(
            parallel.replicate(self.state, self.devices),
            parallel.replicate(self.teachers, self.devices),
            parallel.shard(self.batch(0) if batch is None else batch, self.devices),
        )
        return jax.device_get(parallel.unreplicate(found, self.devices))

    def run(self, steps):
        """Returns the state after some steps, on one device's copy."""
        step = self.compiled()
        state = parallel.replicate(self.state, self.devices)
        teachers = parallel.replicate(self.teachers, self.devices)
        for number in range(steps):
            state, _ = step(state, teachers, parallel.shard(self.batch(number), self.devices))
        return jax.device_get(parallel.unreplicate(state, self.devices))


def make_batch(number):
    rng = np.random.default_rng(100 + number)
    label = rng.permutation(np.arange(BATCH) % 2).astype(np.int32)
    raw = rng.integers(0, 256, (BATCH, STORED, STORED, 3))
    images = {
        quality: (raw // divisor * divisor).clip(0, 255).astype(np.uint8)
        for quality, divisor in (("raw", 1), ("c23", 16), ("c40", 64))
    }
    ids = np.arange(BATCH, dtype=np.int32) + BATCH * number
    return {
        "image": images,
        "label": label,
        "forgery": label,
        "video": ids,
        "identity": ids,
        "frame": ids,
        "index": ids,
        "mask": np.ones(BATCH, np.float32),
    }


@functools.cache
def make_bench(
    name,
    *,
    devices=1,
    dtype=jnp.float32,
    qualities=None,
    teacher_count=None,
    dual=None,
    steps_per_epoch=2,
    indices=None,
    normalised=True,
    accumulation=1,
    **changed,
):
    axis_name, case = parallel.axis_name(devices), CASES[name]

    def network(axis_name=None, dual=False, normalised=True):
        module = TinyNetwork(dtype, axis_name, dual, normalised)
        return Network(module, (0.5, 0.4, 0.3), (0.2, 0.2, 0.25))

    teacher_count = case.teachers if teacher_count is None else teacher_count
    dual = name == "tokd" if dual is None else dual
    teachers = tuple(network(dual=dual) for _ in range(teacher_count))
    qualities = qualities or case.qualities
    student = network(axis_name, normalised=normalised)
    method = methods.create(
        name,
        student,
        teachers,
        qualities=qualities,
        dataset_size=40 if indices is None else len(indices),
        indices=None if indices is None else np.array(indices),
        steps_per_epoch=steps_per_epoch,
        **{**case.options, **changed},
    )
    parts = StepParts(
        method=method,
        optimizer=optim.make_optimizer(
            "adam",
            groups=optim.GROUPS,
            beta1=0.9,
            beta2=0.999,
            epsilon=1e-8,
            momentum=0.9,
            weight_decay=0.0,
            clip_norm=0.0,
        ),
        schedule=optim.make_schedule(
            "one_cycle", total_steps=20, warmup_fraction=0.3, decay_steps=5, decay_factor=0.1
        ),
        augment=make_augment(SIZE, flip=True, random_crop=True),
        steps_per_epoch=2,
        accumulation=accumulation,
    )
    images = jnp.zeros((2, SIZE, SIZE, 3), jnp.promote_types(dtype, jnp.float32))
    example = {
        "image": dict.fromkeys(("raw", "c23", "c40"), images),
        "label": jnp.array([0, 1]),
        "mask": jnp.ones(2),
    }
    hyper = {"learning_rate": 2e-4, "rotation_learning_rate": 0.05}
    state = create_state(
        jax.random.key(0), jax.random.key(7), student, method, parts.optimizer, example, hyper
    )
    teacher_variables = tuple(
        teacher.module.init(jax.random.key(10 + number), images[:1], train=False)
        for number, teacher in enumerate(teachers)
    )
    return Bench(
        name,
        student,
        qualities,
        method,
        parts,
        state,
        teacher_variables,
        make_batch,
        axis_name,
        devices,
    )


@pytest.fixture(params=CASES)
def method_name(request):
    return request.param


@pytest.fixture
def tiny_networks():
    """What makes the student's network and a dual-branch teacher's, for `methods.check`."""
    return (
        lambda dtype, axis_name: TinyNetwork(dtype, axis_name, False),
        lambda dtype, axis_name: TinyNetwork(dtype, axis_name, True),
    )


@pytest.fixture
def bench():
    """The function that builds a method on a tiny network."""
    return make_bench
