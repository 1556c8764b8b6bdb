"""The user's own folder: what is taken from it, who is on it, and what one item gives."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from kdjax import checks
from kdjax.data_pipeline import clips, compression, faces, video
from kdjax.data_pipeline.builders import items
from kdjax.data_pipeline.builders.options import FolderConfig
from kdjax.data_pipeline.faces import Box
from kdjax.data_pipeline.trees import folder
from kdjax.data_pipeline.trees.item import Item, summary
from kdjax.types import QUALITIES

FACE = Box(20, 10, 52, 42)
SQUARE = Box(15, 5, 57, 47)  # 1.3 times 32 is 42


@pytest.fixture(autouse=True)
def drawn_faces(monkeypatch):
    """Takes any frame that is not nearly black for one with a face at `FACE`."""

    def detect(frame):
        return [FACE] if frame.mean() > 30 else []

    monkeypatch.setattr(faces, "make_detector", lambda name: detect)


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def scan(source, forge=False):
    return folder.scan(source, source.parent / "output", forge=forge).items


def task_of(path, config, label=0):
    item = Item(path.name, {"raw": path}, label, "unknown" if label else "none", ("someone",))
    return items.Task(item, config, QUALITIES)


def process(path, label=0, **options):
    config = FolderConfig(**{"image_size": 42, "clip_length": 5, **options})
    return items.process_item(task_of(path, config, label))


def image(result, name):
    return cv2.imdecode(np.frombuffer(result[name], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


@pytest.mark.parametrize(
    ("parts", "identity"),
    [
        (("anna.jpg",), "anna"),
        (("anna", "1.jpg"), "anna"),
        (("anna", "deep", "below", "1.jpg"), "anna"),
        (("000_003.mp4",), "000"),
        (("000.mp4",), "000"),
        (("DeepFakes", "000_003.mp4"), "000"),
        (("DeepFakes", "000_003", "0001.png"), "000"),
        (("easy_1_1110.jpg",), "easy_1_1110"),
        (("anna.b.jpg",), "anna.b"),
    ],
)
def test_names_tell_who_it_is(parts, identity):
    assert folder.identity_of(parts) == identity


def test_any_nesting_is_found_in_order_and_litter_is_left(tmp_path):
    touch(tmp_path, "real/b/c/1.png", "real/a.jpg", "fake/x.mp4", "note.txt")
    touch(tmp_path, "real/.DS_Store", "fake/.hidden/y.png", "real/Thumbs.db")
    found = [(item.name, item.label, item.identity) for item in scan(tmp_path)]
    assert found == [("fake/x.mp4", 1, "x"), ("real/a.jpg", 0, "a"), ("real/b/c/1.png", 0, "b")]


def test_a_folder_that_cannot_be_looked_into_is_named(tmp_path, monkeypatch):
    (tmp_path / "real" / "locked").mkdir(parents=True)
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(checks.UserError, match=r"cannot look into .*locked: Permission denied"):
        folder.scan(tmp_path, tmp_path / "out", forge=True)


def test_links_that_lead_in_a_circle_end(tmp_path):
    touch(tmp_path, "real/a/1.png", "fake/x.png")
    (tmp_path / "real/a/again").symlink_to(tmp_path / "real")
    (tmp_path / "real/self").symlink_to("self")
    names = [item.name for item in scan(tmp_path)]
    assert names == ["fake/x.png", "real/a/1.png", "real/self"]
    assert process(tmp_path / "real/self")["reason"] == "does not exist or cannot be reached"


def test_with_forge_real_items_are_enough_wherever_they_lie(tmp_path):
    touch(tmp_path, "real/a.png", "real/sub/b.png")
    below = scan(tmp_path, forge=True)
    direct = scan(tmp_path / "real", forge=True)
    assert [(item.name, item.identity) for item in below] == [
        ("real/a.png", "a"),
        ("real/sub/b.png", "sub"),
    ]
    assert [(item.name, item.identity) for item in direct] == [("a.png", "a"), ("sub/b.png", "sub")]
    assert {item.label for item in below + direct} == {0}


@pytest.mark.parametrize(
    ("names", "forge", "words"),
    [
        ((), False, "holds no files in real/ and fake/"),
        ((), True, "holds no files"),
        (("a.png",), False, "holds no files in real/ and fake/"),
        (("real/a.png",), False, "--forge"),
        (("fake/a.png",), False, "nothing in real/"),
        (("fake/a.png",), True, "nothing in real/"),
    ],
)
def test_a_source_that_is_not_enough_is_refused(tmp_path, names, forge, words):
    touch(tmp_path, *names)
    with pytest.raises(checks.UserError, match=words):
        scan(tmp_path, forge=forge)


def test_a_missing_source_and_an_output_inside_are_refused(tmp_path):
    with pytest.raises(checks.UserError, match="not a folder"):
        scan(tmp_path / "missing")
    touch(tmp_path, "real/a.png", "fake/b.png")
    with pytest.raises(checks.UserError, match="lies inside"):
        folder.scan(tmp_path, tmp_path / "real/output")
    assert folder.scan(tmp_path, tmp_path / "output").items


def test_a_state_changes_with_name_class_and_size_alone(tmp_path):
    touch(tmp_path, "real/a.png", "fake/b.png")
    before = summary(scan(tmp_path))
    os.utime(tmp_path / "real/a.png", (1, 1))
    assert summary(scan(tmp_path)) == before
    (tmp_path / "real/a.png").write_text("longer than it was")
    assert summary(scan(tmp_path))["fingerprint"] != before["fingerprint"]


def test_a_still_gives_one_example_aligned_in_every_quality(make, tmp_path):
    pixels = make.moving_frames(1, 60, 80)[0]
    result = process(make.write_image(tmp_path / "a.png", pixels))
    assert result["examples"] == [{"label": 0, "forgery": "none", "frame": 0}]
    expected = pixels[SQUARE.top : SQUARE.bottom, SQUARE.left : SQUARE.right]
    np.testing.assert_array_equal(image(result, "0/raw"), expected)
    assert not image(result, "0/mask").any()
    errors = []
    for quality in ("c23", "c40"):
        got = image(result, f"0/{quality}").astype(float)
        errors.append(np.abs(got - expected).mean())
        for shift in (-1, 1):
            assert np.abs(np.roll(got, shift, 1) - expected)[:, 2:-2].mean() > errors[-1]
    assert 0 < errors[0] < errors[1] < 15


def test_the_whole_frame_is_compressed_then_cut(make, tmp_path):
    pixels = make.moving_frames(1, 60, 80)[0]
    path = make.write_image(tmp_path / "a.png", pixels)
    result = process(path)
    seed = items._seed(task_of(path, FolderConfig()))
    clip = clips.still_to_clip(pixels, 5, seed=seed)
    whole = compression.compress_clip(clip.frames, 40)[clip.anchor]
    np.testing.assert_array_equal(image(result, "0/c40"), faces.crop(whole, SQUARE, 42))


def test_a_video_gives_spread_frames_and_a_fake_is_of_unknown_kind(make, tmp_path):
    path = make.write_video(tmp_path / "a.mp4", make.moving_frames(20, 64, 80), crf="5")
    result = process(path, label=1, frames_per_video=4)
    assert [example["frame"] for example in result["examples"]] == [2, 7, 12, 17]
    assert {(e["label"], e["forgery"]) for e in result["examples"]} == {(1, "unknown")}
    with video.open_media(path) as media:
        frames = list(media)
    for position, frame in enumerate((2, 7, 12, 17)):
        expected = faces.crop(frames[frame], SQUARE, 42)
        np.testing.assert_array_equal(image(result, f"{position}/raw"), expected)


def test_a_forged_real_item_comes_beside_it(make, tmp_path):
    path = make.write_image(tmp_path / "a.png", make.moving_frames(1, 60, 80)[0])
    result = process(path, forge=True)
    assert [(e["label"], e["forgery"]) for e in result["examples"]] == [
        (0, "none"),
        (1, "self_blended"),
    ]
    mask = image(result, "1/mask")
    assert set(np.unique(mask)) <= {0, 255}
    assert mask.any()
    assert not image(result, "0/mask").any()
    for quality in QUALITIES:
        assert (image(result, f"0/{quality}") != image(result, f"1/{quality}")).any()


def test_a_fake_item_is_not_forged_again(make, tmp_path):
    path = make.write_image(tmp_path / "a.png", make.moving_frames(1, 60, 80)[0])
    assert len(process(path, label=1, forge=True)["examples"]) == 1


def test_a_frame_is_shrunk_before_it_is_compressed(make, tmp_path, monkeypatch):
    pixels = make.moving_frames(1, 120, 160)[0]
    seen = []
    compress = compression.compress_clip
    monkeypatch.setattr(
        compression,
        "compress_clip",
        lambda frames, crf: seen.append(frames) or compress(frames, crf),
    )
    result = process(
        make.write_image(tmp_path / "a.png", pixels), image_size=21, face_side=21, forge=True
    )
    assert {frames.shape for frames in seen} == {(5, 60, 80, 3)}
    # square of side 42 at (15, 5), halved: rounded to even
    raw = image(result, "0/raw")
    np.testing.assert_array_equal(raw, seen[0][clips.anchor_of(5)][2:23, 8:29])
    assert [e["forgery"] for e in result["examples"]] == ["none", "self_blended"]


def test_a_still_is_taken_as_often_as_asked_and_the_first_take_stays(make, tmp_path):
    path = make.write_image(tmp_path / "a.png", make.moving_frames(1, 60, 80)[0])
    once, often = process(path, forge=True), process(path, forge=True, takes=4)
    assert [(e["label"], e["frame"]) for e in often["examples"]] == [
        (label, take) for take in range(4) for label in (0, 1)
    ]
    for name in ("0/raw", "0/c40", "1/raw", "1/mask"):
        assert often[name] == once[name]
    assert len({often[f"{number}/raw"] for number in range(8)}) == 8
    masks = {often[f"{number}/mask"] for number in range(1, 8, 2)}
    assert len(masks) == 4


def test_a_video_is_taken_once(make, tmp_path):
    path = make.write_video(tmp_path / "a.mp4", make.moving_frames(8, 64, 80), crf="5")
    assert len(process(path, frames_per_video=2, takes=4)["examples"]) == 2


def test_the_test_has_its_share_of_the_people():
    shares = FolderConfig(test_share=0.3).fractions()
    assert shares == pytest.approx((0.55, 0.15, 0.3))
    assert FolderConfig().fractions() == pytest.approx((0.7, 0.15, 0.15))


def test_frames_without_a_face_are_counted(make, tmp_path):
    frames = make.moving_frames(20, 64, 80)
    frames[10:] = 0
    result = process(make.write_video(tmp_path / "a.mp4", frames, crf="5"), frames_per_video=4)
    assert [example["frame"] for example in result["examples"]] == [2, 7]
    assert (result["faceless"], result["reason"]) == (2, "")


@pytest.mark.parametrize(
    ("name", "height", "value", "words"),
    [
        ("dark.png", 60, 0, "no face was found"),
        ("small.png", 41, 200, "80x41 is smaller than the crop of 42"),
    ],
)
def test_an_item_that_gives_nothing_says_why(make, tmp_path, name, height, value, words):
    path = make.write_image(tmp_path / name, np.full((height, 80, 3), value, np.uint8))
    result = process(path, forge=True)
    assert (result["examples"], result["reason"]) == ([], words)


def test_damage_in_the_middle_gives_up_the_whole_item(make, tmp_path):
    first = make.write_video(tmp_path / "a.ts", make.moving_frames(20, 64, 80)).read_bytes()
    second = make.write_video(tmp_path / "b.ts", make.moving_frames(20, 80, 80)).read_bytes()
    (tmp_path / "both.ts").write_bytes(first + second)
    result = process(tmp_path / "both.ts")
    assert list(result) == ["examples", "faceless", "reason", "notes"]
    assert result["examples"] == []
    assert "resolution changes" in result["reason"]


@pytest.mark.parametrize(
    "option",
    [
        *({"image_size": 0}, {"frames_per_video": 0}, {"margin": 9.0}, {"clip_length": True}),
        *({"face_side": 8}, {"takes": 0}, {"test_share": 0.9}, {"forge_sharpness": 0.0}),
        *({"forge_grid": -1.0}, {"image_size": None}, {"margin": float("nan")}),
    ],
)
def test_options_out_of_range_are_refused_by_name(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        FolderConfig(**option)


@pytest.mark.parametrize("option", [{"forge_sharpness": 2.0}, {"forge_grid": 5.0}])
def test_strengths_of_a_forgery_need_one(option):
    with pytest.raises(ValueError, match=f"{next(iter(option))}=.* goes with forge"):
        FolderConfig(**option)
    assert FolderConfig(forge=True, **option).name == "forge"
