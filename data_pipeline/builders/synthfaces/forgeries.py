"""Five ways to forge a recorded clip, each with the traces its kind is known for.

Every forgery redraws the target's clip with something changed, degrades what it drew the way its kind
of generator does, and blends it into the *recorded* frames: outside the mask a fake is its target, bit
for bit. The frames keep pose, place and brightness, so nothing but the forgery tells fake from real.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np

from kdjax.data_pipeline.builders.synthfaces import motion, render
from kdjax.data_pipeline.builders.synthfaces.canvas import soft
from kdjax.data_pipeline.builders.synthfaces.face import Head
from kdjax.data_pipeline.builders.synthfaces.identity import Scene, swapped
from kdjax.data_pipeline.builders.synthfaces.motion import State
from kdjax.data_pipeline.builders.synthfaces.performance import Performance
from kdjax.data_pipeline.builders.synthfaces.render import Renderer
from kdjax.data_pipeline.traces import upsampling_grid

REFERENCE_SIZE = 64
"""Widths of soft borders are given in pixels of a frame of this size."""


class Forged(NamedTuple):
    """A forged clip: `frames` uint8 `[T, S, S, 3]`, `masks` uint8 `[T, S, S]`, 255 where it was changed."""

    frames: np.ndarray
    masks: np.ndarray


@dataclass(frozen=True)
class Traces:
    """What a kind of generator leaves; ranges are drawn from once a clip.

    Attributes:
      reduction: how many times smaller the picture was on its way; detail is lost.
      grid: amplitude of the upsampling grid, relative to brightness.
      noise: deviation of the noise in the face, relative to the camera's.
      smoothing: standard deviation of a blur in pixels.
      color: deviation of the error in colour that is left after matching, in grey levels.
      border: standard deviation of the mask's soft edge, in pixels at `REFERENCE_SIZE`.
    """

    reduction: tuple[float, float] = (1.0, 1.0)
    grid: tuple[float, float] = (0.0, 0.0)
    noise: tuple[float, float] = (0.0, 0.0)
    smoothing: tuple[float, float] = (0.0, 0.0)
    color: float = 0.0
    border: float = 1.0


TRACES = {
    "autoencoder": Traces((1.6, 2.1), (0.025, 0.045), (0.0, 0.0), (0.0, 0.0), 5.0, 2.2),
    "graphics": Traces((1.3, 1.7), (0.0, 0.0), (0.9, 1.5), (0.0, 0.0), 8.0, 0.35),
    "expression": Traces((1.15, 1.4), (0.0, 0.0), (0.0, 0.0), (0.4, 0.7), 1.5, 1.6),
    "mouth": Traces((1.1, 1.3), (0.012, 0.022), (0.0, 0.0), (0.2, 0.5), 1.0, 1.6),
    "occlusion": Traces((1.1, 1.4), (0.0, 0.0), (0.3, 0.5), (0.2, 0.5), 4.0, 1.0),
}
"""The traces of each kind of forgery."""


def forge(kind: str, target: Performance, source: Performance, rng: np.random.Generator) -> Forged:
    """Returns the forged version of a recorded clip.

    Args:
      kind: one of `TRACES`.
      target: the clip to forge.
      source: whose face, expression or mouth is put in; frames are taken in the same order.
      rng: decides the strength of the traces.
    """
    traces = TRACES[kind]
    renderer, states = _REDRAWN[kind](target, source)
    region = _region(kind, target, rng)
    alphas = [_alpha(kind, target, region, state, traces.border) for state in target.states]
    images = [renderer.frame(state) for state in states]
    error = rng.normal(0.0, traces.color) + rng.normal(0.0, 0.5 * traces.color, 3)
    images = _matched(images, target.frames, alphas, error.astype(np.float32))
    images = _generated(images, target, traces, rng)
    frames = [
        np.clip(np.rint(alpha[..., None] * image + (1.0 - alpha[..., None]) * frame), 0, 255)
        for alpha, image, frame in zip(alphas, images, target.frames, strict=True)
    ]
    masks = np.stack(alphas) > 0.0
    return Forged(np.stack(frames).astype(np.uint8), np.where(masks, 255, 0).astype(np.uint8))


def _swap(target: Performance, source: Performance) -> tuple[Renderer, list[State]]:
    """The source's face acts as the target does, in the target's light."""
    person = swapped(target.person, source.person)
    return Renderer(person, target.scene, target.size, around=target.renderer), target.states


def _swap_relit(target: Performance, source: Performance) -> tuple[Renderer, list[State]]:
    """The source's face acts as the target does, lit half as it was where it was recorded."""
    light = np.array(target.scene.light) + np.array(source.scene.light)
    x, y, z = (light / np.linalg.norm(light)).tolist()
    person = swapped(target.person, source.person)
    scene = replace(target.scene, light=(x, y, z))
    return Renderer(person, scene, target.size, around=target.renderer), target.states


def _reenact(target: Performance, source: Performance) -> tuple[Renderer, list[State]]:
    """The target's face makes the source's expressions."""
    return target.renderer, motion.with_pose_of(source.states, target.states)


def _revoice(target: Performance, source: Performance) -> tuple[Renderer, list[State]]:
    """The target's mouth moves as the source's does."""
    return target.renderer, motion.with_mouth_of(target.states, source.states)


