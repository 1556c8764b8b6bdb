"""Batches sent ahead: all of them, in order, before they are asked for."""

import itertools

import jax
import numpy as np
import pytest

from kdjax.train import parallel
from kdjax.train.feed import Feed


def batches():
    for number in itertools.count():
        yield {
            "label": np.arange(8) + 8 * number,
            "image": {"raw": np.ones((8, 2, 2, 3), np.uint8)},
        }


@pytest.mark.parametrize("devices", [1, 4])
def test_batches_arrive_in_order_as_shard_lays_them_out(devices):
    feed = Feed(batches(), parallel.sender(devices))
    for number, batch in zip(range(5), feed, strict=False):
        whole = next(itertools.islice(batches(), number, None))
        assert jax.tree.structure(batch) == jax.tree.structure(whole)
        for sent, given in zip(
            jax.tree.leaves(batch), jax.tree.leaves(parallel.shard(whole, devices)), strict=True
        ):
            assert isinstance(sent, jax.Array)
            assert len(sent.devices()) == devices
            np.testing.assert_array_equal(sent, given)


def test_one_batch_is_sent_ahead():
    sent = []
    feed = Feed(iter(range(100)), lambda batch: sent.append(batch) or batch)
    assert [next(feed) for _ in range(3)] == [0, 1, 2]
    assert sent == [0, 1, 2, 3]


def test_the_seconds_of_reading_are_counted_once(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr("time.monotonic", lambda: float(next(clock)))
    feed = Feed(iter(range(100)), lambda batch: batch)
    next(feed), next(feed)
    assert feed.seconds == 2.0
    next(feed)
    assert feed.seconds == 3.0


def test_an_error_of_the_data_comes_through():
    def broken():
        yield 0
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        next(Feed(broken(), lambda batch: batch))
