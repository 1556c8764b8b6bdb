"""Balanced runs on the tiny data set: what is logged, going on, and what is refused before anything is written."""

import contextlib
import json
import shutil

import jax
import numpy as np
import pytest

from kdjax import configs
from kdjax.checks import UserError
from kdjax.folder import RunFolder
from kdjax.train import checkpoint, pretrained, saving, spikes
from kdjax.train.claim import claim_run
from kdjax.train.ema import used
from kdjax.train.initial import check_plan, initial_state
from kdjax.train.loop import train
from kdjax.train.setup import make_plan

SETTINGS = {
    "data.batch_size": "8",
    "train.epochs": "1",
    "train.validations_per_epoch": "2",
    "train.validation_interval": "1",
    "train.devices": "1",
    "train.log_every": "1",
    "train.balance_steps": "2",
    "train.balance_every": "2",
    "train.gradient_ratio_every": "1",
    "evaluation.batch_size": "8",
    "student.qualities": "raw",
}


@pytest.fixture(scope="module")
def teacher(tiny_dataset, tmp_path_factory):
    """A run of no steps, which counts as trained to its end."""
    run = tmp_path_factory.mktemp("runs") / "teacher"
    run.mkdir()
    config = configs.load("supervised:resnet_tiny", {**SETTINGS, "data.path": str(tiny_dataset)})
    plan = make_plan(config)
    claim_run(run, config, plan.inputs())
    with contextlib.closing(saving.Checkpoints(run)) as checkpoints:
        state = initial_state(plan)
        checkpoints.save_best(state, 0.5, used(state, evaluate=True))
    RunFolder(run).finish({"step": 0})
    return run


@pytest.fixture
def config_for(tiny_dataset, teacher):
    """The function that returns a configuration with that teacher."""

    def load(spec="kd:resnet_tiny", **changed):
        own = {key.replace("__", "."): str(value) for key, value in changed.items()}
        shared = {"data.path": str(tiny_dataset), "teacher.runs": str(teacher)}
        return configs.load(spec, {**SETTINGS, **shared, **own})

    return load


def rows_of(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["kind"] == "train"]


def latest(run, plan):
    with contextlib.closing(saving.Checkpoints(run)) as checkpoints:
        return checkpoints.restore_latest(initial_state(plan)).state


@pytest.mark.parametrize(
    "mode",
    [
        pytest.param("start", marks=pytest.mark.every),
        pytest.param("running", marks=pytest.mark.slow),
    ],
)
def test_a_balanced_run_logs_its_factors_and_shares_and_goes_on_bit_for_bit(
    config_for, tmp_path, monkeypatch, mode
):
    config = config_for(train__balance=mode, seed__student=1, train__epochs=2)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(config, whole)
    rows = rows_of(whole)
    np.testing.assert_allclose(rows[0]["gradient_ratio/kd"], 1.0, rtol=1e-4)
    factors = [row["balance/kd"] for row in rows]
    changed = [step for step in range(1, 12) if factors[step] != factors[step - 1]]
    assert changed == ([1] if mode == "start" else [1, 2, 4, 6, 8, 10])

    save = saving.Checkpoints.save_latest

    def cut(self, state, *others):
        save(self, state, *others)
        if int(state.step) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(saving.Checkpoints, "save_latest", cut)
    with pytest.raises(KeyboardInterrupt):
        train(config, broken)
    monkeypatch.setattr(saving.Checkpoints, "save_latest", save)
    train(config, broken)
    assert (whole / "metrics.jsonl").read_text() == (broken / "metrics.jsonl").read_text()
    plan = make_plan(config)
    ends = [jax.tree.leaves(latest(run, plan)) for run in (whole, broken)]
    for one, other in zip(*ends, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_a_spike_is_said_while_the_run_trains(config_for, tmp_path, monkeypatch, capsys):
    seen = []
    real = spikes.watch

    def grown(state, step, terms, **how):
        seen.append((step, set(terms)))
        return real(state, step, {**terms, "kd": terms["kd"] * 1e5 ** (step == 5)}, **how)

    monkeypatch.setattr(spikes, "watch", grown)
    # fetched at the end alone
    train(
        config_for(train__log_every=100, seed__student=1, train__validations_per_epoch=1),
        tmp_path / "run",
    )
    assert seen == [(step, {"cross_entropy", "kd"}) for step in range(1, 7)]
    lines = [line for line in capsys.readouterr().err.splitlines() if "grew" in line]
    assert len(lines) == 1
    assert "step 5: the loss term kd grew" in lines[0]


def test_a_state_without_a_balance_is_saved_as_before(config_for, tmp_path):
    plan = make_plan(config_for(train__balance="running"))
    balanced = initial_state(plan)
    assert "balance" in saving._saved(balanced)
    assert set(balanced.balance.log_ratio) == {"kd"}
    assert "balance" not in saving._saved(balanced.replace(balance=()))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train__balance": "stop"}, r"train\.balance='stop'"),
        ({"train__balance_steps": 0}, r"train\.balance_steps=0"),
        ({"train__balance_every": -1}, r"train\.balance_every=-1"),
        ({"train__balance_decay": 1.0}, r"train\.balance_decay=1\.0 must be in"),
        ({"method__shares__kd": -0.5}, r"method\.shares\.kd=-0\.5 must be at least 0"),
        (
            {"train__balance": "start", "method__cross_entropy_weight": 0},
            r"method\.cross_entropy_weight=0; give it a weight, or set train\.balance=none",
        ),
    ],
)
def test_a_balance_that_cannot_be_is_refused_in_one_line(config_for, changed, message):
    with pytest.raises(UserError, match=message) as caught:
        make_plan(config_for(**changed))
    assert "\n" not in str(caught.value)


