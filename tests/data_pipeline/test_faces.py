"""Which face is taken, which square around it, and how it is cut out."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from kdjax import checks
from kdjax.data_pipeline import faces, video
from kdjax.data_pipeline.faces import Box


def seeing(*boxes):
    """Returns a detector that finds the same shares of any frame, and notes the sizes it is shown."""
    shown = []

    def detect(frame):
        height, width = frame.shape[:2]
        shown.append((height, width))
        return [
            Box(*(round(s * k) for s, k in zip(b, (width, height) * 2, strict=True))) for b in boxes
        ]

    detect.shown = shown
    return detect


def blank(height, width):
    return np.zeros((height, width, 3), np.uint8)


def test_the_largest_face_is_taken():
    detector = seeing((0.1, 0.1, 0.3, 0.3), (0.5, 0.4, 0.9, 0.8), (0.0, 0.8, 0.2, 0.9))
    assert faces.find_face(blank(100, 200), detector) == Box(100, 40, 180, 80)


def test_large_frames_are_searched_small_and_boxes_come_back_in_full_pixels():
    detector = seeing((0.25, 0.5, 0.5, 0.75))
    assert faces.find_face(blank(960, 1280), detector) == Box(320, 480, 640, 720)
    assert detector.shown == [(480, 640)]


def test_what_is_not_found_is_searched_larger_then_given_up():
    detector = seeing()
    assert faces.find_face(blank(960, 1280), detector) is None
    assert faces.find_face(blank(100, 80), detector) is None
    assert detector.shown == [(480, 640), (960, 1280), (100, 80), (200, 160)]


@pytest.mark.parametrize(
    ("box", "margin", "expected"),
    [
        (Box(40, 40, 60, 60), 1.5, Box(35, 35, 65, 65)),
        (Box(40, 30, 60, 70), 1.0, Box(30, 30, 70, 70)),  # as wide as it is high
        (Box(-10, 40, 10, 60), 1.0, Box(0, 40, 20, 60)),  # moved inside, not shrunk
        (Box(90, 80, 120, 110), 1.0, Box(70, 70, 100, 100)),
        (Box(10, 10, 90, 90), 2.0, Box(0, 0, 100, 100)),  # cannot be larger than the frame
    ],
)
def test_the_square_by_hand(box, margin, expected):
    assert faces.square_around(box, margin, 100, 100) == expected


def test_the_square_of_a_flat_frame_has_its_height():
    assert faces.square_around(Box(50, 5, 80, 35), 1.3, 30, 200) == Box(50, 0, 80, 30)


def test_a_crop_of_its_own_size_is_the_pixels_themselves(make):
    image = make.moving_frames(1)[0]
    np.testing.assert_array_equal(faces.crop(image, Box(10, 20, 40, 50), 30), image[20:50, 10:40])


def test_a_crop_shrinks_by_averaging():
    image = np.zeros((8, 8, 3), np.uint8)
    image[::2, ::2] = 200
    np.testing.assert_array_equal(faces.crop(image, Box(0, 0, 8, 8), 4), np.full((4, 4, 3), 50))


@pytest.mark.parametrize(
    "box", [Box(-1, 0, 9, 10), Box(0, 0, 11, 11), Box(0, 0, 5, 6), Box(3, 3, 3, 3)]
)
def test_a_box_that_is_no_square_inside_is_refused(box):
    with pytest.raises(ValueError, match="not a square inside 10 x 10"):
        faces.crop(blank(10, 10), box, 4)


def test_nothing_is_found_where_there_is_no_face(make):
    assert faces.find_face(make.moving_frames(1, 200, 200)[0], faces.make_detector("hog")) is None


def test_a_detector_that_is_no_model_file_is_refused(tmp_path):
    with pytest.raises(checks.UserError, match=r"neither 'hog', .*'centerface' nor a YuNet"):
        faces.make_detector(str(tmp_path / "missing.onnx"))
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(checks.UserError, match="not a YuNet model"):
        faces.make_detector(str(tmp_path / "text.onnx"))


def test_yunet_rows_become_boxes(tmp_path, monkeypatch):
    class Network:
        def setInputSize(self, size):
            self.size = size

        def detect(self, frame):
            assert frame.shape == (60, 100, 3)
            assert self.size == (100, 60)
            blue_first = frame[0, 0].tolist() == [3, 2, 1]
            rows = np.array([[10.4, 5.6, 20, 30] + [0] * 11, [1, 1, 0, 5] + [0] * 11], np.float32)
            return 1, rows if blue_first else None

    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *a, **k: Network())
    (tmp_path / "model.onnx").touch()
    frame = np.full((60, 100, 3), (1, 2, 3), np.uint8)
    assert faces.make_detector(str(tmp_path / "model.onnx"))(frame) == [Box(10, 6, 30, 36)]


@pytest.mark.skipif("KDJAX_FACES" not in os.environ, reason="KDJAX_FACES names no folder of faces")
def test_most_photographs_of_faces_are_found():
    paths = sorted(path for path in Path(os.environ["KDJAX_FACES"]).rglob("*.jpg"))[::20]
    detector = faces.make_detector("hog")
    found = 0
    for path in paths:
        with video.open_media(path) as media:
            found += faces.find_face(next(iter(media)), detector) is not None
    assert found >= 0.9 * len(paths) > 0


def test_whole_frames_shrink_until_the_square_has_the_side():
    frames = np.zeros((2, 300, 400, 3), np.uint8)
    frames[:, 100:200, 50:150] = 255
    box, square = Box(60, 110, 140, 190), Box(50, 100, 150, 200)
    small, small_box, small_square = faces.shrink_to(frames, box, square, 50)
    assert small.shape == (2, 150, 200, 3)
    assert small_box == Box(30, 55, 70, 95)
    assert small_square == Box(25, 50, 75, 100)
    assert (small[:, 50:100, 25:75] == 255).all()
    assert small.sum() == 2 * 50 * 50 * 3 * 255


def test_a_shrunk_square_stays_inside():
    for side in (16, 31, 64):
        for left in (0, 100, 199):
            square = Box(left, 0, left + 101, 101)
            small, _, moved = faces.shrink_to(
                np.zeros((1, 101, 300, 3), np.uint8), square, square, side
            )
            assert (moved.width, moved.height) == (side, side)
            assert moved.right <= small.shape[2]
            assert moved.bottom <= small.shape[1]


def test_frames_with_a_small_face_stay_as_they_are():
    frames, square = np.zeros((1, 90, 90, 3), np.uint8), Box(10, 10, 50, 50)
    same, box, moved = faces.shrink_to(frames, square, square, 64)
    assert same is frames
    assert box == moved == square
