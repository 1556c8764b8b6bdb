"""How often examples are drawn, and several data sets as one."""

import pickle

import numpy as np
import pytest

from kdjax.checks import UserError
from kdjax.data_pipeline import loader, sampling
from kdjax.data_pipeline.mixture import Mixture
from kdjax.data_pipeline.own import Sources

LABELS = np.array([0] * 30 + [1] * 10)
KINDS = np.array([0] * 30 + [1] * 7 + [2] * 3)


def groups(parts=None, **options):
    parts = np.zeros(40, int) if parts is None else parts
    return sampling.make_groups(LABELS, KINDS, parts, **options)


def shares(found):
    return {tuple(group.positions.tolist()): group.share for group in found}


def test_without_a_wish_all_are_drawn_alike():
    assert groups() is None


def test_classes_and_kinds_have_equal_shares():
    assert shares(groups(balance="class")) == {
        tuple(range(30)): 0.5,
        tuple(range(30, 40)): 0.5,
    }
    assert shares(groups(balance="forgery")) == {
        tuple(range(30)): 0.5,
        tuple(range(30, 37)): 0.25,
        tuple(range(37, 40)): 0.25,
    }


def test_data_sets_have_their_weights_and_classes_theirs_within():
    parts = np.repeat([0, 1], [20, 20])
    assert shares(groups(parts, weights=(3, 1))) == {
        tuple(range(20)): 0.75,
        tuple(range(20, 40)): 0.25,
    }
    found = shares(groups(parts, weights=(3, 1), balance="class"))
    # the first data set has real ones alone
    assert found == {
        tuple(range(20)): 0.75,
        tuple(range(20, 30)): 0.125,
        tuple(range(30, 40)): 0.125,
    }
    assert sum(found.values()) == 1


def test_examples_that_are_not_in_use_are_not_drawn():
    found = groups(balance="class", indices=np.array([35, 1, 2]))
    assert shares(found) == {(1, 2): 0.5, (35,): 0.5}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"balance": "people"}, "data.balance='people' must be one of: none, class, forgery"),
        ({"weights": (1, 2)}, "must be 1 positive numbers"),
        ({"weights": (-1,)}, "must be 1 positive numbers"),
        ({"weights": (float("nan"),)}, "must be 1 positive numbers"),
        (
            {"weights": (1, 1), "parts": np.repeat([0, 1], [39, 1]), "indices": np.arange(9)},
            "gives data set 2 a weight; it has no training example in use",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(options, words):
    with pytest.raises(UserError, match=words):
        groups(**options)


def data(name, first, labels=(0, 1, 0, 1), size=8, **more):
    count = len(labels)
    images = np.full((count, size, size, 3), first, np.uint8)
    images += np.arange(count, dtype=np.uint8)[:, None, None, None]
    rows = {"image": images, "label": np.array(labels), "identity": np.arange(count) // 2}
    return Sources({"train": rows, "validation": rows}, name=name, **more)


@pytest.fixture
def mixture():
    swapped = data("b", 100, forgeries=("none", "swap"))
    swapped._splits["train"]._arrays["forgery"] = np.array([0, 1, 0, 1])
    return Mixture([data("a", 0), swapped])


def test_a_mixture_has_the_examples_of_all(mixture):
    assert mixture.sizes == {"train": 8, "validation": 8}
    assert (mixture.name, mixture.image_size, mixture.qualities) == ("a + b", 8, ("raw",))
    assert mixture.forgeries[-1] == "swap"
    ids = mixture.labels("train")
    np.testing.assert_array_equal(ids["label"], [0, 1] * 4)
    np.testing.assert_array_equal(ids["identity"], [0, 0, 1, 1, 2, 2, 3, 3])
    np.testing.assert_array_equal(ids["video"], np.arange(8))
    names = [mixture.forgeries[kind] for kind in ids["forgery"]]
    assert names == ["none", "unknown", "none", "unknown", "none", "swap", "none", "swap"]
    np.testing.assert_array_equal(mixture.parts("train"), np.repeat([0, 1], 4))
    read = pickle.loads(pickle.dumps(mixture.read))
    for index in range(8):
        example = read(index, mixture.source("train")[index], ("raw",))
        assert example["image"]["raw"][0, 0, 0] == (index if index < 4 else 96 + index)
        for name in ("label", "identity", "video", "forgery"):
            assert example[name] == ids[name][index]
        assert example["index"] == index


def test_what_does_not_go_together_is_refused():
    with pytest.raises(UserError, match="b has image_size=16, a 8; prepare them alike"):
        Mixture([data("a", 0), data("b", 0, size=16)])
    with pytest.raises(UserError, match="no quality is in all data sets: a: raw; b: jpeg"):
        Mixture([data("a", 0), data("b", 0, quality="jpeg")])


def drawn(dataset, found, count, **options):
    batches = loader.training_batches(
        dataset, ("raw",), batch_size=4, seed=3, groups=found, threads=1, **options
    )
    return np.concatenate([next(batches)["index"] for _ in range(count)])


def test_draws_have_their_shares_and_every_example_its_turn(mixture):
    ids = mixture.labels("train")
    found = sampling.make_groups(
        ids["label"], ids["forgery"], mixture.parts("train"), weights=(3, 1)
    )
    seen = drawn(mixture, found, 32)
    counts = np.bincount(seen, minlength=8)
    assert counts[:4].sum() == 96
    # in turns: nobody is drawn again before all of its group have been
    assert set(counts[:4]) == {24}
    assert set(counts[4:]) == {8}


def test_processes_share_the_batches_of_a_mixture(mixture):
    ids = mixture.labels("train")
    found = sampling.make_groups(
        ids["label"], ids["forgery"], mixture.parts("train"), balance="class"
    )
    whole = drawn(mixture, found, 6).reshape(6, 4)
    parts = [
        drawn(mixture, found, 6, process_index=k, process_count=2).reshape(6, 2) for k in (0, 1)
    ]
    np.testing.assert_array_equal(np.sort(whole), np.sort(np.concatenate(parts, axis=1)))


def test_batches_of_groups_begin_at_any_of_them(mixture):
    ids = mixture.labels("train")
    found = sampling.make_groups(
        ids["label"], ids["forgery"], mixture.parts("train"), balance="class"
    )
    options = {"batch_size": 4, "seed": 1, "groups": found, "threads": 1}
    first = loader.training_batches(mixture, ("raw",), **options)
    for _ in range(3):
        next(first)
    again = loader.training_batches(mixture, ("raw",), start=3, **options)
    for _ in range(3):
        np.testing.assert_array_equal(next(first)["index"], next(again)["index"])
