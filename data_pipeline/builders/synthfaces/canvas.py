"""Coordinates, soft edges, random patterns: what every drawing needs.

All float32 and planar, `[3, H, W]`: NumPy is an order of magnitude slower where the last axis is short.
"""

from typing import NamedTuple

import cv2
import numpy as np

EXTENT = 1.2
"""The flat picture of a head reaches from -EXTENT to EXTENT; the frame shows -1 to 1."""


class Grid(NamedTuple):
    """Positions of pixel centres, `x` and `y` `[H, W]` in half image widths; `unit` pixels make one."""

    x: np.ndarray
    y: np.ndarray
    unit: float

    def window(
        self, x: float, y: float, half_width: float, half_height: float
    ) -> tuple[slice, slice]:
        """Returns rows and columns of a box around a point, cut to the grid."""
        left, top = float(self.x[0, 0]), float(self.y[0, 0])
        rows = [(y + side * half_height - top) * self.unit for side in (-1, 1)]
        columns = [(x + side * half_width - left) * self.unit for side in (-1, 1)]
        return _clipped(rows, self.x.shape[0]), _clipped(columns, self.x.shape[1])

    def cut(self, rows: slice, columns: slice) -> "Grid":
        """Returns the part of the grid in a window."""
        return Grid(self.x[rows, columns], self.y[rows, columns], self.unit)

    def pattern(self, rng: np.random.Generator, rows: float, columns: float) -> np.ndarray:
        """Returns smooth noise `[H, W]` of about unit deviation with so many knots along each axis."""
        return _smooth_noise(rng, self.x.shape, (rows, columns))

    def grain(self, rng: np.random.Generator, pixels: float) -> np.ndarray:
        """Returns noise `[H, W]` of about unit deviation whose grains are `pixels` wide."""
        return self.pattern(rng, self.x.shape[0] / pixels, self.x.shape[1] / pixels)

    def row_pattern(self, rng: np.random.Generator, columns: float) -> np.ndarray:
        """Returns smooth noise `[1, W]` along x."""
        return _smooth_noise(rng, (1, self.x.shape[1]), (2, columns))


def _clipped(bounds: list[float], size: int) -> slice:
    low, high = int(np.floor(bounds[0])), int(np.ceil(bounds[1])) + 1
    return slice(min(max(low, 0), size), min(max(high, 0), size))


def _smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], knots: tuple[float, float]
) -> np.ndarray:
    values = rng.standard_normal([max(2, round(count)) for count in knots], dtype=np.float32)
    return 1.5 * cv2.resize(values, shape[::-1], interpolation=cv2.INTER_CUBIC)


def grid(size: int, extent: float, fineness: int = 2) -> Grid:
    """Returns the square grid from -extent to extent, `fineness` points to a pixel of the frame."""
    count = fineness * round(size * extent)
    axis = (np.arange(count, dtype=np.float32) + 0.5) * (2 * extent / count) - extent
    x, y = np.meshgrid(axis, axis)
    return Grid(x, y, count / (2 * extent))


def soft(distance: np.ndarray, unit: float, width: float = 1.0) -> np.ndarray:
    """Returns how much of a pixel is covered by a shape, from its signed distance (inside positive).

    `width` is the width of the edge in pixels.
    """
    return np.clip(0.5 + distance * (unit / width), 0.0, 1.0)


def bump(x: np.ndarray, y: np.ndarray, width: float, height: float) -> np.ndarray:
    """Returns `exp(-(x/width)^2 - (y/height)^2)`."""
    return np.exp(-np.square(x / width) - np.square(y / height))


def smooth_step(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """Returns 0 below `low`, 1 above `high` and a cubic between."""
    position = np.clip((value - low) / (high - low), 0.0, 1.0)
    return position * position * (3.0 - 2.0 * position)


def planes(color: tuple[float, ...]) -> np.ndarray:
    """Returns a colour as `[3, 1, 1]`, to be broadcast over planes."""
    return np.asarray(color, np.float32)[:, None, None]


def paint(image: np.ndarray, color: np.ndarray, coverage: np.ndarray) -> None:
    """Lays `color` (`[3, 1, 1]` or `[3, H, W]`) over `image` `[3, H, W]` in place."""
    image += coverage * (color - image)
