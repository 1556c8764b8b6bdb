"""Landmarks from models and from files, and data sets whose faces are turned upright by them."""

import json

import dlib
import numpy as np
import pytest

from kdjax.checks import UserError
from kdjax.data_pipeline import alignment, landmarks
from kdjax.data_pipeline.faces import Box
from kdjax.data_pipeline.prepare import prepare
from kdjax.data_pipeline.prepared import decode_record, open_dataset

FACE = Box(40, 30, 104, 94)


def predictor(folder, count):
    """A shape predictor that has learned to put every landmark at its own place in the box."""
    rng = np.random.default_rng(0)
    places = rng.uniform(0.1, 0.9, (count, 2))
    images = [rng.integers(0, 256, (128, 160, 3), np.uint8) for _ in range(3)]
    labels = []
    for number in range(3):
        box = Box(30 + 5 * number, 20, 94 + 5 * number, 84)
        points = [
            dlib.point(round(box.left + x * 64), round(box.top + y * 64))
            for x, y in places.tolist()
        ]
        rectangle = dlib.rectangle(box.left, box.top, box.right - 1, box.bottom - 1)
        labels.append([dlib.full_object_detection(rectangle, points)])
    options = dlib.shape_predictor_training_options()
    options.tree_depth, options.cascade_depth, options.oversampling_amount = 2, 2, 2
    options.num_trees_per_cascade_level, options.num_threads = 10, 1
    trained = dlib.train_shape_predictor(images, labels, options)
    trained.save(str(folder / "model.dat"))
    return folder / "model.dat", places


@pytest.mark.parametrize("count", [68, 81])
def test_a_shape_predictor_gives_five_landmarks(tmp_path, count):
    path, places = predictor(tmp_path, count)
    frame = np.random.default_rng(1).integers(0, 256, (128, 160, 3), np.uint8)
    found = landmarks.make_landmarks(str(path))(frame, FACE)
    expected = alignment.five_landmarks(places * 64 + [FACE.left, FACE.top])
    np.testing.assert_allclose(found, expected, atol=1.5)
    assert landmarks.recorded_landmarks(str(path)).startswith("dlib ")
    assert str(tmp_path) not in landmarks.recorded_landmarks(str(path))


