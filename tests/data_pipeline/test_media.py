"""Data sets of the labs' trees: qualities from files of their own, masks, and what does not fit."""

import json
import shutil
import struct

import av
import cv2
import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds

from kdjax.checks import UserError
from kdjax.data_pipeline import compression, faces, records, video
from kdjax.data_pipeline.builders import items, media
from kdjax.data_pipeline.faces import Box
from kdjax.data_pipeline.loader import training_batches
from kdjax.data_pipeline.prepare import prepare
from kdjax.data_pipeline.prepared import decode_record, open_dataset

FACE = Box(20, 10, 52, 42)
SQUARE = Box(15, 5, 57, 47)
SMALL = {"image_size": 42, "frames_per_video": 3, "clip_length": 4, "workers": 0}


@pytest.fixture(autouse=True)
def drawn_faces(monkeypatch):
    def detect(frame):
        return [FACE] if frame.mean() > 30 else []

    monkeypatch.setattr(faces, "make_detector", lambda name: detect)


def mask_frames(count=9):
    frames = np.zeros((count, 64, 96, 3), np.uint8)
    frames[:, 20:40, 30:45] = 255
    return frames


@pytest.fixture
def ffpp(make, tmp_path):
    """Three pairs of the official lists, one a split, in c23 and c40, with masks of one of them."""
    root = tmp_path / "ffpp"
    for number, (one, other) in enumerate((("071", "054"), ("720", "672"), ("953", "974"))):
        for name in (one, other, f"{one}_{other}", f"{other}_{one}"):
            kind = (
                "manipulated_sequences/Deepfakes" if "_" in name else "original_sequences/youtube"
            )
            for quality, factor in (("c23", "23"), ("c40", "40")):
                folder = root / kind / quality / "videos"
                folder.mkdir(parents=True, exist_ok=True)
                frames = make.moving_frames(9, seed=number + len(name))
                make.write_video(folder / f"{name}.mp4", frames, crf=factor)
    masks = root / "manipulated_sequences/Deepfakes/masks/videos"
    masks.mkdir(parents=True)
    make.write_video(masks / "071_054.mp4", mask_frames(), crf="10")
    return root


def run(source, output, dataset="faceforensics", **options):
    return prepare(dataset, output, source=source, **{**SMALL, **options})


def examples(folder):
    """Returns every record by split, of the qualities that there are."""
    dataset = open_dataset(folder)
    return dataset, {
        split: [
            decode_record(index, dataset.source(split)[index], dataset.qualities, with_mask=True)
            for index in range(size)
        ]
        for split, size in dataset.sizes.items()
    }


def frame_of(path, number):
    with video.open_media(path) as footage:
        return next(pixels for _, pixels in footage.read({number}))


def test_every_quality_is_cut_out_of_its_own_file(ffpp, tmp_path):
    dataset, found = examples(run(ffpp, tmp_path / "out"))
    assert dataset.qualities == ("c23", "c40")
    assert dataset.name == "faceforensics/all/1.0.0"
    assert dataset.sizes == {"train": 12, "validation": 12, "test": 12}
    assert dataset.forgeries[:2] == ("none", "deepfakes")
    fakes = [each for each in found["train"] if each["label"]]
    assert {int(each["forgery"]) for each in fakes} == {1}
    originals = ffpp / "original_sequences/youtube"
    real = next(e for e in found["train"] if not e["label"] and e["frame"] == 4)
    for quality in ("c23", "c40"):
        candidates = [
            faces.crop(frame_of(originals / quality / f"videos/{name}.mp4", 4), SQUARE, 42)
            for name in ("071", "054")
        ]
        assert any(np.array_equal(real["image"][quality], pixels) for pixels in candidates)
    assert not np.array_equal(real["image"]["c23"], real["image"]["c40"])


def test_masks_follow_their_frames(ffpp, tmp_path):
    path = run(ffpp, tmp_path / "out")
    _, found = examples(path)
    masked = [each for each in found["train"] if each["forgery_mask"].any()]
    assert len(masked) == 3
    assert all(each["label"] for each in masked)
    expected = faces.crop(mask_frames(1)[0, ..., 0], SQUARE, 42) > 127
    for each in masked:
        assert np.mean((each["forgery_mask"][..., 0] > 127) != expected) < 0.02
        assert set(np.unique(each["forgery_mask"])) == {0, 255}


