"""What scores say, and when they say nothing."""

import math

import pytest

from kdjax.evaluate.calibration import Calibration
from kdjax.evaluate.calibration import Threshold as Chosen
from kdjax.serve.verdicts import (
    CANNOT_SAY,
    FAKE,
    REAL,
    WHYS,
    Scored,
    Threshold,
    judge,
    said,
    threshold_of,
    together,
)

CHOSEN = Chosen(0.8, 0.01, 0.01, 0.0003, 0.0545, 100, 100, 0.6)
CALIBRATION = Calibration(
    1.5, "", CHOSEN._replace(value=0.9), CHOSEN, 800, 200, ("c40",), 10, "hash"
)


def scored(score, low=math.nan, high=math.nan, *, frames=50, side=100.0, name=1):
    return Scored(name, frames, score, low, high, side)


def judged(each, *, kind="video", threshold=Threshold(0.8, CHOSEN)):  # noqa: B008
    return judge(each, kind, threshold, min_frames=10, least_side=64.0)


@pytest.mark.parametrize(
    ("each", "verdict", "why"),
    [
        (scored(0.95, 0.9, 0.99), FAKE, ""),
        # a video without an interval; of two or three frames in a row there is none
        (scored(0.95), CANNOT_SAY, "too_few_frames"),
        (scored(0.1), CANNOT_SAY, "too_few_frames"),
        (scored(0.2, 0.1, 0.3), REAL, ""),
        (scored(0.8, 0.8, 0.8), CANNOT_SAY, "in_between"),
        (scored(0.85, 0.79, 0.9), CANNOT_SAY, "near_threshold"),
        (scored(0.6, 0.55, 0.65), CANNOT_SAY, "in_between"),
        (scored(0.45, 0.4, 0.55), CANNOT_SAY, "near_threshold"),
        (scored(0.5, 0.45, 0.5), REAL, ""),
        (scored(0.95, 0.9, 0.99, frames=9), CANNOT_SAY, "too_few_frames"),
        (scored(0.95, 0.9, 0.99, side=63), CANNOT_SAY, "small_faces"),
        (scored(math.nan, frames=50), CANNOT_SAY, "no_score"),
    ],
)
def test_a_face_is_judged_by_score_interval_frames_and_size(each, verdict, why):
    found = judged(each)
    assert (found.verdict, found.why) == (verdict, why)
    assert found.reason
    assert not why or found.reason.startswith(WHYS[why])


def test_one_frame_is_enough_of_an_image():
    assert judged(scored(0.95, frames=1), kind="image").verdict == FAKE


def test_a_threshold_below_even_odds_is_the_limit_of_reals():
    low = Threshold(0.3, CHOSEN._replace(value=0.3))
    assert judged(scored(0.31, 0.305, 0.32), threshold=low).verdict == FAKE
    assert judged(scored(0.29, 0.28, 0.295), threshold=low).verdict == REAL


def test_a_threshold_that_was_given_parts_real_from_fake():
    given = threshold_of(CALIBRATION, "video", 0.7)
    assert judged(scored(0.6, 0.55, 0.65), threshold=given).verdict == REAL
    assert "no rate of false alarms is known" in said(given)


def test_without_a_threshold_nothing_is_said():
    assert threshold_of(None, "video", None) is None
    found = judged(scored(0.99, 0.98, 1.0), threshold=None)
    assert (found.verdict, found.why) == (CANNOT_SAY, "not_calibrated")
    assert "--calibrate" in found.reason


def test_images_and_videos_have_thresholds_of_their_own():
    assert threshold_of(CALIBRATION, "image", None).value == 0.9
    assert threshold_of(CALIBRATION, "video", None).value == 0.8


def test_what_is_known_of_a_threshold_is_said():
    text = said(threshold_of(CALIBRATION, "video", None))
    assert "finds 60% of the fakes" in text
    assert "of 100 reals 1 lie above it" in text
    assert "0.0% to 5.5%" in text
    assert "of 100 reals (25 videos) 1 lie" in said(Threshold(0.8, CHOSEN._replace(videos=25)))


@pytest.mark.parametrize(
    ("scores", "verdict", "name"),
    [
        ([(0.1, 0.05, 0.15), (0.95, 0.9, 0.99)], FAKE, 2),
        ([(0.1, 0.05, 0.15), (0.2, 0.15, 0.25)], REAL, 2),
        ([(0.6, 0.58, 0.62), (0.2, 0.15, 0.25)], CANNOT_SAY, 1),
        ([(0.6, 0.58, 0.62), (0.95, 0.9, 0.99)], FAKE, 2),
    ],
)
def test_one_fake_face_makes_a_fake_and_one_that_is_unsure_no_real(scores, verdict, name):
    faces = [scored(*each, name=number) for number, each in enumerate(scores, 1)]
    found, decider = together([(each, judged(each)) for each in faces], problem="")
    assert (found.verdict, decider.name) == (verdict, name)


def test_faces_that_cannot_be_judged_are_passed_over_where_others_are_not():
    small = scored(0.9, 0.85, 0.95, side=20, name=2)
    real = scored(0.1, 0.05, 0.15)
    pairs = [(each, judged(each)) for each in (small, real)]
    assert together(pairs, problem="")[0].verdict == REAL
    assert together(pairs[:1], problem="")[0].why == "small_faces"


def test_half_a_video_may_be_fake_and_is_never_real():
    fake, real = scored(0.95, 0.9, 0.99), scored(0.1, 0.05, 0.15)
    assert together([(fake, judged(fake))], problem="damaged")[0].verdict == FAKE
    found, _ = together([(real, judged(real))], problem="damaged at frame 7")
    assert (found.verdict, found.why) == (CANNOT_SAY, "incomplete")
    assert "damaged at frame 7" in found.reason
