"""Spikes: a term that grows a hundredfold within a window is found at its step, once."""

import math

from kdjax.train.spikes import WINDOW, Watch, describe, watch, watch_rows


def found(*values, start=1, **how):
    """Returns `(step, name)` of all spikes in the values of one term."""
    state, spikes = Watch(), []
    for step, value in enumerate(values, start):
        state, new = watch(state, step, {"a": value}, **how)
        spikes += new
    return [(spike.step, spike.name) for spike in spikes]


def test_hundredfold_growth_is_found_at_its_step():
    assert found(1.0, 2.0, 99.0, 100.0) == [(4, "a")]


def test_falling_is_no_spike():
    assert found(1e6, 1.0, 0.5) == []


def test_growth_counts_within_the_window_alone():
    slow = [1.0, *[2.0] * 9, 150.0]
    assert found(*slow, window=10) == [(11, "a")]
    assert found(*slow, window=9) == []


def test_a_term_is_named_once_a_window():
    rising = [1.0, 1000.0, 1.0, 1000.0, 1.0, 1000.0]
    assert found(*rising, window=4) == [(2, "a"), (6, "a")]


def test_each_term_is_watched_by_itself():
    state, _ = watch(Watch(), 1, {"a": 1.0, "b": 1.0})
    state, spikes = watch(state, 2, {"a": 500.0, "b": 1.0})
    assert [spike.name for spike in spikes] == ["a"]
    _, spikes = watch(state, 3, {"a": 500.0, "b": 500.0})
    assert [spike.name for spike in spikes] == ["b"]


def test_what_stays_small_or_was_off_is_no_spike():
    assert found(1e-9, 1e-4, 0.9) == []
    assert found(1e-9, 1.1) == [(2, "a")]
    # a schedule or the warm-up switches a term on
    assert found(0.0, 0.0, 50.0, 60.0) == []


def test_the_sign_does_not_matter():
    assert found(-1.0, -200.0) == [(2, "a")]


def test_what_is_not_finite_is_named():
    assert found(1.0, math.inf) == [(2, "a")]
    assert found(math.nan) == [(1, "a")]


def test_rows_of_a_fetch_are_seen_step_by_step_and_across_fetches():
    rows = [
        {"term/a": 1.0, "loss": 9.0, "term/b": 5.0},
        {"term/a": 300.0, "loss": 1e9, "term/b": 5.0},
    ]
    state, spikes = watch_rows(Watch(), 8, rows)
    assert [(spike.name, spike.step) for spike in spikes] == [("a", 8)]
    _, spikes = watch_rows(state, 10, [rows[0], {**rows[0], "term/b": 1000.0}])
    assert [(spike.name, spike.step) for spike in spikes] == [("b", 10)]


def test_the_line_names_term_step_and_sizes():
    _, spikes = watch_rows(Watch(), 2, [{"term/ckd.contrast": 6.0}, {"term/ckd.contrast": 1.8e6}])
    line = describe(spikes[0])
    assert "step 2: the loss term ckd.contrast grew from 6 to 1.8e+06" in line
    assert f"within {WINDOW} steps" in line
    assert "\n" not in line
