"""How fast a video is judged and in how much memory, beside the same job written plainly with PyTorch, OpenCV and dlib.

python benchmarks/predicting.py [VIDEO ...] [--network=mobilenet_v2] [--size=224] [--minutes=5]

Without a video one of 1280 x 720 pixels is made, in which a rendered head moves; beside it stands one of a fifth of the
length, whose memory should be the same. Both sides look for faces in every fifth frame and score every frame, each in a
process of its own, in turn; weights are as drawn, which costs what trained ones do. The plain side is left out where
PyTorch is not installed.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from harness import (
    RESULTS,
    Budget,
    Memory,
    Results,
    Rows,
    quarter,
    ratio,
    run_rows,
    significant,
    summary,
)

SIDES = ("kdjax", "plain")


def main() -> int:
    """Runs all rows, or one side of one; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("videos", nargs="*", type=Path, help="of your own (default: made ones)")
    parser.add_argument("--network", default="mobilenet_v2", help="(default mobilenet_v2)")
    parser.add_argument("--size", type=int, default=224, help="side of the crops (default 224)")
    parser.add_argument("--minutes", type=float, default=5, help="of the made video (default 5)")
    parser.add_argument("--every", type=int, default=5, help="frames between looks (default 5)")
    parser.add_argument("--batch", type=int, default=32, help="faces at once (default 32)")
    parser.add_argument("--repeats", type=int, default=3, help="timed rounds (default 3)")
    parser.add_argument("--budget", type=float, default=3600, help="seconds in all (default 3600)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the result file")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(one_side(arguments)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        videos = arguments.videos or made(Path(folder), arguments.minutes)
        results = Results(arguments.output / "cpu-predicting.json", "judging videos")
        rows: Rows = {path.name: partial(measure, path, arguments) for path in videos}
        run_rows(rows, results, Budget(arguments.budget))
    return bool(results.failures())


def made(folder: Path, minutes: float) -> list[Path]:
    """Returns two made videos, the second five times as long."""
    from head_video import write_head

    short, long = (folder / f"720p-{share}-of-5.mp4" for share in (1, 5))
    write_head(short, round(minutes * 60 * 25 / 5))
    write_head(long, round(minutes * 60 * 25))
    return [short, long]


def measure(path: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Times both sides in turn on one video."""
    sides = SIDES if importlib.util.find_spec("torch") else SIDES[:1]
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for _ in range(arguments.repeats):
        for side in sides:
            runs[side].append(child(path, side, arguments))
    row: dict[str, Any] = {}
    for side, found in runs.items():
        seconds = [each["seconds"] for each in found]
        row[side] = {
            "seconds": summary(seconds),
            "times real time": significant(found[0]["length"] / summary(seconds)["median"]),
            # what a busy machine changes least
            "cpu seconds": summary([each["cpu_seconds"] for each in found]),
            "with its start": summary([each["whole"] for each in found]),
            # of peaks the highest is the higher, the more there are; what is held shows whether anything grows
            "peak_mb": max(each["peak_mb"] for each in found),
            "held_mb": {
                f"{when} quarter": max(each["held_mb"][place] for each in found)
                for place, when in enumerate(("first", "last"))
            },
            "scored": found[0]["scored"],
        }
    if len(sides) == 2:
        own, other = ([each["seconds"] for each in runs[side]] for side in sides)
        row["seconds: kdjax / plain"] = ratio(own, other)
        own, other = ([each["cpu_seconds"] for each in runs[side]] for side in sides)
        row["cpu seconds: kdjax / plain"] = ratio(own, other)
    return row | {
        "network": arguments.network,
        "size": arguments.size,
        "seconds of video": runs["kdjax"][0]["length"],
    }


def child(path: Path, side: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Runs a side in a process of its own."""
    options = [
        f"--{name}={getattr(arguments, name)}" for name in ("network", "size", "every", "batch")
    ]
    command = [sys.executable, __file__, str(path), f"--side={side}", *options]
    start = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return {**json.loads(done.stdout.splitlines()[-1]), "whole": time.perf_counter() - start}


def one_side(arguments: argparse.Namespace) -> dict[str, Any]:
    """Judges the video, after a start that is not timed."""
    if arguments.side == "plain":
        import predicting_plain

        prepare, judge = predicting_plain.prepare, predicting_plain.judge
    else:
        import predicting_kdjax

        prepare, judge = predicting_kdjax.prepare, predicting_kdjax.judge
    (path,) = arguments.videos
    network = prepare(arguments)
    memory = Memory(os.getpid())
    start, used = time.perf_counter(), time.process_time()
    frames, scored = judge(path, network, arguments)
    seconds, used = time.perf_counter() - start, time.process_time() - used
    held = memory.close()
    return {
        "seconds": seconds,
        "cpu_seconds": used,
        "peak_mb": peak_mb(),
        "held_mb": [float(np.median(quarter(each))) for each in (held, held[::-1])],
        "scored": scored,
        "length": frames / 25,
    }


def peak_mb() -> float:
    """Returns the most memory that this process has held, in megabytes, as Linux tells it; elsewhere -1."""
    status = Path("/proc/self/status")
    if not status.exists():
        return -1.0
    # getrusage would count what the parent held when it started this process
    (line,) = (each for each in status.read_text().splitlines() if each.startswith("VmHWM"))
    return round(int(line.split()[1]) / 1024, 1)


if __name__ == "__main__":
    sys.exit(main())
