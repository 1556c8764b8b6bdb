"""The flat picture of one person under one light: colours, relief and coverage of what lies on top."""

from typing import NamedTuple

import cv2
import numpy as np

from kdjax.data_pipeline.builders.synthfaces import canvas
from kdjax.data_pipeline.builders.synthfaces.canvas import (
    Grid,
    bump,
    paint,
    planes,
    smooth_step,
    soft,
)
from kdjax.data_pipeline.builders.synthfaces.identity import Appearance, Identity, Layout, Scene

DEPTH = 0.42
"""Height of the middle of a head above its outline, in half image widths."""


class Head(NamedTuple):
    """A head before motion; all arrays are float32 on one grid.

    Attributes:
      grid: positions.
      layers: colours in grey levels times coverage, and coverage, `[4, H, W]`, without eyes and mouth.
      light: brightness factor `[H, W]` of the skin.
      warp: `[3, H, W]` height above the outline, pull of the jaw, pull of the brows.
      inside: distance to the head's outline `[H, W]`, inside positive, in half image widths.
      hair: coverage of the hair before the face `[H, W]`.
      glasses: coverage of the rims `[H, W]`.
    """

    grid: Grid
    layers: np.ndarray
    light: np.ndarray
    warp: np.ndarray
    inside: np.ndarray
    hair: np.ndarray
    glasses: np.ndarray


def build(person: Identity, scene: Scene, size: int) -> Head:
    """Returns the head of a person under a scene's light, for frames of `size` pixels."""
    grid = canvas.grid(size, canvas.EXTENT)
    layout, look = person.layout, person.appearance
    inside = _outline(layout, grid)
    height = _relief(layout, look, grid, inside)
    light, highlight = _lighting(scene, height, grid.unit)
    color = _skin(layout, look, grid) * light + 255.0 * look.shine * highlight
    face = np.maximum(soft(inside, grid.unit), soft(_ears(layout, grid), grid.unit, 6.0))
    hair_color, before, behind = _hair(person, grid)
    hair_color *= 0.35 + 0.65 * light
    paint(color, hair_color, 1.0 - face)
    paint(color, hair_color, before)
    alpha = np.maximum(np.maximum(face, before), behind)
    below = smooth_step(grid.y, layout.nose_y + 0.03, layout.mouth_y + 0.1)
    jaw = below * soft(inside + 0.05, 1.0 / 0.15)
    brows = bump(grid.x, grid.y - layout.eye_y + look.brow_lift, 0.45, 0.09)
    return Head(
        grid=grid,
        layers=np.concatenate([np.clip(color, 0.0, 255.0) * alpha, alpha[None]]),
        light=light,
        warp=np.stack([height, jaw, brows]),
        inside=inside,
        hair=before,
        glasses=_glasses(person, grid),
    )


def _outline(layout: Layout, grid: Grid, grow: float = 0.0) -> np.ndarray:
    """Returns the distance to the head's outline, grown by `grow`, `[H, W]`; inside is positive."""
    narrow = 1.0 - layout.jaw * smooth_step(grid.y, 0.15, 1.1)
    x = np.abs(grid.x) / (layout.half_width * narrow + grow)
    y = np.abs(grid.y) / (layout.half_height + grow)
    power = layout.roundness
    return (1.0 - (x**power + y**power) ** (1.0 / power)) * layout.half_width


