"""Weight schedules: linear between two shares of the run, and checked against the method's numbers."""

import numpy as np
import pytest

from kdjax.train.ramps import make_ramps

KNOWN = ["a.weight", "gamma", "a.temperature"]


def test_a_weight_rises_or_falls_between_two_shares():
    ramps = make_ramps(["a.weight:rise:0.25:0.75", "gamma:fall:0:0.5"], KNOWN, 100)
    steps = np.array([0, 25, 50, 75, 100])
    np.testing.assert_allclose([ramps["a.weight"](s) for s in steps], [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose([ramps["gamma"](s) for s in steps], [1, 0.5, 0, 0, 0])
    assert set(ramps) == {"a.weight", "gamma"}


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["weigt:rise:0:1"], "did you mean 'weight'"),
        (["weight:rise:0:1", "weight:fall:0:1"], "twice"),
        (["sigma:rise:0:1"], "names 'sigma'"),
        (["weight:up:0:1"], "NAME:rise:START:END"),
        (["weight:rise:0"], "NAME:rise:START:END"),
        (["weight:rise:0.5:0.5"], "0 <= START < END <= 1"),
        (["weight:rise:0:2"], "0 <= START < END <= 1"),
        (["weight:rise:a:1"], "NAME:rise:START:END"),
    ],
)
def test_other_texts_are_refused(texts, message):
    with pytest.raises(ValueError, match=message) as caught:
        make_ramps(texts, ["weight", "sigma"], 10)
    assert "train.weight_schedules" in str(caught.value)
