"""BlazeFace: a small single-shot detector of faces, run by OpenCV.

See "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs" by Bazarevsky et al.
(https://arxiv.org/abs/1907.05047). The network is MediaPipe's for the camera at the back of a telephone: it sees
256 x 256 pixels. Of its three others, one finds smaller faces but loses those that fill the frame, two the reverse.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from kdjax.data_pipeline import suppression

SIDE = 256
"""Pixels of the square that the network sees."""

ANCHORS = ((16, 2), (32, 6))
"""Pixels from one cell to the next, and how many boxes a cell predicts, of either grid."""

SCORE = 0.7
"""Least score of a face. At 0.5 it sees faces in most textures, at 0.8 it loses covered and narrow ones."""

SURE = 0.8
"""Least score where it looks closer than at the whole frame: it sees more faces in textures there, none as surely."""

SAME = 0.3
"""Intersection over union from which boxes are of one face."""

BOXES, LOGITS = "regressors", "classificators"
"""The outputs' names."""

LIMIT = 80.0
"""Logits are clipped here: the exponential of more is too large for float32."""

FAR = 2
"""Side of the second look's square by that of the first: dark and covered faces are lost where they fill the square."""

Square = tuple[int, int, int]
"""Left, top and side in pixels of a frame; it may reach beyond it."""


def blazeface(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Returns what finds the faces of a uint8 RGB frame, as float64 rows: left, top, right, bottom, score.

    They are those of the first look, of `looks`, that shows any.

    Raises:
      cv2.error: OpenCV cannot read the file.
    """
    network = read(path)
    cells = anchors()

    def see(frame: np.ndarray, square: Square) -> np.ndarray:
        network.setInput(prepare(frame, square))
        boxes, logits = network.forward((BOXES, LOGITS))
        left, top, side = square
        rows = decode(boxes[0], logits[0], cells)
        return rows * (side, side, side, side, 1) + (left, top, left, top, 0)

    def detect(frame: np.ndarray) -> np.ndarray:
        rows = np.zeros((0, 5))
        longer = max(frame.shape[:2])
        for squares in looks(*frame.shape[:2]):
            rows = suppression.blend(np.concatenate([see(frame, each) for each in squares]), SAME)
            rows = rows[rows[:, 4] >= (SCORE if squares[0][2] >= longer else SURE)]
            if len(rows):
                break
        return rows

    return detect


def read(path: Path) -> cv2.dnn.Net:
    """Returns the network of a file."""
    # OpenCV 5 has two engines, of which the newer takes the boxes for the only output
    classic = {"engine": cv2.dnn.ENGINE_CLASSIC} if hasattr(cv2.dnn, "ENGINE_CLASSIC") else {}
    return cv2.dnn.readNetFromTFLite(str(path), **classic)


def anchors() -> np.ndarray:
    """Returns the centres of the cells that predict the boxes, `[896, 2]`: x and y in shares of the square."""
    found = []
    for stride, boxes in ANCHORS:
        count = SIDE // stride
        rows, columns = np.divmod(np.arange(count * count), count)
        found.append(np.repeat((np.stack([columns, rows], axis=1) + 0.5) / count, boxes, axis=0))
    return np.concatenate(found)


def looks(height: int, width: int) -> Iterator[list[Square]]:
    """Yields the squares of each look at a frame.

    First the one around all of it; then one of `FAR` times its side; then squares of half the side, and half again,
    down to `SIDE`, where nothing is shrunk. Neighbours overlap by half or more.
    """
    longer = max(height, width)
    for side in (longer, FAR * longer):
        yield [((width - side) // 2, (height - side) // 2, side)]
    side = longer
    while side > SIDE:
        side = max(SIDE, -(-side // 2))
        yield [(left, top, side) for top in _starts(height, side) for left in _starts(width, side)]


def _starts(length: int, side: int) -> list[int]:
    over = max(length - side, 0)
    steps = -(-2 * over // side)
    return [round(over * step / max(steps, 1)) for step in range(steps + 1)]


def prepare(frame: np.ndarray, square: Square) -> np.ndarray:
    """Returns what the network sees of a square, float32 `[1, 3, 256, 256]` in [-1, 1]; black beyond the frame."""
    left, top, side = square
    scale = SIDE / side
    part = frame[max(top, 0) : top + side, max(left, 0) : left + side]
    height, width = (max(1, round(length * scale)) for length in part.shape[:2])
    down, across = (round(max(-start, 0) * scale) for start in (top, left))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(part, (width, height), interpolation=method)
    seen = np.zeros((SIDE, SIDE, 3), np.uint8)
    seen[down : down + height, across : across + width] = small
    return (seen / 127.5 - 1).astype(np.float32).transpose(2, 0, 1)[None]


def decode(boxes: np.ndarray, logits: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Returns likely faces, float64 `[N, 5]`: left, top, right, bottom in shares of the square, score.

    Args:
      boxes: float32 `[896, 16]`, in pixels of the network's: the centre's offset from the cell's centre, width, height,
        and six landmarks, which are not used.
      logits: float32 `[896, 1]`.
      cells: of `anchors`.
    """
    scores = 1 / (1 + np.exp(-np.clip(logits[:, 0].astype(np.float64), -LIMIT, LIMIT)))
    centres = cells + boxes[:, :2].astype(np.float64) / SIDE
    halves = boxes[:, 2:4].astype(np.float64) / (2 * SIDE)
    found = np.column_stack([centres - halves, centres + halves, scores])
    return found[(scores >= SCORE) & (halves > 0).all(axis=1)]
