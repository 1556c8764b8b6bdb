"""Photographs of faces altered on purpose, the face's box along with them, and images that show no face."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from kdjax.data_pipeline.faces import Box

GREY = 127
"""What surrounds a photograph in a larger frame."""


class Photograph(NamedTuple):
    """A photograph of one face.

    Attributes:
      pixels: uint8 RGB.
      face: where the face is.
      seed: of what is drawn for it.
    """

    pixels: np.ndarray
    face: Box
    seed: int


Scene = Callable[[Photograph], Photograph]


def turned(photograph: Photograph, *, degrees: float) -> Photograph:
    """Returns the photograph turned in its plane on a grey square that holds all of it.

    The new box is that of the ellipse in the old one.
    """
    height, width = photograph.pixels.shape[:2]
    side = int(np.ceil(np.hypot(height, width)))
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    matrix[:, 2] += (side - width) / 2, (side - height) / 2
    pixels = cv2.warpAffine(
        *(photograph.pixels, matrix, (side, side)), flags=cv2.INTER_LINEAR, borderValue=(GREY,) * 3
    )
    face = photograph.face
    middle = matrix @ ((face.left + face.right) / 2, (face.top + face.bottom) / 2, 1)
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    halves = np.hypot(
        (face.width / 2 * cosine, face.width / 2 * sine),
        (face.height / 2 * sine, face.height / 2 * cosine),
    )
    edges = np.concatenate([middle - halves, middle + halves])
    return photograph._replace(pixels=pixels, face=_box(edges))


def placed(photograph: Photograph, *, scale: float, height: int, width: int) -> Photograph:
    """Returns the photograph shrunk, somewhere in a larger grey frame."""
    small = _resized(photograph, scale, scale)
    rows, columns = small.pixels.shape[:2]
    rng = np.random.default_rng(photograph.seed)
    top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
    pixels = np.full((height, width, 3), GREY, np.uint8)
    pixels[top : top + rows, left : left + columns] = small.pixels
    moved = np.add(small.face, (left, top, left, top))
    return small._replace(pixels=pixels, face=_box(moved))


def looking_away(photograph: Photograph, *, degrees: float) -> Photograph:
    """Returns the photograph with the head turned about its long axis, as if the face were drawn on an ellipsoid.

    What comes round from behind is smeared: profiles of real heads show more. The new box is as high as the old one and
    holds what is still seen of it from side to side.
    """
    height, width = photograph.pixels.shape[:2]
    face = photograph.face
    middle, radius = (face.left + face.right) / 2, 0.62 * face.width
    across = np.arange(width, dtype=np.float32)[None] - middle
    down = (np.arange(height, dtype=np.float32)[:, None] - (face.top + face.bottom) / 2) / (
        0.85 * face.height
    )
    reach = radius * np.sqrt(np.maximum(1 - down**2, 1e-6))
    angles = np.arcsin(np.clip(across / reach, -1, 1)) + np.radians(degrees)
    source = middle + reach * np.sin(np.minimum(angles, np.pi / 2))
    inside = (np.abs(across) < reach) & (np.abs(down) < 1)
    x = np.where(inside, source, across + middle).astype(np.float32)
    y = np.broadcast_to(np.arange(height, dtype=np.float32)[:, None], x.shape).copy()
    pixels = cv2.remap(photograph.pixels, x, y, cv2.INTER_LINEAR)
    half, turn = np.arcsin(face.width / 2 / radius), np.radians(degrees)
    left = middle - radius * np.sin(min(half + turn, np.pi / 2))
    edges = np.array([left, face.top, middle + radius * np.sin(half - turn), face.bottom])
    return photograph._replace(pixels=pixels, face=_box(edges))


def blurred(photograph: Photograph, *, sigma: float) -> Photograph:
    """Returns the photograph blurred by a Gaussian of `sigma` pixels."""
    return photograph._replace(pixels=cv2.GaussianBlur(photograph.pixels, (0, 0), sigma))


def darkened(photograph: Photograph, *, share: float) -> Photograph:
    """Returns the photograph with a share of its brightness, rounded to 8 bits."""
    return photograph._replace(pixels=np.uint8(np.round(photograph.pixels * share)))


def packed(photograph: Photograph, *, quality: int) -> Photograph:
    """Returns the photograph as JPEG leaves it."""
    done, data = cv2.imencode(".jpg", photograph.pixels, (cv2.IMWRITE_JPEG_QUALITY, quality))
    assert done
    return photograph._replace(pixels=cv2.imdecode(data, cv2.IMREAD_COLOR))


def covered(photograph: Photograph, *, share: float) -> Photograph:
    """Returns the photograph with the lower share of the face's box painted grey, as a mask would cover it."""
    left, top, right, bottom = photograph.face
    pixels = photograph.pixels.copy()
    start = round(bottom - share * (bottom - top))
    pixels[max(start, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = GREY
    return photograph._replace(pixels=pixels)


def corners(photograph: Photograph) -> list[np.ndarray]:
    """Returns those corners, a fifth of the photograph wide, that keep clear of the face; at five times the size."""
    height, width = photograph.pixels.shape[:2]
    side = min(height, width) // 5
    face = photograph.face
    across, down = face.width // 10, face.height // 10
    found = []
    for y in (0, height - side):
        for x in (0, width - side):
            beside = x + side <= face.left - across or x >= face.right + across
            if beside or y + side <= face.top - down or y >= face.bottom + down:
                piece = photograph.pixels[y : y + side, x : x + side]
                found.append(cv2.resize(piece, None, fx=5, fy=5, interpolation=cv2.INTER_CUBIC))
    return found


def scrambled(photograph: Photograph) -> list[np.ndarray]:
    """Returns an image with the photograph's spectrum, its phases those of noise: a texture, and no face."""
    noise = np.random.default_rng(photograph.seed).normal(size=photograph.pixels.shape[:2])
    phases = np.exp(1j * np.angle(np.fft.fft2(noise)))[..., None]
    spectrum = np.abs(np.fft.fft2(photograph.pixels, axes=(0, 1)))
    spectrum[0, 0] *= np.sign(phases[0, 0].real)  # the mean stays what it was
    image = np.fft.ifft2(spectrum * phases, axes=(0, 1)).real
    return [np.uint8(np.clip(np.round(image), 0, 255))]


def _resized(photograph: Photograph, across: float, down: float) -> Photograph:
    height, width = photograph.pixels.shape[:2]
    size = round(width * across), round(height * down)
    pixels = cv2.resize(photograph.pixels, size, interpolation=cv2.INTER_AREA)
    return photograph._replace(
        pixels=pixels, face=_box(np.array(photograph.face) * (across, down, across, down))
    )


def _box(edges: np.ndarray) -> Box:
    return Box(*(round(float(edge)) for edge in edges))


def _same(photograph: Photograph) -> Photograph:
    return photograph


SCENES: dict[str, Scene] = {
    "as it is": _same,
    **{f"turned by {n}": functools.partial(turned, degrees=n) for n in (15, 30, 45, 90)},
    **{
        f"1/{n} in 640 x 480": functools.partial(placed, scale=1 / n, height=480, width=640)
        for n in (2, 4, 8)
    },
    "1/4 in 1280 x 720": functools.partial(placed, scale=1 / 4, height=720, width=1280),
    **{f"head turned by {n}": functools.partial(looking_away, degrees=n) for n in (30, 45, 60)},
    "blurred by 4 pixels": functools.partial(blurred, sigma=4),
    **{f"{share} of the light": functools.partial(darkened, share=share) for share in (0.1, 0.05)},
    "JPEG at 10": functools.partial(packed, quality=10),
    "lower half covered": functools.partial(covered, share=0.5),
}
"""What is done to the photographs, by name."""

FACELESS: dict[str, Callable[[Photograph], list[np.ndarray]]] = {
    "corners without the face": corners,
    "scrambled": scrambled,
}
"""Images that show no face, by name."""