def test_a_mask_that_does_not_fit_stays_dark_and_is_counted(make, ffpp, tmp_path):
    masks = ffpp / "manipulated_sequences/Deepfakes/masks/videos"
    (masks / "071_054.mp4").write_bytes(b"nothing of the kind")
    make.write_video(masks / "054_071.mp4", mask_frames(4))
    make.write_video(masks / "672_720.mp4", mask_frames(10))
    make.write_video(masks / "720_672.mp4", mask_frames()[:, :32, :48])
    make.write_video(masks / "953_974.mp4", np.pad(mask_frames(), ((0, 0), (8, 8), (8, 8), (0, 0))))
    path = run(ffpp, tmp_path / "out")
    _, found = examples(path)
    assert not any(each["forgery_mask"].any() for part in found.values() for each in part)
    assert (
        json.loads((path / "manifest.json").read_text())["notes"]["videos_with_unusable_masks"] == 5
    )


def test_qualities_that_are_missing_are_made_when_asked(ffpp, tmp_path):
    for name in ("071", "054_071"):
        [path] = ffpp.rglob(f"c40/videos/{name}.mp4")
        path.unlink()
    path = run(ffpp, tmp_path / "left")
    manifest = json.loads((path / "manifest.json").read_text())
    assert {entry["reason"] for entry in manifest["skipped"]["items"]} == {"has no c40"}
    assert len(manifest["skipped"]["items"]) == 2
    path = run(ffpp, tmp_path / "made", reencode=True)
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["qualities"] == {
        "c23": "the source",
        "c40": "the source; c23 by H.264, crf 40 (of 2 items)",
    }
    assert manifest["skipped"]["total"] == 0
    _, found = examples(path)
    real = [e for e in found["train"] if not e["label"] and e["frame"] == 4]
    with video.open_media(ffpp / "original_sequences/youtube/c23/videos/071.mp4") as footage:
        clip = np.stack(list(footage))[2:6]
    expected = faces.crop(compression.compress_clip(clip, 40)[2], SQUARE, 42)
    assert any(np.array_equal(each["image"]["c40"], expected) for each in real)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"qualities": ("raw",)}, "no files of quality 'raw', it has c23, c40; --reencode"),
        ({"qualities": ("raw",), "reencode": True}, "'raw', it has c23, c40; nothing makes it"),
        ({"qualities": ("c32",)}, "qualities names 'c32'; did you mean 'c23'"),
        ({"part": "face2face"}, r"6 videos of youtube and 0 of Face2Face"),
        ({"part": "deepfake"}, "no part 'deepfake'; did you mean 'deepfakes'"),
        ({"detect_every": 0}, "detect_every=0 must be between"),
        ({"forge": True}, "has no option 'forge'"),
    ],
)
def test_what_cannot_be_made_is_one_line(ffpp, tmp_path, options, words):
    with pytest.raises(UserError, match=words) as caught:
        run(ffpp, tmp_path / "out", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_one_quality_of_several(ffpp, tmp_path):
    dataset, _ = examples(run(ffpp, tmp_path / "out", qualities=("c40",)))
    assert dataset.qualities == ("c40",)


def slow_video(path, frames, rate):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def test_qualities_that_are_not_the_same_video_are_left_out(make, ffpp, tmp_path):
    folder = ffpp / "original_sequences/youtube/c40/videos"
    make.write_video(folder / "071.mp4", make.moving_frames(8))
    make.write_video(folder / "720.mp4", make.moving_frames(9, 32, 48))
    slow_video(folder / "953.mp4", make.moving_frames(9), 10)
    fake = ffpp / "manipulated_sequences/Deepfakes/c40/videos/054_071.mp4"
    fake.write_bytes(b"\0" * 100)
    manifest = json.loads((run(ffpp, tmp_path / "out") / "manifest.json").read_text())
    found = {e["item"].rsplit("/", 1)[-1]: e["reason"] for e in manifest["skipped"]["items"]}
    assert found == {
        "071.mp4": "c40: has 8 frames, the best quality 9",
        "720.mp4": "c40: is 48x32, the best quality 96x64",
        "953.mp4": "c40: has 10 frames/s, the best quality 25",
        "054_071.mp4": "c40: not an image or video of a known format",
    }


def test_a_quality_that_is_turned_otherwise_is_left_out(make, ffpp, tmp_path):
    """One that was turned upright when it was made has the same frames, one that was not has others."""
    plain = ffpp / "original_sequences/youtube/c23/videos/071.mp4"
    content = plain.read_bytes()
    matrix = struct.Struct(">9i")
    upright = matrix.pack(1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    place = content.index(upright, content.index(b"tkhd"))
    turned = matrix.pack(0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    plain.write_bytes(content[:place] + turned + content[place + matrix.size :])
    path = run(ffpp, tmp_path / "left")
    manifest = json.loads((path / "manifest.json").read_text())
    assert [entry["reason"] for entry in manifest["skipped"]["items"]] == [
        "c40: is turned otherwise than the best quality"
    ]
    stored = np.rot90(make.moving_frames(9, seed=3), -1, (1, 2))
    make.write_video(ffpp / "original_sequences/youtube/c40/videos/071.mp4", stored)
    path = run(ffpp, tmp_path / "out")
    assert json.loads((path / "manifest.json").read_text())["skipped"]["total"] == 0


def test_an_unknown_rate_is_no_other_rate(make, tmp_path):
    rows = ["path,c40,label,split"]
    for split in ("train", "validation", "test"):
        for label in ("real", "fake"):
            name = f"{split}{label}"
            (tmp_path / name).mkdir()
            for k, pixels in enumerate(make.moving_frames(4)):
                make.write_image(tmp_path / name / f"{k}.png", pixels)
            make.write_video(tmp_path / f"{name}.mp4", make.moving_frames(4), crf="40")
            rows.append(f"{name},{name}.mp4,{label},{split}")
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    dataset, _ = examples(run(tmp_path / "t.csv", tmp_path / "data/out", "videos"))
    assert dataset.qualities == ("raw", "c40")
    assert dataset.sizes == {"train": 6, "validation": 6, "test": 6}


def test_frames_that_are_faces_already_are_stored_whole(make, tmp_path):
    source = tmp_path / "bench"
    kinds = {
        "A_real": {"train": {}, "test": {}, "val": {}},
        "A_fake": {"train": {}, "test": {}, "val": {}},
    }
    drawn = {}
    for number, split in enumerate(("train", "val", "test")):
        for kind in kinds:
            name = f"{kind}{number}"
            folder = source / "frames" / name
            folder.mkdir(parents=True)
            pixels = make.moving_frames(3, 48, 48, seed=number)
            for k, frame in zip((2, 10, 100), pixels, strict=True):
                make.write_image(folder / f"{k}.png", frame)
            drawn[name] = pixels
            kinds[kind][split][name] = {"label": kind, "frames": [f"frames/{name}/2.png"]}
    (source / "A.json").write_text(json.dumps({"A": kinds}))
    path = run(source, tmp_path / "out", "deepfakebench", image_size=48)
    dataset, found = examples(path)
    assert (dataset.qualities, dataset.sizes) == (
        ("raw",),
        {"train": 6, "validation": 6, "test": 6},
    )
    reals = sorted((e for e in found["test"] if not e["label"]), key=lambda e: e["frame"])
    for each, pixels in zip(reals, drawn["A_real2"], strict=True):
        np.testing.assert_array_equal(each["image"]["raw"], pixels)
    assert json.loads((path / "manifest.json").read_text())["qualities"] == {"raw": "the source"}


def test_a_damaged_frame_gives_up_its_video(make, tmp_path):
    source = tmp_path / "table"
    source.mkdir()
    rows = ["path,label,split"]
    for split in ("train", "validation", "test"):
        for label in ("real", "fake"):
            folder = source / f"{split}{label}"
            folder.mkdir()
            for k in range(2):
                make.write_image(folder / f"{k}.png", make.moving_frames(1)[0])
            rows.append(f"{folder.name},{label},{split}")
    (source / "empty").mkdir()
    (source / "hurt").mkdir()
    (source / "hurt/0.png").write_bytes((source / "trainreal/0.png").read_bytes()[:500])
    (source / "moving").mkdir()
    make.write_video(source / "moving/0.mp4", make.moving_frames(4))
    rows += ["empty,real,train", "hurt,real,train", "moving,real,train"]
    (source / "t.csv").write_text("\n".join(rows) + "\n")
    path = run(source / "t.csv", tmp_path / "out", "videos")
    found = {
        entry["item"]: entry["reason"]
        for entry in json.loads((path / "manifest.json").read_text())["skipped"]["items"]
    }
    assert set(found) == {"empty", "hurt", "moving"}
    assert found["moving"] == "a folder of frames, of which 0.mp4 is a video"
    assert found["empty"] == "a folder without images"
    assert open_dataset(path).sizes == {"train": 4, "validation": 4, "test": 4}


def test_more_than_may_be_left_out_is_an_error_that_keeps_the_work(ffpp, tmp_path, capsys):
    [path] = ffpp.rglob("c40/videos/071.mp4")
    path.write_bytes(b"nothing")
    with pytest.raises(
        UserError, match=r"1 of 12 items would be left out, more than --max_skipped=0"
    ):
        run(ffpp, tmp_path / "out", max_skipped=0.05)
    assert not (tmp_path / "out").exists()
    assert len(list((tmp_path / "out.partial").rglob("*.npz"))) == 12
    run(ffpp, tmp_path / "out", max_skipped=0.1)
    shown = capsys.readouterr().err
    assert "12 items, 12 of them videos: up to 36 faces in c23, c40; roughly" in shown
    assert "are free)" in shown
    with pytest.raises(UserError, match="--max_skipped=2 must be a share"):
        run(ffpp, tmp_path / "out", max_skipped=2)


def test_what_was_done_is_not_done_again_wherever_it_was_moved(ffpp, tmp_path, monkeypatch):
    done = []
    original = media.process_item

    def process_item(task):
        done.append(task.item.name)
        return original(task)

    monkeypatch.setattr(media, "process_item", process_item)
    [path] = ffpp.rglob("c40/videos/071.mp4")
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="max_skipped"):
        run(ffpp, tmp_path / "out", max_skipped=0)
    assert len(done) == 12
    done.clear()
    shutil.copytree(ffpp, tmp_path / "moved")
    [path] = (tmp_path / "moved").rglob("c40/videos/071.mp4")
    path.write_bytes((path.parent / "054.mp4").read_bytes())
    run(tmp_path / "moved", tmp_path / "out")
    assert done == ["original_sequences/youtube/c23/videos/071.mp4"]


def test_images_of_one_video_keep_its_number(make, tmp_path):
    rows = ["path,label,split,video"]
    for split in ("train", "validation", "test"):
        for label in ("real", "fake"):
            for k in range(2):
                name = f"{split}{label}{k}.png"
                make.write_image(tmp_path / name, make.moving_frames(1)[0])
                rows.append(f"{name},{label},{split},{split}{label}")
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    dataset = open_dataset(run(tmp_path / "t.csv", tmp_path / "data/out", "videos"))
    videos = dataset.labels("train")["video"]
    assert len(videos) == 4
    assert sorted(np.unique(videos, return_counts=True)[1]) == [2, 2]


def test_turned_video_and_cut_scenes(make, ffpp, tmp_path):
    """A scene without a face in the middle costs its frames and no more."""
    frames = make.moving_frames(9, seed=3)
    frames[3:6] = 0
    for quality in ("c23", "c40"):
        make.write_video(ffpp / f"original_sequences/youtube/{quality}/videos/071.mp4", frames)
    path = run(ffpp, tmp_path / "out")
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["notes"]["frames_without_face"] == 1
    assert manifest["notes"]["videos_with_cuts"] == 1
    assert open_dataset(path).sizes["train"] == 11


def check_elements(dataset):
    """Elements are those that TFDS reads, images and masks left encoded as they are."""
    features = dataset.builder.info.features
    images = {q: tfds.decode.SkipDecoding() for q in dataset.qualities}
    if not isinstance(features["image"]["c23"], tfds.features.Image):
        images = {}
    decoders = {"image": images, "forgery_mask": tfds.decode.SkipDecoding()}
    theirs = dataset.builder.as_data_source("train", decoders=decoders)
    ours = dataset.source("train")
    assert isinstance(ours, records.Elements)
    assert len(ours) == len(theirs) > 0
    for index in range(len(ours)):
        ours_here, theirs_here = ours[index], theirs[index]
        assert sorted(ours_here) == sorted(theirs_here)
        for one, other in zip(
            jax.tree.leaves(ours_here), jax.tree.leaves(theirs_here), strict=True
        ):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("encoding", ["raw", "jpeg", "webp"])
def test_images_can_be_stored_otherwise(ffpp, tmp_path, encoding):
    _, plain = examples(run(ffpp, tmp_path / "png"))
    path = run(ffpp, tmp_path / encoding, encoding=encoding)
    assert json.loads((path / "manifest.json").read_text())["options"]["encoding"] == encoding
    dataset, found = examples(path)
    assert dataset.qualities == ("c23", "c40")
    check_elements(dataset)
    for one, other in zip(plain["train"], found["train"], strict=True):
        for quality in dataset.qualities:
            gap = np.abs(one["image"][quality].astype(int) - other["image"][quality])
            assert gap.max() == 0 if encoding == "raw" else 0 < gap.mean() < 4
        np.testing.assert_array_equal(one["forgery_mask"], other["forgery_mask"])
    batch = next(training_batches(dataset, ("c40",), batch_size=4, seed=0, threads=1))
    assert batch["image"]["c40"].shape == (4, 42, 42, 3)
    assert batch["image"]["c40"].dtype == np.uint8
    with pytest.raises(UserError, match="encoding='gif' must be one of: png, raw, jpeg, webp"):
        run(ffpp, tmp_path / "gif", encoding="gif")


def test_what_cv2_reads_is_what_was_written(make, tmp_path):
    pixels = make.moving_frames(1)[0]
    path = make.write_image(tmp_path / "a.png", pixels)
    np.testing.assert_array_equal(frame_of(path, 0), cv2.imread(str(path))[..., ::-1])


def test_none_is_made_of_a_worse_one(ffpp, tmp_path):
    """One video has lost its c23, and c23 is not made of c40; another has lost its c40, which is made of c23."""
    original = ffpp / "original_sequences/youtube"
    (original / "c23/videos/071.mp4").unlink()
    (original / "c40/videos/054.mp4").unlink()
    path = run(ffpp, tmp_path / "out", reencode=True)
    manifest = json.loads((path / "manifest.json").read_text())
    [entry] = manifest["skipped"]["items"]
    assert entry["item"].endswith("071.mp4")
    assert entry["reason"] == "has no c23, nor a better file to make it from"
    assert manifest["qualities"]["c40"] == "the source; c23 by H.264, crf 40 (of 1 items)"


def test_frames_of_several_qualities_are_matched_by_name(make, tmp_path):
    """Each folder has lost another frame: what all have is stored, and the mask of the same name."""
    source = tmp_path / "table"
    rows = ["path,label,split,c40,mask"]
    frames = make.moving_frames(4, 48, 48)
    for split in ("train", "validation", "test"):
        for label in ("real", "fake"):
            name = f"{split}{label}"
            for kind, lost, factor in (("raw", 2, 1), ("c40", 1, 2), ("mask", None, None)):
                folder = source / kind / name
                folder.mkdir(parents=True)
                for k in range(4):
                    if k != lost:
                        pixels = np.full((48, 48, 3), 255 * (k == 3), np.uint8)
                        pixels = frames[k] // factor if factor else pixels
                        make.write_image(folder / f"{k:03}.png", pixels)
            rows.append(f"raw/{name},{label},{split},c40/{name},mask/{name}")
    (source / "t.csv").write_text("\n".join(rows) + "\n")
    path = run(source / "t.csv", tmp_path / "out", "videos", image_size=42, frames_per_video=9)
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["notes"] == {"frames_not_in_all_qualities": 6}
    _, found = examples(path)
    assert sorted(int(each["frame"]) for each in found["test"]) == [0, 0, 1, 1]
    for each in found["test"]:
        k = (0, 3)[int(each["frame"])]
        square = faces.square_around(FACE, 1.3, 48, 48)
        for quality, factor in (("raw", 1), ("c40", 2)):
            expected = faces.crop(frames[k] // factor, square, 42)
            np.testing.assert_array_equal(each["image"][quality], expected)
        assert each["forgery_mask"].max() == 255 * (k == 3)


def picture_table(make, folder, column, values):
    """Writes a real and a fake picture for each value of a column, and the table that says so."""
    rows = [f"path,label,{column}"]
    for number, value in enumerate(values):
        for label in ("real", "fake"):
            make.write_image(folder / f"{label}{number}.png", make.moving_frames(1)[0])
            rows.append(f"{label}{number}.png,{label},{value}")
    table = folder / "t.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


def test_another_table_is_another_data_set(make, tmp_path):
    table = picture_table(make, tmp_path, "identity", [f"p{number}" for number in range(8)])
    run(table, tmp_path / "out", "videos")
    table.write_text(table.read_text().replace("real7.png,real,p7", "real7.png,real,p0"))
    with pytest.raises(UserError, match="holds another data set"):
        run(table, tmp_path / "out", "videos")
    run(table, tmp_path / "out", "videos", overwrite=True)


def test_a_data_set_that_is_a_test_alone(make, tmp_path):
    table = picture_table(make, tmp_path, "split", ["test"] * 3)
    path = run(table, tmp_path / "out", "videos")
    dataset = open_dataset(path)
    assert dataset.sizes == {"test": 6}
    assert len(dataset.labels("train")["label"]) == 0
    assert json.loads((path / "manifest.json").read_text())["counts"]["train"]["records"] == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": -1}, "workers=-1 must be at least 0"),
        ({"beam_options": "'"}, "No closing quotation"),
    ],
)
def test_options_of_the_work_that_are_wrong(ffpp, tmp_path, options, words):
    with pytest.raises(UserError, match=words):
        run(ffpp, tmp_path / "out", **options)


def test_what_cannot_be_read_for_a_while_is_not_lost_for_good(ffpp, tmp_path, monkeypatch):
    """Whoever runs tests as root may read everything; so the file is refused by hand."""
    [path] = ffpp.rglob("c23/videos/071.mp4")
    whole = type(path).open

    def refuse(self, *arguments, **more):
        if self == path:
            raise PermissionError(13, "Permission denied", str(self))
        return whole(self, *arguments, **more)

    def lost(task):
        return items.lost_item("cannot be read") if task.item.files["c23"] == path else real(task)

    real = items.process_item
    with monkeypatch.context() as patched:
        patched.setattr(type(path), "open", refuse)
        patched.setattr(media, "process_item", lost)
        with pytest.raises(UserError, match="1 of 12 items would be left out"):
            run(ffpp, tmp_path / "out", max_skipped=0)
    out = run(ffpp, tmp_path / "out", max_skipped=0)
    assert json.loads((out / "manifest.json").read_text())["skipped"]["total"] == 0


def test_a_data_set_that_is_there_may_have_lost_too_much(ffpp, tmp_path):
    [path] = ffpp.rglob("c40/videos/071.mp4")
    path.write_bytes(b"nothing")
    run(ffpp, tmp_path / "out")
    run(ffpp, tmp_path / "out", max_skipped=0.1)
    with pytest.raises(
        UserError, match=r"and 1 of 12 items are left out of it, more than --max_skipped=0\.05"
    ):
        run(ffpp, tmp_path / "out", max_skipped=0.05)
    assert (tmp_path / "out/manifest.json").exists()


def test_an_item_that_wanted_too_much_memory_is_tried_again(ffpp, tmp_path, monkeypatch):
    def full(*arguments):
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(items, "common_names", full)
        with pytest.raises(
            UserError, match=r"no item of the source can be used: .* too little memory"
        ):
            run(ffpp, tmp_path / "out")
    run(ffpp, tmp_path / "out", max_skipped=0)
