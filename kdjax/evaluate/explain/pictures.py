"""Heat over faces, as pictures that a person can look at."""

import base64
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from kdjax.evaluate.explain.cam import FLOOR

SIDE = 192
"""Pixels that the side of a face has at least: small faces are enlarged by a whole number."""

OPACITY = 0.7
"""How much of the hottest pixel's colour covers the face."""

FAINTEST = 0.1
"""Share of the network's hottest picture below which heat is not made to look hotter."""

OUTLINE = (90, 230, 255)
"""RGB of the line around what was forged."""


def enlarge(image: np.ndarray) -> np.ndarray:
    """Returns a uint8 RGB image `[H, W, 3]` enlarged by the least whole number that gives it `SIDE` pixels."""
    factor = -(-SIDE // image.shape[0])
    return np.repeat(np.repeat(image, factor, axis=0), factor, axis=1)


def overlay(image: np.ndarray, heat: np.ndarray, hottest: float = 0.0) -> np.ndarray:
    """Returns a face under its heat: the hotter, the more of the colour, from dark violet over red to yellow.

    Args:
      image: uint8 RGB `[H, W, 3]`.
      heat: float `[h, w]`, at least 0, of the same square.
      hottest: heat of the network's hottest picture; the scale is this image's largest, but at least `FAINTEST` of it.

    Returns:
      uint8 RGB, enlarged.
    """
    large = enlarge(image)
    size = large.shape[1::-1]
    scale = max(float(heat.max(initial=0.0)), FAINTEST * hottest)
    share = heat / scale if scale > FLOOR else np.zeros_like(heat)
    share = cv2.resize(share.astype(np.float32), size, interpolation=cv2.INTER_LINEAR).clip(0, 1)
    colours = cv2.applyColorMap(np.round(255 * share).astype(np.uint8), cv2.COLORMAP_INFERNO)
    weight = OPACITY * share[..., None]
    mixed = weight * colours[..., ::-1] + (1 - weight) * large
    return np.round(mixed).astype(np.uint8)


def outlined(picture: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Returns a picture with a line around what was forged; as it is without a mask."""
    if mask is None or not mask.any():
        return picture
    size = picture.shape[1::-1]
    large = cv2.resize((mask > 127).astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    lines, _ = cv2.findContours(large, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.ascontiguousarray(picture), lines, -1, OUTLINE, 1)


def strip(rows: Sequence[tuple[str, Mapping[str, np.ndarray]]]) -> np.ndarray:
    """Returns one picture of several: a row each with its name on the left, and names of the columns above.

    Args:
      rows: name, and uint8 RGB pictures of one size by the column's name.
    """
    made = []
    for number, (name, pictures) in enumerate(rows):
        cells = [np.pad(each, ((0, 4), (0, 4), (0, 0))) for each in pictures.values()]
        line = np.concatenate([_words([name], 64, cells[0].shape[0]), *cells], axis=1)
        if not number:
            heads = [
                _words([head or "face"], cell.shape[1], 20)
                for head, cell in zip(pictures, cells, strict=True)
            ]
            made.append(np.concatenate([_words([""], 64, 20), *heads], axis=1))
        made.append(line)
    return np.concatenate(made, axis=0)


def _words(lines: Sequence[str], width: int, height: int) -> np.ndarray:
    """Returns white words on black; what OpenCV's font does not have is a question mark."""
    blank = np.zeros((height, width, 3), np.uint8)
    for number, line in enumerate(lines):
        plain = line.encode("ascii", "replace").decode()
        while (
            len(plain) > 3
            and cv2.getTextSize(plain, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)[0][0] > width - 6
        ):
            plain = f"{plain[:-3]}.."
        place = (4, 14 + 14 * number)
        cv2.putText(
            blank, plain, place, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA
        )
    return blank


def webp_address(picture: np.ndarray, quality: int = 82) -> str:
    """Returns a uint8 RGB picture as WebP in an address of its own."""
    done, encoded = cv2.imencode(
        ".webp", np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_WEBP_QUALITY, quality]
    )
    if not done:
        raise ValueError(f"cannot encode a picture of shape {picture.shape}")
    return f"data:image/webp;base64,{base64.b64encode(encoded.tobytes()).decode('ascii')}"
