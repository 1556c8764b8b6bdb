"""How a head moves and talks over a clip."""

from dataclasses import dataclass, fields, replace

import numpy as np


@dataclass(frozen=True)
class State:
    """Pose and expression of one frame.

    `yaw` and `pitch` shift a point by its height above the head's outline, `roll` is in radians, `x`
    and `y` in half image widths, `scale` relative; `mouth_open`, `smile`, `brow`, `blink` (1 closed)
    and the gaze are in the units of the drawing functions.
    """

    yaw: float
    pitch: float
    roll: float
    x: float
    y: float
    scale: float
    mouth_open: float
    smile: float
    brow: float
    blink: float
    gaze_x: float
    gaze_y: float


POSE = ("yaw", "pitch", "roll", "x", "y", "scale")
MOUTH = ("mouth_open", "smile")


def _wave(
    rng: np.random.Generator, length: int, mean: float, swing: float, rate: float
) -> np.ndarray:
    """Returns a smooth random curve `[length]` around `mean`: three sines of at most `rate` a frame."""
    time = np.arange(length)
    frequency = rng.uniform(0.2, 1.0, 3) * rate
    phase = rng.uniform(0.0, 2 * np.pi, 3)
    waves = np.sin(2 * np.pi * frequency[:, None] * time[None, :] + phase[:, None])
    return mean + swing * waves.mean(axis=0)


def draw_track(rng: np.random.Generator, length: int) -> list[State]:
    """Returns the states of a clip of `length` frames."""
    talking = _wave(rng, length, 0.0, 1.0, 0.16)
    loudness = rng.uniform(0.02, 0.16)
    blink_at, time = rng.uniform(-length, 2 * length), np.arange(length)
    curves = {
        "yaw": _wave(rng, length, rng.uniform(-0.28, 0.28), 0.12, 0.03),
        "pitch": _wave(rng, length, rng.uniform(-0.14, 0.12), 0.08, 0.04),
        "roll": _wave(rng, length, rng.normal(0.0, 0.05), 0.05, 0.03),
        "x": _wave(rng, length, rng.uniform(-0.05, 0.05), 0.03, 0.03),
        "y": _wave(rng, length, rng.uniform(-0.05, 0.05), 0.02, 0.05),
        "scale": _wave(rng, length, rng.uniform(0.94, 1.08), 0.015, 0.03),
        "mouth_open": loudness * np.clip(0.25 + 1.6 * talking, 0.0, 1.5),
        "smile": _wave(rng, length, rng.uniform(-0.03, 0.07), 0.03, 0.05),
        "brow": _wave(rng, length, rng.uniform(-0.01, 0.015), 0.02, 0.06),
        "blink": np.clip(1.3 - np.abs(time - blink_at) / 1.5, 0.0, 1.0),
        "gaze_x": _wave(rng, length, rng.uniform(-0.25, 0.25), 0.2, 0.03),
        "gaze_y": _wave(rng, length, rng.uniform(-0.15, 0.15), 0.1, 0.03),
    }
    names = [field.name for field in fields(State)]
    return [State(*row) for row in zip(*(curves[name].tolist() for name in names), strict=True)]


def with_pose_of(expressions: list[State], poses: list[State]) -> list[State]:
    """Returns the states of `expressions` moved to the poses of `poses`, frame by frame."""
    return [
        replace(expression, **{name: getattr(pose, name) for name in POSE})
        for expression, pose in zip(expressions, poses, strict=True)
    ]


def with_mouth_of(states: list[State], mouths: list[State]) -> list[State]:
    """Returns `states` with the mouth of `mouths`, frame by frame."""
    return [
        replace(state, **{name: getattr(mouth, name) for name in MOUTH})
        for state, mouth in zip(states, mouths, strict=True)
    ]
