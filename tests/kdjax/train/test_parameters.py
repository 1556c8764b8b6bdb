"""What is chosen by the paths of parameters: decay, groups, freezing, against updates written by hand."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import kdjax
from kdjax import configs
from kdjax.checks import UserError
from kdjax.train import optim, parallel, parameters, saving
from kdjax.train.initial import check_plan, initial_state
from kdjax.train.loop import train
from kdjax.train.setup import make_plan
from kdjax.train.step import make_gradient_norms, make_lesson, make_train_step

DEFAULTS = {
    "groups": optim.GROUPS,
    "beta1": 0.9,
    "beta2": 0.999,
    "epsilon": 1e-8,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "clip_norm": 0.0,
}
SETTINGS = {
    "data.batch_size": "8",
    "train.steps": "4",
    "train.validation_interval": "1",
    "train.devices": "1",
    "optimizer.learning_rate": "5e-3",
    "optimizer.schedule": "constant",
    "student.qualities": "raw",
    "evaluation.batch_size": "8",
}
rng = np.random.default_rng(0)


def config_for(data, **changed):
    own = {key.replace("__", "."): value for key, value in changed.items()}
    return configs.load("supervised:resnet_tiny", {**SETTINGS, "data.path": str(data), **own})


def tree():
    return {
        "student": {
            "stage1": {"kernel": jnp.full((2, 2), 2.0), "bias": jnp.full(2, 3.0)},
            "stage2": {"kernel": jnp.full((2, 2), 4.0), "bias": jnp.full(2, 5.0)},
            "classifier": {"kernel": jnp.full((2, 2), 6.0)},
        },
        "heads": {"kd": {"kernel": jnp.full((2, 2), 7.0)}},
    }


def steps(name, count=3, factors=(), start=None, rate=0.1, **changed):
    """Returns parameters, state and last updates after some steps whose gradients are 1, 2, ..."""
    optimizer = optim.make_optimizer(name, **{**DEFAULTS, **changed})
    params = tree() if start is None else start
    state, updates = optimizer.init(params), None
    extra = {"factors": [jnp.float32(factor) for factor in factors]} if factors else {}
    for step in range(1, count + 1):
        grads = jax.tree.map(lambda p, step=step: jnp.full_like(p, step), params)
        updates, state = optimizer.update(
            grads, state, params, learning_rate=jnp.float32(rate), **extra
        )
        params = optax.apply_updates(params, updates)
    return params, state, updates


def flat(found):
    return {
        path: np.asarray(leaf)
        for path, leaf in zip(parameters.paths(found), jax.tree.leaves(found), strict=True)
    }


def test_decay_is_of_what_the_mask_chooses():
    options = {"weight_decay": 0.5, "momentum": 0.0}
    found = flat(steps("sgd", 1, decay_mask="stage1|kd", **options)[0])
    for path, before in flat(tree()).items():
        decays = "stage1" in path or "kd" in path
        np.testing.assert_allclose(
            found[path], before - 0.1 * (1 + 0.5 * before * decays), rtol=1e-6
        )
    found = flat(steps("sgd", 1, **options)[0])
    for path, before in flat(tree()).items():
        decays = path.endswith("kernel")
        np.testing.assert_allclose(
            found[path], before - 0.1 * (1 + 0.5 * before * decays), rtol=1e-6
        )


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "optax:lion:b1=0.8"])
def test_a_factor_is_a_learning_rate_of_its_own(name):
    patterns, factors = ["stage2/kernel", "stage", "heads"], [0.25, 2.0, 0.0]
    options = {"weight_decay": 0.1, "clip_norm": 1.0}
    found = flat(steps(name, factors=factors, scaled=patterns, **options)[0])
    for path, value in found.items():
        index = next((i for i, each in enumerate(patterns) if re.search(each, path)), None)
        factor = 1.0 if index is None else factors[index]
        expected = flat(steps(name, rate=0.1 * factor, **options)[0])[path]
        np.testing.assert_allclose(value, expected, rtol=2e-6, err_msg=path)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "optax:adafactor"])
def test_what_is_frozen_stays_and_has_no_moments(name):
    frozen = ["student/stage1", "heads"]
    found, state, _ = steps(name, freeze=frozen, weight_decay=0.1)
    alone, _, _ = steps(name, weight_decay=0.1)
    for path, before in flat(tree()).items():
        chosen = parameters.matches(path, frozen)
        expected = before if chosen else flat(alone)[path]
        np.testing.assert_array_equal(flat(found)[path], expected, err_msg=path)
    held = [path for path in parameters.paths(state) if "stage1" in path or "heads/kd" in path]
    assert not held


def test_what_is_frozen_is_no_part_of_a_clipped_norm():
    options = {"clip_norm": 1.0, "momentum": 0.0, "rate": 1.0}
    _, _, updates = steps("sgd", 1, freeze=["stage1", "bias"], **options)
    np.testing.assert_allclose(
        updates["student"]["stage2"]["kernel"], -np.full((2, 2), 0.5), rtol=1e-6
    )
    np.testing.assert_array_equal(updates["student"]["stage1"]["kernel"], 0.0)


def test_one_factor_is_missing():
    with pytest.raises(ValueError, match=r"needs factors=\.\.\., 1 numbers; got 0"):
        steps("sgd", scaled=["stage1"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"freeze": ["stage9"]},
            r"optimizer.freeze='stage9' matches no parameter; the nearest are .*stage\d",
        ),
        (
            {"scaled": ["clasifier"]},
            r"optimizer.groups='clasifier' matches no .* student/classifier",
        ),
        ({"decay_mask": "kernels$"}, "optimizer.decay_mask=.* matches no parameter"),
        ({"freeze": ["("]}, "optimizer.freeze='\\(' is no regular expression"),
        ({"freeze": [""]}, "optimizer.freeze holds an empty expression"),
        ({"freeze": ["student"]}, "optimizer.freeze=student leaves nothing to train"),
    ],
)
def test_an_expression_that_cannot_be_meant_is_named(changed, message):
    with pytest.raises(ValueError, match=message):
        optim.make_optimizer("adam", **{**DEFAULTS, **changed}).init(tree())


@pytest.mark.parametrize(
    "text", ["stage1", "stage1:", "stage1:x", "stage1:-1", "stage1:inf", "stage1:nan"]
)
def test_a_group_is_an_expression_and_a_factor(text):
    with pytest.raises(ValueError, match="must be REGEX:FACTOR with a finite factor of at least 0"):
        parameters.factors([text])
    assert parameters.factors(["a(?:b|c):1e-1", "d:0"]) == (("a(?:b|c)", 0.1), ("d", 0.0))


def batch_of(number):
    return {
        "image": {
            "raw": np.random.default_rng(number).integers(0, 256, (8, 32, 32, 3)).astype(np.uint8)
        },
        "label": (np.arange(8) % 2).astype(np.int32),
        "index": np.arange(8, dtype=np.int32) + number,
        "mask": np.ones(8, np.float32),
    }


def run_steps(plan, count=2, step=None):
    axis, state = parallel.axis_name(plan.devices), initial_state(plan)
    step = step or parallel.compile_step(make_train_step(plan.parts, axis), plan.devices)
    replicated = parallel.replicate(state, plan.devices)
    for number in range(count):
        replicated, _ = step(replicated, (), parallel.shard(batch_of(number), plan.devices))
    return state, jax.device_get(parallel.unreplicate(replicated, plan.devices))


@pytest.mark.slow
def test_a_run_freezes_and_scales_alike_on_four_devices(tiny_dataset):
    chosen = {"optimizer__freeze": "stem,stage1", "optimizer__groups": ("classifier:0.1",)}
    first, one = run_steps(make_plan(config_for(tiny_dataset, **chosen)))
    _, four = run_steps(make_plan(config_for(tiny_dataset, train__devices="4", **chosen)))
    for path, before in flat(first.params).items():
        found, other = flat(one.params)[path], flat(four.params)[path]
        if "stem" in path or "stage1" in path:
            np.testing.assert_array_equal(found, before, err_msg=path)
            np.testing.assert_array_equal(other, before, err_msg=path)
        else:
            assert not np.array_equal(found, before), path


def test_another_factor_is_the_same_program(tiny_dataset):
    plan = make_plan(config_for(tiny_dataset, optimizer__groups="classifier:0.1,stage1:2"))
    step = jax.jit(make_train_step(plan.parts))
    other = make_plan(config_for(tiny_dataset, optimizer__groups="classifier:0.5,stage1:0"))
    _, found = run_steps(plan, step=step)
    _, changed = run_steps(other, step=step)
    assert step._cache_size() == 1
    assert not np.array_equal(
        found.params["student"]["classifier"]["kernel"],
        changed.params["student"]["classifier"]["kernel"],
    )


def test_terms_are_measured_on_what_is_trained(tiny_dataset):
    norms = []
    for frozen in ("", "stem|stage"):
        plan = make_plan(config_for(tiny_dataset, optimizer__freeze=(frozen,) if frozen else ()))
        norm = jax.jit(make_gradient_norms(plan.parts))
        state = initial_state(plan)
        lesson = make_lesson(plan.parts)(state.data_key, state.step, (), batch_of(0))
        norms.append(float(norm(state, lesson, {"cross_entropy": 1.0})))
    assert 0 < norms[1] < norms[0]


def test_patterns_are_checked_before_a_sweep_begins(tiny_dataset):
    config = config_for(tiny_dataset, optimizer__freeze="stage7")
    with pytest.raises(UserError, match=r"optimizer.freeze='stage7' matches no parameter"):
        check_plan(config)
    with pytest.raises(UserError, match="must be REGEX:FACTOR"):
        check_plan(config_for(tiny_dataset, optimizer__groups="stage1=0.1"))


@pytest.mark.slow
def test_a_run_with_optimizer_and_schedule_of_optax_goes_on_bit_for_bit(
    tiny_dataset, tmp_path, monkeypatch
):
    config = config_for(
        tiny_dataset,
        optimizer__name="optax:lion:b1=0.8",
        optimizer__schedule="optax:warmup_cosine_decay_schedule:warmup_steps=2",
        optimizer__freeze="stem",
        optimizer__weight_decay="0.1",
    )
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(config, whole)
    saved = saving.Checkpoints.save_latest

    def stop(self, state, *rest):
        saved(self, state, *rest)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(saving.Checkpoints, "save_latest", stop)
        with pytest.raises(KeyboardInterrupt):
            train(config, broken)
    train(config, broken)
    jax.tree.map(
        np.testing.assert_array_equal,
        kdjax.Run(whole).variables(step=4),
        kdjax.Run(broken).variables(step=4),
    )
    rows = [json.loads(line) for line in (broken / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["learning_rate"] < 5e-3


def test_statistics_of_what_is_frozen_rest_in_a_run(tiny_dataset):
    chosen = {"optimizer__freeze": ("stem", "stage1"), "train__freeze_statistics": "frozen"}
    first, last = run_steps(make_plan(config_for(tiny_dataset, **chosen)))
    for path, before in flat(first.batch_stats).items():
        rests = "stem" in path or "stage1" in path
        assert np.array_equal(flat(last.batch_stats)[path], before) == rests, path
    _, last = run_steps(make_plan(config_for(tiny_dataset, train__freeze_statistics="all")))
    jax.tree.map(np.testing.assert_array_equal, last.batch_stats, first.batch_stats)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"train__freeze_statistics": "frozen"},
            "optimizer.freeze chooses no batch normalisation whole",
        ),
        (
            {"train__freeze_statistics": "frozen", "optimizer__freeze": "norm1/scale"},
            "optimizer.freeze chooses no batch normalisation whole",
        ),
        (
            {"student__network": "meso4", "student__remat": "stages"},
            "student.remat=stages is of shipped networks with stages; meso4 has none",
        ),
    ],
)
def test_what_has_nothing_to_act_on_is_refused(tiny_dataset, changed, message):
    with pytest.raises(UserError, match=message):
        make_plan(config_for(tiny_dataset, **changed))


@pytest.mark.slow
def test_a_run_that_computes_stages_again_is_another_in_rounding_alone(tiny_dataset):
    _, plain = run_steps(make_plan(config_for(tiny_dataset, optimizer__name="sgd")))
    again = make_plan(config_for(tiny_dataset, optimizer__name="sgd", student__remat="stages"))
    _, found = run_steps(again)
    assert parameters.paths(found.params) == parameters.paths(plain.params)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        found.params,
        plain.params,
    )


def test_a_classifier_that_is_to_train_alone_is_not_frozen(tiny_dataset):
    config = config_for(tiny_dataset, optimizer__freeze="classifier", train__head_epochs="1")
    with pytest.raises(UserError, match=r"train.head_epochs=1.0 trains the classifier alone"):
        make_plan(config)
