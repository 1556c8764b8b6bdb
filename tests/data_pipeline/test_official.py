"""Each data set's builder on a whole tree of its owners' layout, full of what can be wrong, as a user prepares it."""

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from kdjax.cli import main
from kdjax.data_pipeline.builders import media
from kdjax.data_pipeline.prepared import decode_record, open_dataset

TREES = (
    *("faceforensics", "celebdf v1", "celebdf v2", "ffiw", "dfdc", "deepfakebench", "videos"),
    "folder",
)
WHOLE = [
    pytest.param(
        tree, marks=pytest.mark.every if tree in ("ffiw", "videos", "folder") else pytest.mark.slow
    )
    for tree in TREES
]
"""Of all of them the bytes by Beam are in the slow suite, and in CI."""
APART = "its people came into different splits"
FRAMES = 2

# What workers do, counted: what it names hangs or dies.
FUNCTIONS = """
import os, signal, time
from pathlib import Path
from kdjax.data_pipeline.builders import items

def process_item(task):
    with open(os.environ["DONE"], "ab") as done:
        done.write(os.fsencode(task.item.name) + b"\\n")
    kind = os.environ.get("FATE " + task.item.name, "")
    if kind == "hangs":
        time.sleep(1000)
    if kind == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    return items.process_item(task)
"""