def _relief(layout: Layout, look: Appearance, grid: Grid, inside: np.ndarray) -> np.ndarray:
    """Returns the height of the face above the picture plane `[H, W]`."""
    x, y = grid.x, grid.y
    across = np.abs(x)
    radius = 1.0 - np.clip(inside / layout.half_width, 0.0, 1.0)
    height = DEPTH * np.sqrt(1.0 - np.square(radius))
    along = np.clip((y - layout.eye_y) / (layout.nose_y - layout.eye_y), 0.0, 1.3)
    ridge = np.exp(-np.square(x / (look.nose_width * (0.45 + 0.45 * along))))
    height += look.nose_depth * ridge * along**1.3 * soft(layout.nose_y + 0.03 - y, 1.0 / 0.05)
    height += 0.05 * bump(across - look.nose_width, y - layout.nose_y, 0.04, 0.035)
    height -= 0.055 * bump(across - layout.eye_gap, y - layout.eye_y, 0.13, 0.09)
    height += 0.022 * bump(across - layout.eye_gap, y - layout.eye_y + look.brow_lift, 0.16, 0.05)
    height += 0.035 * bump(across - 0.30, y - layout.nose_y + 0.06, 0.15, 0.12)
    height += 0.03 * bump(x, y - layout.mouth_y, look.mouth_width * 1.1, 0.08)
    height += 0.035 * bump(x, y - 0.62, 0.14, 0.10)
    return height


