"""Recall and time of the face detectors, on photographs as they are, turned, small, dark, blurred and foreshortened.

`python benchmarks/detectors.py FOLDER [--count=100] [--detectors=hog,blazeface]` prints a table. The reference
of a photograph is where HOG and BlazeFace agree on it as it is (an overlap of 0.4); others are left out and
counted. It is changed along with the picture. A face counts as found where a box overlaps the reference by 0.3 at
least: a turned face's upright box is not the same box.
"""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np

from kdjax.data_pipeline import faces, tracking
from kdjax.data_pipeline.faces import Box


def turned(image: np.ndarray, box: Box, angle: float) -> tuple[np.ndarray, Box]:
    """Returns the picture turned about its middle, on a canvas that holds all of it, and an upright box there."""
    height, width = image.shape[:2]
    side = int(np.ceil(np.hypot(height, width)))
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    matrix[:, 2] += (side / 2 - width / 2, side / 2 - height / 2)
    moved = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_AREA)
    middle = matrix @ [(box.left + box.right) / 2, (box.top + box.bottom) / 2, 1]
    half = (box.width + box.height) / 4
    edges = [*(middle - half), *(middle + half)]
    return moved, Box(*(round(float(edge)) for edge in edges))


def small(image: np.ndarray, box: Box, factor: float) -> tuple[np.ndarray, Box]:
    """Returns the picture shrunk, in the middle of a grey frame of its old size twice over."""
    height, width = image.shape[:2]
    little = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    canvas = np.full((2 * height, 2 * width, 3), 110, np.uint8)
    top, left = height - little.shape[0] // 2, width - little.shape[1] // 2
    canvas[top : top + little.shape[0], left : left + little.shape[1]] = little
    edges = np.array(box) * factor + [left, top, left, top]
    return canvas, Box(*(round(float(edge)) for edge in edges))


def narrowed(image: np.ndarray, box: Box, factor: float) -> tuple[np.ndarray, Box]:
    """Returns the picture foreshortened from side to side: in place of profiles, of which there are none here."""
    narrow = cv2.resize(image, None, fx=factor, fy=1.0, interpolation=cv2.INTER_AREA)
    return narrow, Box(round(box.left * factor), box.top, round(box.right * factor), box.bottom)


CHANGES = {
    "as it is": lambda image, box: (image, box),
    "turned by 15": lambda image, box: turned(image, box, 15),
    "turned by 30": lambda image, box: turned(image, box, 30),
    "turned by 90": lambda image, box: turned(image, box, 90),
    "face of 1/2 size, in a frame twice as large": lambda image, box: small(image, box, 0.5),
    "1/4": lambda image, box: small(image, box, 0.25),
    "1/8": lambda image, box: small(image, box, 0.125),
    "narrowed to 0.6": lambda image, box: narrowed(image, box, 0.6),
    "narrowed to 0.4": lambda image, box: narrowed(image, box, 0.4),
    "a quarter of the light": lambda image, box: ((image * 0.25).astype(np.uint8), box),
    "blurred by 4 pixels": lambda image, box: (cv2.GaussianBlur(image, (0, 0), 4), box),
}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--detectors", default="hog,blazeface")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    detectors = {name: faces.make_detector(name) for name in options.detectors.split(",")}
    judges = [faces.make_detector(name) for name in ("hog", "blazeface")]
    known, left_out = [], 0
    for path in sorted(options.folder.iterdir())[: options.count]:
        image = cv2.imread(str(path))[..., ::-1].copy()
        one, other = (faces.find_face(image, judge) for judge in judges)
        if one and other and tracking.overlap(one, other) >= 0.4:
            known.append(
                (image, Box(*(round((a + b) / 2) for a, b in zip(one, other, strict=True))))
            )
        else:
            left_out += 1
    print(f"{len(known)} photographs with a reference, {left_out} without")
    print("| picture | " + " | ".join(f"{name}: found, ms" for name in detectors) + " |")
    for what, change in CHANGES.items():
        cells = []
        for detector in detectors.values():
            hits, seconds = 0, 0.0
            for image, box in known:
                picture, where = change(image, box)
                begun = time.process_time()
                found = faces.find_faces(picture, detector)
                seconds += time.process_time() - begun
                hits += any(tracking.overlap(each, where) >= 0.3 for each in found)
            cells.append(f"{hits / len(known):.2f}, {1000 * seconds / len(known):.0f}")
        print(f"| {what} | " + " | ".join(cells) + " |", flush=True)
    generator = np.random.default_rng(0)
    for name, detector in detectors.items():
        noise = [generator.normal(0, 1, (300, 300, 3)) for _ in range(50)]
        textures = [cv2.GaussianBlur(each, (0, 0), 2 + k % 20) for k, each in enumerate(noise)]
        pictures = [np.clip(128 + 60 * t / t.std(), 0, 255).astype(np.uint8) for t in textures]
        wrong = sum(bool(faces.find_faces(picture, detector)) for picture in pictures)
        print(f"{name}: faces seen in {wrong} of {len(pictures)} pictures of smoothed noise")


if __name__ == "__main__":
    main()
