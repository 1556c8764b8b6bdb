"""Several faces followed through frames that come one by one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdjax.data_pipeline.faces import Box
from kdjax.serve.following import AHEAD, Follower


def frame(number, shade=100):
    """A small frame that knows its number."""
    pixels = np.full((40, 60, 3), shade, np.uint8)
    pixels[0, 0] = number % 256, number // 256, 0
    return pixels


def number_of(pixels):
    return int(pixels[0, 0, 0]) + 256 * int(pixels[0, 0, 1])


def moved(box, right):
    return Box(box.left + right, box.top, box.right + right, box.bottom)


A, B = Box(0, 0, 20, 20), Box(30, 10, 50, 30)


def followed(count, where, *, every=5, limit=8, shade=lambda number: 100):
    """Returns what a follower tells of frames whose faces `where(number)` gives, and itself."""
    follower = Follower(lambda pixels, known: where(number_of(pixels)), every=every, limit=limit)
    told = []
    for number in range(count):
        told += follower.add(number, frame(number, shade(number)))
    return [*told, *follower.finish()], follower


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 90),
    every=st.integers(1, 8),
    cuts=st.sets(st.integers(1, 89), max_size=4),
    missing=st.sets(st.integers(0, 89), max_size=30),
)
def test_every_frame_is_told_once_and_in_order(count, every, cuts, missing):
    shade = [20 + 100 * (sum(cut <= number for cut in cuts) % 2) for number in range(count)]
    told, follower = followed(
        count,
        lambda number: [] if number in missing else [A],
        every=every,
        shade=lambda number: shade[number],
    )
    assert [each.number for each in told] == list(range(count))
    assert [number_of(each.frame) for each in told] == list(range(count))
    assert follower.cuts == sum(cut < count for cut in cuts)


def test_two_faces_keep_their_numbers_while_they_move():
    told, _ = followed(41, lambda number: [moved(B, -number // 5), moved(A, number // 5)])
    for each in told:
        assert set(each.boxes) == {1, 2}
    # the largest is numbered first, of equal ones the left
    assert abs(told[20].boxes[1].left - 4) <= 1
    assert abs(told[20].boxes[2].left - 26) <= 1


def test_a_steady_motion_is_filled_in_between_looks():
    told, _ = followed(61, lambda number: [moved(A, number)], every=5)
    inside = [each for each in told if 10 <= each.number <= 50]
    assert [each.boxes[1].left for each in inside] == [each.number for each in inside]


def test_a_box_that_jitters_is_smoothed():
    told, _ = followed(101, lambda number: [moved(A, 4 * (number // 5 % 2))], every=5)
    lefts = np.array([each.boxes[1].left for each in told[20:80]])
    assert set(lefts.tolist()) == {2}


def test_a_face_missed_by_two_looks_is_the_same_and_filled_in():
    told, _ = followed(41, lambda number: [] if number in (15, 20) else [A], every=5)
    assert all(each.boxes == {1: A} for each in told)


def test_a_face_that_is_gone_is_not_told_and_a_later_one_is_another():
    told, _ = followed(81, lambda number: [A] if number <= 20 or number >= 50 else [], every=5)
    by_number = {each.number: each.boxes for each in told}
    assert by_number[20] == {1: A}
    assert all(by_number[number] == {} for number in range(21, 50))
    assert by_number[60] == {2: A}


def test_a_cut_makes_a_new_face_and_no_box_crosses_it():
    told, follower = followed(
        40,
        lambda number: [A] if number < 17 else [B],
        every=5,
        shade=lambda number: 30 if number < 17 else 200,
    )
    assert follower.cuts == 1
    assert [each.boxes for each in told] == [{1: A}] * 17 + [{2: B}] * 23


def test_of_many_faces_the_largest_are_followed_and_all_are_counted():
    crowd = [Box(3 * k, 0, 3 * k + 2, 2) for k in range(15)]
    told, follower = followed(12, lambda number: [*crowd, A], limit=3)
    assert follower.most == 16
    assert all(len(each.boxes) == 3 for each in told)
    assert all(A in each.boxes.values() for each in told)


@pytest.mark.parametrize("every", [1, 5, 20])
def test_no_more_frames_are_held_than_a_few_looks_take(every):
    follower = Follower(lambda pixels, known: [A], every=every, limit=8)
    held = told = 0
    for number in range(200):
        told += len(list(follower.add(number, frame(number))))
        held = max(held, number + 1 - told)
    assert held <= (AHEAD + 1) * every + 1
    assert len(follower._looks) <= 2 * AHEAD + 2


def test_the_search_is_told_the_smallest_face_that_was_there():
    asked = []

    def search(pixels, known):
        asked.append(known)
        return [A, Box(30, 10, 36, 16)]

    follower = Follower(search, every=5, limit=8)
    for number in range(11):
        list(follower.add(number, frame(number)))
    assert asked == [None, Box(30, 10, 36, 16), Box(30, 10, 36, 16)]
