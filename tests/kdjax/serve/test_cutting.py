"""How faces are searched: of each input anew, whatever was looked through before."""

import numpy as np
import pytest

from kdjax.data_pipeline import faces, tracking
from kdjax.data_pipeline.faces import Box
from kdjax.serve.cutting import FULL_EVERY, make_cutter
from kdjax.serve.options import Options

KNOWN = Box(100, 100, 500, 500)
FRAME = np.zeros((720, 1280, 3), np.uint8)


@pytest.fixture
def searches(monkeypatch):
    """Which of the two searches ran, in order."""
    ran = []
    monkeypatch.setattr(faces, "find_faces", lambda frame, detector: ran.append("any") or [KNOWN])
    monkeypatch.setattr(
        tracking, "search", lambda frame, detector, known: ran.append("large") or [KNOWN]
    )
    return ran


@pytest.mark.parametrize("before", [0, 1, 2, 3, 5])
def test_what_is_searched_for_does_not_depend_on_the_inputs_before(make_detector, searches, before):
    cutter = make_cutter(make_detector().spec, Options())
    find = cutter.begin()
    for _ in range(before):
        find(FRAME, KNOWN)
    searches.clear()
    find = cutter.begin()
    for number in range(2 * FULL_EVERY):
        find(FRAME, KNOWN if number else None)
    whole = ["large"] * (FULL_EVERY - 1)
    assert searches == ["any", *whole[1:], "any", *whole, "any"]


def test_two_inputs_that_are_looked_through_in_turn_do_not_count_each_other(
    make_detector, searches
):
    cutter = make_cutter(make_detector().spec, Options())
    one, other = cutter.begin(), cutter.begin()
    for _ in range(FULL_EVERY):
        one(FRAME, KNOWN)
        other(FRAME, KNOWN)
    assert searches == ["large", "large"] * (FULL_EVERY - 1) + ["any", "any"]
