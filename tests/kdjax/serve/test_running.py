"""Means, intervals and curves of series that are not kept."""

import math

import numpy as np
import pytest
from scipy import stats

from kdjax.serve.running import BINS, BLOCKS, FEWEST, MOST, Blocks, Curve


def blocks_of(values):
    blocks = Blocks()
    for value in values:
        blocks.add(float(value))
    return blocks


@pytest.mark.parametrize("count", [1, 3, 4, 15, 16, 31, 32, 33, 100, 1001, 5000])
def test_the_mean_is_of_all_values(count):
    values = np.random.default_rng(count).uniform(size=count)
    blocks = blocks_of(values)
    assert blocks.count == count
    assert blocks.mean == pytest.approx(values.mean(), abs=1e-12)
    low, high = blocks.interval()
    assert math.isnan(low) == (count < FEWEST)
    if count >= FEWEST:
        assert 0 <= low <= blocks.mean <= high <= 1


def test_the_interval_of_few_values_is_students():
    values = np.random.default_rng(0).uniform(0.4, 0.6, size=MOST)
    expected = stats.t.interval(0.95, MOST - 1, values.mean(), stats.sem(values))
    assert blocks_of(values).interval() == pytest.approx(expected, abs=1e-12)


def test_of_many_values_blocks_of_one_length_are_compared():
    values = np.random.default_rng(1).uniform(0.4, 0.6, size=1024)
    # 32 sums of 32 values become 16 of 64, then 8 of 128
    means = values.reshape(8, 128).mean(axis=1)
    expected = stats.t.interval(0.95, 7, means.mean(), stats.sem(means))
    assert blocks_of(values).interval() == pytest.approx(expected, abs=1e-12)


def share_held(count, memory):
    """Returns in how many of 300 series that forget so much from value to value the interval holds their mean."""
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(300):
        noise = rng.normal(size=count + 200)
        series = np.empty_like(noise)
        series[0] = 0
        for place in range(1, len(series)):
            series[place] = memory * series[place - 1] + noise[place]
        low, high = blocks_of(0.5 + 0.02 * series[200:]).interval()
        held += low <= 0.5 <= high
    return held / 300


@pytest.mark.parametrize(("count", "memory"), [(300, 0.0), (3000, 0.95)])
def test_the_interval_holds_the_mean_although_neighbours_resemble_each_other(count, memory):
    # 300 cases of a true 95 % give 0.91 to 0.98
    assert 0.90 <= share_held(count, memory) <= 0.985


def test_ten_values_of_one_moment_are_too_few():
    """As docs/predict.md says; more frames, or looks farther apart (`score_every`), are what helps."""
    assert 0.90 <= share_held(10, 0.0) <= 0.985
    assert share_held(10, 0.95) < 0.5


def test_no_more_is_kept_of_more_values():
    blocks, curve = Blocks(), Curve()
    for number in range(100_000):
        blocks.add(0.5)
        curve.add(number, 0.5)
    assert len(blocks._sums) < BLOCKS
    assert len(curve.points()) <= BINS


def test_a_curve_keeps_means_and_extremes():
    values = np.random.default_rng(3).uniform(size=1000)
    curve = Curve()
    for number, value in enumerate(values):
        curve.add(number, float(value))
    points = curve.points()
    assert BINS / 2 <= len(points) <= BINS
    for point in points:
        part = values[point.start : point.stop]
        assert point.mean == pytest.approx(part.mean())
        assert (point.low, point.high) == (part.min(), part.max())


def test_a_curve_leaves_out_where_nothing_was_seen():
    curve = Curve()
    for number in (0, 1, 500):
        curve.add(number, 0.25)
    starts = [point.start for point in curve.points()]
    assert starts[0] == 0
    assert starts[-1] <= 500
    assert len(starts) == 2
