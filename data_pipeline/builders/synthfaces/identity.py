"""Who is on the picture: the numbers that make one person, one recording and one expression."""

from dataclasses import dataclass, replace

import numpy as np

Color = tuple[float, float, float]
"""Red, green and blue in [0, 255]."""


@dataclass(frozen=True)
class Layout:
    """Shape of a head and where its parts sit, in half image widths; y grows downwards.

    Attributes:
      half_width: from the middle to the cheek.
      half_height: from the middle to the chin.
      jaw: how much the outline narrows towards the chin, 0 (square) to 1 (pointed).
      roundness: exponent of the outline, 2 an ellipse, greater is squarer.
      eye_y: height of the eyes.
      eye_gap: from the middle to each eye's centre.
      nose_y: height of the nose's tip.
      mouth_y: height of the mouth.
      ear: length of the ears.
    """

    half_width: float
    half_height: float
    jaw: float
    roundness: float
    eye_y: float
    eye_gap: float
    nose_y: float
    mouth_y: float
    ear: float


@dataclass(frozen=True)
class Appearance:
    """What a face swap carries over: skin, eyes, brows, nose and mouth; lengths as in `Layout`.

    `eye_slant` is the rise of the outer corner, `brow_arch` of the brow's middle; `pores`,
    `blotches`, `wrinkles` and `beard` are amplitudes relative to the skin's brightness; `seed` draws
    the skin's own pattern.
    """

    skin: Color
    lip: Color
    iris: Color
    brow: Color
    eye_width: float
    eye_height: float
    eye_slant: float
    brow_lift: float
    brow_thickness: float
    brow_arch: float
    nose_width: float
    nose_depth: float
    mouth_width: float
    upper_lip: float
    lower_lip: float
    pores: float
    blotches: float
    wrinkles: float
    beard: float
    moles: int
    shine: float
    seed: int


@dataclass(frozen=True)
class Hair:
    """Hair: its colour, how high the hairline sits, and what it covers.

    Attributes:
      color: of the strands.
      hairline: height of the hairline above the eyes.
      fringe: how far strands hang below the hairline.
      curve: how far the hairline rises at the parting.
      part: where the hair parts, half image widths right of the middle.
      volume: how far the hair stands off the head.
      length: how far hair falls beside the face; 0 is short.
      seed: draws the strands.
    """

    color: Color
    hairline: float
    fringe: float
    curve: float
    part: float
    volume: float
    length: float
    seed: int


@dataclass(frozen=True)
class Identity:
    """One person; `glasses` is the rim's thickness, 0 for none."""

    layout: Layout
    appearance: Appearance
    hair: Hair
    glasses: float
    glasses_color: Color
    clothes: Color


@dataclass(frozen=True)
class Scene:
    """One recording: light, place and camera.

    Attributes:
      light: unit vector towards the light (x right, y down, z to the camera).
      ambient: share of light that comes from everywhere.
      exposure: factor on all brightness.
      tint: factor per colour channel.
      blur: standard deviation of the lens blur in pixels.
      read_noise: standard deviation of the noise in the dark, in grey levels.
      shot_noise: growth of the noise's variance per grey level.
      hand: whether a hand is held before the face.
      seed: draws the background and the hand.
    """

    light: tuple[float, float, float]
    ambient: float
    exposure: float
    tint: Color
    blur: float
    read_noise: float
    shot_noise: float
    hand: bool
    seed: int


def _color(rng: np.random.Generator, dark: Color, light: Color, spread: float) -> Color:
    """Returns a colour between `dark` and `light`, each channel off the line by about `spread`."""
    position = rng.uniform()
    channels = np.array(dark) + position * (np.array(light) - np.array(dark))
    red, green, blue = np.clip(channels + rng.normal(0.0, spread, 3), 8.0, 245.0).tolist()
    return red, green, blue


