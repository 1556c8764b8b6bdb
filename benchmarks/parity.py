"""Checks that a device computes what the host computes in float64, and that it learns."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import references
from harness import significant
from workloads import (
    STUDENT_QUALITY,
    TEACHER_QUALITY,
    Setting,
    Training,
    build_method,
    draw_batch,
    float_images,
)

from kdjax import losses
from kdjax.data_pipeline.augment import to_float
from kdjax.train.state import student_variables
from kdjax.train.step import make_predict_step
from kdjax.types import PyTree

LOSS_TOLERANCE = 1e-5
"""Largest relative error of a loss in float32 against float64."""

GRADIENT_TOLERANCE = 1e-3
"""Largest error of a tensor's float32 gradient through a network, relative to the tensor's norm."""


def loss_errors() -> dict[str, Any]:
    """Returns each loss's relative error on the default device against float64 NumPy."""
    rng = np.random.default_rng(0)
    logits, teacher_logits = rng.normal(size=(2, 32, 2)) * 3
    labels = rng.integers(0, 2, size=32)
    student, teacher = np.maximum(rng.normal(size=(2, 8, 7, 8, 16)), 0)
    directions = rng.normal(size=(12, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    densities = [references.view_density(x, directions, 8) for x in (student, teacher)]

    def density(x: jax.Array, d: jax.Array) -> jax.Array:
        return losses.view_density(x, d, bins=8)

    cases: dict[str, tuple[Callable[..., jax.Array], tuple[Any, ...], np.ndarray]] = {
        "cross_entropy": (
            losses.cross_entropy,
            (logits, labels),
            references.cross_entropy(logits, labels),
        ),
        "kd": (
            lambda s, t: losses.kd(s, t, temperature=4.0),
            (logits, teacher_logits),
            references.kd(logits, teacher_logits, 4.0),
        ),
        "frequency_attention": (
            lambda s, t: losses.frequency_attention(s, t, gamma=1.0),
            (student, teacher),
            references.frequency_attention(student, teacher, 1.0),
        ),
        "view_density": (density, (student, directions), densities[0]),
        "sliced_wasserstein": (
            lambda s, t, d: losses.sliced_wasserstein(density(s, d), density(t, d)),
            (student, teacher, directions),
            references.sliced_wasserstein(*densities),
        ),
    }
    errors = {}
    for name, (function, arguments, wanted) in cases.items():
        got = np.asarray(jax.jit(function)(*map(_single, arguments)), np.float64)
        errors[name] = significant(np.abs(got - wanted).max() / np.abs(wanted).max())
    return {"relative_error": errors, "passed": max(errors.values()) <= LOSS_TOLERANCE}


def _single(value: np.ndarray) -> jax.Array:
    integer = np.issubdtype(value.dtype, np.integer)
    return jnp.asarray(value, jnp.int32 if integer else jnp.float32)


def gradient_errors(network: str, size: int) -> dict[str, Any]:
    """Returns how far the first step's gradients on the default device are from the host's.

    KD's are held against float64 on the host, ADD's against float32 there: its directions and
    pairs are drawn, and in float64 they would be drawn otherwise. The device multiplies in full
    float32: TF32 is faster, but this is about the mathematics.
    """
    host = jax.local_devices(backend="cpu")[0]
    setting = Setting(network, "float32", size, 8)
    errors = {}
    for method, dtype in (("kd", "float64"), ("add", "float32")):
        training = Training(method, setting)
        problem = jax.device_get(
            (
                training.state.params,
                training.state.batch_stats,
                training.state.aux,
                training.teachers,
                float_images(training.batch),
                training.state.hyper | {"backbone_trains": jnp.ones(())},
            )
        )
        with jax.default_matmul_precision("highest"):
            here = _gradients(method, setting, problem)
        with jax.enable_x64(dtype == "float64"), jax.default_device(host):
            there = _gradients(method, setting._replace(dtype=dtype), problem)
        errors[method] = significant(_worst(here, there))
    return {"relative_error": errors, "passed": max(errors.values()) <= GRADIENT_TOLERANCE}


def _gradients(method: str, setting: Setting, problem: PyTree) -> PyTree:
    _, _, built = build_method(method, setting)
    dtype = jnp.dtype(setting.dtype)
    params, batch_stats, aux, teachers, batch, hyper = jax.tree.map(
        lambda x: jnp.asarray(x, dtype if jnp.issubdtype(x.dtype, jnp.floating) else x.dtype),
        problem,
    )

    @jax.jit
    def gradients(params: PyTree) -> PyTree:
        targets = built.targets(teachers, batch)
        key = jax.random.key(5)
        return built.grads(params, batch_stats, aux, targets, batch, hyper, key, None)[0]

    return jax.device_get(gradients(params))


def _worst(got: PyTree, wanted: PyTree) -> float:
    def error(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.linalg.norm(x - y) / max(np.linalg.norm(y), 1e-12))

    return max(jax.tree.leaves(jax.tree.map(error, got, wanted)))


def device_parity(network: str, size: int) -> dict[str, Any]:
    """Returns how far ADD's metrics after one step on all devices are from those on one device."""
    devices = jax.local_device_count()
    if devices == 1:
        return {"skipped": "there is one device"}
    metrics = []
    for count in (1, devices):
        training = Training("add", Setting(network, "float32", size, 8 * devices, count))
        got = jax.device_get(training.step(training.batch))
        metrics.append({name: float(np.mean(value)) for name, value in got.items()})
    one, many = metrics
    errors = {name: abs(many[name] - one[name]) / max(abs(one[name]), 1e-12) for name in one}
    worst = max(errors.values())
    return {"devices": devices, "relative_error": significant(worst), "passed": worst <= 1e-4}


def learning(network: str, size: int, batch: int, steps: int) -> dict[str, Any]:
    """Trains a teacher on `raw` and an ADD student on `c40`, each on new images; both must learn.

    The pattern is made up (`draw_batch`): the figures show that training works, not how well.
    """
    setting = Setting(network, "float32", size, batch)
    teacher = Training("supervised", setting, qualities=(TEACHER_QUALITY,), steps=steps)
    teacher_losses = teacher.learn(steps)
    variables = student_variables(teacher.state)
    student = Training("add", setting, teacher=variables, steps=steps)
    student_losses = student.learn(steps)
    accuracy = {
        "teacher": _accuracy(teacher, TEACHER_QUALITY),
        "student": _accuracy(student, STUDENT_QUALITY),
    }
    falls = {"teacher": _fall(teacher_losses), "student": _fall(student_losses)}
    learned = min(accuracy.values()) >= 0.9 and max(falls.values()) < 0.8
    return {"steps": steps, "accuracy": accuracy, "loss_last_over_first": falls, "passed": learned}


def _fall(values: list[float]) -> float:
    tenth = max(len(values) // 10, 1)
    return significant(float(np.mean(values[-tenth:]) / np.mean(values[:tenth])))


def _accuracy(training: Training, quality: str, batches: int = 4) -> float:
    predict = jax.jit(make_predict_step(training.student, to_float))
    right = []
    for key in jax.random.split(jax.random.key(7), batches):
        batch = draw_batch(key, training.setting.size, training.setting.batch)
        scores, _ = predict(student_variables(training.state), batch["image"][quality])
        right.append(np.asarray(scores > 0.5) == np.asarray(batch["label"]))
    return float(np.mean(right))
