"""What the demo says of its table: how sure a difference is, and of networks of one budget alone."""

import numpy as np
import pytest

from kdjax.demo import RUNS, beside_alone
from kdjax.evaluate import summarize

VIDEOS = 120


def evaluation(gain, seed):
    labels = np.repeat([0, 1], VIDEOS)
    columns = dict.fromkeys(("labels", "forgery"), labels)
    columns |= dict.fromkeys(("video", "identity", "index"), np.arange(2 * VIDEOS))
    logits = np.random.default_rng(seed).normal(size=2 * VIDEOS) + gain * labels
    return summarize({"c40": 1 / (1 + np.exp(-logits))}, columns)


@pytest.fixture
def results():
    gains = dict.fromkeys(RUNS, 1.0) | {"kd": 3.0}
    return {name: evaluation(gain, seed) for seed, (name, gain) in enumerate(gains.items())}


def test_a_difference_that_images_show_is_told_from_one_that_they_do_not(results):
    text = beside_alone(results, full=False)
    kd = next(line for line in text.splitlines() if line.startswith("  kd "))
    add = next(line for line in text.splitlines() if line.startswith("  add "))
    assert "+0.2" in kd
    assert kd.endswith("more than chance images say")
    assert add.endswith("undecided")
    assert "another seed" in text


@pytest.mark.parametrize(
    ("full", "names"), [(False, ["kd", "add"]), (True, ["kd", "add", "ckd", "tokd"])]
)
def test_only_students_of_one_budget_and_teacher_are_compared(results, full, names):
    lines = beside_alone(results, full=full).splitlines()[1:-1]
    assert [line.split()[0] for line in lines] == names