def draw_identity(rng: np.random.Generator) -> Identity:
    """Returns a random person."""
    skin = _color(rng, (92.0, 60.0, 46.0), (236.0, 196.0, 172.0), 6.0)
    hair_color = _color(rng, (30.0, 24.0, 20.0), (176.0, 136.0, 90.0), 4.0)
    if rng.uniform() < 0.12:
        hair_color = _color(rng, (120.0, 120.0, 122.0), (215.0, 212.0, 208.0), 4.0)
    half_height = rng.uniform(0.70, 0.80)
    eye_y = rng.uniform(-0.13, -0.06)
    mouth_y = eye_y + rng.uniform(0.47, 0.54)
    layout = Layout(
        half_width=rng.uniform(0.50, 0.60),
        half_height=half_height,
        jaw=rng.uniform(0.10, 0.38),
        roundness=rng.uniform(2.0, 2.6),
        eye_y=eye_y,
        eye_gap=rng.uniform(0.205, 0.25),
        nose_y=eye_y + rng.uniform(0.26, 0.32),
        mouth_y=mouth_y,
        ear=rng.uniform(0.13, 0.19),
    )
    red, green, blue = skin
    lip_red = rng.uniform(0.0, 1.0)
    appearance = Appearance(
        skin=skin,
        lip=(
            red * (0.82 + 0.06 * lip_red),
            green * (0.66 - 0.2 * lip_red),
            blue * (0.68 - 0.15 * lip_red),
        ),
        iris=_color(rng, (44.0, 30.0, 22.0), (92.0, 128.0, 150.0), 14.0),
        brow=tuple(0.75 * channel for channel in hair_color),  # type: ignore[arg-type]
        eye_width=rng.uniform(0.095, 0.125),
        eye_height=rng.uniform(0.042, 0.066),
        eye_slant=rng.uniform(-0.10, 0.22),
        brow_lift=rng.uniform(0.115, 0.155),
        brow_thickness=rng.uniform(0.018, 0.042),
        brow_arch=rng.uniform(0.0, 0.05),
        nose_width=rng.uniform(0.06, 0.10),
        nose_depth=rng.uniform(0.12, 0.22),
        mouth_width=rng.uniform(0.16, 0.23),
        upper_lip=rng.uniform(0.022, 0.045),
        lower_lip=rng.uniform(0.032, 0.06),
        pores=rng.uniform(0.015, 0.05),
        blotches=rng.uniform(0.01, 0.05),
        wrinkles=max(0.0, rng.uniform(-0.4, 1.0)),
        beard=max(0.0, rng.uniform(-0.8, 0.5)),
        moles=int(rng.integers(0, 9)),
        shine=rng.uniform(0.02, 0.16),
        seed=int(rng.integers(2**31)),
    )
    hair = Hair(
        color=hair_color,
        hairline=rng.uniform(0.30, 0.40),
        fringe=rng.uniform(0.0, 0.14) if rng.uniform() < 0.35 else 0.0,
        curve=rng.uniform(0.0, 0.24),
        part=rng.normal(0.0, 0.15),
        volume=rng.uniform(0.03, 0.14),
        length=rng.uniform(0.3, 1.1) if rng.uniform() < 0.45 else 0.0,
        seed=int(rng.integers(2**31)),
    )
    return Identity(
        layout=layout,
        appearance=appearance,
        hair=hair,
        glasses=rng.uniform(0.010, 0.022) if rng.uniform() < 0.2 else 0.0,
        glasses_color=_color(rng, (20.0, 20.0, 22.0), (130.0, 90.0, 60.0), 10.0),
        clothes=_color(rng, (30.0, 34.0, 46.0), (200.0, 190.0, 185.0), 30.0),
    )


def draw_scene(rng: np.random.Generator) -> Scene:
    """Returns a random recording."""
    azimuth, height = rng.uniform(-1.0, 1.0), rng.uniform(-0.9, -0.1)
    light = np.array([azimuth, height, rng.uniform(0.7, 1.3)])
    x, y, z = (light / np.linalg.norm(light)).tolist()
    warmth = rng.normal(0.0, 0.05)
    return Scene(
        light=(x, y, z),
        ambient=rng.uniform(0.35, 0.6),
        exposure=rng.uniform(0.85, 1.2),
        tint=(1.0 + warmth, 1.0, 1.0 - warmth),
        blur=rng.uniform(0.3, 0.6),
        read_noise=rng.uniform(2.2, 4.0),
        shot_noise=rng.uniform(0.05, 0.12),
        hand=bool(rng.uniform() < 0.12),
        seed=int(rng.integers(2**31)),
    )


def swapped(target: Identity, source: Identity) -> Identity:
    """Returns the person of a face swap: the target's head and hair with the source's face."""
    return replace(target, appearance=source.appearance)
