"""The moving average of the weights: against NumPy, over devices, resumed, and as what a run selects."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kdjax
from kdjax import configs
from kdjax.checks import UserError
from kdjax.train import checkpoint, ema, parallel, saving
from kdjax.train.initial import initial_state
from kdjax.train.loop import train
from kdjax.train.setup import make_plan
from kdjax.train.state import student_variables
from kdjax.train.step import make_train_step

SETTINGS = {
    "data.batch_size": "8",
    "train.steps": "6",
    "train.validations_per_epoch": "2",
    "train.validation_interval": "1",
    "train.devices": "1",
    "optimizer.learning_rate": "5e-3",
    "student.qualities": "raw",
    "evaluation.batch_size": "8",
    "ema.decay": "0.9",
}


def config_for(data, **changed):
    own = {key.replace("__", "."): str(value) for key, value in changed.items()}
    return configs.load("supervised:resnet_tiny", {**SETTINGS, "data.path": str(data), **own})


def lines(run, kind):
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [row for row in rows if row["kind"] == kind]


def reference(values, decay):
    """Returns the weighted mean of all values so far, in float64: each counts `decay` times the one after it."""
    found = []
    for count in range(1, len(values) + 1):
        weights = decay ** np.arange(count - 1, -1, -1, dtype=np.float64)
        total = sum(w * np.float64(v) for w, v in zip(weights, values[:count], strict=True))
        found.append(total / weights.sum())
    return found


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999, 0.9999])
@pytest.mark.parametrize("jitted", [True, False])
def test_average_is_the_weighted_mean_of_all_steps(decay, jitted):
    rng = np.random.default_rng(0)
    values = [rng.normal(size=(3, 2)).astype(np.float32) for _ in range(40)]
    move = jax.jit(ema.moved) if jitted else ema.moved
    # what was there before the first step does not count
    average = {"w": jnp.full((3, 2), jnp.nan)}
    number = np.float32(decay)
    for step, (value, expected) in enumerate(
        zip(values, reference(values, np.float64(number)), strict=True), start=1
    ):
        average = move(average, {"w": jnp.asarray(value)}, jnp.int32(step), jnp.asarray(number))
        np.testing.assert_allclose(average["w"], expected, rtol=2e-5, atol=2e-6)


def steps_of(plan, count):
    """Returns the states after each of some steps, on one device's copy."""
    step = parallel.compile_step(
        make_train_step(plan.parts, parallel.axis_name(plan.devices)), plan.devices
    )
    state = parallel.replicate(initial_state(plan), plan.devices)
    rng, found = np.random.default_rng(0), []
    for number in range(count):
        batch = {
            "image": {"raw": rng.integers(0, 256, (8, 32, 32, 3)).astype(np.uint8)},
            "label": (np.arange(8) % 2).astype(np.int32),
            "index": np.arange(8, dtype=np.int32) + number,
            "mask": np.ones(8, np.float32),
        }
        state, _ = step(state, (), parallel.shard(batch, plan.devices))
        found.append(jax.device_get(parallel.unreplicate(state, plan.devices)))
    return found


def test_a_step_averages_parameters_and_statistics(tiny_dataset):
    states = steps_of(make_plan(config_for(tiny_dataset)), 4)
    variables = [student_variables(state) for state in states]
    for count, state in enumerate(states, start=1):
        jax.tree.map(
            lambda found, *seen: np.testing.assert_allclose(
                found, reference(seen, np.float64(np.float32(0.9)))[-1], rtol=1e-5, atol=1e-6
            ),
            state.ema,
            *variables[:count],
        )
    assert not np.array_equal(
        states[-1].ema["batch_stats"]["stem_norm"]["mean"],
        states[-1].batch_stats["stem_norm"]["mean"],
    )


@pytest.mark.slow
def test_four_devices_average_as_one(tiny_dataset):
    one, four = (
        steps_of(make_plan(config_for(tiny_dataset, train__devices=devices)), 3)[-1].ema
        for devices in (1, 4)
    )
    for found, expected in zip(jax.tree.leaves(four), jax.tree.leaves(one), strict=True):
        difference = np.linalg.norm(found - expected)
        assert difference <= 1e-4 * max(np.linalg.norm(expected), 1e-3)


