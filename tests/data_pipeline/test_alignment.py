"""Alignment: least squares by another way, and landmarks that end where the standard face has them."""

import cv2
import numpy as np
import pytest

from kdjax.data_pipeline import alignment


def turned(points, angle, scale, shift):
    """Returns points turned by degrees, scaled and moved."""
    radians = np.deg2rad(angle)
    turn = np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])
    return scale * points @ turn.T + shift


def standard(size, margin):
    return ((alignment.STANDARD + 0.5) / 112 - 0.5) / margin * size + size / 2 - 0.5


@pytest.mark.parametrize("seed", range(3))
def test_the_similarity_is_that_of_least_squares(seed):
    rng = np.random.default_rng(seed)
    points, targets = rng.normal(size=(2, 7, 2)) * 20 + 100
    rows = [[[x, -y, 1, 0], [y, x, 0, 1]] for x, y in points]
    a, b, right, down = np.linalg.lstsq(np.concatenate(rows), targets.ravel(), rcond=None)[0]
    expected = [[a, -b, right], [b, a, down]]
    np.testing.assert_allclose(alignment.similarity(points, targets), expected, rtol=1e-9)


def test_points_in_one_place_have_no_similarity():
    one = np.full((5, 2), 7.0)
    assert alignment.similarity(one, alignment.STANDARD) is None
    assert alignment.similarity(alignment.STANDARD, one) is None
    assert alignment.upright(one, 1.3, 64) is None


def test_mirrored_landmarks_are_not_mirrored_back():
    matrix = alignment.similarity(alignment.STANDARD * [-1, 1], alignment.STANDARD)
    assert np.linalg.det(matrix[:, :2]) > 0


@pytest.mark.parametrize("count", [68, 81])
def test_five_landmarks_are_taken_out_of_many(count):
    points = np.random.default_rng(0).uniform(0, 256, (count, 2))
    found = alignment.five_landmarks(points)
    expected = [*(points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54])]
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((6, 2)),
        np.zeros((5, 3)),
        np.zeros(10),
        np.full((5, 2), np.nan),
        np.full((5, 2), "left"),
    ],
)
def test_what_is_no_landmarks_is_none(points, tmp_path):
    assert alignment.five_landmarks(points) is None
    np.save(tmp_path / "a.npy", points)
    assert alignment.read_landmarks(tmp_path / "a.npy") is None


def test_landmarks_are_read_without_running_anything(tmp_path):
    points = np.random.default_rng(0).uniform(0, 99, (81, 2)).astype(np.float32)
    np.save(tmp_path / "a.npy", points)
    expected = alignment.five_landmarks(points)
    np.testing.assert_array_equal(alignment.read_landmarks(tmp_path / "a.npy"), expected)
    np.save(tmp_path / "b.npy", np.array([{}] * 5, object), allow_pickle=True)
    (tmp_path / "c.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:100])
    (tmp_path / "d.npy").write_bytes(b"")
    for name in "bcde":
        assert alignment.read_landmarks(tmp_path / f"{name}.npy") is None


@pytest.mark.parametrize("angle", [0, 17, -60, 180])
@pytest.mark.parametrize("scale", [0.7, 1.0, 4.0])
@pytest.mark.parametrize("margin", [1.0, 1.6])
def test_landmarks_end_where_the_standard_face_has_them(angle, scale, margin):
    """Spots are drawn at the landmarks of a turned face; in the square they are found by their centres of mass."""
    landmarks = turned(alignment.STANDARD - 56, angle, scale, np.array([300.0, 260.0]))
    ys, xs = np.mgrid[:520, :600]
    for number, expected in enumerate(standard(96, margin)):
        x, y = landmarks[number]
        width = 2.0 * max(scale, 1)
        spot = 255 * np.exp(-0.5 * ((xs - x) ** 2 + (ys - y) ** 2) / width**2)
        matrix = alignment.upright(landmarks, margin, 96)
        found = alignment.cut_upright(spot.astype(np.uint8), matrix, 96).astype(float)
        rows, columns = np.mgrid[:96, :96]
        centre = [(found * part).sum() / found.sum() for part in (columns, rows)]
        np.testing.assert_allclose(centre, expected, atol=0.25)


def test_no_turn_and_no_scale_change_no_pixel():
    image = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
    matrix = alignment.upright(alignment.STANDARD, 1.0, 112)
    np.testing.assert_allclose(matrix, np.eye(2, 3), atol=1e-9)
    np.testing.assert_array_equal(alignment.cut_upright(image, matrix, 112), image)


def test_shrinking_averages_by_area():
    image = np.random.default_rng(0).integers(0, 256, (448, 448), np.uint8)
    landmarks = 4 * (alignment.STANDARD + 0.5) - 0.5
    found = alignment.cut_upright(image, alignment.upright(landmarks, 1.0, 112), 112)
    expected = cv2.resize(image, (112, 112), interpolation=cv2.INTER_AREA)
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_beyond_the_border_its_pixels_go_on():
    image = np.full((112, 112), 90, np.uint8)
    matrix = alignment.upright(alignment.STANDARD, 3.0, 60)
    np.testing.assert_array_equal(alignment.cut_upright(image, matrix, 60), np.full((60, 60), 90))
