import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdjax.checks import UserError
from kdjax.data_pipeline.subsets import choose_subset

IDENTITIES = np.arange(400) // 20  # 20 people
LABELS = np.arange(400) % 2
RECORDED = [16, 41, 68, 84, 139, 169, 273, 296, 345, 398]  # of seed 7, size 10

splits = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3)), min_size=2, max_size=9).filter(
    lambda rows: {label for label, _ in rows} == {0, 1}
)


def choose(size, seed=0, labels=LABELS, identities=IDENTITIES):
    return choose_subset(labels, identities, size=size, seed=seed)


def people(chosen, label=None, labels=LABELS, identities=IDENTITIES):
    kept = chosen if label is None else chosen[labels[chosen] == label]
    return identities[kept]


@pytest.mark.parametrize("size", [2, 10, 11, 100, 399, 400])
def test_classes_are_balanced_and_positions_sorted(size):
    chosen = choose(size)
    assert chosen.dtype == np.int64
    assert len(chosen) == size
    assert (np.diff(chosen) > 0).all()
    assert (LABELS[chosen] == 0).sum() == (size + 1) // 2


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_smaller_subsets_lie_in_larger_ones(seed):
    chosen = [set(choose(size, seed).tolist()) for size in (2, 3, 10, 11, 100, 257)]
    for small, large in itertools.pairwise(chosen):
        assert small < large


def test_the_seed_alone_decides():
    assert choose(10, seed=3).tolist() == choose(10, seed=3).tolist()
    drawn = {tuple(choose(10, seed=seed).tolist()) for seed in range(20)}
    assert len(drawn) == 20


def test_the_choice_is_the_same_in_every_version():
    assert choose(10, seed=7).tolist() == RECORDED


def test_as_many_people_as_possible_are_seen_and_all_about_equally_often():
    assert len(set(people(choose(10)))) == 10
    assert len(set(people(choose(20)))) == 20
    for size in (40, 100, 110, 200):
        for label in (0, 1):
            counts = np.bincount(people(choose(size), label), minlength=20)
            assert counts.max() - counts.min() <= 1
        counts = np.bincount(people(choose(size)), minlength=20)
        assert counts.max() - counts.min() <= 2


@settings(max_examples=80, deadline=None)
@given(splits, st.integers(0, 5))
def test_no_other_subset_covers_more_people(rows, seed):
    labels, identities = (np.array(column) for column in zip(*rows, strict=True))
    of = [np.flatnonzero(labels == label) for label in (0, 1)]
    for size in range(2, 2 * min(map(len, of)) + 1):
        halves = ((size + 1) // 2, size // 2)
        chosen = choose(size, seed, labels, identities)
        covered = len(set(identities[chosen].tolist()))
        ways = (itertools.combinations(of[label].tolist(), halves[label]) for label in (0, 1))
        best = max(
            len(set(identities[[*real, *fake]].tolist())) for real, fake in itertools.product(*ways)
        )
        assert covered == best
        for label in (0, 1):
            seen = set(people(chosen, label, labels, identities).tolist())
            assert len(seen) == min(halves[label], len(set(identities[of[label]].tolist())))


def test_every_example_may_be_chosen():
    seen = {index for seed in range(200) for index in choose(40, seed).tolist()}
    assert seen == set(range(400))


def test_zero_takes_all_balanced_or_not():
    labels = np.array([0, 1, 1, 1])
    assert choose(0, 0, labels, labels).tolist() == [0, 1, 2, 3]


def test_the_whole_of_the_smaller_class_can_be_taken():
    labels = np.array([1, 0, 1, 1, 0, 1])
    assert set(np.flatnonzero(labels == 0)) < set(choose(4, 0, labels, np.zeros(6, int)).tolist())
    with pytest.raises(UserError, match=r"data\.subset=5 takes 3 real training examples, there"):
        choose(5, 0, labels, np.zeros(6, int))


@pytest.mark.parametrize(
    ("match", "arguments"),
    [
        (r"data\.subset=1 must be", {"size": 1}),
        (r"data\.subset=-10 must be", {"size": -10}),
        (r"data\.subset_seed=-1", {"size": 10, "seed": -1}),
        (r"data\.subset=402 takes 201 real", {"size": 402}),
        (r"data\.subset=10: there is no fake", {"size": 10, "labels": 0 * LABELS}),
        (r"data\.subset=0: there is no real", {"size": 0, "labels": LABELS**0}),
        (r"data\.subset=2: there is no real", {"size": 2, "labels": [], "identities": []}),
        (r"label 2 is neither", {"size": 10, "labels": 2 * LABELS}),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(match, arguments):
    with pytest.raises(UserError, match=match) as caught:
        choose(**arguments)
    assert "\n" not in str(caught.value)


def test_arrays_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match=r"must be \[N\]"):
        choose(10, identities=IDENTITIES[:9])