def test_another_decay_is_the_same_program(tiny_dataset):
    plan = make_plan(config_for(tiny_dataset))
    step = jax.jit(make_train_step(plan.parts))
    batch = {
        "image": {"raw": np.zeros((8, 32, 32, 3), np.uint8)},
        "label": np.zeros(8, np.int32),
        "index": np.arange(8, dtype=np.int32),
        "mask": np.ones(8, np.float32),
    }
    for decay in (0.9, 0.99):
        plan = make_plan(config_for(tiny_dataset, ema__decay=decay))
        step(initial_state(plan), (), batch)
    assert step._cache_size() == 1


@pytest.fixture(scope="module")
def averaged(tiny_dataset, tmp_path_factory):
    """A run that selects its averaged weights."""
    run = tmp_path_factory.mktemp("ema") / "run"
    train(config_for(tiny_dataset), run)
    return run


def test_averaged_weights_are_selected_and_the_trained_ones_logged_beside(averaged):
    rows = lines(averaged, "validation")
    assert all({"accuracy", "trained/accuracy", "trained/auc"} <= row.keys() for row in rows)
    run = kdjax.Run(averaged)
    average, trained = run.variables(), run.variables(kind="trained")
    jax.tree.map(np.testing.assert_array_equal, average, run.variables(kind="averaged"))
    differs = jax.tree.map(lambda a, b: not np.array_equal(a, b), average, trained)
    assert all(jax.tree.leaves(differs))
    state = checkpoint.load_latest(averaged, "averaged")
    if run.best_step == run.step:
        jax.tree.map(np.testing.assert_array_equal, state, average)
    assert run.predict(np.zeros((1, 32, 32, 3), np.uint8)).shape == (1,)


def test_trained_weights_are_selected_where_the_average_is_only_to_be_seen(
    tiny_dataset, averaged, tmp_path
):
    run, plain = tmp_path / "run", tmp_path / "plain"
    train(config_for(tiny_dataset, ema__evaluate=False), run)
    train(config_for(tiny_dataset, ema__decay=0), plain)
    rows = lines(run, "validation")
    assert all("averaged/accuracy" in row for row in rows)
    # an average changes nothing of what is trained
    for row, bare, other in zip(
        rows, lines(plain, "validation"), lines(averaged, "validation"), strict=True
    ):
        assert {name: row[name] for name in bare} == bare
        assert row["averaged/accuracy"] == other["accuracy"]
        assert row["accuracy"] == other["trained/accuracy"]
    jax.tree.map(
        np.testing.assert_array_equal,
        kdjax.Run(run).variables(),
        kdjax.Run(plain).variables(),
    )
    with pytest.raises(UserError, match=r"has no averaged weights: .* ema.decay=0"):
        kdjax.Run(plain).variables(kind="averaged")
    with pytest.raises(UserError, match="must be trained or averaged"):
        kdjax.Run(plain).variables(kind="raw")


def test_a_resumed_average_is_that_of_a_run_that_never_stopped(
    tiny_dataset, averaged, tmp_path, monkeypatch
):
    run = tmp_path / "run"
    saved = saving.Checkpoints.save_latest

    def stop(self, state, *rest):
        saved(self, state, *rest)
        if int(state.step) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(saving.Checkpoints, "save_latest", stop)
        with pytest.raises(KeyboardInterrupt):
            train(config_for(tiny_dataset), run)
    train(config_for(tiny_dataset), run)
    for kind in ("trained", "averaged"):
        jax.tree.map(
            np.testing.assert_array_equal,
            checkpoint.load_latest(run, kind),
            checkpoint.load_latest(averaged, kind),
        )
    assert (run / "metrics.jsonl").read_text() == (averaged / "metrics.jsonl").read_text()


def test_a_run_without_an_average_is_saved_as_before(tiny_dataset):
    state = initial_state(make_plan(config_for(tiny_dataset, ema__decay=0)))
    assert state.ema == ()
    assert "ema" not in saving._saved(state)
    assert "ema_decay" not in state.hyper


def test_a_decay_out_of_range_is_named(tiny_dataset):
    with pytest.raises(UserError, match=r"ema.decay=1.0 must be in \[0, 1\)"):
        config_for(tiny_dataset, ema__decay=1)
