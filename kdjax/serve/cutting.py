"""Cuts the faces that a detector is to see out of frames, as they were cut out of those that it was trained on."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from kdjax.checks import UserError
from kdjax.data_pipeline import alignment, faces, landmarks, tracking
from kdjax.data_pipeline.detectors import PACKAGED
from kdjax.data_pipeline.faces import Box
from kdjax.serve.following import Search
from kdjax.serve.options import DETECTOR, EVERY, MARGIN, Options
from kdjax.serve.spec import Spec

MAX_SIDE = 1280
"""Larger frames are shrunk to this longer side first, as `kdjax prepare` does."""

SMALLEST = 16
"""Frames with a side below this are not searched: no detector finds a face in them."""

FULL_EVERY = 4
"""Every so many looks a frame is searched for faces of any size; in between for such as are known already."""


class Cutter(NamedTuple):
    """How faces are found and cut out.

    Attributes:
      search: finds the faces of a frame.
      begin: returns what finds the faces of the frames of one input, given the smallest face that was there last.
      cut: takes a frame and a box, returns the crop, and how many pixels of the frame it is wide.
      every: frames between two looks.
      notes: what of it is a guess.
    """

    search: Callable[[np.ndarray], list[Box]]
    begin: Callable[[], Search]
    cut: Callable[[np.ndarray, Box], tuple[np.ndarray, float]]
    every: int
    notes: tuple[str, ...]


def make_cutter(spec: Spec, options: Options) -> Cutter:
    """Returns how a detector's faces are found and cut.

    Raises:
      UserError: what finds or turns faces is missing, or is another one than the detector was trained with.
    """
    told = spec.faces
    notes = []
    if told is None and not options.cropped:
        notes.append(
            "the detector's data set does not tell how its faces were cut out: they are taken as "
            f"{options.detector or DETECTOR}, margin {options.margin or MARGIN:g}"
        )
    name = _detector(spec, options)
    detector = None if options.cropped else faces.make_detector(name)
    if told is not None and not options.cropped and faces.recorded_detector(name) != told.detector:
        notes.append(
            f"faces are found by {faces.recorded_detector(name)}; the detector was trained on those that "
            f"{told.detector} found"
        )
    margin = options.margin or (told.margin if told else MARGIN)
    size = spec.stored_size
    turn = _turning(spec, options)

    def search(frame: np.ndarray) -> list[Box]:
        if detector is None:
            return [Box(0, 0, frame.shape[1], frame.shape[0])]
        if min(frame.shape[:2]) < SMALLEST:
            return []
        return [box for box in faces.find_faces(frame, detector) if _meets(box, frame)]

    def begin() -> Search:
        # of each input anew: what is found in one must not depend on how many were seen before
        looks = 0

        def find(frame: np.ndarray, known: Box | None) -> list[Box]:
            nonlocal looks
            looks += 1
            usual = known is None or looks % FULL_EVERY == 0 or not _helps(known, frame)
            if usual or detector is None:
                return search(frame)
            return [box for box in tracking.search(frame, detector, known) if _meets(box, frame)]

        return find

    def cut(frame: np.ndarray, box: Box) -> tuple[np.ndarray, float]:
        points = None if turn is None else turn(frame, box)
        matrix = None if points is None else alignment.upright(points, margin, size)
        if matrix is not None:
            return faces.crop(frame, matrix, size), size / float(np.hypot(*matrix[:, 0]))
        around = 1.0 if options.cropped else margin
        square = faces.square_around(box, around, *frame.shape[:2])
        return faces.crop(frame, square, size), float(square.width)

    every = options.detect_every or (told.detect_every if told else EVERY)
    return Cutter(search, begin, cut, min(every, 25), tuple(notes))


def _helps(known: Box, frame: np.ndarray) -> bool:
    """Returns whether a face is so large that looking for such is less work than the usual first search."""
    side = max(known.width, known.height)
    return tracking.ENOUGH / side < faces.COARSE_SIDE / max(faces.COARSE_SIDE, *frame.shape[:2])


def _meets(box: Box, frame: np.ndarray) -> bool:
    height, width = frame.shape[:2]
    inside = box.left < width and box.top < height and box.right > 0 and box.bottom > 0
    return inside and box.width > 0 and box.height > 0


def _detector(spec: Spec, options: Options) -> str:
    """Returns the name of what finds faces."""
    if spec.faces is None or options.cropped:
        return options.detector or DETECTOR
    kind, _, digest = spec.faces.detector.partition(" ")
    if not options.detector:
        if kind in ("hog", *PACKAGED):
            return kind
        raise UserError(
            f"the detector was trained on faces that a {kind} model found (its file's hash begins with {digest}); give "
            "that file, --detector=FILE.onnx, or another detector"
        )
    return options.detector


def _turning(spec: Spec, options: Options) -> landmarks.Landmarks | None:
    """Returns what finds landmarks; None where faces stay as they are."""
    trained = spec.faces.alignment if spec.faces else ""
    if options.landmarks:
        if spec.faces is not None and not trained:
            raise UserError(
                "the detector was trained on faces as they are, not on such turned upright; leave --landmarks out"
            )
        return landmarks.make_landmarks(options.landmarks)
    if trained and not options.cropped:
        raise UserError(
            f"the detector was trained on faces turned upright by landmarks ({trained}); {landmarks.WANTED}, "
            "--landmarks=FILE"
        )
    return None
