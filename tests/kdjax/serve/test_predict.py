"""`kdjax predict`, as it is called."""

import csv
import errno
import json
import re
import signal
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import av
import numpy as np
import pytest

from kdjax import cli
from kdjax.commands import predict
from kdjax.serve.annotating import Annotator
from kdjax.serve.detector import Judged
from kdjax.serve.origins import Faces
from kdjax.serve.watching import Prediction


@pytest.fixture
def clips(heads, write_clip, tmp_path, monkeypatch):
    """A folder with a real clip, one without a face, and a broken one."""
    folder = tmp_path / "clips"
    folder.mkdir()
    write_clip(folder / "=dark.mp4", heads(3) // 2)
    write_clip(folder / "grey.mp4", np.full((20, 112, 128, 3), 128, np.uint8))
    (folder / "<b>.mp4").write_bytes(b"nothing")
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture(autouse=True)
def detector(make_detector, monkeypatch):
    found = make_detector(faces=Faces("hog", 1.3, "", 5))
    monkeypatch.setattr(predict.Detector, "load", lambda folder, extensions: found)
    return found


def call(*words):
    return cli.main(["predict", "--run=run", *words])


def test_people_read_a_line_each_and_the_exit_tells(clips, capsys):
    assert call("clips/=dark.mp4", "clips/grey.mp4") == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"clips/=dark.mp4: real: 0\.\d{3} \[0\.\d{3}, 0\.\d{3}\] is below 0.5, and the threshold 0.800",
        lines[0],
    )
    assert "finds 60% of the fakes" in lines[1]
    assert lines[2] == "clips/grey.mp4: cannot say: no face was found"


def test_a_folder_is_all_its_files_and_a_bad_one_is_told(clips, capsys):
    assert call("clips") == 2
    shown = capsys.readouterr()
    assert next(line for line in shown.out.splitlines() if line.startswith("clips/")) == (
        "clips/<b>.mp4: cannot say: it could not be read (not an image or video of a known format)"
    )
    assert "clips/=dark.mp4: real" in shown.out
    assert shown.err.splitlines()[-1] == (
        "kdjax: error: 1 of 3 inputs could not be read, or not to their end"
    )


def test_json_lines_tell_frames_faces_and_inputs(clips, capsys):
    assert call("clips", "--output=out.jsonl") == 2
    assert "clips/<b>.mp4: not an image or video" in capsys.readouterr().err
    rows = list(map(json.loads, Path("out.jsonl").read_text("utf-8").splitlines()))
    assert rows[0]["record"] == "detector"
    assert rows[0]["qualities"] == ["c40"]
    frames = [row for row in rows if row["record"] == "frame"]
    assert [row["frame"] for row in frames] == list(range(30))
    assert frames[25]["time"] == 1.0
    assert all(0 < row["score"] < 0.5 and len(row["box"]) == 4 for row in frames)
    (face,) = (row for row in rows if row["record"] == "face")
    assert (face["frames"], face["verdict"], face["last"]) == (30, "real", 1.16)
    assert face["score"] == pytest.approx(np.mean([row["score"] for row in frames]), abs=1e-5)
    inputs = {row["input"]: row for row in rows if row["record"] == "input"}
    assert inputs["clips/=dark.mp4"]["threshold"]["reals"] == 100
    assert inputs["clips/<b>.mp4"]["why"] == "unreadable"
    assert inputs["clips/grey.mp4"]["why"] == "no_face"
    assert inputs["clips/grey.mp4"]["score"] is None


def test_a_table_quotes_what_a_spreadsheet_would_run(clips, monkeypatch, capsys):
    monkeypatch.chdir(clips)
    assert call("=dark.mp4", "--format=csv", "--detail=faces") == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["record"] for row in rows] == ["face", "input"]
    assert {row["input"] for row in rows} == {"'=dark.mp4"}
    assert rows[1]["verdict"] == "real"
    assert rows[1]["threshold"] == "0.8"


def test_the_page_shows_all_and_asks_nobody(clips):
    assert call("clips", "--page=page.html", "--output=out.jsonl") == 2
    page = Path("page.html").read_text("utf-8")
    assert "<b>.mp4" not in page
    assert "&lt;b&gt;.mp4" in page
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)=\"(?!#|data:)", page)
    assert "<script" not in page
    (drawing,) = re.findall(r"<svg.*?</svg>", page, re.S)
    tree = ElementTree.fromstring(drawing)
    assert tree.get("role") == "img"
    assert len(tree.findall("polyline")) == 1
    assert len(tree.findall("line[@class='threshold']")) == 1
    assert page.count("data:image/jpeg") == 1


