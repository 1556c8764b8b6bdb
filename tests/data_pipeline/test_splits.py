"""Splits: no person is in two, owners' splits stay, and what cannot be split is said."""

import pytest

from kdjax.checks import UserError
from kdjax.data_pipeline import splits
from kdjax.data_pipeline.builders.schema import SPLITS, assign_splits
from kdjax.data_pipeline.trees.item import Item

FRACTIONS = (0.7, 0.15, 0.15)


def item(name, label, *people, split=""):
    return Item(name, {}, label, "unknown" if label else "none", people, split)


def pairs(count):
    """Real videos of 2 * count people, and a fake each way between the two of each pair."""
    found = []
    for k in range(count):
        one, other = f"{2 * k:03d}", f"{2 * k + 1:03d}"
        found += [item(one, 0, one), item(other, 0, other)]
        found += [item(f"{one}_{other}", 1, one, other), item(f"{other}_{one}", 1, other, one)]
    return found


def assign(items, seed=0, **options):
    return splits.assign(items, seed=seed, fractions=FRACTIONS, **options)


def test_people_tied_by_fakes_come_into_one_split():
    items = pairs(20)
    found = assign(items)
    assert found.left_out == []
    places = {}
    for each in items:
        for person in each.people:
            places.setdefault(person, set()).add(found.of[each.name])
    assert all(len(where) == 1 for where in places.values())
    counts = [sum(found.of[each.name] == split for each in items) for split in SPLITS]
    assert counts == [56, 12, 12]
    assert assign(items[::-1]).of == found.of
    assert assign(items, seed=1).of != found.of


def test_people_without_ties_are_drawn_as_identities_are():
    items = [item(f"r{k}", 0, f"p{k}") for k in range(30)]
    items += [item(f"f{k}", 1, f"p{k}") for k in range(30)]
    expected = assign_splits([f"p{k}" for k in range(30)], seed=3)
    assert assign(items, seed=3).of == {e.name: expected[e.identity] for e in items}


def test_where_all_are_tied_fakes_between_splits_are_left_out():
    people = [f"id{k}" for k in range(20)]
    items = [item(f"{name}_0", 0, name) for name in people]
    items += [item(f"{a}_{b}", 1, a, b) for a in people for b in people if a != b]
    found = assign(items)
    where = {name: found.of[f"{name}_0"] for name in people}
    mixed = {f"{a}_{b}" for a in people for b in people if where[a] != where[b]}
    assert set(found.left_out) == mixed
    assert mixed.isdisjoint(found.of)
    assert set(where.values()) == set(SPLITS)


def test_owners_splits_stay_and_validation_is_drawn_from_their_training():
    items = pairs(10)
    tested = {"000", "001", "000_001", "001_000"}
    given = [Item(**{**vars(e), "split": "test" if e.name in tested else "train"}) for e in items]
    found = assign(given)
    assert {name for name, split in found.of.items() if split == "test"} == tested
    assert set(found.of.values()) == set(SPLITS)
    assert found.shared == 0


def test_all_of_the_owners_splits_stay():
    given = [
        item(f"{split}{label}", label, f"{split}{label}", split=split)
        for split in SPLITS
        for label in (0, 1)
    ]
    assert assign(given).of == {each.name: each.split for each in given}


def test_what_is_not_in_the_test_is_drawn():
    items = [item("t", 0, "a", split="test"), item("u", 1, "a", split="test"), *pairs(6)]
    found = assign(items)
    assert {found.of["t"], found.of["u"]} == {"test"}
    drawn = {found.of[each.name] for each in items[2:]}
    assert drawn == {"train", "validation"}


def test_people_in_several_of_the_owners_splits_are_counted():
    items = [
        item(f"{split}{label}{k}", label, f"p{k}", split=split)
        for k, split in enumerate(SPLITS)
        for label in (0, 1)
    ]
    again = item("again", 0, "p0", split="test")
    assert assign([*items, again]).shared == 1


def test_people_of_the_owners_test_who_are_in_what_is_drawn_are_counted():
    items = [
        item(f"{k}{label}", label, f"p{k}", split="train") for k in range(12) for label in (0, 1)
    ]
    tested = [
        item(f"t{k}{label}", label, f"p{k}", split="test") for k in range(4) for label in (0, 1)
    ]
    assert assign([*items, *tested]).shared == 4


def test_a_test_alone_is_enough_where_owners_made_it():
    items = [item("a", 0, "a", split="test"), item("b", 1, "b", split="test")]
    assert assign(items).of == {"a": "test", "b": "test"}


def test_too_few_people_are_said():
    with pytest.raises(UserError, match="2 different people are too few"):
        assign([item("a", 0, "a"), item("b", 1, "b")])


def test_a_validation_that_cannot_be_drawn_is_not_laid_to_the_owners():
    """All fakes have one face, whose person trains: none is left for validation."""
    items = [item(f"r{k}", 0, f"r{k}") for k in range(20)]
    items += [item(f"f{k}", 1, f"f{k}", "hub") for k in range(20)]
    items += [item("a", 0, "a", split="test"), item("b", 1, "b", split="test")]
    said = "split 'validation', drawn from the owners' training, would have no fake item"
    with pytest.raises(UserError, match=said):
        assign(items)


def test_a_split_of_the_owners_with_one_class_is_said():
    items = [item("a", 0, "a", split="test"), *(i for i in pairs(4))]
    with pytest.raises(UserError, match="split 'test' of the owners has no fake item"):
        assign(items)


def test_forgeries_that_are_made_count_as_fakes():
    items = [item(f"r{k}", 0, f"p{k}") for k in range(9)]
    with pytest.raises(UserError, match="no fake item"):
        assign(items)
    assert set(assign(items, made=(1,)).of.values()) == set(SPLITS)