@pytest.mark.parametrize("count", [5, 20])
def test_a_predictor_of_other_landmarks_is_refused(tmp_path, count):
    path, _ = predictor(tmp_path, count)
    with pytest.raises(UserError, match=rf"predicts {count} landmarks; give a dlib .* 68 or 81"):
        landmarks.make_landmarks(str(path))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("absent.dat", None, "is no file; give a dlib shape predictor"),
        ("text.dat", b"no model", "no shape predictor that dlib can read"),
        ("empty.dat", b"", "no shape predictor that dlib can read"),
        ("text.onnx", b"no model", "not a YuNet model"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        landmarks.make_landmarks(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_yunet_looks_around_the_face_and_takes_the_nearest(tmp_path, monkeypatch):
    """Its numbers are of a square twice as wide as the face, here shrunk by 4."""
    (tmp_path / "yunet.onnx").write_bytes(b"stands for a model")
    face = Box(1000, 800, 1640, 1440)
    near, far = np.zeros((2, 15))
    near[:4], far[:4] = (80, 80, 160, 160), (0, 0, 30, 30)
    near[4:14] = np.arange(10) + 100
    seen = []

    def find(frame):
        seen.append(frame.shape)
        return np.stack([far, near])

    monkeypatch.setattr(landmarks, "yunet", lambda path: find)
    found = landmarks.make_landmarks(str(tmp_path / "yunet.onnx"))(
        np.zeros((2400, 3000, 3), np.uint8), face
    )
    assert seen == [(320, 320, 3)]
    expected = (np.arange(10).reshape(5, 2) + 100) * 4 + [680, 480]
    np.testing.assert_allclose(found, expected)
    monkeypatch.setattr(landmarks, "yunet", lambda path: lambda frame: np.zeros((0, 15)))
    landmarks.make_landmarks.cache_clear()
    blind = landmarks.make_landmarks(str(tmp_path / "yunet.onnx"))
    assert blind(np.zeros((2400, 3000, 3), np.uint8), face) is None


@pytest.fixture
def bench(make, tmp_path):
    """DeepfakeBench's frames of one real and one fake video a split, in c23 and c40, with landmarks of all but one."""
    source = tmp_path / "bench"
    kinds = {kind: {"train": {}, "val": {}, "test": {}} for kind in ("A_real", "A_fake")}
    rng = np.random.default_rng(0)
    for number, split in enumerate(("train", "val", "test")):
        for kind in kinds:
            name = f"{kind}{number}"
            entry = {}
            for quality in ("c23", "c40"):
                folder = source / kind / quality / "frames" / name
                folder.mkdir(parents=True)
                for k in range(3):
                    pixels = make.moving_frames(1, 64, 64, seed=10 * number + k)[0]
                    make.write_image(folder / f"{k:03}.png", pixels // (1 + (quality == "c40")))
                entry[quality] = {
                    name: {"label": kind, "frames": [f"{kind}/{quality}/frames/{name}/000.png"]}
                }
            marks = source / kind / "c23" / "landmarks" / name
            marks.mkdir(parents=True)
            for k in range(3 if name != "A_real2" else 2):
                np.save(marks / f"{k:03}.npy", rng.uniform(10, 54, (81, 2)))
            for quality, listed in entry.items():
                kinds[kind][split].setdefault(quality, {}).update(listed)
    (source / "A.json").write_text(json.dumps({"A": kinds}))
    return source


SMALL = {"image_size": 32, "frames_per_video": 3, "workers": 0}


def test_given_landmarks_turn_the_faces_of_all_qualities_alike(bench, make, tmp_path):
    path = prepare(
        "deepfakebench", tmp_path / "out", source=bench, landmarks="given", margin=1.5, **SMALL
    )
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["options"]["landmarks"] == "given"
    assert manifest["notes"]["faces_not_aligned"] == 1
    dataset = open_dataset(path)
    source = dataset.source("train")
    for index in range(len(source)):
        example = decode_record(index, source[index], dataset.qualities)
        frame = int(example["frame"])
        kind = ("A_real", "A_fake")[int(example["label"])]
        marks = alignment.read_landmarks(
            bench / kind / "c23" / "landmarks" / f"{kind}0" / f"{frame:03}.npy"
        )
        matrix = alignment.upright(marks, 1.5, 32)
        pixels = make.moving_frames(1, 64, 64, seed=frame)[0]
        for divisor, quality in ((1, "c23"), (2, "c40")):
            expected = alignment.cut_upright(pixels // divisor, matrix, 32)
            np.testing.assert_array_equal(example["image"][quality], expected)


def test_landmarks_change_nothing_of_a_data_set_without_them(bench, tmp_path):
    path = prepare("deepfakebench", tmp_path / "out", source=bench, **SMALL)
    manifest = json.loads((path / "manifest.json").read_text())
    assert "landmarks" not in manifest["options"]
    assert "faces_not_aligned" not in manifest["notes"]


@pytest.mark.parametrize(
    ("dataset", "options", "words"),
    [
        ("videos", {"landmarks": "given"}, "no folder of landmarks lies beside frames"),
        ("folder", {"landmarks": "given", "takes": 2}, "go with neither takes nor face_side"),
        ("folder", {"landmarks": "given", "face_side": 40}, "go with neither takes nor face_side"),
        ("folder", {"landmarks": "none.dat"}, "landmarks='none.dat' is no file"),
    ],
)
def test_landmarks_that_cannot_be_had_are_refused(make, tmp_path, dataset, options, words):
    source = tmp_path / "source"
    rows = ["path,label"]
    for kind in ("real", "fake"):
        for number in range(4):
            (source / kind).mkdir(parents=True, exist_ok=True)
            make.write_image(source / kind / f"{number}.png", make.moving_frames(1)[0])
            rows.append(f"{kind}/{number}.png,{kind}")
    (source / "table.csv").write_text("\n".join(rows))
    place = source / "table.csv" if dataset == "videos" else source
    with pytest.raises(UserError, match=words):
        prepare(dataset, tmp_path / "out", source=place, **SMALL, **options)
    assert not (tmp_path / "out").exists()
