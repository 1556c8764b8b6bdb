"""Forgeries made from real faces alone: a face blended with an altered copy of itself.

In principle after "Detecting Deepfakes with Self-Blended Images" by Shiohara and Yamasaki, 2022
(https://arxiv.org/abs/2204.08376): what such a picture has in common with a face swap is the seam,
and a difference in colour, sharpness and position across it. The paper takes the convex hull of 81
landmarks; here the region is drawn from the detector's box, as a randomly deformed outline.
"""

from typing import NamedTuple

import cv2
import numpy as np

from kdjax import checks
from kdjax.data_pipeline.faces import Box
from kdjax.data_pipeline.traces import upsampling_grid

CORNERS = 32
"""Points of the outline of a region."""

REGIONS = {
    # Centre and half axes as shares of the box: of an upright face, its lower part, its eyes.
    "face": (0.50, 0.52, 0.40, 0.50),
    "lower": (0.50, 0.74, 0.30, 0.26),
    "upper": (0.50, 0.32, 0.40, 0.24),
}

REGION_CHANCES = (0.6, 0.2, 0.2)

OPACITIES = (0.5, 0.75, 1.0, 1.0, 1.0)
"""How much of the altered copy shows inside the region, one drawn at random."""


class Alteration(NamedTuple):
    """What is done to a copy of the picture.

    Attributes:
      shift: added to each of red, green and blue, in steps of 8 bits.
      contrast: multiplies the distance from mid-grey.
      saturation: multiplies the distance from grey of the same brightness.
      sharpness: above 0 sharpens by this much; below 0 shrinks by `1 - sharpness` and enlarges.
    """

    shift: np.ndarray
    contrast: float
    saturation: float
    sharpness: float


def self_blend(
    frames: np.ndarray, box: Box, *, seed: int, sharpness: float = 1.0, grid: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Returns a clip in which a region of the face is an altered copy of itself.

    `mask * altered(moved(frame)) + (1 - mask) * frame`, or the other way round: in half of all
    cases the surroundings are altered and the region is as it was, but moved. Every frame of the
    clip is treated alike.

    Args:
      frames: uint8 RGB `[T, H, W, 3]`.
      box: the face as detected, without margin.
      seed: decides everything that is random.
      sharpness: multiplies how far the copy's sharpness is changed.
      grid: largest strength, in steps of 8 bits, of the grid that the last upsampling of a
        generator leaves; it lies on the region, its strength is drawn from 0 on.

    Returns:
      uint8 `[T, H, W, 3]`, and a mask uint8 `[H, W]` that is 255 where a pixel was replaced.
    """
    checks.check_rank("frames", frames, 4)
    generator = np.random.default_rng(seed)
    alteration = draw_alteration(generator)
    alteration = alteration._replace(sharpness=sharpness * alteration.sharpness)
    region = draw_region(frames.shape[1:3], box, generator)
    motion = _draw_motion(box, generator)
    opacity = generator.choice(OPACITIES)
    inside_altered = generator.random() < 0.5
    trace = _draw_grid(frames.shape[1:3], grid, generator)
    region = _move(region, motion, cv2.BORDER_REPLICATE)
    weights = (opacity * region)[..., None]
    blended = []
    for frame in frames:
        altered = alter(frame, alteration)
        inside, outside = (altered, frame) if inside_altered else (frame, altered)
        inside = _move(inside, motion, cv2.BORDER_REFLECT_101).astype(np.float32)
        pixels = outside + weights * (inside - outside + trace)
        blended.append(np.rint(np.clip(pixels, 0, 255)).astype(np.uint8))
    return np.stack(blended), np.where(region > 0.5, 255, 0).astype(np.uint8)


def draw_alteration(generator: np.random.Generator) -> Alteration:
    """Draws a change of colour, and one of sharpness that is never nothing."""
    blurs = generator.random() < 0.5
    sharpness = -generator.uniform(1, 3) if blurs else generator.uniform(0.5, 2.0)
    return Alteration(
        shift=generator.uniform(-20, 20, 3).astype(np.float32),
        contrast=float(generator.uniform(0.85, 1.15)),
        saturation=float(generator.uniform(0.7, 1.3)),
        sharpness=float(sharpness),
    )


def alter(frame: np.ndarray, alteration: Alteration) -> np.ndarray:
    """Returns a uint8 RGB frame `[H, W, 3]` with the alteration applied."""
    height, width = frame.shape[:2]
    if alteration.sharpness < 0:
        scale = 1 / (1 - alteration.sharpness)
        small = (max(1, round(width * scale)), max(1, round(height * scale)))
        shrunk = cv2.resize(frame, small, interpolation=cv2.INTER_AREA)
        pixels = cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_CUBIC)
        pixels = pixels.astype(np.float32)
    else:
        pixels = frame.astype(np.float32)
        pixels = pixels + alteration.sharpness * (pixels - cv2.GaussianBlur(pixels, (0, 0), 1.0))
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)[..., None]
    pixels = grey + alteration.saturation * (pixels - grey)
    pixels = 128 + alteration.contrast * (pixels - 128) + alteration.shift[None, None]
    return np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)


def draw_region(shape: tuple[int, int], box: Box, generator: np.random.Generator) -> np.ndarray:
    """Draws a soft-edged region of a face: float32 `[H, W]` in [0, 1].

    The convex hull of an ellipse whose points have moved at random, then blurred by 1 to 7 % of
    the face's width, so that its border is anything from a cut to a slow fade.
    """
    name = generator.choice(list(REGIONS), p=REGION_CHANCES)
    centre_x, centre_y, half_width, half_height = REGIONS[name]
    angles = np.arange(CORNERS) * (2 * np.pi / CORNERS)
    radius = 1 + generator.uniform(-0.15, 0.15) + generator.uniform(-0.1, 0.1, CORNERS)
    x = box.left + box.width * (centre_x + half_width * radius * np.cos(angles))
    y = box.top + box.height * (centre_y + half_height * radius * np.sin(angles))
    outline = cv2.convexHull(np.stack([x, y], axis=1).round().astype(np.int32))
    region = np.zeros(shape, np.float32)
    cv2.fillConvexPoly(region, outline, 1.0)
    return cv2.GaussianBlur(region, (0, 0), max(0.5, generator.uniform(0.01, 0.07) * box.width))


def _draw_grid(
    shape: tuple[int, int], strongest: float, generator: np.random.Generator
) -> np.ndarray:
    """Draws what an upsampling adds to grey: float32 `[H, W, 1]`."""
    height, width = shape
    pattern = upsampling_grid(generator, (max(shape) + 1) // 2)[:height, :width, None]
    return np.float32(strongest * generator.uniform()) * pattern


def _draw_motion(box: Box, generator: np.random.Generator) -> np.ndarray:
    """Draws a shift by up to 3 % and a zoom by up to 5 % about the face's centre, float `[2, 3]`."""
    zoom = generator.uniform(0.95, 1.05)
    shift = generator.uniform(-0.03, 0.03, 2) * (box.width, box.height)
    centre = np.array([(box.left + box.right) / 2, (box.top + box.bottom) / 2])
    return np.column_stack([zoom * np.eye(2), centre * (1 - zoom) + shift])


def _move(image: np.ndarray, motion: np.ndarray, border: int) -> np.ndarray:
    size = image.shape[1::-1]
    return cv2.warpAffine(image, motion, size, flags=cv2.INTER_LINEAR, borderMode=border)