_REDRAWN: dict[str, Callable[[Performance, Performance], tuple[Renderer, list[State]]]] = {
    "autoencoder": _swap,
    "graphics": _swap_relit,
    "expression": _reenact,
    "mouth": _revoice,
    "occlusion": _swap,
}


def _region(kind: str, target: Performance, rng: np.random.Generator) -> np.ndarray:
    """Returns the part of the target's flat face that is replaced, `[H, W]` in [0, 1]."""
    layout, look, head = target.person.layout, target.person.appearance, target.renderer.head
    grid = head.grid
    if kind == "mouth":
        u, v = grid.x / (look.mouth_width + 0.12), (grid.y - layout.mouth_y - 0.035) / 0.19
        return soft((1.0 - np.hypot(u, v)) * 0.19, grid.unit)
    top, bottom = layout.eye_y - look.brow_lift - 0.07, layout.half_height - 0.05
    middle, height, width = (top + bottom) / 2, (bottom - top) / 2, 0.86 * layout.half_width
    if kind == "graphics":
        return _polygon(head, rng, (middle, width, height))
    oval = (np.abs(grid.x / width) ** 2.4 + np.abs((grid.y - middle) / height) ** 2.4) ** (1 / 2.4)
    return soft(np.minimum((1.0 - oval) * width, head.inside - 0.02), grid.unit)


def _polygon(head: Head, rng: np.random.Generator, oval: tuple[float, float, float]) -> np.ndarray:
    """Returns a polygon of a dozen irregular corners near an oval (middle, width, height), `[H, W]`."""
    middle, width, height = oval
    angles = np.sort(np.linspace(0, 2 * np.pi, 12, endpoint=False) + rng.uniform(-0.15, 0.15, 12))
    radius = rng.uniform(0.93, 1.07, 12)
    corners = np.stack(
        [radius * width * np.cos(angles), middle + radius * height * np.sin(angles)], 1
    )
    pixels = (corners - [float(head.grid.x[0, 0]), float(head.grid.y[0, 0])]) * head.grid.unit
    region = np.zeros(head.grid.x.shape, np.float32)
    cv2.fillPoly(region, [np.rint(16 * pixels).astype(np.int32)], 1.0, cv2.LINE_AA, shift=4)
    return region


def _alpha(
    kind: str, target: Performance, region: np.ndarray, state: State, border: float
) -> np.ndarray:
    """Returns the blending weight of the generated picture, `[S, S]`, exactly 0 outside its soft edge."""
    alpha = target.renderer.moved(region, state)
    alpha = cv2.GaussianBlur(alpha, (0, 0), border * target.size / REFERENCE_SIZE)
    if kind == "occlusion":
        alpha = alpha * (1.0 - target.renderer.occluders(state))
    return np.clip((alpha - 0.03) / 0.94, 0.0, 1.0)


def _matched(
    images: list[np.ndarray], frames: np.ndarray, alphas: list[np.ndarray], error: np.ndarray
) -> list[np.ndarray]:
    """Returns the images with the frames' mean colour inside the mask, but for an error `[3]`."""
    weights = np.stack(alphas)
    difference = np.einsum("tij,tijc->c", weights, frames - np.stack(images))
    shift = difference / max(float(weights.sum()), 1.0) + error
    return [image + shift for image in images]


def _generated(
    images: list[np.ndarray], target: Performance, traces: Traces, rng: np.random.Generator
) -> list[np.ndarray]:
    """Returns the images as a generator would give them: degraded, with its own grid and noise."""
    reduction, grid = rng.uniform(*traces.reduction), rng.uniform(*traces.grid)
    noise, smoothing = rng.uniform(*traces.noise), rng.uniform(*traces.smoothing)
    tile = upsampling_grid(rng, target.size)
    stretch = rng.uniform(1.0, 1.3)
    results = []
    for image, state in zip(images, target.states, strict=True):
        if noise:
            image = render.record(image, _louder(target, noise), rng).astype(np.float32)
        small = (round(target.size / reduction),) * 2
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, (target.size,) * 2, interpolation=cv2.INTER_LINEAR)
        if smoothing:
            image = cv2.GaussianBlur(image, (0, 0), smoothing)
        if grid:
            image = image * (1.0 + grid * _laid(tile, state, stretch))[..., None]
        results.append(image)
    return results


def _louder(target: Performance, factor: float) -> Scene:
    """Returns the target's scene with a camera whose noise is `factor` times as strong."""
    scene = target.scene
    return replace(
        scene, read_noise=factor * scene.read_noise, shot_noise=factor**2 * scene.shot_noise
    )


def _laid(tile: np.ndarray, state: State, stretch: float) -> np.ndarray:
    """Returns the grid as it lies on the moving face, `[S, S]`: turned, scaled and shifted with it."""
    size = tile.shape[0] // 2
    move = cv2.getRotationMatrix2D((size, size), -np.degrees(state.roll), stretch * state.scale)
    move[:, 2] += np.array([state.x, state.y]) * size / 2 - size / 2
    return cv2.warpAffine(tile, move, (size, size), flags=cv2.INTER_LINEAR)
