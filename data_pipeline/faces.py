"""Finds the largest face of a frame and cuts it out, the same way for every quality."""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import dlib
import numpy as np

from kdjax import checks
from kdjax.data_pipeline.alignment import cut_upright
from kdjax.data_pipeline.detectors import PACKAGED, packaged

COARSE_SIDE = 640
"""Longer side at which large frames are searched first, being four times as fast or more."""


class Box(NamedTuple):
    """A rectangle in pixels; `right` and `bottom` lie just outside of it.

    A face at the border of a frame may reach beyond it.
    """

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.bottom - self.top

    @property
    def area(self) -> int:
        """Area in square pixels."""
        return self.width * self.height


Square = Box | np.ndarray
"""What is cut out of a frame: a square, or the similarity `[2, 3]` that takes the frame to one."""

Detector = Callable[[np.ndarray], list[Box]]
"""Takes a uint8 RGB frame `[H, W, 3]`, returns its faces in any order."""


@functools.lru_cache(maxsize=4)
def make_detector(name: str) -> Detector:
    """Returns a detector.

    Args:
      name: `hog` for dlib's frontal faces; `blazeface` or `centerface`, whose weights are in packages; or the path of a
        YuNet `.onnx` file.

    Raises:
      checks.UserError: the package or the model file is missing, or is not what it should be.
    """
    if name == "hog":
        return _hog_detector()
    return _packaged_detector(name) if name in PACKAGED else _yunet_detector(_model(name))


def recorded_detector(name: str) -> str:
    """Returns what a manifest says of a detector: its name, and the hash of its weights where it has a file."""
    if name == "hog":
        return name
    if name in PACKAGED:
        return f"{name} {PACKAGED[name].sha256[:16]}"
    return f"yunet {hashlib.sha256(_model(name).read_bytes()).hexdigest()[:16]}"


def find_face(frame: np.ndarray, detector: Detector) -> Box | None:
    """Returns the largest face of a uint8 RGB frame, or `None` if it has none."""
    return max(find_faces(frame, detector), key=lambda box: (box.area, box), default=None)


def find_faces(frame: np.ndarray, detector: Detector) -> list[Box]:
    """Returns the faces of a uint8 RGB frame.

    A large frame is searched at `COARSE_SIDE` first and in full only if that finds nothing.
    """
    side = max(frame.shape[:2])
    scales = [COARSE_SIDE / side, 1.0] if side > COARSE_SIDE else [1.0, 2.0]
    for scale in scales:
        searched = frame if scale == 1 else _scaled(frame, scale)
        found = [Box(*(round(edge / scale) for edge in box)) for box in detector(searched)]
        if found:
            return found
    return []


def square_around(box: Box, margin: float, height: int, width: int) -> Box:
    """Returns the square around a face that is to be cut out of a frame.

    It has the face's centre and `margin` times its longer side, is moved inside where it reaches
    beyond the frame (mirrored borders would show a second face), and shrinks if it does not fit.

    Args:
      box: a face that meets the frame.
      margin: 1.3 is common in the field.
      height: of the frame in pixels.
      width: of the frame in pixels.
    """
    side = min(max(1, round(margin * max(box.width, box.height))), height, width)
    left = min(max(round((box.left + box.right - side) / 2), 0), width - side)
    top = min(max(round((box.top + box.bottom - side) / 2), 0), height - side)
    return Box(left, top, left + side, top + side)


def shrink_to(frames: np.ndarray, box: Box, square: Box, side: int) -> tuple[np.ndarray, Box, Box]:
    """Returns whole frames shrunk until a square of theirs has `side` pixels, and both boxes there.

    Frames in which the square is no larger stay as they are.

    Args:
      frames: uint8 `[T, H, W, 3]`.
      box: a face.
      square: the square around it, inside the frames.
      side: the new side of the square in pixels.
    """
    scale = side / square.width
    if scale >= 1:
        return frames, box, square
    height, width = (max(side, round(length * scale)) for length in frames.shape[1:3])
    shrunk = [cv2.resize(f, (width, height), interpolation=cv2.INTER_AREA) for f in frames]
    left = min(round(square.left * scale), width - side)
    top = min(round(square.top * scale), height - side)
    small = Box(*(round(edge * scale) for edge in box))
    return np.stack(shrunk), small, Box(left, top, left + side, top + side)


def crop(image: np.ndarray, box: Square, size: int) -> np.ndarray:
    """Returns a square of an image at `size` x `size`, by area where that shrinks it.

    Args:
      image: uint8 `[H, W, 3]` or `[H, W]`.
      box: a square inside the image; or the similarity to an upright face, as `alignment.upright` gives it for `size`.
      size: side of the result in pixels.

    Raises:
      ValueError: the box is not a square inside the image.
    """
    if isinstance(box, np.ndarray):
        return cut_upright(image, box, size)
    height, width = image.shape[:2]
    inside = 0 <= box.left < box.right <= width and 0 <= box.top < box.bottom <= height
    if not inside or box.width != box.height:
        raise ValueError(f"{box} is not a square inside {width} x {height} pixels")
    method = cv2.INTER_AREA if size < box.width else cv2.INTER_CUBIC
    pixels = image[box.top : box.bottom, box.left : box.right]
    return cv2.resize(pixels, (size, size), interpolation=method)


def _scaled(frame: np.ndarray, scale: float) -> np.ndarray:
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(frame, None, fx=scale, fy=scale, interpolation=method)


def _hog_detector() -> Detector:
    find = dlib.get_frontal_face_detector()

    def detect(frame: np.ndarray) -> list[Box]:
        # dlib counts the last row and column as inside.
        found = find(np.ascontiguousarray(frame), 0)
        return [Box(r.left(), r.top(), r.right() + 1, r.bottom() + 1) for r in found]

    return detect


def _packaged_detector(name: str) -> Detector:
    find = packaged(name)

    def detect(frame: np.ndarray) -> list[Box]:
        boxes = [Box(*(round(float(edge)) for edge in row[:4])) for row in find(frame)]
        return [box for box in boxes if box.width > 0 and box.height > 0]

    return detect


def _model(name: str) -> Path:
    return Path(name).expanduser()


def _yunet_detector(path: Path) -> Detector:
    if not path.is_file():
        known = ", ".join(map(repr, ("hog", *PACKAGED)))
        raise checks.UserError(f"detector={str(path)!r} is neither {known} nor a YuNet model file")
    find = yunet(path)

    def detect(frame: np.ndarray) -> list[Box]:
        found = [[round(float(v)) for v in row[:4]] for row in find(frame)]
        return [Box(x, y, x + w, y + h) for x, y, w, h in found if w > 0 and h > 0]

    return detect


def yunet(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Returns what finds the faces of a uint8 RGB frame by a YuNet model.

    They are rows `[N, 15]`: left, top, width, height, x and y of eyes, nose and corners of the mouth (of each the left
    one first, as one sees them), score.

    Raises:
      checks.UserError: OpenCV cannot read the file, or it is another model.
    """
    try:
        network = cv2.FaceDetectorYN.create(str(path), "", (320, 320), score_threshold=0.7)
    except cv2.error as error:
        raise checks.UserError(f"{path} is not a YuNet model that OpenCV can read") from error

    def find(frame: np.ndarray) -> np.ndarray:
        network.setInputSize((frame.shape[1], frame.shape[0]))
        _, rows = network.detect(np.ascontiguousarray(frame[..., ::-1]))
        return np.zeros((0, 15)) if rows is None else rows

    return find
