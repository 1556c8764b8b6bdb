"""CKD's negatives: which are drawn, where the gradient goes, and that devices make no difference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdjax.losses.contrastive import contrastive_nce
from kdjax.losses.reductions import masked_mean
from kdjax.transforms.memory_bank import MemoryBank
from kdjax.transforms.negatives import draw_negatives

draw, push = jax.jit(draw_negatives, static_argnums=3), jax.jit(MemoryBank.push)
WIDTH, BATCH, CAPACITY = 2, 5, 4
IN_BANK = 100  # numbers from here on stand in the bank


def numbered(count, first=1):
    """Features that tell which example they belong to."""
    return np.arange(first, first + count, dtype=np.float32)[:, None] * np.ones((1, WIDTH))


def filled(labels, capacity=CAPACITY):
    bank = MemoryBank.create(capacity, WIDTH)
    padding = capacity - len(labels)
    values = np.pad(np.array(labels, np.int32), (0, padding))
    features = np.float32(numbered(capacity, IN_BANK))
    return push(bank, features, values, mask=np.arange(capacity) < len(labels))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 1), min_size=BATCH, max_size=BATCH),
    st.lists(st.booleans(), min_size=BATCH, max_size=BATCH),
    st.lists(st.integers(0, 1), max_size=CAPACITY),
    st.sampled_from((2, 12)),
    st.integers(0, 99),
)
def test_the_batch_comes_first_then_the_bank(labels, mask, in_bank, count, seed):
    features = np.where(np.array(mask)[:, None], numbered(BATCH), np.nan).astype(np.float32)
    negatives, valid = draw(
        features,
        np.array(labels),
        filled(in_bank),
        count,
        jax.random.key(seed),
        mask=np.array(mask),
    )
    assert negatives.shape == (BATCH, count, WIDTH)
    for anchor, rows, usable in zip(labels, np.asarray(negatives), np.asarray(valid), strict=True):
        near = {n + 1 for n in range(BATCH) if mask[n] and labels[n] != anchor}
        far = {IN_BANK + n for n, label in enumerate(in_bank) if label != anchor}
        drawn = [int(row[0]) for row in rows[usable]]
        of_batch = [n for n in drawn if n < IN_BANK]
        assert len(set(drawn)) == len(drawn) == min(count, len(near) + len(far))
        assert set(of_batch) <= near
        assert set(drawn) - set(of_batch) <= far
        assert len(of_batch) == min(count, len(near))
        assert drawn[: len(of_batch)] == of_batch
        np.testing.assert_array_equal(rows[~usable], 0)


def test_a_random_part_of_the_batch_is_taken_if_it_has_more():
    labels = np.array([0, 1, 1, 1, 1])
    arguments = (np.float32(numbered(5)), labels, filled([1, 1]), 2)
    keys = jax.random.split(jax.random.key(0), 150)
    drawn = jax.vmap(lambda key: draw(*arguments, key)[0][0, :, 0])(keys)
    counts = np.bincount(np.int32(drawn).ravel(), minlength=6)
    np.testing.assert_array_equal(counts[:2], 0)
    np.testing.assert_allclose(counts[2:], 75, atol=30)
    assert len(counts) == 6


def test_the_gradient_flows_into_the_batch_and_not_into_the_bank():
    labels, bank = np.array([0, 0, 1]), filled([0, 1])

    def total(features, stored):
        held = bank.replace(features=stored)
        negatives, mask = draw_negatives(features, labels, held, 3, jax.random.key(0))
        return (negatives * mask[..., None]).sum()

    by_batch, by_bank = jax.jit(jax.grad(total, (0, 1)))(jnp.ones((3, WIDTH)), bank.features)
    np.testing.assert_array_equal(by_batch, np.array([1, 1, 2])[:, None] * np.ones((1, WIDTH)))
    np.testing.assert_array_equal(by_bank, 0)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1]])
def test_one_class_and_an_empty_bank_are_legal(labels):
    features, bank = np.float32(numbered(len(labels))), MemoryBank.create(CAPACITY, WIDTH)

    def loss(features):
        negatives, mask = draw_negatives(features, np.array(labels), bank, 4, jax.random.key(0))
        assert negatives.dtype == jnp.float32
        numbers = {"temperature": 0.05, "dataset_size": 10, "mask": mask}
        return contrastive_nce(features, features, negatives, **numbers).sum()

    value, grad = jax.jit(jax.value_and_grad(loss))(features)
    assert jnp.isfinite(value)
    assert jnp.isfinite(grad).all()


def test_the_wider_dtype_is_kept():
    features, bank = jnp.bfloat16(numbered(3)), filled([0, 1])
    negatives, _ = draw(features, np.array([0, 1, 1]), bank, 4, jax.random.key(0))
    assert negatives.dtype == jnp.float32


def test_four_devices_equal_one_in_draw_loss_and_gradient():
    rng = np.random.default_rng(0)
    features, teacher = np.float32(rng.normal(size=(2, 8, WIDTH)))
    labels, alive = np.array([0, 1, 1, 0, 0, 0, 1, 0]), np.array([1, 1, 1, 0, 1, 1, 1, 1.0])
    bank, key = filled([0, 1, 1]), jax.random.key(2)

    def loss(weight, features, teacher, labels, alive, axis_name=None):
        student = features * weight
        everyone, positions = (student, labels, alive), jnp.arange(labels.shape[0])
        if axis_name is not None:
            everyone = jax.lax.all_gather(everyone, axis_name, tiled=True)
            positions = positions + jax.lax.axis_index(axis_name) * labels.shape[0]
        negatives, mask = draw_negatives(
            everyone[0], everyone[1], bank, 5, key,
            mask=everyone[2], anchor_labels=labels, positions=positions,
        )  # fmt: skip
        numbers = {"temperature": 0.7, "dataset_size": 20, "mask": mask}
        values = contrastive_nce(teacher, student, negatives, **numbers)
        return masked_mean(values, alive, axis_name), (negatives, mask)

    value_and_grad = jax.value_and_grad(loss, has_aux=True)
    arguments = (features, teacher, labels, alive)
    (value, drawn), grad = jax.jit(value_and_grad)(1.1, *arguments)

    def device(*arguments):
        (value, drawn), grad = value_and_grad(1.1, *arguments, axis_name="batch")
        return jax.lax.pmean((value, grad), "batch"), drawn

    shards = [x.reshape(4, 2, *x.shape[1:]) for x in arguments]
    (values, grads), parts = jax.pmap(device, axis_name="batch")(*shards)
    np.testing.assert_allclose(parts[0].reshape(drawn[0].shape), drawn[0], rtol=1e-6)
    np.testing.assert_array_equal(parts[1].reshape(drawn[1].shape), drawn[1])
    np.testing.assert_allclose(values, np.full(4, value), rtol=1e-6)
    np.testing.assert_allclose(grads, np.full(4, grad), rtol=1e-5)


def test_compiling_changes_nothing():
    arguments = (np.float32(numbered(3)), np.array([0, 1, 1]), filled([0, 1]), 4)
    plain = draw_negatives(*arguments, jax.random.key(7))
    for got, want in zip(draw(*arguments, jax.random.key(7)), plain, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("match", "change"),
    [
        ("3 wide, the memory bank 2", {"features": jnp.ones((3, 3))}),
        ("features has shape", {"features": jnp.ones(3)}),
        ("leading axes", {"labels": jnp.zeros(2)}),
        ("mask", {"mask": jnp.ones(2)}),
        ("leading axes", {"positions": jnp.arange(2)}),
        ("anchor_labels", {"anchor_labels": jnp.ones((3, 1))}),
        ("count=0", {"count": 0}),
    ],
)
def test_wrong_arguments_are_refused(match, change):
    arguments = {"features": jnp.ones((3, 2)), "labels": jnp.zeros(3), "bank": filled([0])}
    arguments |= {"count": 2, "rng": jax.random.key(0)}
    with pytest.raises(ValueError, match=match):
        draw_negatives(**{**arguments, **change})
