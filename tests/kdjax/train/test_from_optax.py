"""Optimizers and schedules of optax by name: as optax makes them, and what is refused."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kdjax.train import from_optax, optim

RUN = {"total_steps": 40, "warmup_fraction": 0.25, "decay_steps": 10, "decay_factor": 0.1}
DEFAULTS = {
    "groups": ("student",),
    "beta1": 0.9,
    "beta2": 0.999,
    "epsilon": 1e-8,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "clip_norm": 0.0,
}


def params():
    return {"student": {"a": {"kernel": jnp.full((2, 3), 2.0), "bias": jnp.ones(3)}}}


def trained(optimizer, **extra):
    found = params()
    state = optimizer.init(found)
    for step in range(3):
        grads = jax.tree.map(lambda leaf, by=step: leaf * 0.1 + by, found)
        updates, state = optimizer.update(grads, state, found, **extra)
        found = optax.apply_updates(found, updates)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("optax:lion:b1=0.8:weight_decay=0.2", partial(optax.lion, b1=0.8, weight_decay=0.2)),
        ("optax:rmsprop:decay=0.8:nesterov=true", partial(optax.rmsprop, decay=0.8, nesterov=True)),
        ("optax:adamw:mu_dtype=bfloat16", partial(optax.adamw, mu_dtype="bfloat16")),
        ("optax:sgd:momentum=0.5", partial(optax.sgd, momentum=0.5)),
        ("optax:adafactor", optax.adafactor),
    ],
)
def test_an_optimizer_by_name_is_optax_own(text, expected):
    found = optim.make_optimizer(text, **{**DEFAULTS, "weight_decay": 0.0})
    takes = expected.func is optax.adamw if isinstance(expected, partial) else False
    masked = {"weight_decay": 0.0} if takes else {}
    if "lion" in text:
        masked = {"mask": lambda tree: jax.tree.map(lambda p: p.ndim > 1, tree)}
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-6),
        trained(found, learning_rate=jnp.float32(0.02)),
        trained(expected(0.02, **masked)),
    )


def test_decoupled_decay_is_that_of_the_configuration():
    found = optim.make_optimizer("optax:adamw", **{**DEFAULTS, "weight_decay": 0.3})
    ours = optim.make_optimizer("adamw", **{**DEFAULTS, "weight_decay": 0.3})
    rate = {"learning_rate": jnp.float32(0.02)}
    jax.tree.map(
        partial(np.testing.assert_allclose, rtol=1e-5),
        trained(found, **rate),
        trained(ours, **rate),
    )


def test_every_optimizer_of_optax_works_or_says_why_not():
    refused = {}
    for name in from_optax.optimizers():
        try:
            optimizer = optim.make_optimizer(f"optax:{name}", **DEFAULTS)
        except ValueError as error:
            refused[name] = str(error)
            continue
        found = trained(optimizer, learning_rate=jnp.float32(0.02))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found)), name
    assert {"lbfgs"} <= set(refused)
    assert "cannot be used: it needs more than gradients" in refused["lbfgs"]
    assert not {"adam", "adamw", "lion", "sgd", "lamb", "lars", "radam", "yogi"} & set(refused)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cosine_decay_schedule", optax.cosine_decay_schedule(1.0, 40)),
        (
            "cosine_decay_schedule:alpha=0.1:decay_steps=20",
            optax.cosine_decay_schedule(1.0, 20, 0.1),
        ),
        ("linear_schedule", optax.linear_schedule(1.0, 0.0, 40)),
        ("polynomial_schedule:power=2", optax.polynomial_schedule(1.0, 0.0, 2, 40)),
        ("warmup_cosine_decay_schedule", optax.warmup_cosine_decay_schedule(0.0, 1.0, 10, 40)),
        ("warmup_constant_schedule:init_value=0.5", optax.warmup_constant_schedule(0.5, 1.0, 10)),
        ("linear_onecycle_schedule", optax.linear_onecycle_schedule(40, 1.0)),
        (
            "exponential_decay:decay_rate=0.5:transition_steps=10:staircase=true",
            optax.exponential_decay(1.0, 10, 0.5, staircase=True),
        ),
        ("constant_schedule", optax.constant_schedule(1.0)),
    ],
)
def test_a_schedule_by_name_is_optax_own(text, expected):
    found = optim.make_schedule(f"optax:{text}", **RUN)
    steps = np.arange(45)
    np.testing.assert_allclose(
        [float(found(step)) for step in steps], [float(expected(step)) for step in steps], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "optax:cosine_schedule",
            "no 'cosine_schedule' here; did you mean 'cosine_decay_schedule'",
        ),
        ("optax:sgdr_schedule", "optax has no 'sgdr_schedule' here"),
        ("optax:polynomial_schedule", "needs the option power; give .*:power=VALUE"),
        ("optax:linear_schedule:end=1", "no option 'end'; did you mean 'end_value'"),
        ("optax:linear_schedule:end_value", "'end_value' must be OPTION=VALUE"),
        ("optax:linear_schedule:end_value=1:end_value=2", "end_value is given twice"),
        ("optax:cosine_decay_schedule:alpha=x", "alpha='x' must be like its default, 0.0"),
        (
            "optax:linear_schedule:end_value=-1",
            "0 or more; at its first and last step it is 1 and -0.95",
        ),
        ("optax:cosine_decay_schedule:decay_steps=0", "fails: .*"),
    ],
)
def test_a_schedule_that_cannot_be_meant_is_named(text, message):
    with pytest.raises(ValueError, match=f"optimizer.schedule=.*{message}"):
        optim.make_schedule(text, **RUN)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optax:lyon", "optax has no 'lyon' here; did you mean 'lion'"),
        ("optax:lion:b3=1", "no option 'b3'"),
        ("optax:lion:learning_rate=1", "no option 'learning_rate'"),
        ("optax:rmsprop:nesterov=2", "nesterov='2' must be like its default, False"),
        ("optax:lion:b1=true", "b1='true' must be like its default, 0.9"),
    ],
)
def test_an_optimizer_that_cannot_be_meant_is_named(text, message):
    with pytest.raises(ValueError, match=f"optimizer.name=.*{message}"):
        optim.make_optimizer(text, **DEFAULTS)
