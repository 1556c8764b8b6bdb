"""Follows one face through a video: found now and then, its box smoothed and filled in between."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from kdjax.data_pipeline.clips import Footage, shrink
from kdjax.data_pipeline.faces import Box, Detector, find_faces

CUT = 30.0
"""Mean difference of a frame from the one looked at before, in steps of 8 bits, from which the scene is another."""

THUMBNAIL = 32
"""Side in pixels at which frames are compared."""

SAME = 0.3
"""Intersection over union from which two boxes, one detection apart, are one face."""

ENOUGH = 112
"""Side of a face in pixels at which it is found as well as at any larger one; HOG's window has 80."""

REACH = 4
"""Detections that may miss a face in a row before it is lost."""

SPREAD = 1.0
"""Standard deviation of the smoothing in detections."""


class Track(NamedTuple):
    """Where the face is.

    Attributes:
      boxes: by frame; a frame that is not there shows no face, as far as is known.
      cuts: how many times the scene changes.
      crowded: detections that found more than one face.
      detections: how many there were.
    """

    boxes: Mapping[int, Box]
    cuts: int
    crowded: int
    detections: int


def find_track(
    media: Footage, positions: Sequence[int], detector: Detector, *, every: int, max_side: int
) -> Track:
    """Returns the face at some frames of a video, of which one frame at a time is held.

    Faces are looked for in every `every`-th frame as far as that is near enough to a wanted one to matter, and in the
    wanted ones themselves.

    Args:
      media: an open video.
      positions: numbers of the frames that are wanted, rising.
      detector: finds faces in a frame.
      every: frames between two detections.
      max_side: larger frames are shrunk so that their longer side has this many pixels.
    """
    near = every * REACH
    looked = set(positions) | {
        place
        for position in positions
        for place in range(position - near, position + near + 1)
        if place % every == 0 and 0 <= place < media.frames
    }
    found: dict[int, list[Box]] = {}
    cuts: list[int] = []
    before: np.ndarray | None = None
    known: Box | None = None
    for number, pixels in media.read(looked):
        frame = shrink(pixels, max_side)
        small = cv2.resize(frame, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
        now = small.astype(np.float32)
        if before is not None and np.abs(now - before).mean() > CUT:
            cuts.append(number)
        before = now
        found[number] = search(frame, detector, known)
        known = max(found[number], key=lambda box: box.area, default=known)
    crowded = sum(len(boxes) > 1 for boxes in found.values())
    return Track(follow(found, cuts, positions, every=every), len(cuts), crowded, len(found))


def search(frame: np.ndarray, detector: Detector, known: Box | None) -> list[Box]:
    """Returns the faces of a frame: of a frame shrunk as far as a face like the known one allows, if it shows one."""
    side = max(known.width, known.height) if known else 0
    if known and side > ENOUGH:
        small = cv2.resize(
            frame, None, fx=ENOUGH / side, fy=ENOUGH / side, interpolation=cv2.INTER_AREA
        )
        scale = small.shape[1] / frame.shape[1]
        found = [Box(*(round(edge / scale) for edge in box)) for box in detector(small)]
        if any(overlap(box, known) >= SAME for box in found):
            return found
    return find_faces(frame, detector)


def follow(
    found: Mapping[int, Sequence[Box]], cuts: Sequence[int], positions: Sequence[int], *, every: int
) -> dict[int, Box]:
    """Returns the box of one face at some frames.

    The largest face is followed, at first and after each cut, and whenever the one before has been missing for `REACH`
    detections; the next box of it is the one that overlaps the last one most. Boxes are averaged over time with
    Gaussian weights (a standard deviation of `SPREAD` detections), then interpolated linearly over gaps of up to
    `REACH` detections and held for as long at the ends; never across a cut.

    Args:
      found: faces by the number of the frame in which they were looked for.
      cuts: numbers of the frames at which a scene begins.
      positions: numbers of the frames that are wanted.
      every: frames between two detections.
    """
    boxes: dict[int, Box] = {}
    for stretch in _stretches(found, sorted(cuts), every * REACH):
        times = np.array([time for time, _ in stretch], float)
        edges = np.array([box for _, box in stretch], float)
        weights = np.exp(-0.5 * ((times[:, None] - times) / (SPREAD * every)) ** 2)
        smooth = weights @ edges / weights.sum(axis=1, keepdims=True)
        start, stop = _scene(sorted(cuts), int(times[0]))
        for position in positions:
            reached = times[0] - every * REACH <= position <= times[-1] + every * REACH
            # of two stretches that reach a frame the earlier one has it, unless the face was found there
            if not (start <= position < stop and reached) or (
                position in boxes and position < times[0]
            ):
                continue
            box = [np.interp(position, times, smooth[:, edge]) for edge in range(4)]
            boxes[position] = Box(*(round(float(value)) for value in box))
    return boxes


def _stretches(
    found: Mapping[int, Sequence[Box]], cuts: Sequence[int], longest: int
) -> list[list[tuple[int, Box]]]:
    """Returns runs of detections of one face each, in which no gap is longer than `longest` frames."""
    stretches: list[list[tuple[int, Box]]] = []
    for time, boxes in sorted(found.items()):
        if not boxes:
            continue
        known = stretches[-1][-1] if stretches else None
        if (
            known is None
            or time - known[0] > longest
            or _scene(cuts, known[0]) != _scene(cuts, time)
        ):
            stretches.append([(time, _largest(boxes))])
            continue
        best = max(boxes, key=lambda box: (overlap(box, known[1]), box))
        if overlap(best, known[1]) >= SAME:
            stretches[-1].append((time, best))
    return stretches


def _scene(cuts: Sequence[int], time: int) -> tuple[float, float]:
    """Returns the first frame of a scene, and the first after it."""
    starts = [-np.inf, *cuts, np.inf]
    place = int(np.searchsorted(starts, time, side="right"))
    return float(starts[place - 1]), float(starts[place])


def _largest(boxes: Sequence[Box]) -> Box:
    return max(boxes, key=lambda box: (box.area, box))


def overlap(one: Box, other: Box) -> float:
    """Returns the intersection of two boxes over their union, in [0, 1]."""
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    shared = max(width, 0) * max(height, 0)
    return shared / max(one.area + other.area - shared, 1)
