"""A prepared data set: whole or absent, repeatable to the byte, never mistaken for another."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from kdjax import checks
from kdjax.cli import main
from kdjax.data_pipeline import compression, faces, loader, manifest, prepared
from kdjax.data_pipeline.builders import media, schema
from kdjax.data_pipeline.faces import Box
from kdjax.data_pipeline.prepare import prepare

SMALL = {"image_size": 16, "clip_length": 3, "frames_per_video": 2, "workers": 0}


@pytest.fixture(autouse=True)
def drawn_faces(monkeypatch):
    def detect(frame):
        return [Box(8, 4, 28, 24)] if frame.mean() > 30 else []

    monkeypatch.setattr(faces, "make_detector", lambda name: detect)


@pytest.fixture
def processed(monkeypatch):
    """Lists the items that are really worked on."""
    done = []
    original = media.process_item

    def process_item(task):
        done.append(task.item.name)
        return original(task)

    monkeypatch.setattr(media, "process_item", process_item)
    return done


@pytest.fixture
def source(make, tmp_path):
    """Five real stills, a real video, six fakes, and four files that cannot be used."""
    for label in ("real", "fake"):
        for number in range(5):
            pixels = make.moving_frames(1, 32, 48, seed=number)[0]
            (tmp_path / "source" / label / f"person{number}").mkdir(parents=True)
            make.write_image(tmp_path / "source" / label / f"person{number}/a.png", pixels)
    make.write_video(tmp_path / "source/real/000.mp4", make.moving_frames(8, 32, 48))
    make.write_image(tmp_path / "source/fake/000_001.png", make.moving_frames(1, 32, 48)[0])
    make.write_image(tmp_path / "source/fake/dark.png", np.zeros((32, 48, 3), np.uint8))
    (tmp_path / "source/fake/empty.mp4").touch()
    (tmp_path / "source/real/list.mp4").write_text("ffconcat version 1.0\nfile 000.mp4\n")
    (tmp_path / "source/real/cut.png").write_bytes(
        (tmp_path / "source/real/person0/a.png").read_bytes()[:900]
    )
    return tmp_path / "source"


def run(source, output, **options):
    return prepare("folder", output, source=source, **{**SMALL, **options})


def contents(path: Path) -> dict[str, bytes]:
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_tfds_and_the_loader_read_what_was_prepared(source, tmp_path):
    path = run(source, tmp_path / "out")
    assert path == tmp_path / "out"
    assert sorted(os.listdir(tmp_path)) == ["out", "source"]
    assert set(tfds.builder_from_directory(path).info.splits) == set(schema.SPLITS)
    dataset = prepared.open_dataset(path)
    assert dataset.image_size == 16
    example = loader.read_examples(dataset, "train", [0])[0]
    assert example["image"]["c40"].shape == (16, 16, 3)


def test_nobody_and_no_video_crosses_splits_and_every_split_has_both_classes(source, tmp_path):
    dataset = prepared.open_dataset(run(source, tmp_path / "out", forge=True))
    where = defaultdict(set)
    for split in schema.SPLITS:
        ids = dataset.labels(split)
        assert set(ids["label"].tolist()) == {0, 1}
        for field in ("identity", "video"):
            for value in ids[field].tolist():
                where[field, value].add(split)
    assert all(len(splits) == 1 for splits in where.values())
    # Five people and `000`: of each a real item, a fake one, and a forged one.
    assert sum(field == "identity" for field, _ in where) == 6
    assert sum(field == "video" for field, _ in where) == 18


def test_it_is_said_what_each_quality_was_made_of(source, make, tmp_path, capsys):
    make.write_image(source / "real/person1/b.jpg", make.moving_frames(1, 40, 48)[0], 1, 95)
    path = run(source, tmp_path / "out", forge=True)
    found = json.loads((path / "manifest.json").read_text())
    assert found["qualities"] == {
        "raw": "the source", "c23": "raw by H.264, crf 23", "c40": "raw by H.264, crf 40"
    }  # fmt: skip
    lossy = sum(each["items"] - each["lossless"] for each in found["codecs"].values())
    assert found["codecs"]["mjpeg"] == {"items": 1, "lossless": 0}
    assert found["codecs"]["png"]["lossless"] == found["codecs"]["png"]["items"] > 5
    [line] = found["concerns"]
    total = sum(each["items"] for each in found["codecs"].values())
    assert line.startswith(f"`raw` is compressed already: {lossy} of {total} items")
    assert main(["info", str(path)]) == 0
    shown = capsys.readouterr().out
    assert f"  note: {line}\n" in shown
    assert "  sources: 1 mjpeg, 0 of them lossless\n" in shown
    assert "people: " in shown


def test_the_manifest_counts_and_names_what_was_left_out(source, tmp_path):
    found = manifest.read(run(source, tmp_path / "out"))
    assert found["skipped"]["items"] == [
        {"item": "fake/dark.png", "reason": "no face was found"},
        {"item": "fake/empty.mp4", "reason": "empty (zero bytes)"},
        {"item": "real/cut.png", "reason": "truncated, damaged or above 33177600 pixels"},
        {"item": "real/list.mp4", "reason": "not an image or video of a known format"},
    ]
    assert found["skipped"]["total"] == 4
    assert sum(found["skipped"]["by_reason"].values()) == 4
    records = [found["counts"][split]["records"] for split in schema.SPLITS]
    assert sum(records) == 5 + 2 + 6  # stills, two frames of the video, fakes
    assert sum(found["counts"][s]["by_forgery"].get("unknown", 0) for s in schema.SPLITS) == 6
    assert found["options"]["image_size"] == 16
    assert found["source"]["files"] == 16


SCRIPT = """
import sys
from kdjax.data_pipeline import faces
from kdjax.data_pipeline.prepare import prepare
faces.make_detector = lambda name: lambda frame: [faces.Box(8, 4, 28, 24)] * int(frame.mean() > 30)
small = {"image_size": 16, "clip_length": 3, "frames_per_video": 2, "workers": 0}
prepare("folder", sys.argv[2], source=sys.argv[1], forge=True, **small)
"""


def test_two_processes_give_the_same_bytes_wherever_they_are(source, tmp_path):
    shutil.copytree(source, tmp_path / "elsewhere/copy")
    (tmp_path / "script.py").write_text(SCRIPT)
    found = []
    for place, hash_seed in ((source, "1"), (tmp_path / "elsewhere/copy", "2")):
        out = place.parent / f"out{hash_seed}"
        root = str(Path(faces.__file__).parents[2])
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": root}
        command = [sys.executable, tmp_path / "script.py", place, out]
        subprocess.run(command, env=environment, check=True)
        found.append(contents(out))
    assert found[0] == found[1]
    assert str(tmp_path).encode() not in b"".join(found[0].values())


@pytest.mark.parametrize("ends", ["whole", "interrupted"])
def test_nothing_is_left_outside_the_output(source, tmp_path, monkeypatch, ends):
    (tmp_path / "temporary").mkdir()
    (tmp_path / "current").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path / "current")
    before = set(tmp_path.rglob("*"))
    if ends == "whole":
        run(source, tmp_path / "out")
    else:
        monkeypatch.setattr(compression, "compress_clip", lambda frames, crf: interrupt())
        with pytest.raises(KeyboardInterrupt):
            run(source, tmp_path / "out")
    made = set(tmp_path.rglob("*")) - before
    where = {"whole": {"out"}, "interrupted": {"out.partial"}}[ends]
    assert {path.relative_to(tmp_path).parts[0] for path in made} == where


def interrupt():
    raise KeyboardInterrupt


def test_what_is_there_is_kept(source, tmp_path, processed, capsys):
    path = run(source, tmp_path / "out")
    before = [p.stat().st_mtime_ns for p in sorted(path.iterdir())]
    processed.clear()
    assert run(source, tmp_path / "out") == path
    assert [p.stat().st_mtime_ns for p in sorted(path.iterdir())] == before
    assert not processed
    assert "kept as it is" in capsys.readouterr().err


def test_other_options_are_named_and_replace_only_when_told(source, tmp_path):
    before = contents(run(source, tmp_path / "out"))
    with pytest.raises(checks.UserError, match=r"options\.image_size: 16 -> 24.*--overwrite"):
        run(source, tmp_path / "out", image_size=24)
    assert contents(tmp_path / "out") == before
    run(source, tmp_path / "out", image_size=24, overwrite=True)
    assert prepared.open_dataset(tmp_path / "out").image_size == 24
    assert sorted(os.listdir(tmp_path)) == ["out", "source"]


def test_a_changed_source_is_another_data_set(source, tmp_path, make):
    run(source, tmp_path / "out")
    make.write_image(source / "fake/more.png", make.moving_frames(1, 32, 48)[0])
    with pytest.raises(checks.UserError, match=r"source\.files: 16 -> 17"):
        run(source, tmp_path / "out")


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_the_users_is_never_touched(source, tmp_path, overwrite):
    for name in ("out", "other.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("years of work")
    with pytest.raises(checks.UserError, match="not empty"):
        run(source, tmp_path / "out", overwrite=overwrite)
    with pytest.raises(checks.UserError, match="in the way"):
        run(source, tmp_path / "other", overwrite=overwrite)
    assert (tmp_path / "out/thesis.txt").exists()
    assert os.listdir(tmp_path / "other.partial") == ["thesis.txt"]


def test_an_interrupted_run_goes_on_and_ends_as_if_it_had_not_been(
    source, tmp_path, processed, monkeypatch
):
    whole = contents(run(source, tmp_path / "whole"))
    every = sorted(processed)
    processed.clear()
    original = compression.compress_clip

    def interrupt(frames, crf):
        if len(processed) == 9:
            raise KeyboardInterrupt
        return original(frames, crf)

    monkeypatch.setattr(compression, "compress_clip", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(compression, "compress_clip", original)
    first = processed.copy()
    processed.clear()
    assert contents(run(source, tmp_path / "out")) == whole
    assert sorted(first[:-1] + processed) == every


@pytest.mark.parametrize("place", ["manifest", "commit"])
def test_a_run_killed_near_its_end_leaves_nothing_that_is_taken_for_whole(
    source, tmp_path, monkeypatch, place
):
    from kdjax.data_pipeline import prepare as module

    def die(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*((manifest, "write") if place == "manifest" else (module, "_commit")), die)
        with pytest.raises(KeyboardInterrupt):
            run(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    found = manifest.read(run(source, tmp_path / "out"))
    assert found["skipped"]["total"] == 4
    assert sorted(os.listdir(tmp_path)) == ["out", "source"]


def test_a_replacement_cut_off_between_its_renames_loses_nothing(source, tmp_path, processed):
    before = contents(run(source, tmp_path / "out"))
    (tmp_path / "out").rename(tmp_path / "out.replaced")
    processed.clear()
    run(source, tmp_path / "out")
    assert contents(tmp_path / "out") == before
    assert not processed
    assert sorted(os.listdir(tmp_path)) == ["out", "source"]


def test_two_runs_at_once_are_refused(source, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    from kdjax.data_pipeline import prepare as module

    (tmp_path / "out.partial").mkdir()
    with (tmp_path / "out.partial" / module.MARK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(checks.UserError, match="another kdjax prepare"):
            run(source, tmp_path / "out")


TAKEN = {"forge": True, "takes": 2, "face_side": 16, "forge_grid": 9.0, "test_share": 0.4}


def test_takes_of_one_still_stay_in_one_split_and_a_seed_decides_the_checksum(source, tmp_path):
    folders = [
        run(source, tmp_path / name, seed=seed, **TAKEN)
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    first, again, other = map(manifest.checksum, folders)
    assert first == again != other
    dataset = prepared.open_dataset(folders[0])
    videos = {split: set(dataset.labels(split)["video"].tolist()) for split in schema.SPLITS}
    assert sum(map(len, videos.values())) == len(set.union(*videos.values())) == 18
    people = set(dataset.labels("test")["identity"].tolist())
    assert len(people) == 2  # of six; 15 % would be one
    assert manifest.read(folders[0])["options"]["takes"] == 2


def test_a_source_where_nothing_is_left_is_refused(source, tmp_path, monkeypatch):
    monkeypatch.setattr(faces, "make_detector", lambda name: lambda frame: [])
    with pytest.raises(
        checks.UserError, match=r"no item of the source can be used: .*no face"
    ) as e:
        run(source, tmp_path / "out")
    assert "\n" not in str(e.value)
    assert not (tmp_path / "out").exists()


def test_too_few_people_are_refused(source, tmp_path):
    for path in source.rglob("person*"):
        shutil.rmtree(path)
    with pytest.raises(checks.UserError, match="1 different people are too few"):
        run(source, tmp_path / "out")


@pytest.mark.parametrize(
    ("dataset", "options", "words"),
    [
        ("foldr", {}, "did you mean 'folder'"),
        ("folder", {}, "--source is missing"),
        ("folder", {"source": "nowhere"}, "not a folder"),
        ("folder", {"source": ".", "margn": 2.0}, "did you mean 'margin'"),
        ("folder", {"source": ".", "margin": 9.0}, "margin=9.0 must be between"),
        ("folder", {"source": ".", "forge_grid": 5.0}, "forge_grid=5.0 goes with forge"),
        ("folder/benchmark", {"source": "."}, "did you mean 'synthfaces/benchmark'"),
        ("synthfaces", {"face_side": 64}, "synthfaces has no option 'face_side'"),
    ],
)
def test_a_wrong_request_ends_in_one_line(tmp_path, dataset, options, words):
    with pytest.raises(checks.UserError, match=words) as caught:
        prepare(dataset, tmp_path / "out", **options)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_manifest_is_plain_json_that_says_no_time(source, tmp_path):
    text = (run(source, tmp_path / "out") / "manifest.json").read_text()
    assert set(json.loads(text)) == {
        *("format", "dataset", "version", "options", "source"),
        *("tools", "counts", "notes", "skipped", "qualities", "codecs", "concerns"),
    }


@pytest.mark.slow
@pytest.mark.skipif("KDJAX_FACES" not in os.environ, reason="KDJAX_FACES names no folder of faces")
def test_real_photographs_are_prepared_and_forged(tmp_path, monkeypatch):
    monkeypatch.undo()
    photographs = Path(os.environ["KDJAX_FACES"]) / "real"
    (tmp_path / "source").mkdir()
    for path in sorted(photographs.iterdir())[:24]:
        (tmp_path / "source" / path.name).symlink_to(path)
    out = prepare("folder", tmp_path / "out", source=tmp_path / "source", forge=True, workers=2)
    counts = manifest.read(out)["counts"]
    assert sum(counts[split]["by_class"]["real"] for split in schema.SPLITS) >= 20
    for split in schema.SPLITS:
        assert counts[split]["by_class"]["fake"] == counts[split]["by_class"]["real"] > 0


def test_a_disk_that_is_full_at_the_end_is_one_line_and_keeps_the_work(
    source, tmp_path, processed, monkeypatch
):
    """ArrayRecord says it as a RuntimeError."""
    said = (
        "Failed to finalize writing: write() failed: No space left on device; writing x; at byte 9"
    )

    def write(*arguments):
        raise RuntimeError(said)

    with monkeypatch.context() as full:
        full.setattr(
            "tensorflow_datasets.core.file_adapters.ArrayRecordFileAdapter.write_examples", write
        )
        with pytest.raises(
            checks.UserError, match=r"cannot write .*: No space left on device;"
        ) as caught:
            run(source, tmp_path / "out")
        assert "\n" not in str(caught.value)
        said = "another fault"
        with pytest.raises(RuntimeError, match="another fault"):
            run(source, tmp_path / "out")
    processed.clear()
    run(source, tmp_path / "out")
    assert processed == []
