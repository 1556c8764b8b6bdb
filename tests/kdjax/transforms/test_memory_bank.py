"""The bank's promises, against a list that is written one example after the other."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdjax.transforms import memory_bank
from kdjax.transforms.memory_bank import NO_LABEL, MemoryBank

push = jax.jit(memory_bank.push)
sample = jax.jit(memory_bank.sample_opposite, static_argnums=2)
draw = jax.jit(memory_bank.draw_without_replacement, static_argnums=1)

WIDTH = 2
CAPACITIES = (1, 4)
SIZES = (2, 9)  # the last is more than twice each capacity
ANCHORS = np.array([0, 1, 1])

examples = st.tuples(st.integers(0, 1), st.booleans())
batches = st.lists(
    st.sampled_from(SIZES).flatmap(lambda size: st.lists(examples, min_size=size, max_size=size)),
    max_size=4,
)


class Ring:
    """What a bank is meant to be."""

    def __init__(self, capacity):
        self.entries, self.cursor, self.written = [None] * capacity, 0, 0

    def write(self, number, label):
        self.entries[self.cursor] = (number, label)
        self.cursor = (self.cursor + 1) % len(self.entries)
        self.written = min(self.written + 1, len(self.entries))


def fill(capacity, pushed):
    """Returns a bank and the ring it should equal; an example's features are its number."""
    bank, ring, number = memory_bank.create(capacity, WIDTH), Ring(capacity), 0
    for batch in pushed:
        labels, mask = (np.array(column) for column in zip(*batch, strict=True))
        numbers = 1 + number + np.arange(len(batch))
        features = np.where(mask, numbers, np.nan)[:, None] * np.ones((1, WIDTH))
        bank = push(bank, np.float32(features), labels, mask=mask)
        for value, label, counts in zip(numbers, labels, mask, strict=True):
            if counts:
                ring.write(value, label)
        number += len(batch)
    return bank, ring


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(CAPACITIES), batches)
def test_pushing_equals_writing_one_after_the_other_over_the_oldest(capacity, pushed):
    bank, ring = fill(capacity, pushed)
    assert (int(bank.cursor), int(bank.count)) == (ring.cursor, ring.written)
    for features, label, entry in zip(bank.features, bank.labels, ring.entries, strict=True):
        number, expected = (0, NO_LABEL) if entry is None else entry
        np.testing.assert_array_equal(features, np.full(WIDTH, number, np.float32))
        assert label == expected


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(CAPACITIES), batches, st.sampled_from((1, 6)), st.integers(0, 99))
def test_a_draw_holds_distinct_written_entries_of_the_other_class(capacity, pushed, count, seed):
    bank, ring = fill(capacity, pushed)
    features, mask = sample(bank, ANCHORS, count, jax.random.key(seed))
    assert features.shape == (3, count, WIDTH)
    assert mask.shape == (3, count)
    for label, rows, valid in zip(ANCHORS, features, np.asarray(mask), strict=True):
        others = {entry[0] for entry in ring.entries if entry and entry[1] != label}
        drawn = [int(row[0]) for row in rows[valid]]
        assert set(drawn) <= others
        assert len(set(drawn)) == len(drawn) == min(count, len(others))
        np.testing.assert_array_equal(valid, np.arange(count) < len(drawn))
        np.testing.assert_array_equal(rows[~valid], 0)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(CAPACITIES), batches)
def test_a_reset_bank_is_a_new_one(capacity, pushed):
    bank, _ = fill(capacity, pushed)
    new = memory_bank.create(capacity, WIDTH)
    for got, want in zip(
        jax.tree.leaves(memory_bank.reset(bank)), jax.tree.leaves(new), strict=True
    ):
        np.testing.assert_array_equal(got, want)
        assert got.dtype == want.dtype


def test_a_push_of_more_than_the_capacity_keeps_the_last_in_ring_order():
    bank = MemoryBank.create(3, 1)
    bank = push(bank, np.float32([[1]]), np.array([0]))
    bank = push(bank, np.float32([[2], [3], [4], [5], [6]]), np.array([0, 1, 0, 1, 0]))
    np.testing.assert_array_equal(bank.features[:, 0], [4, 5, 6])
    np.testing.assert_array_equal(bank.labels, [0, 1, 0])
    assert (bank.cursor, bank.count) == (0, 3)


def test_every_entry_of_the_other_class_is_drawn_equally_often():
    bank = MemoryBank.create(8, 1)
    bank = push(bank, np.arange(6, dtype=np.float32)[:, None], np.array([1, 0, 1, 1, 0, 1]))
    draws = functools.partial(sample, bank, ANCHORS[:1], 2)
    features, mask = jax.vmap(draws)(jax.random.split(jax.random.key(0), 600))
    assert mask.all()
    counts = np.bincount(np.int32(features).ravel(), minlength=8)
    np.testing.assert_array_equal(counts[[1, 4, 6, 7]], 0)
    np.testing.assert_allclose(counts[[0, 2, 3, 5]], 300, atol=60)


def test_anchors_of_one_class_draw_independently():
    bank = push(MemoryBank.create(64, 1), np.ones((64, 1), np.float32), np.zeros(64, np.int32))
    index, _ = draw(bank.holds_opposite(jnp.ones(2)), 32, jax.random.key(0))
    assert set(index[0].tolist()) != set(index[1].tolist())


def test_columns_that_come_first_are_used_up_before_any_other():
    allowed = np.array([[1, 0, 1, 1, 1, 0], [0, 1, 0, 0, 1, 1]], bool)
    first = np.array([1, 1, 0, 0, 1, 0], bool)
    for seed in range(10):
        index, mask = draw(allowed, 3, jax.random.key(seed), first=first)
        assert mask.all()
        assert set(index[0, :2].tolist()) == {0, 4}
        assert index[0, 2] in (2, 3)
        assert set(index[1, :2].tolist()) == {1, 4}
        assert index[1, 2] == 5


