"""What surrounds a head: the place, neck and shoulders behind it, at times a hand before it."""

import numpy as np

from kdjax.data_pipeline.builders.synthfaces.canvas import Grid, paint, planes, smooth_step, soft
from kdjax.data_pipeline.builders.synthfaces.identity import Identity, Scene

FINGER = 0.062
"""Half the width of a finger, in half image widths."""


def place(person: Identity, scene: Scene, grid: Grid) -> np.ndarray:
    """Returns wall, neck and shoulders `[3, H, W]`."""
    image = _wall(np.random.default_rng([scene.seed, 0]), grid)
    rng = np.random.default_rng([scene.seed, 1])
    x, y = grid.x, grid.y
    toward_light = float(np.sign(scene.light[0]))
    light = scene.ambient + (1.1 - scene.ambient) * np.clip(
        0.75 + 0.25 * toward_light * x, 0.0, 1.0
    )
    neck = 0.62 * person.layout.half_width - np.abs(x) + 0.12 * np.clip(y - 0.75, 0.0, None)
    tone = 0.62 + 0.25 * smooth_step(y, 0.7, 1.1) + person.appearance.pores * grid.grain(rng, 2.6)
    tone *= 0.8 + 0.25 * np.clip(1.0 - np.abs(x - 0.3 * scene.light[0]) / 0.5, 0.0, 1.0)
    paint(
        image,
        planes(person.appearance.skin) * tone,
        soft(np.minimum(neck, y - 0.2), grid.unit, 2.0),
    )
    shoulders = np.minimum(
        0.92 - np.abs(x) + 0.06 * y, y - 0.86 - 0.25 * np.square(x) + 0.12 * np.abs(x)
    )
    across, along, contrast = rng.uniform((8.0, 0.0, 0.0), (40.0, 20.0, 0.12)).tolist()
    cloth = (
        1.0 + contrast * np.sign(np.sin(across * x + along * y)) + 0.05 * grid.pattern(rng, 8, 8)
    )
    paint(image, planes(person.clothes) * cloth, soft(shoulders, grid.unit, 2.0))
    return np.clip(image * light, 0.0, 255.0)


def _wall(rng: np.random.Generator, grid: Grid) -> np.ndarray:
    """Returns a background of soft and sharp shapes with a texture of its own, `[3, H, W]`."""
    x, y = grid.x, grid.y
    base, slopes = rng.uniform(40.0, 200.0, 3), rng.normal(0.0, 18.0, (2, 3)).tolist()
    grey = rng.uniform(60.0, 170.0)
    image = (
        planes((0.4 * base + 0.6 * grey).tolist()) + planes(slopes[0]) * x + planes(slopes[1]) * y
    )
    for _ in range(int(rng.integers(2, 7))):
        left, top = rng.uniform(-1.1, 1.1, 2).tolist()
        width, height = rng.uniform(0.08, 0.6, 2).tolist()
        angle, power = rng.normal(0.0, 0.2), float(rng.choice([2.0, 8.0]))
        u = np.abs(x - left + angle * (y - top)) / width
        v = np.abs(y - top - angle * (x - left)) / height
        edge = (1.0 - (u**power + v**power) ** (1 / power)) * min(width, height)
        tint = rng.uniform(-40.0, 40.0, 3) + rng.uniform(50.0, 200.0)
        opacity, width = rng.uniform((0.3, 1.0), (1.0, 16.0)).tolist()
        paint(image, planes(tint.tolist()), opacity * soft(edge, grid.unit, width))
    pixels, stretch, contrast = rng.uniform((2.5, 0.2, 0.0), (12.0, 1.0, 7.0)).tolist()
    count = grid.x.shape[0] / pixels
    return image + contrast * grid.pattern(rng, count, count * stretch)


def hand(person: Identity, scene: Scene, grid: Grid) -> np.ndarray:
    """Returns a hand before cheek or chin: colours times coverage, and coverage, `[4, H, W]`."""
    rng = np.random.default_rng([scene.seed, 2])
    side = float(rng.choice([-1.0, 1.0]))
    left, top = side * rng.uniform(0.42, 0.6), rng.uniform(0.55, 0.8)
    depth = np.full(grid.x.shape, -1.0, np.float32)
    for finger in range(4):
        angle, length = np.pi / 2 + side * (0.28 + 0.18 * finger), rng.uniform(0.36, 0.5)
        x = grid.x - left + side * 0.085 * (finger - 1.5)
        y = grid.y - top - 0.03 * finger
        reach_x, reach_y = length * float(np.cos(angle)), -length * float(np.sin(angle))
        along = np.clip((x * reach_x + y * reach_y) / length**2, -0.9, 1.0)
        depth = np.maximum(depth, FINGER - np.hypot(x - along * reach_x, y - along * reach_y))
    rounded = np.sqrt(np.clip(depth / FINGER, 0.0, 1.0))
    tone = 0.45 + 0.6 * rounded + person.appearance.pores * grid.grain(rng, 2.6)
    coverage = soft(depth, grid.unit, 1.5)
    color = np.clip(planes(person.appearance.skin) * tone, 0.0, 255.0)
    return np.concatenate([color * coverage, coverage[None]])
