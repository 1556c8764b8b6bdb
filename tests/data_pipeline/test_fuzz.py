"""Three hundred damaged clips and images: none ends the work, each is accounted for, memory stays small."""

import json
import sys

import numpy as np
import pytest

from kdjax.data_pipeline import faces, results, work
from kdjax.data_pipeline.builders import items
from kdjax.data_pipeline.builders.options import FolderConfig
from kdjax.data_pipeline.trees.item import Item, state_key

COUNT = 300
MEMORY = 1.5e9

# Workers are started anew, and find no faces in noise: there any frame that is not nearly black has one.
FUNCTIONS = """
from pathlib import Path

from kdjax.data_pipeline import faces
from kdjax.data_pipeline.builders import items

faces.make_detector = lambda name: lambda frame: [faces.Box(20, 10, 52, 42)] * int(frame.mean() > 30)

def process(task):
    result = items.process_item(task)
    # not getrusage's: that begins with what the process that started this one held
    (most,) = (
        line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line
    )
    return {**result, "memory": 1024 * int(most)}
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def process(tmp_path, monkeypatch):
    (tmp_path / "fuzz_functions.py").write_text(FUNCTIONS)
    # what is imported here changes it; tests that come later want their own
    monkeypatch.setattr(faces, "make_detector", faces.make_detector)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("fuzz_functions", None)
    import fuzz_functions

    return fuzz_functions.process


def mutate(content, others, generator):
    """Returns damaged bytes: flipped, cut, spliced with another file, or with another header."""
    data = bytearray(content)
    kind = generator.integers(5)
    if kind == 0:
        for place in generator.integers(0, len(data), 1 + len(data) // 200):
            data[place] ^= 1 << generator.integers(8)
    elif kind == 1:
        del data[generator.integers(1, len(data)) :]
    elif kind == 2:
        start, stop = sorted(generator.integers(0, len(data), 2))
        del data[start:stop]
    elif kind == 3:
        other = others[generator.integers(len(others))]
        data[generator.integers(len(data)) :] = other[generator.integers(len(other)) :]
    else:
        head = min(64, len(data))
        data[:head] = generator.integers(0, 256, head, dtype=np.uint8).tobytes()
        data[: head // 2] = content[: head // 2]
    return bytes(data)


def test_hostile_files_are_counted_and_nothing_else(make, tmp_path, process):
    generator = np.random.default_rng(0)
    source = tmp_path / "source"
    source.mkdir()
    frames = make.moving_frames(12)
    sound = [
        make.write_video(source / f"sound.{end}", frames) for end in ("mp4", "mkv", "ts", "avi")
    ]
    sound += [
        make.write_image(source / f"sound.{end}", frames[0])
        for end in ("png", "jpg", "webp", "bmp", "tiff", "ppm")
    ]
    contents = [path.read_bytes() for path in sound]
    for number in range(COUNT):
        chosen = int(generator.integers(len(sound)))
        damaged = mutate(contents[chosen], contents, generator)
        (source / f"{number:03d}{sound[chosen].suffix}").write_bytes(damaged)
    config = FolderConfig(image_size=42, frames_per_video=3, clip_length=4)
    tasks = [
        items.Task(Item(path.name, {"raw": path}, 0, "none", (path.name,)), config, ("raw", "c40"))
        for path in sorted(source.iterdir())
    ]
    effort = work.Work(tmp_path / "kept", 2)
    found = list(
        effort.run(
            process,
            tasks,
            keys=[state_key(task.item) for task in tasks],
            content=items.content_of,
            lost=items.lost_item,
            seconds=[60.0] * len(tasks),
            light=True,
        )
    )
    assert len(found) == COUNT + len(sound)
    by_name = {task.item.name: result for task, result in zip(tasks, found, strict=True)}
    for path in sound:
        assert by_name[path.name]["examples"], path.name
    for name, result in by_name.items():
        assert bool(result["examples"]) != bool(result["reason"]), name
        assert "\n" not in result["reason"]
    refused = sum(bool(result["reason"]) for result in found)
    assert COUNT / 4 < refused < COUNT
    assert not any("process died" in r["reason"] or "took longer" in r["reason"] for r in found)
    assert max(result["memory"] for result in found) < MEMORY
    kept = list((tmp_path / "kept").glob("*.npz"))
    assert len(kept) == len({json.dumps(items.content_of(task)) for task in tasks})
    assert results.load_result(kept[0], "another") is None