def test_the_draw_is_the_same_whatever_the_default_precision():
    allowed = np.ones((2, 7), bool)
    narrow, _ = draw(allowed, 4, jax.random.key(3))
    with jax.enable_x64(True):
        wide, _ = draw(allowed, 4, jax.random.key(3))
    np.testing.assert_array_equal(narrow, wide)


def test_four_devices_equal_one():
    features = np.arange(12, dtype=np.float32)[:, None] * np.ones((1, WIDTH), np.float32)
    labels, mask = np.arange(12) % 3 % 2, np.arange(12) != 5
    key = jax.random.key(1)

    def step(bank, features, labels, mask, axis_name=None):
        everyone, positions = (features, labels, mask), jnp.arange(labels.shape[0])
        if axis_name is not None:
            everyone = jax.lax.all_gather(everyone, axis_name, tiled=True)
            positions = positions + jax.lax.axis_index(axis_name) * labels.shape[0]
        bank = memory_bank.push(bank, everyone[0], everyone[1], mask=everyone[2])
        return bank, memory_bank.sample_opposite(bank, labels, 4, key, positions=positions)

    empty = MemoryBank.create(7, WIDTH)
    bank, drawn = jax.jit(step)(empty, features, labels, mask)
    shards = [x.reshape(4, 3, *x.shape[1:]) for x in (features, labels, mask)]
    parallel = functools.partial(step, axis_name="batch")
    banks, parts = jax.pmap(parallel, axis_name="batch", in_axes=(None, 0, 0, 0))(empty, *shards)
    for one, four in zip(jax.tree.leaves(bank), jax.tree.leaves(banks), strict=True):
        np.testing.assert_array_equal(four, np.stack([one] * 4))
    for one, four in zip(drawn, parts, strict=True):
        np.testing.assert_array_equal(four.reshape(one.shape), one)


def test_what_is_pushed_and_drawn_is_constant():
    def total(features):
        bank = memory_bank.push(MemoryBank.create(4, WIDTH), features, ANCHORS)
        drawn, _ = memory_bank.sample_opposite(bank, ANCHORS, 2, jax.random.key(0))
        return drawn.sum() + bank.features.sum()

    value, grad = jax.jit(jax.value_and_grad(total))(jnp.ones((3, WIDTH)))
    assert value > 0
    np.testing.assert_array_equal(grad, 0)
    bank = push(MemoryBank.create(4, WIDTH), np.ones((3, WIDTH), np.float32), ANCHORS)

    def of_bank(features):
        return sample(bank.replace(features=features), ANCHORS, 2, jax.random.key(0))[0].sum()

    np.testing.assert_array_equal(jax.grad(of_bank)(bank.features), 0)


def test_it_is_a_pytree_of_arrays_whose_types_stay():
    bank = MemoryBank.create(4, WIDTH, dtype=jnp.bfloat16)
    assert [leaf.dtype for leaf in jax.tree.leaves(bank)] == [jnp.bfloat16] + 3 * [jnp.int32]
    with jax.enable_x64(True):
        after = push(bank, np.ones((3, WIDTH)), np.arange(3))
        assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
            lambda x: (x.shape, x.dtype), bank
        )


def test_functions_of_the_module_are_those_of_the_class():
    bank = memory_bank.create(4, WIDTH)
    features = jnp.ones((3, WIDTH))
    ways = [
        memory_bank.push(bank, features, ANCHORS),
        MemoryBank.push(bank, features, ANCHORS),
        bank.push(features, ANCHORS),
        push(bank, features, ANCHORS),
    ]
    for other in ways[1:]:
        assert jax.tree.all(jax.tree.map(np.array_equal, ways[0], other))
    key = jax.random.key(0)
    for drawn in (
        MemoryBank.sample_opposite(ways[0], ANCHORS, 2, key),
        ways[0].sample_opposite(ANCHORS, 2, key),
    ):
        for got, want in zip(drawn, sample(ways[0], ANCHORS, 2, key), strict=True):
            np.testing.assert_array_equal(got, want)
    assert MemoryBank.reset(ways[0]).count == 0


@pytest.mark.parametrize(
    ("match", "call"),
    [
        ("capacity=0", lambda bank: MemoryBank.create(0, 3)),
        ("width=-1", lambda bank: MemoryBank.create(3, -1)),
        ("3 wide, the memory bank 2", lambda bank: bank.push(jnp.ones((1, 3)), jnp.zeros(1))),
        ("leading axes", lambda bank: bank.push(jnp.ones((2, 2)), jnp.zeros(1))),
        ("features has shape", lambda bank: bank.push(jnp.ones(2), jnp.zeros(2))),
        ("mask", lambda bank: bank.push(jnp.ones((1, 2)), jnp.zeros(1), mask=jnp.ones(2))),
        ("count=0", lambda bank: bank.sample_opposite(ANCHORS, 0, jax.random.key(0))),
        ("count must be a Python integer", lambda bank: bank.sample_opposite(ANCHORS, 2.0, None)),
        (
            "static_argnames='count'",
            lambda bank: jax.jit(bank.sample_opposite)(ANCHORS, 2, jax.random.key(0)),
        ),
        ("labels has shape", lambda bank: bank.sample_opposite(jnp.ones((1, 1)), 2, None)),
    ],
)
def test_wrong_arguments_are_refused(match, call):
    with pytest.raises(ValueError, match=match):
        call(MemoryBank.create(4, WIDTH))
