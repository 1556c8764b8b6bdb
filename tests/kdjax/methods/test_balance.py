"""Balanced terms: gradients have their wanted shares, on any number of devices, with nothing compiled again."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from kdjax.checks import UserError
from kdjax.train import parallel
from kdjax.train.balancing import Gradients, ratio_steps
from kdjax.train.ramps import make_ramps
from kdjax.train.step import method_inputs, prepare_batch
from kdjax.transforms.balance import balance

TRAIN = {"balance": "running", "balance_steps": 2, "balance_every": 3}

OTHERS = ("ckd", "add", "tokd", "qad", "baselines", "combine")
METHODS = ["kd", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]


def balanced(built, shares=None, **how):
    """Returns a bench whose method balances its terms."""
    found = balance(built.method.shares if shares is None else shares, **how)
    parts = built.parts._replace(balance=found)
    return dataclasses.replace(built, parts=parts, state=built.state.replace(balance=found.init()))


def make_gradients(built, **changed):
    return Gradients(built.parts, ConfigDict({**TRAIN, **changed}), built.devices)


def first(built, batch=None):
    """Returns the state on the devices and the first lesson there."""
    state = parallel.replicate(built.state, built.devices)
    return state, built.lesson(built.batch(0) if batch is None else batch)


def factors(built, state):
    found = parallel.unreplicate(state.balance, built.devices)
    return {name: float(value) for name, value in built.parts.balance.factors(found).items()}


def grads_of(built, state):
    batch = prepare_batch(built.parts, built.state, built.batch(0))
    targets = built.method.targets(built.teachers, batch)
    inputs = method_inputs(built.parts, state, targets, batch, None)
    return jax.device_get(jax.jit(built.method.grads)(state.params, *inputs))


@pytest.mark.parametrize("name", METHODS)
def test_after_balancing_each_gradient_has_its_share(bench, name):
    with jax.enable_x64(True):
        built = balanced(bench(name, dtype=jnp.float64))
        assert built.method.shares
        gradients = make_gradients(built)
        state, lesson = first(built)
        before = gradients.ratios(state, lesson)
        ratios = gradients.ratios(gradients.balance(state, lesson, 0), lesson)
    for term, share in built.method.shares.items():
        np.testing.assert_allclose(ratios[f"gradient_ratio/{term}"], share, rtol=1e-6)
        assert abs(before[f"gradient_ratio/{term}"] / share - 1) > 1e-3


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("add", marks=pytest.mark.slow),
        pytest.param("tokd", marks=pytest.mark.every),
        pytest.param("combine", marks=pytest.mark.every),
    ],
)
def test_four_devices_balance_as_one(bench, name):
    ends = []
    with jax.enable_x64(True):
        for devices in (1, 4):
            built = balanced(bench(name, dtype=jnp.float64, devices=devices), decay=0.5)
            gradients, step = make_gradients(built), built.compiled()
            teachers = parallel.replicate(built.teachers, devices)
            state, _ = first(built)
            for number in range(4):
                batch = parallel.shard(built.batch(number), devices)
                state = gradients.balance(state, built.lesson(built.batch(number), state), number)
                state, _ = step(state, teachers, batch)
            state = parallel.unreplicate(state, devices)
            ends.append(jax.device_get((state.params, state.balance)))
    assert {int(count) for count in ends[0][1].counts.values()} == {3}
    for one, four in zip(*map(jax.tree.leaves, ends), strict=True):
        scale = max(np.abs(one).max(), 1e-9)
        assert np.abs(four - one).max() <= 1e-9 * scale


def test_measuring_and_balanced_steps_compile_nothing_again(bench):
    built = balanced(bench("kd"), decay=0.5)
    gradients, step = make_gradients(built), built.compiled()
    state, _ = first(built)
    seen = []
    for number in range(4):
        batch = built.batch(number)
        lesson = built.lesson(batch, state)
        state = gradients.balance(state, lesson, number)
        gradients.ratios(state, lesson)
        state, metrics = step(state, built.teachers, batch)
        seen.append(float(metrics["balance/kd"]))
    assert step._cache_size() == 1
    # measured before the steps 0, 1 and 3
    assert len(set(seen)) == 3
    assert seen[1] == seen[2]


def test_terms_are_logged_as_they_stand_in_the_loss(bench):
    built = balanced(bench("kd"))
    state, lesson = first(built)
    state = make_gradients(built).balance(state, lesson, 0)
    factor = factors(built, state)["kd"]
    metrics = grads_of(built, state)[3]
    weighted = 0.9 * factor * metrics["kd"]
    np.testing.assert_allclose(metrics["term/kd"], weighted, rtol=1e-6)
    np.testing.assert_allclose(
        metrics["term/cross_entropy"], 0.1 * metrics["cross_entropy"], rtol=1e-6
    )
    total = metrics["term/kd"] + metrics["term/cross_entropy"]
    np.testing.assert_allclose(metrics["loss"], total, rtol=1e-6)


def test_a_share_of_zero_switches_the_term_off(bench):
    built = balanced(bench("kd"), {"kd": 0.0})
    state, lesson = first(built)
    state = make_gradients(built).balance(state, lesson, 0)
    found = grads_of(built, state)[0]
    other = bench("kd", kd_weight=0.0)
    without = grads_of(other, other.state)[0]
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(without), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6 * np.abs(two).max())


def test_a_schedule_multiplies_what_the_balance_has_set(bench):
    plain = balanced(bench("kd"))
    ramps = make_ramps(["kd_weight:rise:0:1"], plain.method.hyper, 10)
    ramped = dataclasses.replace(plain, parts=plain.parts._replace(ramps=ramps))
    found = []
    for built in (plain, ramped):
        state, lesson = first(built)
        state = state.replace(step=state.step + 5)
        state = make_gradients(built).balance(state, lesson, 0)
        ratio = make_gradients(built).ratios(state, lesson)["gradient_ratio/kd"]
        found.append((factors(built, state)["kd"], ratio))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-6)
    np.testing.assert_allclose(found[1][1], 0.5 * found[0][1], rtol=1e-5)


@pytest.mark.slow
def test_the_rotations_see_the_gradients_without_the_factors(bench):
    plain = bench("tokd", rotation_form="squared")
    built = balanced(plain)
    state, lesson = first(built)
    state = make_gradients(built).balance(state, lesson, 0)
    assert all(abs(factor - 1) > 0.01 for factor in factors(built, state).values())
    found, expected = grads_of(built, state)[0], grads_of(plain, plain.state)[0]
    for name, value in expected["rotation"]["tokd"].items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(found["rotation"]["tokd"][name], value, atol=1e-4 * scale)


def test_start_measures_its_first_steps_and_those_of_the_backbone(bench):
    built = balanced(bench("kd"), steps=2)
    built = dataclasses.replace(built, parts=built.parts._replace(warmup_steps=5))
    gradients = make_gradients(built, balance="start", balance_every=1)
    state, lesson = first(built)
    measured, found = [], []
    for step in range(9):
        state = gradients.balance(state, lesson, step)
        measured.append(int(state.balance.measured))
        # on one batch alone: a measurement does not see the factor in use
        found.append(factors(built, state)["kd"])
    # begun again at the fifth
    assert measured == [1, 2, 2, 2, 2, 1, 2, 2, 2]
    np.testing.assert_allclose(found, found[0], rtol=1e-5)


def test_start_goes_on_for_a_term_that_has_no_gradient_yet(bench):
    built = balanced(bench("kd", kd_weight=0.0), steps=2)
    gradients = make_gradients(built, balance="start")
    state, lesson = first(built)
    for step in range(7):
        state = gradients.balance(state, lesson, step)
    # the steps 0 and 1, then every third
    assert int(state.balance.measured) == 4
    assert int(state.balance.counts["kd"]) == 0
    assert factors(built, state)["kd"] == 1.0


@pytest.mark.parametrize("step", [0, 1])
def test_a_cross_entropy_without_gradient_ends_the_first_measurement_alone(bench, step):
    built = balanced(bench("kd"))
    state, lesson = first(built)
    measured = make_gradients(built).balance(state, lesson, 0)
    head = state.params["student"]["classifier"]
    sure = {**head, "bias": jnp.array([0.0, 1e4], head["bias"].dtype)}
    student = {**state.params["student"], "classifier": sure}
    ones = np.ones_like(lesson.batch["label"])
    lesson = lesson._replace(batch={**lesson.batch, "label": ones})
    if step == 0:
        fitted = state.replace(params={"student": student})
        with pytest.raises(UserError, match="cross-entropy's gradient is zero") as caught:
            make_gradients(built).balance(fitted, lesson, 0)
        assert "\n" not in str(caught.value)
        assert "train.balance=none" in str(caught.value)
    else:
        fitted = measured.replace(params={"student": student})
        after = make_gradients(built).balance(fitted, lesson, step)
        assert int(after.balance.skipped) == 1
        assert factors(built, after) == factors(built, measured)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("kd", {"shares": {"kd": -1.0}}, r"method\.shares\.kd=-1\.0 must be at least 0"),
        ("kd", {"shares": {"kt": 1.0}}, r"method\.shares\.kt=1\.0 .*did you mean 'kd'"),
        (
            "tokd",
            {"shares": {"rgb": 2.0}, "rgb_weight": 0.0, "rotation": "none"},
            r"method\.shares\.rgb=2\.0 is set, but tokd as configured has no such term",
        ),
        (
            "baselines",
            {"shares": {"loss": 2.0}, "loss": "sam", "teacher_count": 0},
            r"method\.shares\.loss=2\.0 is set, but baselines .* it has none",
        ),
        (
            "combine",
            {"parts": ("kd",), "kd": {"shares": {"kd": -1.0}}},
            r"method\.kd\.shares\.kd=-1",
        ),
    ],
)
def test_a_share_that_names_no_term_or_is_negative_is_refused(bench, name, options, message):
    with pytest.raises(ValueError, match=message):
        bench.__wrapped__(name, **options)


def test_shares_are_of_the_terms_as_configured(bench):
    assert set(bench("tokd", rgb_weight=0.0, rotation="none").method.shares) == {"frequency"}
    assert bench.__wrapped__("baselines", loss="pkt", shares={"loss": 3.0}).method.shares == {
        "pkt": 3.0
    }
    assert bench("supervised").method.shares == {}
    both = bench.__wrapped__("combine", kd={"shares": {"kd": 3.0}}).method.shares
    assert (set(both), both["kd.kd"]) == ({"qad.collaboration", "kd.kd"}, 3.0)


def test_ratios_are_measured_at_start_a_tenth_and_end_and_between():
    assert ratio_steps(100, {20, 40, 60, 80, 100}, 2) == {1, 10, 20, 60, 100}
    assert ratio_steps(100, {50, 100}, 0) == frozenset()
