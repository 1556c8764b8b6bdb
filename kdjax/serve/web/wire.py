"""What the process that decodes writes, and how it is read: numbers, short texts and pixels, and never a pickle.

A message is the length of a header (4 bytes, the highest first), the header (JSON), and the pixels of the crops that it
announces. Whoever reads takes nothing for granted: a file made to take the decoder over may have written it.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from kdjax.data_pipeline.faces import Box
from kdjax.serve.looking import Ended, Face, Sight

LONGEST = 1 << 20
"""Bytes of a header."""

TEXT = 500
"""Letters of a text in it."""

MOST_FACES = 256

Take = Callable[[int], bytes]
"""Returns so many bytes, all of them."""


class BrokenMessageError(Exception):
    """What was read is no message."""


def write(file: BinaryIO, message: Sight | Ended) -> None:
    """Writes a message."""
    crops = b""
    if isinstance(message, Sight):
        values = message._asdict() | {"frame": None}
        values["faces"] = [
            {**face._asdict(), "box": list(face.box), "crop": face.crop is not None}
            for face in message.faces
        ]
        crops = b"".join(face.crop.tobytes() for face in message.faces if face.crop is not None)
    else:
        values = message._asdict()
    named = {"kind_of_message": type(message).__name__, **values}
    header = json.dumps(named, default=np.generic.item).encode()
    file.write(len(header).to_bytes(4, "big") + header + crops)
    file.flush()


def read(take: Take, side: int) -> Sight | Ended:
    """Returns the next message.

    Args:
      take: reads on.
      side: of a crop in pixels.

    Raises:
      BrokenMessageError: it is none.
    """
    length = int.from_bytes(take(4), "big")
    if length > LONGEST:
        raise BrokenMessageError(f"a header of {length} bytes")
    try:
        values = json.loads(take(length))
        if values.pop("kind_of_message") == "Ended":
            return _ended(values)
        return _sight(values, take, side)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BrokenMessageError(str(error)) from error


def _sight(values: dict[str, Any], take: Take, side: int) -> Sight:
    faces = values["faces"]
    if len(faces) > MOST_FACES:
        raise BrokenMessageError(f"{len(faces)} faces in a frame")
    found = []
    for face in faces:
        crop = None
        if face["crop"]:
            crop = np.frombuffer(take(3 * side * side), np.uint8).reshape(side, side, 3)
        left, top, right, bottom = (_number(edge) for edge in face["box"])
        box = Box(round(left), round(top), round(right), round(bottom))
        found.append(Face(_count(face["name"]), box, _number(face["side"]), crop))
    return Sight(
        number=_count(values["number"]),
        moving=bool(values["moving"]),
        rate=_number(values["rate"]),
        faces=tuple(found),
        scale=_number(values["scale"]),
    )


def _ended(values: dict[str, Any]) -> Ended:
    width, height = values["size"]
    counts = {name: _count(values[name]) for name in ("frames", "expected", "most", "cuts")}
    quantizer = values["quantizer"]
    return Ended(
        kind=_text(values["kind"]),
        **counts,
        codec=_text(values["codec"]),
        lossless=bool(values["lossless"]),
        quantizer=None if quantizer is None else _number(quantizer),
        rate=_number(values["rate"]),
        size=(_count(width), _count(height)),
        oddities=tuple(map(_text, values["oddities"]))[:MOST_FACES],
        problem=_text(values["problem"]),
    )


def _count(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value < 1 << 40:
        raise ValueError(f"{value!r:.40} is no count")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r:.40} is no number")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.40} is no text")
    return value[:TEXT]


def order(path: Path, options: dict[str, Any]) -> bytes:
    """Returns the line that asks the process to look at a file."""
    return json.dumps({"path": str(path), "options": options}).encode() + b"\n"
