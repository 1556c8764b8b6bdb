"""How fast a run goes: shares of a device's peak, and steps that wait for nothing and are compiled once."""

import functools
import itertools
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import configs
from kdjax.train import lessons, trainer, utilisation
from kdjax.train.initial import blank_batch, initial_state
from kdjax.train.loop import train
from kdjax.train.pace import Meter, Pace
from kdjax.train.recompiling import Recompiling
from kdjax.train.setup import make_plan
from kdjax.train.step import make_lesson, make_student_step

SETTINGS = {
    "data.batch_size": "8",
    "train.steps": "50",
    "train.validations_per_epoch": "0.2",
    "train.patience": "0",
    "train.log_every": "10",
    "train.gradient_ratio_every": "1",
    "train.balance_every": "5",
    "evaluation.batch_size": "8",
}


@pytest.fixture(scope="module")
def teachers(tiny_dataset, tmp_path_factory):
    """Gives a finished run of a network, trained when it is first asked for."""

    @functools.cache
    def find(name):
        found = tmp_path_factory.mktemp("runs") / name
        settings = {**SETTINGS, "train.steps": "2", "data.path": str(tiny_dataset)}
        train(configs.load(f"supervised:{name}", settings), found)
        return found

    return find


@pytest.fixture
def config_for(tiny_dataset, teachers):
    def make(method, **changed):
        own = {key.replace("__", "."): str(value) for key, value in changed.items()}
        if method not in ("supervised", "qad"):
            name = "dual_resnet_tiny" if method == "tokd" else "resnet_tiny"
            own["teacher.runs"] = str(teachers(name))
        settings = {**SETTINGS, "data.path": str(tiny_dataset), **own}
        return configs.load(f"{method}:resnet_tiny", settings)

    return make


@pytest.mark.parametrize(
    ("kind", "teraflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A10G", 70),
        ("NVIDIA L40S", 362),
        ("NVIDIA L4", 121),
        ("Tesla T4", 65),
        ("TPU v5 lite", 197),
        ("TPU v4", 275),
    ],
)
def test_the_peak_is_that_of_the_device(kind, teraflops):
    assert utilisation.peak(SimpleNamespace(device_kind=kind)) == teraflops * 1e12


def test_of_a_device_that_is_not_known_nothing_is_counted():
    assert utilisation.peak(jax.local_devices()[0]) is None
    assert utilisation.operations(None) == 0.0
    assert Pace(0.0, 1e9).utilisation(1e9, 10, 1.0) is None


def test_operations_are_those_of_the_arithmetic(monkeypatch):
    monkeypatch.setattr(utilisation, "PEAKS", {"cpu": 1e12})
    a, b = jnp.ones((8, 32)), jnp.ones((32, 16))
    assert utilisation.operations(jax.jit(jnp.dot), a, b) == 2 * 8 * 32 * 16
    # 10 steps of a lesson of 3e9 and two students of 1e9 each, in 2 s
    used = Pace(0.0, 3e9, 2).utilisation(1e9, 10, 2.0)
    np.testing.assert_allclose(used, 5e9 * 10 / 2 / 1e12)


def test_a_line_counts_from_the_one_before(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("kdjax.train.pace.time.monotonic", lambda: now[0])
    meter = Meter(8, 3)
    now[0] = 102.0
    assert meter.measure(7, Pace(0.5), 0.0) == {
        "seconds": 2.0,
        "input_seconds": 0.5,
        "images_per_second": 16.0,
    }
    # a validation between two lines is no training
    now[0] = 150.0
    meter.restart()
    now[0] = 151.0
    found = meter.measure(9, Pace(0.75), 0.0)
    assert (found["seconds"], found["input_seconds"], found["images_per_second"]) == (1.0, 0.25, 16)


@pytest.mark.slow
def test_a_run_tells_the_share_of_the_peak_where_that_is_known(config_for, tmp_path, monkeypatch):
    monkeypatch.setattr(utilisation, "PEAKS", {"cpu": 1e12})
    config = config_for("kd", train__steps=4, train__log_every=2, train__devices=1)
    train(config, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run/timings.jsonl").read_text().splitlines()]
    plan = make_plan(config)
    state = initial_state(plan)
    given = (state.data_key, state.step, plan.teacher_variables, blank_batch(plan))
    lesson = jax.jit(make_lesson(plan.parts))
    expected = utilisation.operations(lesson, *given) + utilisation.operations(
        jax.jit(make_student_step(plan.parts)), state, jax.eval_shape(lesson, *given)
    )
    assert expected > 1e6
    steps = np.diff([0, *(row["step"] for row in rows)])
    found = [row["mfu"] * row["seconds"] * 1e12 for row in rows] / steps
    np.testing.assert_allclose(found, expected, rtol=1e-6)


METHODS = ("supervised", "kd", "ckd", "add", "tokd", "qad")
SLOW = (("tokd", 1), ("supervised", 4))


@pytest.mark.parametrize(
    ("method", "devices"),
    [
        ("supervised", 1),
        *(
            pytest.param(*case, marks=pytest.mark.slow if case in SLOW else pytest.mark.every)
            for case in itertools.product(METHODS, (1, 4))
            if case != ("supervised", 1)
        ),
    ],
)
def test_fifty_steps_wait_for_no_transfer_and_compile_nothing_again(
    config_for, tmp_path, monkeypatch, method, devices
):
    # trains the teacher, where no test before has
    config = config_for(method, train__devices=devices, optimizer__learning_rate=1e-3)
    advance, give = trainer.Trainer.advance, lessons.Lessons.give
    guarded, first = [], []

    # what is put or fetched explicitly is allowed
    def give_guarded(self, replicated):
        # to several devices a batch is sent by a program of its own, a step ahead
        with jax.transfer_guard("disallow" if first and self._plan.devices == 1 else "allow"):
            first.append(1)
            return give(self, replicated)

    def advance_guarded(self, *given):
        # a validation sends the state back
        free = self.step == 0 or self.step + 1 in self._validation_steps
        guarded.append(not free)
        with jax.transfer_guard("allow" if free else "disallow"):
            return advance(self, *given)

    monkeypatch.setattr(trainer.Trainer, "advance", advance_guarded)
    monkeypatch.setattr(lessons.Lessons, "give", give_guarded)
    with Recompiling() as recompiling:
        assert train(config, tmp_path / "run")["step"] == 50
        assert sorted(recompiling.take()) == ["lesson", "student_step"]
    assert (len(first), len(guarded)) == (50, 50)
    assert sum(guarded) >= 46


@pytest.mark.parametrize("devices", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_a_step_that_is_compiled_again_is_said(config_for, tmp_path, monkeypatch, capsys, devices):
    give = lessons.Lessons.give

    def changing(self, replicated):
        lesson = give(self, replicated)
        if int(np.ravel(replicated.step)[0]) == 3:
            mask = lesson.batch["mask"].astype(jnp.bfloat16)
            return lesson._replace(batch={**lesson.batch, "mask": mask})
        return lesson

    monkeypatch.setattr(lessons.Lessons, "give", changing)
    train(config_for("supervised", train__steps=6, train__devices=devices), tmp_path / "run")
    said = [line for line in capsys.readouterr().err.splitlines() if "compiled again" in line]
    assert len(said) == 1
    assert said[0].startswith("student_step was compiled again at step 4: it takes seconds")
