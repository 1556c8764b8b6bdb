"""Factors from gradient norms: equal to what is computed by hand in NumPy, and never NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.transforms.balance import FLOOR, HIGHEST, LOWEST, balance

rng = np.random.default_rng(0)


def follow(built, *measurements, restart_at=()):
    """Returns the state after some measurements, each `(reference, {term: norm})`."""
    state = built.init()
    for number, (reference, norms) in enumerate(measurements):
        named = {"cross_entropy": jnp.asarray(reference)}
        named |= {name: jnp.asarray(norm) for name, norm in norms.items()}
        state = built.update(named, state, number in restart_at)
    return state


def factor(built, *measurements, name="a", **how):
    return float(built.factors(follow(built, *measurements, **how))[name])


def test_one_measurement_gives_the_wanted_share():
    built = balance({"a": 0.5, "b": 2.0})
    found = built.factors(follow(built, (3.0, {"a": 60.0, "b": 0.1})))
    np.testing.assert_allclose(found["a"] * 60.0, 0.5 * 3.0, rtol=1e-6)
    np.testing.assert_allclose(found["b"] * 0.1, 2.0 * 3.0, rtol=1e-6)


def test_start_is_the_geometric_mean_of_its_first_measurements():
    built = balance({"a": 0.5}, steps=3)
    references, norms = rng.uniform(0.1, 9, 5), rng.uniform(0.1, 9, 5)
    steps = [(one, {"a": other}) for one, other in zip(references, norms, strict=True)]
    for count in range(1, 6):
        kept = min(count, 3)
        expected = 0.5 / np.exp(np.mean(np.log(norms[:kept] / references[:kept])))
        np.testing.assert_allclose(factor(built, *steps[:count]), expected, rtol=1e-5)


def test_running_is_a_plain_mean_at_first_and_then_a_moving_one():
    built = balance({"a": 0.5}, steps=3, decay=0.75)
    references, norms = rng.uniform(2, 9, (2, 8))
    steps = [(one, {"a": other}) for one, other in zip(references, norms, strict=True)]
    ratios = np.log(norms / references)
    np.testing.assert_allclose(
        factor(built, *steps[:4]), 0.5 / np.exp(np.mean(ratios[:4])), rtol=1e-5
    )
    mean = np.mean(ratios[:4])
    for ratio in ratios[4:]:
        mean = 0.75 * mean + 0.25 * ratio
    np.testing.assert_allclose(factor(built, *steps), 0.5 / np.exp(mean), rtol=1e-5)


def test_running_counts_a_vanishing_reference_for_a_tenth_of_its_first():
    built = balance({"a": 1.0}, steps=2, decay=0.0)
    first = [(4.0, {"a": 1.0}), (1.0, {"a": 1.0})]
    # the geometric mean of the first two is 2
    np.testing.assert_allclose(factor(built, *first, (1e-9, {"a": 1.0})), 2 * FLOOR, rtol=1e-5)
    np.testing.assert_allclose(factor(built, *first, (0.3, {"a": 1.0})), 0.3, rtol=1e-5)


def test_running_counts_a_vanishing_term_for_a_tenth_of_its_first():
    built = balance({"a": 1.0}, steps=2, decay=0.0)
    first = [(1.0, {"a": 4.0}), (1.0, {"a": 1.0})]
    np.testing.assert_allclose(factor(built, *first, (1.0, {"a": 1e-9})), 0.5 / FLOOR, rtol=1e-5)
    np.testing.assert_allclose(factor(built, *first, (1.0, {"a": 0.3})), 1 / 0.3, rtol=1e-5)


def test_start_takes_the_reference_as_it_is():
    built = balance({"a": 1.0}, steps=2)
    found = factor(built, (1.0, {"a": 1.0}), (1e-4, {"a": 1.0}))
    np.testing.assert_allclose(found, 1e-2, rtol=1e-4)


@pytest.mark.parametrize("decay", [None, 0.5])
def test_a_term_without_gradient_has_factor_one_until_it_has_one(decay):
    built = balance({"a": 0.5, "b": 0.5}, steps=2, decay=decay)
    silent = [(1.0, {"a": 0.0, "b": 4.0})] * 3
    state = follow(built, *silent)
    assert float(built.factors(state)["a"]) == 1.0
    assert (int(state.counts["a"]), int(state.counts["b"])) == (0, 3)
    # its own mean begins with its first gradient, and one without leaves it
    woken = (1.0, {"a": 5.0, "b": 4.0})
    np.testing.assert_allclose(factor(built, *silent, woken, *silent), 0.1, rtol=1e-5)


@pytest.mark.parametrize("bad", [0.0, np.inf, np.nan])
def test_a_reference_without_gradient_skips_the_measurement(bad):
    built = balance({"a": 0.5}, decay=0.5)
    good = (1.0, {"a": 2.0})
    state = follow(built, good, (bad, {"a": 7.0}))
    assert (int(state.measured), int(state.skipped)) == (1, 1)
    alone = follow(built, good)
    jax.tree.map(
        np.testing.assert_array_equal, state._replace(skipped=0), alone._replace(skipped=0)
    )


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_gradient_that_is_not_finite_is_not_counted(bad):
    built = balance({"a": 0.5})
    np.testing.assert_allclose(factor(built, (1.0, {"a": 2.0}), (1.0, {"a": bad})), 0.25, rtol=1e-6)


@pytest.mark.parametrize("decay", [None, 0.9])
def test_next_to_no_gradient_does_not_own_the_mean(decay):
    built = balance({"a": 1.0}, steps=4, decay=decay)
    nothing, real = (1.0, {"a": 1e-30}), (1.0, {"a": 2.0})
    np.testing.assert_allclose(factor(built, nothing, nothing, real, real), 0.5, rtol=1e-5)
    # what grows by less is a mean like any other
    np.testing.assert_allclose(factor(built, (1.0, {"a": 0.02}), real), 5.0, rtol=1e-5)


def test_a_term_that_grows_after_its_first_measurements_does_not_begin_anew():
    late = [(1.0, {"a": 1.0})] * 2 + [(1.0, {"a": 1e6})]
    np.testing.assert_allclose(factor(balance({"a": 1.0}, steps=2), *late), 1.0, rtol=1e-5)
    moving = factor(balance({"a": 1.0}, steps=2, decay=0.9), *late)
    np.testing.assert_allclose(moving, 1e6 ** (-1 / 3), rtol=1e-4)


def test_factors_stay_within_their_range():
    built = balance({"a": 1.0})
    np.testing.assert_allclose(factor(built, (1.0, {"a": 1e-30})), HIGHEST, rtol=1e-5)
    np.testing.assert_allclose(factor(built, (1e-3, {"a": 1e30})), LOWEST, rtol=1e-5)


def test_a_share_of_zero_is_the_factor_zero_and_needs_no_norm():
    built = balance({"a": 0.0, "b": 1.0})
    state = follow(built, (1.0, {"b": 2.0}))
    assert set(state.counts) == {"b"}
    assert float(built.factors(state)["a"]) == 0.0


def test_a_restart_forgets_what_was_before_unless_it_is_skipped():
    built = balance({"a": 1.0}, steps=2)
    old, new = (1.0, {"a": 8.0}), (1.0, {"a": 2.0})
    np.testing.assert_allclose(factor(built, old, old, new, restart_at={2}), 0.5, rtol=1e-5)
    np.testing.assert_allclose(
        factor(built, old, old, new, (1.0, {"a": 0.5}), restart_at={2}), 1.0, rtol=1e-5
    )
    skipped = (0.0, {"a": 2.0})
    np.testing.assert_allclose(factor(built, old, old, skipped, restart_at={2}), 0.125, rtol=1e-5)


def test_update_is_one_program_and_keeps_dtypes():
    built = balance({"a": 1.0}, decay=0.9)
    update = jax.jit(built.update)
    state = built.init()
    for number in range(3):
        norms = {"cross_entropy": jnp.asarray(1.0), "a": jnp.asarray(2.0 + number)}
        state = update(norms, state, jnp.asarray(number == 0))
    assert update._cache_size() == 1
    kinds = jax.tree.map(lambda leaf: (leaf.dtype, leaf.shape, leaf.weak_type), state)
    assert kinds == jax.tree.map(
        lambda leaf: (leaf.dtype, leaf.shape, leaf.weak_type), built.init()
    )


@pytest.mark.parametrize(
    ("shares", "how", "message"),
    [
        ({"a": -0.5}, {}, "the share of a=-0.5"),
        ({"a": 0.5}, {"steps": 0}, "steps=0"),
        ({"a": 0.5}, {"decay": 1.0}, "decay=1.0"),
    ],
)
def test_settings_out_of_range_are_refused(shares, how, message):
    with pytest.raises(ValueError, match=message):
        balance(shares, **how)
