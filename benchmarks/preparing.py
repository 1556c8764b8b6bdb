"""How fast videos are prepared, beside the way of DeepfakeBench's and SBI's scripts on the same files.

python benchmarks/preparing.py VIDEO [VIDEO ...]

Here: every frame decoded, the face looked for in every fifth and followed, crops of raw, c23 and c40, both encoded; and
crops of the file as it is. There: every frame decoded by OpenCV, dlib's frontal detector on each frame that is taken,
enlarged once, its crop written as PNG; their landmarks and alignment are left out, so they take longer than this.
Both take 32 frames of a video. Run it on one core (`taskset -c 0`).
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import dlib
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import RESULTS, Budget, Results, Rows, alternate, ratio, run_rows, summary

from kdjax.data_pipeline.builders.items import Task, process_item
from kdjax.data_pipeline.builders.options import MediaConfig
from kdjax.data_pipeline.faces import Box, crop, square_around
from kdjax.data_pipeline.trees.item import Item
from kdjax.data_pipeline.video import open_media

FRAMES = 32
SIDE = 256
"""Of the stored faces, in pixels, as DeepfakeBench has them."""

MADE = ("raw", "c23", "c40")


def main() -> int:
    """Runs all rows; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("video", nargs="+", type=Path, help="video files")
    parser.add_argument("--repeats", type=int, default=3, help="timed rounds (default 3)")
    parser.add_argument("--budget", type=float, default=1800, help="seconds in all (default 1800)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the result file")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    results = Results(arguments.output / "cpu-preparing.json", "preparing of videos")
    rows: Rows = {
        f"video {number}": partial(measure, path, arguments.repeats)
        for number, path in enumerate(arguments.video, start=1)
    }
    run_rows(rows, results, Budget(arguments.budget))
    return bool(results.failures())


def measure(path: Path, repeats: int) -> dict[str, Any]:
    """Times all ways in turn on one video."""
    with open_media(path) as media:
        frames, size = media.frames, media.size
    works = {
        "qualities": partial(by_kdjax, path, MADE),
        "crops": partial(by_kdjax, path, ("raw",)),
        "opencv_and_dlib": partial(by_opencv_and_dlib, path),
    }
    found = {name: work() for name, work in works.items()}
    seconds = alternate({name: _timed(work) for name, work in works.items()}, repeats, warm_up=0)
    rates = {name: [frames / each for each in values] for name, values in seconds.items()}
    return {
        "size": list(size),
        "frames": frames,
        "faces": found,
        **{f"{name}_frames_a_second": summary(values) for name, values in rates.items()},
        "crops_by_theirs": ratio(seconds["opencv_and_dlib"], seconds["crops"]),
        "qualities_by_theirs": ratio(seconds["opencv_and_dlib"], seconds["qualities"]),
    }


def _timed(work: Any) -> Any:
    return lambda: (work(), None)[1]


def by_kdjax(path: Path, qualities: tuple[str, ...]) -> int:
    """Returns how many faces were stored."""
    config = MediaConfig(image_size=SIDE, frames_per_video=FRAMES, detect_every=5)
    item = Item(path.name, {"raw": path}, 0, "none", ("somebody",))
    return len(process_item(Task(item, config, qualities))["examples"])


def by_opencv_and_dlib(path: Path) -> int:
    """Returns how many faces were stored."""
    detector = dlib.get_frontal_face_detector()
    capture = cv2.VideoCapture(str(path))
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    wanted = set(np.linspace(0, count - 1, FRAMES, dtype=int).tolist())
    stored = 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            read, frame = capture.read()
            if not read:
                break
            if number not in wanted:
                continue
            found = detector(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), 1)
            if not found:
                continue
            face = max(found, key=lambda each: each.width() * each.height())
            box = Box(face.left(), face.top(), face.right(), face.bottom())
            square = square_around(box, 1.3, *frame.shape[:2])
            cv2.imwrite(f"{folder}/{number:03}.png", crop(frame, square, SIDE))
            stored += 1
    capture.release()
    return stored


if __name__ == "__main__":
    raise SystemExit(main())
