"""One face through a video: which one is followed, where it is in between, and where nobody knows."""

import numpy as np
import pytest

from kdjax.data_pipeline import tracking
from kdjax.data_pipeline.faces import Box


def square(x, y, side):
    return Box(x, y, x + side, y + side)


LARGE, SMALL = square(10, 10, 40), square(100, 10, 20)


class Footage:
    """Frames of one brightness each."""

    def __init__(self, brightness):
        self.brightness = brightness
        self.frames = len(brightness)
        self.asked = []

    def read(self, wanted):
        for number, level in enumerate(self.brightness):
            if number in wanted:
                self.asked.append(number)
                yield number, np.full((64, 160, 3), level, np.uint8)


def test_the_largest_at_first_then_the_same_one():
    found = {0: [LARGE, SMALL], 5: [SMALL, LARGE], 10: [square(100, 10, 60), LARGE]}
    boxes = tracking.follow(found, [], [0, 5, 10], every=5)
    assert boxes == {0: LARGE, 5: LARGE, 10: LARGE}


def test_between_detections_a_box_moves_evenly_and_keeps_its_size():
    found = {time: [square(10 + 2 * time, 20, 40)] for time in range(0, 41, 5)}
    boxes = tracking.follow(found, [], [18, 20, 22], every=5)
    assert [boxes[time].left for time in (18, 20, 22)] == [46, 50, 54]
    assert {box.width for box in boxes.values()} == {40}


def test_a_box_is_the_gaussian_mean_of_its_neighbours():
    lefts = np.random.default_rng(0).integers(0, 12, 9)
    found = {5 * k: [square(int(left), 20, 40)] for k, left in enumerate(lefts)}
    boxes = tracking.follow(found, [], [20], every=5)
    weights = np.exp(-0.5 * (np.arange(9) - 4.0) ** 2)
    assert boxes[20].left == round(float(weights @ lefts / weights.sum()))


def test_a_gap_is_filled_up_to_the_reach_and_no_further():
    near = {0: [LARGE], 20: [LARGE]}
    far = {0: [LARGE], 45: [LARGE]}
    assert tracking.follow(near, [], [10], every=5) == {10: LARGE}
    assert tracking.follow(far, [], [22], every=5) == {}
    assert tracking.follow(far, [], [20, 25], every=5) == {20: LARGE, 25: LARGE}


def test_one_that_is_gone_gives_way_to_the_largest_that_is_there():
    found = {0: [LARGE, SMALL], **{time: [SMALL] for time in range(5, 61, 5)}}
    boxes = tracking.follow(found, [], [0, 10, 60], every=5)
    assert (boxes[0], boxes[60]) == (LARGE, SMALL)


def test_nothing_reaches_across_a_cut():
    found = {0: [LARGE], 5: [LARGE], 10: [SMALL, square(60, 30, 30)], 15: [SMALL]}
    boxes = tracking.follow(found, [8], [5, 7, 8, 10], every=5)
    assert boxes[5] == boxes[7] == LARGE
    assert boxes[8] == boxes[10] == square(60, 30, 30)


def test_a_box_that_was_found_beats_one_that_is_held():
    """The second face is found where the first one would only be held on to."""
    found = {0: [LARGE], 25: [SMALL]}
    assert tracking.follow(found, [], [20, 25], every=5) == {20: LARGE, 25: SMALL}


def test_nobody_is_followed_where_nobody_is():
    assert tracking.follow({0: [], 5: []}, [], [0, 3], every=5) == {}
    assert tracking.follow({}, [], [], every=5) == {}


def test_faces_are_looked_for_near_the_wanted_frames_alone():
    footage = Footage([100] * 1000)
    track = tracking.find_track(
        footage, [102, 900], lambda frame: [LARGE, SMALL], every=10, max_side=640
    )
    near = {*range(70, 141, 10), *range(860, 941, 10), 102}
    assert set(footage.asked) == near
    assert track.boxes == {102: LARGE, 900: LARGE}
    assert (track.cuts, track.crowded, track.detections) == (0, len(near), len(near))


def test_cuts_are_seen():
    footage = Footage([100] * 12 + [180] * 12)
    track = tracking.find_track(footage, [4, 20], lambda frame: [LARGE], every=5, max_side=640)
    assert track.cuts == 1


def test_a_known_face_is_looked_for_in_a_smaller_frame():
    sizes = []

    def detect(frame):
        sizes.append(frame.shape[:2])
        scale = frame.shape[0] / 500
        return [Box(*(round(scale * edge) for edge in square(100, 100, 224)))]

    footage = Footage([100] * 6)
    footage.read = lambda wanted: ((n, np.zeros((500, 600, 3), np.uint8)) for n in wanted)
    track = tracking.find_track(footage, [0, 5], detect, every=5, max_side=640)
    assert sizes == [(500, 600), (250, 300)]
    assert track.boxes == {0: square(100, 100, 224), 5: square(100, 100, 224)}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (LARGE, LARGE, 1.0),
        (LARGE, SMALL, 0.0),
        (square(0, 0, 10), square(5, 0, 10), 1 / 3),
        (square(0, 0, 0), square(0, 0, 0), 0.0),
    ],
)
def test_overlap_is_intersection_over_union(one, other, expected):
    assert tracking.overlap(one, other) == pytest.approx(expected)
