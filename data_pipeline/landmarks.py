"""Finds the landmarks of a face that was found: by a model of the user's own."""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

import cv2
import dlib
import numpy as np

from kdjax import checks
from kdjax.data_pipeline.alignment import SCHEMES, five_landmarks
from kdjax.data_pipeline.faces import Box, square_around, yunet

Landmarks = Callable[[np.ndarray, Box], np.ndarray | None]
"""Takes a uint8 RGB frame and a face in it, returns its five landmarks, `[5, 2]` in pixels of the frame, or None."""

GIVEN = "given"
"""The name of landmarks that lie beside the frames."""

AROUND, SEARCHED = 2.0, 320
"""Side of the square that YuNet searches, by that of the face, and in pixels at most."""

WANTED = "give a dlib shape predictor (.dat) of 68 or 81 landmarks, or a YuNet model (.onnx)"


@functools.lru_cache(maxsize=4)
def make_landmarks(name: str) -> Landmarks:
    """Returns what finds landmarks by a model file.

    Args:
      name: path of a dlib shape predictor, `.dat`, of 68 or 81 landmarks, or of a YuNet model, `.onnx`.

    Raises:
      checks.UserError: there is no such file, or it is no such model.
    """
    path = Path(name).expanduser()
    if not path.is_file():
        raise checks.UserError(f"landmarks={name!r} is no file; {WANTED}")
    return _yunet_landmarks(path) if path.suffix == ".onnx" else _dlib_landmarks(path)


def recorded_landmarks(name: str) -> str:
    """Returns what a manifest says of landmarks: no path, but the hash of a model file."""
    if name in ("", GIVEN):
        return name
    digest = hashlib.sha256(Path(name).expanduser().read_bytes()).hexdigest()
    return f"{'yunet' if name.endswith('.onnx') else 'dlib'} {digest[:16]}"


def _dlib_landmarks(path: Path) -> Landmarks:
    try:
        predict = dlib.shape_predictor(str(path))
    except RuntimeError as error:
        raise checks.UserError(
            f"{path} is no shape predictor that dlib can read; {WANTED}"
        ) from error

    def find(frame: np.ndarray, box: Box) -> np.ndarray | None:
        # dlib counts the last row and column as inside
        rectangle = dlib.rectangle(box.left, box.top, box.right - 1, box.bottom - 1)
        shape = predict(np.ascontiguousarray(frame), rectangle)
        return five_landmarks(np.array([[point.x, point.y] for point in shape.parts()]))

    blank = np.zeros((64, 64, 3), np.uint8)
    count = predict(blank, dlib.rectangle(0, 0, 63, 63)).num_parts
    # dlib's own five are the corners of the eyes and no mouth
    if count == len(SCHEMES[5]) or count not in SCHEMES:
        raise checks.UserError(f"{path} predicts {count} landmarks; {WANTED}")
    return find


def _yunet_landmarks(path: Path) -> Landmarks:
    detect = yunet(path)

    def find(frame: np.ndarray, box: Box) -> np.ndarray | None:
        square = square_around(box, AROUND, *frame.shape[:2])
        scale = min(1.0, SEARCHED / square.width)
        part = frame[square.top : square.bottom, square.left : square.right]
        side = max(1, round(square.width * scale))
        rows = detect(cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA))
        if not len(rows):
            return None
        middle = np.array([box.left + box.right, box.top + box.bottom]) / 2
        corner = np.array([square.left, square.top])
        centres = (rows[:, :2] + rows[:, 2:4] / 2) / scale + corner
        nearest = rows[np.argmin(np.sum((centres - middle) ** 2, axis=1))]
        return five_landmarks(nearest[4:14].reshape(5, 2) / scale + corner)

    return find
