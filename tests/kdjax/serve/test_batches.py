"""Batches of faces, of however many frames and files."""

import threading
from typing import NamedTuple

import numpy as np
import pytest

from kdjax.serve.batches import AHEAD, in_batches


class Step(NamedTuple):
    name: int
    crops: list


def steps_of(counts):
    value = 0
    for name, count in enumerate(counts):
        crops = [np.full((2, 2, 3), (value + k) % 251, np.uint8) for k in range(count)]
        value += count
        yield Step(name, crops)


def mean(images):
    return images.reshape(len(images), -1).mean(axis=1)


@pytest.mark.parametrize("size", [1, 2, 4, 7])
@pytest.mark.parametrize("counts", [[], [0], [1], [0, 3, 0, 9, 1], [1] * 20, [25], [0] * 30 + [2]])
def test_each_step_gets_the_scores_of_its_crops_in_order(counts, size):
    sizes = []

    def scorer(images):
        sizes.append(len(images))
        return mean(images)

    found = list(in_batches(steps_of(counts), scorer, size))
    assert [step.name for step, _ in found] == list(range(len(counts)))
    for step, logits in found:
        assert logits.dtype == np.float32
        assert logits.tolist() == [crop[0, 0, 0] for crop in step.crops]
    assert set(sizes) <= {1, size}


def test_batches_are_filled_across_steps():
    sizes = []
    list(in_batches(steps_of([1] * 16), lambda x: (sizes.append(len(x)), mean(x))[1], 4))
    assert sizes == [4, 4, 4, 4]


def test_what_waits_is_bounded_while_nothing_holds_a_face():
    given = 0

    def counted():
        nonlocal given
        for step in steps_of([1] + [0] * 1000):
            given += 1
            yield step

    first = next(iter(in_batches(counted(), mean, 8)))
    assert first[0].name == 0
    assert given <= 8 * (AHEAD + 2)


def test_the_next_steps_are_taken_while_a_batch_is_scored():
    begun, go_on = threading.Event(), threading.Event()

    def scorer(images):
        begun.set()
        assert go_on.wait(10)
        return mean(images)

    def steps():
        yield from steps_of([4])
        assert begun.wait(10)
        go_on.set()
        yield from steps_of([4])

    assert len(list(in_batches(steps(), scorer, 4))) == 2


def test_an_error_of_the_scorer_ends_it():
    def scorer(images):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        list(in_batches(steps_of([4, 4]), scorer, 4))
