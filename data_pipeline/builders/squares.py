"""What is cut out of a frame: the square around a face, moved a little, or turned upright."""

from typing import NamedTuple

import numpy as np

from kdjax.data_pipeline import alignment, clips, faces
from kdjax.data_pipeline.builders.options import MediaConfig

_CAMERA = 1
"""Keeps the draws of the square apart from those of the forgery."""


class Scene(NamedTuple):
    """What a face is cut out of: whole frames uint8 `[T, H, W, 3]`, the face, the square around it."""

    frames: np.ndarray
    box: faces.Box
    square: faces.Square


def square_of(
    clip: clips.Clip, box: faces.Box, points: np.ndarray | None, config: MediaConfig
) -> faces.Square:
    """Returns the face turned upright by its landmarks, or the square around it where there are none to go by."""
    matrix = None
    if points is not None:
        matrix = alignment.upright(points, config.margin, config.image_size)
    if matrix is not None:
        return matrix
    return faces.square_around(box, config.margin, *clip.frames.shape[1:3])


def moved_square(scene: Scene, config: MediaConfig, seed: int) -> faces.Box:
    """Returns the square to cut out, moved by up to 8 % and scaled by up to 15 %."""
    box, frames = scene.box, scene.frames
    generator = np.random.default_rng([seed, _CAMERA])
    margin = config.margin * generator.uniform(0.85, 1.15)
    right, down = generator.uniform(-0.08, 0.08, 2) * margin * max(box.width, box.height)
    moved = np.add(box, np.rint([right, down, right, down])).astype(int)
    return faces.square_around(faces.Box(*moved.tolist()), margin, *frames.shape[1:3])
