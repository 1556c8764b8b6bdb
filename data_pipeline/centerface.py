"""CenterFace: a detector of faces without anchors, run by OpenCV at the frame's own size.

See "CenterFace: Joint Face Detection and Alignment Using Face as Point" by Xu et al.
(https://arxiv.org/abs/1911.03599): every cell of 4 x 4 pixels says how likely a face's centre lies in it, where in it,
and how large the face is.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from kdjax.data_pipeline import suppression

STRIDE = 4
"""Pixels from one cell to the next."""

MULTIPLE = 32
"""The network halves its input five times, and adds what it enlarges again."""

SCORE = 0.5
"""Least score of a face."""

SAME = 0.3
"""Intersection over union from which boxes are of one face."""

OUTPUTS = ("537", "538", "539", "540")
"""The outputs' names: scores, sizes, offsets, and landmarks, which are not used."""


def centerface(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Returns what finds the faces of a uint8 RGB frame, as float64 rows: left, top, right, bottom, score.

    Raises:
      cv2.error: OpenCV cannot read the file.
    """
    network = cv2.dnn.readNetFromONNX(str(path))

    def detect(frame: np.ndarray) -> np.ndarray:
        network.setInput(prepare(frame))
        scores, sizes, offsets, _ = network.forward(OUTPUTS)
        return suppression.best(decode(scores[0, 0], sizes[0], offsets[0]), SAME)

    return detect


def prepare(frame: np.ndarray) -> np.ndarray:
    """Returns the frame as float32 `[1, 3, H, W]` in [0, 255], black below and to the right up to a multiple of 32."""
    height, width = frame.shape[:2]
    below, right = -height % MULTIPLE, -width % MULTIPLE
    padded = np.pad(frame, ((0, below), (0, right), (0, 0)))
    return padded.astype(np.float32).transpose(2, 0, 1)[None]


def decode(scores: np.ndarray, sizes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Returns the boxes that are likely faces, float64 `[N, 5]`: left, top, right, bottom in pixels, score.

    Args:
      scores: `[H, W]` in [0, 1], by cell.
      sizes: `[2, H, W]`: logarithms of height and width in cells.
      offsets: `[2, H, W]`: of the centre from the cell's centre, downwards and to the right, in cells.
    """
    rows, columns = np.nonzero(scores >= SCORE)
    cell = np.stack([columns, rows], axis=1)
    centres = (cell + offsets[::-1, rows, columns].T.astype(np.float64) + 0.5) * STRIDE
    halves = np.exp(sizes[::-1, rows, columns].T.astype(np.float64)) * (STRIDE / 2)
    return np.column_stack([centres - halves, centres + halves, scores[rows, columns]])
