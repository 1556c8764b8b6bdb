import numpy as np
import pytest

from kdjax.evaluate.samples import pick_samples

LABELS = np.array([0] * 50 + [1] * 30)
FORGERY = np.array([0] * 50 + [2] * 20 + [5] * 9 + [3])


def test_reals_come_first_and_every_kind_is_there():
    picked = pick_samples(LABELS, FORGERY, real=3, per_kind=2)
    assert FORGERY[picked].tolist() == [0, 0, 0, 2, 2, 3, 5, 5]
    assert len(set(picked)) == len(picked)


def test_picks_are_spread_over_the_set_and_never_change():
    picked = pick_samples(LABELS, FORGERY, real=3, per_kind=2)
    assert picked[:3].tolist() == [8, 25, 41]
    np.testing.assert_array_equal(picked, pick_samples(LABELS, FORGERY, real=3, per_kind=2))


def test_a_set_of_one_class_is_legal():
    assert pick_samples([0, 0], [0, 0]).tolist() == [0, 1]
    assert pick_samples([1], [4]).tolist() == [0]


def test_numbers_must_be_positive():
    with pytest.raises(ValueError, match="per_kind=0"):
        pick_samples(LABELS, FORGERY, per_kind=0)
