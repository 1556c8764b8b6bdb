"""Optimisers against hand-written updates, schedules at their ends."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdjax.train import optim

DEFAULTS = {
    "groups": ("student", "heads"),
    "beta1": 0.9,
    "beta2": 0.999,
    "epsilon": 1e-8,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "clip_norm": 0.0,
}
SCHEDULE = {"warmup_fraction": 0.05, "decay_steps": 10, "decay_factor": 0.1}


def updates_of(name, gradients, learning_rate, **changed):
    optimizer = optim.make_optimizer(name, **{**DEFAULTS, **changed})
    params = {"student": {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}}
    state = optimizer.init(params)
    found = []
    for value in gradients:
        grads = jax.tree.map(lambda p, value=value: jnp.full_like(p, value), params)
        updates, state = optimizer.update(
            grads, state, params, learning_rate=jnp.float32(learning_rate)
        )
        found.append(updates["student"])
    return found


def test_adam_is_the_hand_written_rule():
    m = v = 0.0
    for step, (gradient, update) in enumerate(
        zip([0.3, -0.2], updates_of("adam", [0.3, -0.2], 0.01), strict=True), start=1
    ):
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        expected = -0.01 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
        np.testing.assert_allclose(update["w"], expected, rtol=1e-4)


def test_sgd_has_momentum_and_decays_matrices_alone():
    first, second = updates_of("sgd", [0.5, 0.5], 0.1, weight_decay=0.2)
    np.testing.assert_allclose(first["b"], -0.05, rtol=1e-6)
    np.testing.assert_allclose(first["w"], -0.1 * (0.5 + 0.2), rtol=1e-6)
    np.testing.assert_allclose(second["b"], -0.1 * (0.5 + 0.9 * 0.5), rtol=1e-6)


def test_clipping_bounds_the_norm_of_a_group():
    [update] = updates_of("sgd", [10.0], 1.0, clip_norm=1.0, momentum=0.0)
    norm = np.sqrt(sum(float(jnp.sum(leaf**2)) for leaf in update.values()))
    np.testing.assert_allclose(norm, 1.0, rtol=1e-5)


def test_one_cycle_rises_for_its_fraction_and_falls_to_nothing():
    schedule = optim.make_schedule("one_cycle", total_steps=100, **SCHEDULE)
    values = np.array([schedule(step) for step in range(101)])
    assert values.argmax() == 5
    np.testing.assert_allclose(values[[0, 5, 100]], [1 / 25, 1, 4e-6], rtol=1e-4)


def test_step_schedule_multiplies_at_each_interval():
    schedule = optim.make_schedule("step", total_steps=100, **SCHEDULE)
    np.testing.assert_allclose([schedule(s) for s in (0, 9, 10, 25)], [1, 1, 0.1, 0.01], rtol=1e-5)


@pytest.mark.parametrize("name", optim.SCHEDULES)
@pytest.mark.parametrize("total", [1, 2, 3, 50])
def test_schedules_stay_in_range_however_short_the_run(name, total):
    schedule = optim.make_schedule(name, total_steps=total, **SCHEDULE)
    values = np.array([schedule(step) for step in range(total)])
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    assert (values <= 1 + 1e-6).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: optim.make_schedule("cycle", total_steps=3, **SCHEDULE), "optimizer.schedule"),
        *(
            (
                lambda factor=factor: optim.make_schedule(
                    "step", total_steps=3, **{**SCHEDULE, "decay_factor": factor}
                ),
                r"optimizer.decay_factor=.* must be in \(0, 1\]",
            )
            for factor in (0.0, 1.5)
        ),
        (lambda: optim.make_optimizer("adan", **DEFAULTS), "optimizer.name"),
        (
            lambda: optim.make_optimizer("adam", **{**DEFAULTS, "weight_decay": -1}),
            "optimizer.weight_decay",
        ),
    ],
)
def test_wrong_settings_name_their_key(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def gradient_steps(optimizer, steps=3, **extra):
    """Returns parameters after some steps on a fixed gradient."""
    params = {"student": {"a": {"kernel": jnp.full((2, 2), 2.0)}}, "heads": {"b": jnp.ones(3)}}
    state = optimizer.init(params)
    for step in range(steps):
        grads = jax.tree.map(lambda leaf, by=step: leaf * 0.1 + by, params)
        updates, state = optimizer.update(grads, state, params, **extra)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize(
    ("factory", "options"),
    [
        (optax.lion, {"b1": 0.8, "weight_decay": 0.1}),
        (optax.adamw, {"weight_decay": 0.1}),
        (optax.rmsprop, {}),
        (optax.adafactor, {}),
    ],
)
def test_an_optimizer_of_optax_takes_steps_as_its_own_rate_would(factory, options):
    own = optim.make_optimizer("mine", own={"mine": factory}, own_options=options, **DEFAULTS)
    found = gradient_steps(own, learning_rate=jnp.asarray(0.02))
    expected = gradient_steps(factory(0.02, **options))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), found, expected)


def test_a_transformation_without_a_rate_is_multiplied_with_it():
    own = optim.make_optimizer("mine", own={"mine": optax.scale_by_adam}, **DEFAULTS)
    found = gradient_steps(own, learning_rate=jnp.asarray(0.02))
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-6), found, gradient_steps(optax.adam(0.02))
    )


def test_a_missing_rate_is_named():
    with pytest.raises(ValueError, match=r"needs learning_rate=\.\.\. beside the gradients"):
        gradient_steps(optim.make_optimizer("sgd", **DEFAULTS))


def test_own_schedules_and_names_that_are_taken():
    own = {"ramp": lambda steps, low=0.5: lambda step: low + step / steps}
    options = {"total_steps": 10, "warmup_fraction": 0.1, "decay_steps": 1, "decay_factor": 0.1}
    schedule = optim.make_schedule("ramp", own=own, own_options={"low": 0.25}, **options)
    assert schedule(5) == 0.75
    with pytest.raises(ValueError, match="the schedule 'cosine' is shipped with kdjax"):
        optim.make_schedule("cosine", own={"cosine": optax.constant_schedule}, **options)
    with pytest.raises(ValueError, match="the optimizer 'adam' is shipped with kdjax"):
        optim.make_optimizer("adam", own={"adam": optax.lion}, **DEFAULTS)