def test_inputs_are_written_anew_with_boxes(clips, heads, tmp_path):
    assert call("clips", "clips/=dark.mp4", "--annotate=seen", "--output=out.jsonl") == 2
    assert sorted(path.name for path in (tmp_path / "seen").iterdir()) == [
        "=dark-2.mp4", "=dark.mp4", "grey.mp4",
    ]  # fmt: skip
    with av.open(str(tmp_path / "seen" / "=dark.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams.video[0].average_rate == 25
    assert len(frames) == 30
    assert frames[0].shape == (112, 128, 3)
    changed = np.abs(frames[9].astype(int) - heads(3)[9] // 2).max(axis=2) > 60
    assert 50 < changed.sum() < 0.3 * changed.size


def test_inputs_in_the_folder_of_boxes_stay_what_they_are(clips):
    before = {path.name: path.read_bytes() for path in Path("clips").iterdir()}
    call("clips/=dark.mp4", "--annotate=clips", "--output=out.jsonl")
    after = {path.name: path.read_bytes() for path in Path("clips").iterdir()}
    assert after.keys() - before.keys() == {"=dark-2.mp4"}
    assert before.items() <= after.items()


def test_a_name_as_long_as_may_be_is_written_anew_too(clips, tmp_path):
    name = "ä" * 125 + ".mp4"
    (clips / "=dark.mp4").rename(clips / name)
    assert call(f"clips/{name}", f"clips/{name}", "--annotate=seen", "--output=out.jsonl") == 0
    first, second = sorted((tmp_path / "seen").iterdir(), key=lambda path: len(path.name))
    assert (first.suffix, second.name[-6:]) == (".mp4", "-2.mp4")
    assert first.name.startswith("ä" * 115)


def test_a_disk_that_is_full_for_the_annotated_takes_nothing_that_was_judged(
    clips, tmp_path, monkeypatch, capsys
):
    def full(self, source, ending):
        if (tmp_path / "seen" / "=dark.mp4").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, source, ending)

    real = Annotator._free
    monkeypatch.setattr(Annotator, "_free", full)
    words = ("clips/=dark.mp4", "clips/=dark.mp4", "--annotate=seen", "--output=out.jsonl")
    assert call(*words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("kdjax: error: cannot write into seen: ")
    assert line.endswith("; inputs that were judged to their end: 1, all that is in out.jsonl")
    rows = [json.loads(each) for each in Path("out.jsonl").read_text("utf-8").splitlines()]
    assert [row["record"] for row in rows].count("input") == 1
    assert [path.name for path in (tmp_path / "seen").iterdir()] == ["=dark.mp4"]


def test_ctrl_c_before_the_detector_is_there_promises_nothing(clips, monkeypatch, capsys):
    def load(folder, extensions):
        raise KeyboardInterrupt

    monkeypatch.setattr(predict.Detector, "load", load)
    assert call("clips/=dark.mp4") == 130
    assert capsys.readouterr().err == (
        "kdjax: interrupted; no input was judged to its end, and nothing was written\n"
    )


def test_the_program_of_a_spreadsheet_reads_what_was_written_before_an_error(clips):
    assert call("clips/absent.mp4", "--output=out.csv") == 2
    (row,) = csv.DictReader(Path("out.csv").read_text("utf-8").splitlines())
    assert row["problem"] == "does not exist or cannot be reached"


@pytest.fixture
def stopped(detector, monkeypatch):
    """A function that has Ctrl-C pressed in the input that comes after so many."""
    real = detector.watch

    def stop(after):
        def watch(self, inputs, options):
            before = after
            for found in real(inputs, options):
                yield found
                before -= isinstance(found, Prediction)
                if before == 0 and isinstance(found, Judged):
                    signal.raise_signal(signal.SIGINT)
                    time.sleep(5)

        monkeypatch.setattr(predict.Detector, "watch", watch)

    return stop


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_ctrl_c_leaves_whole_inputs_and_one_line(clips, stopped, capsys, form):
    out = Path(f"out.{form}")
    out.write_text("before")
    stopped(0)
    assert call("clips/=dark.mp4", f"--output={out}", "--page=p.html") == 130
    assert capsys.readouterr().err == (
        "kdjax: interrupted; no input was judged to its end, and nothing was written; no page was written to p.html\n"
    )
    assert out.read_text() == "before"
    stopped(1)
    assert call("clips/=dark.mp4", "clips/=dark.mp4", f"--output={out}") == 130
    (line,) = capsys.readouterr().err.splitlines()
    assert (
        line == f"kdjax: interrupted; inputs that were judged to their end: 1, all that is in {out}"
    )
    text = out.read_text("utf-8")
    assert text.endswith("\n")
    rows = (
        [json.loads(each) for each in text.splitlines()]
        if form == "jsonl"
        else list(csv.DictReader(text.splitlines()))
    )
    assert [row["record"] for row in rows].count("input") == 1
    assert rows[-1]["record"] == "input"
    assert rows[-1]["verdict"] == "real"
    assert not list(Path().glob(".*.tmp"))
    assert call("clips/=dark.mp4", "clips/=dark.mp4") == 130
    shown = capsys.readouterr()
    assert shown.out.startswith("clips/=dark.mp4: real")
    assert (
        shown.err
        == "kdjax: interrupted; inputs that were judged to their end: 1, the lines above\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("x.mp4", "--output=x.txt"), "--output=x.txt ends neither in .jsonl nor in .csv"),
        (("x.mp4", "--score_every=0"), "score_every=0 must be between 1 and 1000"),
        (("x.mp4", "--min_frames=3"), "min_frames=3 must be between 4 and 10000"),
        (("x.mp4", "--threshold=2"), "threshold=2 must lie between 0 and 1"),
        (("x.mp4", "--detector=absent"), "'absent' is neither 'hog'"),
        (("x.mp4", "--output=absent/x.csv"), "No such file or directory"),
        (("x.mp4", "--config.seed.data=1"), "takes no --config.seed.data"),
    ],
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert call(*words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("kdjax: error: ")
    assert message in line
    assert not list(tmp_path.iterdir())