SCRIPT = """
import sys
from counted import process_item
from kdjax.cli import main
from kdjax.data_pipeline.builders import media
if __name__ == "__main__":
    media.process_item = process_item
    sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def official(monkeypatch):
    """The module of the trees; test modules cannot import each other here."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module("official")


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """Where clips are kept once they are made."""
    return tmp_path_factory.mktemp("clips")


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """Has each process write down what it works on; returns a function that reads it."""
    (tmp_path / "counted.py").write_text(FUNCTIONS)
    (tmp_path / "script.py").write_text(SCRIPT)
    monkeypatch.setenv("DONE", str(tmp_path / "done"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("counted", None)
    monkeypatch.setattr(media, "process_item", importlib.import_module("counted").process_item)

    def read():
        path = tmp_path / "done"
        found = path.read_bytes() if path.exists() else b""
        path.unlink(missing_ok=True)
        return Counter(os.fsdecode(line) for line in found.splitlines())

    return read


def arguments(expected, output, **more):
    given = {"image_size": 64, "frames": FRAMES, "detect_every": 8, "workers": 0, **more}
    return [
        *("prepare", f"--dataset={expected.dataset}", f"--source={expected.source}"),
        *(f"--output={output}", *(f"--{name}={value}" for name, value in given.items())),
        *expected.options,
    ]


def contents(path):
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def check(expected, path):
    """Compares all of a prepared data set with what has to be in it."""
    manifest = json.loads((path / "manifest.json").read_text())
    reasons = {entry["item"]: entry["reason"] for entry in manifest["skipped"]["items"]}
    assert len(reasons) == manifest["skipped"]["total"]
    apart = {name for name, reason in reasons.items() if reason == APART}
    assert all(expected.stored[name][0] for name in apart)
    assert set(reasons) == {*expected.lost, *expected.unusable} | apart
    for name, pattern in (expected.lost | expected.unusable).items():
        assert re.search(pattern, reasons[name]), (name, reasons[name])
    assert manifest["notes"] == {k: count for k, count in expected.notes.items() if count}
    names = sorted([*expected.stored, *expected.lost])
    dataset = open_dataset(path)
    found = Counter()
    homes: dict[int, set[str]] = {}
    for split, size in dataset.sizes.items():
        for index in range(size):
            record = decode_record(
                index, dataset.source(split)[index], dataset.qualities, with_mask=True
            )
            name = names[int(record["video"]) // 2]
            label, owners, forgery = expected.stored[name]
            assert owners in ("", split), name
            assert int(record["label"]) == label, name
            kinds = dataset.forgeries or ("none", "unknown")
            assert kinds[int(record["forgery"])] == forgery, name
            assert record["forgery_mask"].any() == (name in expected.masked), name
            assert all(image.std() > 5 for image in record["image"].values()), name
            if not owners:
                homes.setdefault(int(record["identity"]), set()).add(split)
            found[name] += 1
    assert found == dict.fromkeys(expected.stored.keys() - apart, FRAMES)
    assert all(len(splits) == 1 for splits in homes.values())
    assert sum(size for size in dataset.sizes.values()) >= 20 * FRAMES - FRAMES * len(apart)
    return apart


@pytest.mark.parametrize("tree", WHOLE)
def test_a_whole_tree_with_all_that_can_be_wrong(official, clips, counted, members, tmp_path, tree):
    """Also: two workers, killed in the middle, make the same bytes, and nothing twice."""
    root = tmp_path / "source"
    root.mkdir()
    expected = official.TREES[tree](root, official.Pool(clips))
    every = {*expected.stored, *expected.lost}
    assert len(every) + len(expected.unusable) > 20
    assert main(arguments(expected, tmp_path / "one")) == 0
    assert counted() == dict.fromkeys(every, 1)
    assert (tree == "celebdf v2") == bool(check(expected, tmp_path / "one"))
    if tree == "celebdf v1":
        return  # the rest is as of the second

    partial = tmp_path / "two.partial"
    command = arguments(expected, tmp_path / "two", workers=2)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), *command], start_new_session=True
    )
    deadline = time.monotonic() + 300
    while len(list(partial.rglob("*.npz"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # its workers follow, each when it comes to look; until then they may begin another item
    while members(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    kept = len(list(partial.rglob("*.npz")))
    before = counted()
    assert 4 <= kept < len(every)
    assert main(command) == 0
    again = counted()
    assert set(before) | set(again) == every
    # what was begun and not kept is done again, by no more than two workers
    assert again.total() == len(every) - kept
    assert before.total() - kept <= 2
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert not partial.exists()


BEAM = "--runner=DirectRunner --direct_running_mode=multi_processing --direct_num_workers=2"


@pytest.mark.slow
# Beam's older protobuf tells TFDS of what it will leave out
@pytest.mark.filterwarnings("default::DeprecationWarning")
@pytest.mark.parametrize("tree", TREES)
def test_apache_beam_makes_the_same_bytes(official, clips, tmp_path, tree):
    """It runs where Beam is installed, as `.ci/run` does; its two processes do the work."""
    pytest.importorskip("apache_beam")
    root = tmp_path / "source"
    root.mkdir()
    expected = official.TREES[tree](root, official.Pool(clips))
    assert main(arguments(expected, tmp_path / "one")) == 0
    assert main([*arguments(expected, tmp_path / "beam"), f"--beam_options={BEAM}"]) == 0
    assert contents(tmp_path / "beam") == contents(tmp_path / "one")


@pytest.mark.slow
def test_a_decoder_that_hangs_and_a_worker_that_is_killed(
    official, clips, counted, tmp_path, monkeypatch
):
    """Each costs its own item; the others are what they would have been."""
    root = tmp_path / "source"
    root.mkdir()
    expected = official.ffiw(root, official.Pool(clips))
    hung, killed = sorted(expected.stored)[:2]
    monkeypatch.setenv(f"FATE {hung}", "hangs")
    monkeypatch.setenv(f"FATE {killed}", "dies")
    # long enough for a process to start on a busy machine
    monkeypatch.setattr(media, "seconds_for", lambda item: 20 if item.name == hung else 600)
    for name, reason in ((hung, "took longer than 20 s"), (killed, "its process died")):
        del expected.stored[name]
        expected.lost[name] = reason
    assert main(arguments(expected, tmp_path / "out", workers=2)) == 0
    done = counted()
    check(expected, tmp_path / "out")
    # a process that dies is tried once more, one that hangs is not
    assert done.pop(killed) == 2
    assert set(done.values()) == {1}


LIMITED = """
import resource, sys
from kdjax.cli import main
if __name__ == "__main__":
    size = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("size", "workers"), [(8_000, 2), (150_000, 0)])
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(
    official, clips, counted, tmp_path, size, workers
):
    """Be it full when results are kept, or when they are put together: by a limit on what a file may have."""
    root = tmp_path / "source"
    root.mkdir()
    expected = official.ffiw(root, official.Pool(clips))
    (tmp_path / "limited.py").write_text(LIMITED)
    command = arguments(expected, tmp_path / "out", workers=workers)
    process = subprocess.run(
        [sys.executable, str(tmp_path / "limited.py"), str(size), *command],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 2, process.stderr
    lines = [line for line in process.stderr.splitlines() if not line.startswith("faces")]
    assert "cannot write" in lines[-1]
    assert lines[-1].endswith("the same command goes on from there")
    assert "Traceback" not in process.stderr
    assert not (tmp_path / "out").exists()
    assert main(arguments(expected, tmp_path / "out")) == 0
    check(expected, tmp_path / "out")
