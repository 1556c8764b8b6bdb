"""Faces turned upright: the similarity that takes five landmarks to where a standard face has them."""

from pathlib import Path

import cv2
import numpy as np

STANDARD = np.array(
    [
        *([38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366]),
        *([41.5493, 92.3655], [70.7299, 92.2041]),
    ]
)
"""Eyes, tip of the nose and corners of the mouth, left before right as one sees them, in a face of `STANDARD_SIDE`
pixels: those of ArcFace (Deng et al. 2019, arXiv:1801.07698), which DeepfakeBench takes too."""

STANDARD_SIDE = 112

SCHEMES: dict[int, tuple[tuple[int, ...], ...]] = {
    5: ((0,), (1,), (2,), (3,), (4,)),
    68: (tuple(range(36, 42)), tuple(range(42, 48)), (30,), (48,), (54,)),
    81: (tuple(range(36, 42)), tuple(range(42, 48)), (30,), (48,), (54,)),
}
"""Which landmarks make the five, by how many there are: of the 68 of iBUG, and dlib's 81 that begin with them, an eye
is the mean of its outline."""


def five_landmarks(landmarks: np.ndarray) -> np.ndarray | None:
    """Returns eyes, nose and corners of the mouth, float64 `[5, 2]` in pixels, x first.

    Args:
      landmarks: `[K, 2]`, K of `SCHEMES`.

    Returns:
      None for another number of landmarks, or any that is no finite number.
    """
    points = np.asarray(landmarks)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) not in SCHEMES:
        return None
    if not np.issubdtype(points.dtype, np.number) or not np.isfinite(points).all():
        return None
    return np.stack([points[list(part)].mean(axis=0) for part in SCHEMES[len(points)]]).astype(
        np.float64
    )


def read_landmarks(path: Path) -> np.ndarray | None:
    """Returns the five landmarks of a `.npy` file; None where there is no such file, or none in it."""
    try:
        with path.open("rb") as file:
            return five_landmarks(np.load(file, allow_pickle=False))
    except (OSError, ValueError, EOFError):
        return None


def similarity(points: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
    """Returns the shift, turn and scale that takes points nearest to targets, by least squares.

    With points and targets as complex numbers it is `a z + b`: `a = sum(conj(z) w) / sum(|z|^2)` of both about their
    means. It never mirrors.

    Args:
      points: float `[K, 2]`.
      targets: float `[K, 2]`.

    Returns:
      float64 `[2, 3]`, as OpenCV takes it; None when all points are one, or all would become one.
    """
    z, w = (p[:, 0] + 1j * p[:, 1] for p in (np.asarray(points), np.asarray(targets)))
    z0, w0 = z.mean(), w.mean()
    spread = float(np.sum(np.abs(z - z0) ** 2))
    if spread < 1e-9:
        return None
    a = np.sum(np.conj(z - z0) * (w - w0)) / spread
    if abs(a) < 1e-9:
        return None
    b = w0 - a * z0
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def upright(landmarks: np.ndarray, margin: float, size: int) -> np.ndarray | None:
    """Returns the similarity from a frame to the face, upright, in a square of `size` pixels.

    The standard face, `STANDARD_SIDE` wide, lies in the middle of a square `margin` times as wide.

    Args:
      landmarks: float `[5, 2]`, as `five_landmarks` gives them.
      margin: side of the square by that of the face.
      size: side of the square in pixels.

    Returns:
      float64 `[2, 3]`; None when the landmarks are all in one place.
    """
    # landmarks count from the middle of the first pixel, the square from its edge
    centred = (STANDARD + 0.5) / STANDARD_SIDE - 0.5
    return similarity(landmarks, (centred / margin + 0.5) * size - 0.5)


def cut_upright(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Returns the square that a similarity makes of an image; beyond its border the border's pixels go on.

    A square that shrinks the image is taken several times as large first, and then averaged by area.

    Args:
      image: uint8 `[H, W, 3]` or `[H, W]`.
      matrix: float `[2, 3]`, as `upright` gives it for this `size`.
      size: side of the square in pixels.
    """
    times = max(1, round(1 / float(np.hypot(matrix[0, 0], matrix[1, 0]))))
    times = min(times, max(1, 4096 // size))
    enlarged = matrix * times
    # pixels are counted from their middles: the first of the larger square lies further out
    enlarged[:, 2] += (times - 1) / 2
    square = cv2.warpAffine(
        image,
        enlarged,
        (size * times, size * times),
        flags=cv2.INTER_LINEAR if times > 1 else cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if times == 1:
        return square
    return cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA)
