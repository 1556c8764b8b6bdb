"""Rows by rule: counts and values by hand, draws against SciPy's own, and what is refused."""

import numpy as np
import pytest
from scipy import stats
from scipy.stats import qmc

from kdjax.checks import UserError
from kdjax.configs import sweeps
from kdjax.configs.sweeps import (
    choice,
    grid,
    integer,
    linear,
    log,
    product,
    quasi_random,
    random,
    seeds,
    zipped,
)

RANGES = {"a.rate": log(1e-4, 1e-1), "a.weight": linear(-1, 3), "a.size": integer(2, 5)}


def test_a_grid_has_every_combination_and_its_last_key_is_fastest():
    assert grid({"a.b": (1, 2), "c": ("x", "y")}) == [
        {"a.b": 1, "c": "x"},
        {"a.b": 1, "c": "y"},
        {"a.b": 2, "c": "x"},
        {"a.b": 2, "c": "y"},
    ]
    # a tuple is a value
    assert grid({"q": [("raw",), ("c23", "c40")]}) == [{"q": ("raw",)}, {"q": ("c23", "c40")}]


def test_products_and_zips_join_names_and_flatten():
    methods = [{"name": "kd", "method": {"weight": 1}}, {"name": "ckd", "method": {"weight": 2}}]
    subsets = [{"name": "few", "data.subset": 10}, {"data.subset": 0}]
    assert product(methods, subsets)[:2] == [
        {"name": "kd few", "method.weight": 1, "data.subset": 10},
        {"name": "kd", "method.weight": 1, "data.subset": 0},
    ]
    assert len(product(methods, subsets)) == 4
    assert zipped(methods, subsets) == [
        {"name": "kd few", "method.weight": 1, "data.subset": 10},
        {"name": "ckd", "method.weight": 2, "data.subset": 0},
    ]


def test_all_rows_of_a_seed_come_before_the_next():
    assert seeds([{"a": 1}, {"a": 2}], 2, first=5) == [
        {"a": 1, "seed.student": 5},
        {"a": 2, "seed.student": 5},
        {"a": 1, "seed.student": 6},
        {"a": 2, "seed.student": 6},
    ]


@pytest.mark.parametrize("draw", [random, quasi_random])
def test_draws_lie_in_their_ranges_and_follow_their_laws(draw):
    rows = draw(RANGES, 512, seed=3)
    rates = np.log([row["a.rate"] for row in rows])
    weights = [row["a.weight"] for row in rows]
    assert stats.kstest(rates, stats.uniform(np.log(1e-4), np.log(1e3)).cdf).pvalue > 0.01
    assert stats.kstest(weights, stats.uniform(-1, 4).cdf).pvalue > 0.01
    counts = np.bincount([row["a.size"] for row in rows], minlength=6)
    assert counts[:2].sum() == 0
    assert stats.chisquare(counts[2:]).pvalue > 0.01
    assert {type(value) for value in rows[0].values()} == {float, int}


@pytest.mark.parametrize("draw", [random, quasi_random])
@pytest.mark.parametrize(("few", "many"), [(3, 10), (5, 33)])
def test_more_draws_of_a_seed_begin_with_the_same(draw, few, many):
    assert draw(RANGES, many)[:few] == draw(RANGES, few)
    assert draw(RANGES, few, seed=1) != draw(RANGES, few)


@pytest.mark.parametrize("sequence", ["sobol", "halton"])
def test_quasi_random_rows_are_more_even_than_random_ones(sequence):
    ranges = {"a": linear(0, 1), "b": linear(0, 1)}

    def discrepancy(rows):
        return qmc.discrepancy([list(row.values()) for row in rows])

    even = [
        discrepancy(quasi_random(ranges, 64, seed=seed, sequence=sequence)) for seed in range(5)
    ]
    assert max(even) < min(discrepancy(random(ranges, 64, seed=seed)) for seed in range(5))


def test_draws_differ_from_each_other():
    rows = random({"a": choice("x", "y", "z"), "b": integer(1, 2)}, 6)
    assert len({tuple(row.values()) for row in rows}) == 6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: grid({"a": "adam"}), "a of a grid needs a list of values, not 'adam'"),
        (lambda: grid({"a": 3}), "a of a grid needs a list of values, not 3"),
        (lambda: grid({"a": ()}), "a of a grid has no values"),
        (lambda: product([{"a": 1}], [{"a": 2}]), "two tables set 'a'"),
        (lambda: zipped([{"a": 1}], []), "they have 1, 0 rows"),
        (lambda: seeds([{}], 0), r"seeds\(rows, 0\): the number of seeds must be at least 1"),
        (lambda: seeds([{"seed.student": 1}], 2), r"two tables set 'seed\.student'"),
        (lambda: log(0, 1), "both ends must be greater than 0"),
        (lambda: linear(2, 1), "the smaller first"),
        (lambda: linear("1", 2), "must be two numbers"),
        (lambda: integer(1, 2.5), "whole numbers"),
        (lambda: choice(), r"choice\(\) needs values"),
        (lambda: random({}, 3), "nothing to draw"),
        (lambda: random({"a": (1, 2)}, 3), r"a=\(1, 2\) is no range"),
        (lambda: random({"a": linear(0, 1)}, 0), "at least 1, not 0"),
        (lambda: random({"a": integer(1, 3)}, 4), "hold 3 different rows, not 4"),
        (lambda: quasi_random({"a": choice(1, 2)}, 3), "hold 2 different rows, not 3"),
        (
            lambda: quasi_random({"a": linear(0, 1)}, 2, sequence="sobel"),
            "sequence='sobel': did you mean 'sobol'",
        ),
    ],
)
def test_what_makes_no_rows_is_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_helpers_stand_beside_the_tables():
    assert set(sweeps.__all__) >= {"grid", "random", "quasi_random", "product", "zipped", "seeds"}