def test_a_share_of_no_term_is_an_unknown_key(config_for):
    with pytest.raises(
        UserError,
        match=r"unknown configuration key 'method\.shares\.kt'; known: method\.shares\.kd",
    ):
        config_for(method__shares__kt=1.0)


def test_nothing_to_balance_is_no_error(config_for):
    plan = make_plan(config_for("supervised:resnet_tiny", train__balance="start", teacher__runs=""))
    assert plan.parts.balance is None
    assert initial_state(plan).balance == ()


def test_a_student_begins_with_the_teachers_weights(config_for, teacher):
    plan = make_plan(config_for(student__weights="teacher", seed__student=1))
    found, expected = initial_state(plan), checkpoint.load_best(teacher)[1]
    jax.tree.map(np.testing.assert_array_equal, found.params["student"], expected["params"])
    jax.tree.map(np.testing.assert_array_equal, found.batch_stats, expected["batch_stats"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"teacher__runs": ""}, r"student\.weights=teacher, but teacher\.runs is empty"),
        (
            {"student__network": "resnet18_thin"},
            r"student\.network is 'resnet18_thin', but 'resnet_tiny' in the teacher",
        ),
        ({"student__width": 0.5}, r"student\.width is 0\.5, but 1\.0 in the teacher"),
    ],
)
def test_the_weights_of_no_teacher_or_of_another_network_are_refused(config_for, changed, message):
    spec = "supervised:resnet_tiny" if "teacher__runs" in changed else "kd:resnet_tiny"
    with pytest.raises(UserError, match=message) as caught:
        check_plan(config_for(spec, student__weights="teacher", **changed))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, True),
        ({"seed__student": 1}, False),
        ({"student__network": "resnet18_thin"}, False),
        ({"student__weights": "teacher"}, False),
    ],
)
def test_a_teacher_of_the_students_own_seed_is_named(config_for, teacher, changed, said):
    lines = pretrained.teachers_of_own_seed(config_for(**changed))
    assert [str(teacher) in line and "seed.student=0" in line for line in lines] == [True] * said


@pytest.mark.slow
def test_the_own_seed_is_said_once_at_the_start(config_for, teacher, tmp_path, capsys):
    run = tmp_path / "run"
    config = config_for()
    for _ in range(2):
        train(config, run)
    assert capsys.readouterr().err.count("own seed.student=0") == 1
    shutil.rmtree(run)