def _lighting(scene: Scene, height: np.ndarray, unit: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the diffuse brightness and the highlight `[H, W]` of a relief under the scene's light."""
    slope_y, slope_x = np.gradient(cv2.GaussianBlur(height, (0, 0), 0.012 * unit) * unit)
    norm = 1.0 / np.sqrt(1.0 + slope_x**2 + slope_y**2)
    x, y, z = scene.light
    diffuse = np.clip((-slope_x * x - slope_y * y + z) * norm, 0.0, None)
    length = float(np.linalg.norm([x, y, z + 1.0]))
    highlight = np.clip((-slope_x * x - slope_y * y + z + 1.0) * norm / length, 0.0, None) ** 24
    return scene.ambient + (1.15 - 0.75 * scene.ambient) * diffuse, highlight


def _skin(layout: Layout, look: Appearance, grid: Grid) -> np.ndarray:
    """Returns the unlit colours of the skin with its marks, nostrils and brows `[3, H, W]`."""
    rng = np.random.default_rng(look.seed)
    x, y, across = grid.x, grid.y, np.abs(grid.x)
    tone = 1.0 + look.blotches * (grid.pattern(rng, 9, 9) + 0.5 * grid.pattern(rng, 22, 22))
    tone += look.pores * grid.grain(rng, 2.6)
    tone -= look.wrinkles * _wrinkles(rng, layout, look, grid)
    beard = smooth_step(y, layout.nose_y + 0.02, layout.nose_y + 0.12)
    tone -= 0.5 * look.beard * beard * np.clip(1.0 + 0.5 * grid.grain(rng, 2.0), 0.0, 2.0)
    for _ in range(look.moles):
        left, top, radius, dark = rng.uniform(
            (-0.4, -0.35, 0.008, 0.2), (0.4, 0.55, 0.016, 0.5)
        ).tolist()
        tone -= dark * bump(x - left, y - top, radius, radius)
    color = planes(look.skin) * tone
    red = bump(across - 0.29, y - layout.nose_y, 0.13, 0.12) + bump(
        x, y - layout.nose_y, 0.09, 0.07
    )
    color *= 1.0 + red * planes((0.035, -0.09, -0.08))
    nostrils = bump(across - 0.55 * look.nose_width, y - layout.nose_y - 0.035, 0.024, 0.014)
    paint(color, 0.25 * planes(look.skin), 0.85 * nostrils)
    paint(color, planes(look.brow), _brows(rng, layout, look, grid))
    return color


def _wrinkles(rng: np.random.Generator, layout: Layout, look: Appearance, grid: Grid) -> np.ndarray:
    """Returns the darkness of the lines on the forehead and beside the nose `[H, W]`."""
    x, y = grid.x, grid.y
    dark = np.zeros_like(x)
    for row in range(3):
        line = layout.eye_y - look.brow_lift - 0.09 - 0.06 * row
        bend = 0.02 * grid.row_pattern(rng, 5)
        dark += 0.07 * np.exp(-np.square((y - line - bend) / 0.009)) * bump(x, y - line, 0.25, 1.0)
    fold = np.abs(x) - look.nose_width - 0.03 - 0.35 * np.clip(y - layout.nose_y, 0.0, None)
    start = smooth_step(y, layout.nose_y - 0.03, layout.nose_y + 0.05)
    end = 1.0 - smooth_step(y, layout.mouth_y - 0.08, layout.mouth_y + 0.03)
    return dark + 0.12 * np.exp(-np.square(fold / 0.016)) * start * end


def _brows(rng: np.random.Generator, layout: Layout, look: Appearance, grid: Grid) -> np.ndarray:
    """Returns the coverage of the brows `[H, W]`."""
    height, width = grid.x.shape
    strands = 1.0 + 0.35 * grid.pattern(rng, height / 6, width / 2.2)
    u = (np.abs(grid.x) - layout.eye_gap) / (1.35 * look.eye_width)
    arch = look.brow_arch * (1.0 - np.square(u - 0.2)) + 0.02 * look.eye_slant * u
    thickness = look.brow_thickness * np.clip(0.7 - 0.4 * u, 0.25, 1.0)
    edge = thickness - np.abs(grid.y - layout.eye_y + look.brow_lift + arch)
    edge = np.minimum(edge, (1.0 - np.abs(u)) * 0.1)
    return np.clip(0.9 * soft(edge, grid.unit, 4.0) * strands, 0.0, 1.0)


def _ears(layout: Layout, grid: Grid) -> np.ndarray:
    """Returns the distance to the ears' outline `[H, W]`."""
    across = layout.half_width + 0.06 - np.abs(grid.x)
    return np.minimum(across, layout.ear - np.abs(grid.y - layout.nose_y + 0.14))


def _hair(person: Identity, grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the hair's colours `[3, H, W]`, and its coverage `[H, W]` before and behind the face."""
    layout, hair = person.layout, person.hair
    rng = np.random.default_rng(hair.seed)
    x, y, width = grid.x, grid.y, grid.x.shape[1]
    strands = grid.pattern(rng, 5, width / 3.0) + 0.8 * grid.pattern(rng, 9, 34)
    gloss = np.exp(-np.square((y + 0.62) / 0.09))
    color = planes(hair.color) * (1.0 + 0.13 * strands + 0.25 * gloss)
    cap = _outline(layout, grid, hair.volume)
    temples = smooth_step(np.abs(x) / layout.half_width, 0.55, 1.0)
    rise = np.clip(1.0 - np.square((x - hair.part) / 0.5), 0.0, 1.0)
    line = layout.eye_y - hair.hairline + hair.fringe * (0.75 + 0.25 * grid.row_pattern(rng, 30))
    line = line + 0.85 * hair.hairline * temples - hair.curve * rise
    before = soft(np.minimum(cap, line - y), grid.unit, 3.0)
    behind = soft(np.minimum(cap, 0.15 - y), grid.unit, 2.0)
    if hair.length:
        sides = layout.half_width + hair.volume - 0.15 * np.square(np.clip(y, 0.0, None))
        fall = np.minimum(sides + 0.01 * strands - np.abs(x), hair.length - y + 0.03 * strands)
        behind = np.maximum(behind, soft(np.minimum(fall, y + 0.1), grid.unit, 2.0))
    return np.clip(color, 0.0, 255.0), before, behind


def _glasses(person: Identity, grid: Grid) -> np.ndarray:
    """Returns the coverage of the rims `[H, W]`."""
    if not person.glasses:
        return np.zeros_like(grid.x)
    layout, rim = person.layout, person.glasses
    across = np.abs(grid.x)
    x, y = across - layout.eye_gap - 0.005, grid.y - layout.eye_y - 0.015
    radius = (np.abs(x / 0.165) ** 3 + np.abs(y / 0.115) ** 3) ** (1 / 3)
    level = rim - np.abs(y + 0.03)
    bridge = np.minimum(level, layout.eye_gap - 0.16 - across)
    arm = np.minimum(level, np.minimum(x - 0.16, layout.half_width + 0.02 - across))
    shape = np.maximum(rim - np.abs(radius - 1.0) * 0.13, np.maximum(bridge, arm))
    return soft(shape, grid.unit, 1.5)
