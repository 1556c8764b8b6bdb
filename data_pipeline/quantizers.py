"""How coarsely a file was quantized, as far as it tells: H.264's own number, and JPEG's tables on the same scale.

A step of H.264 doubles every six: `step = 2^((QP - 4) / 6)` grey levels (ITU-T H.264, 8.5). JPEG's table holds steps.
What a codec does not tell, and what a picture went through before it was stored, is not known.
"""

import struct
from pathlib import Path
from typing import Any

import av
import numpy as np

EXPORT = {"export_side_data": "venc_params"}
"""The option by which FFmpeg's decoders tell."""

_HEADER = struct.Struct("@INNIi")
_DELTA = 16
"""Bytes before a block's difference in `AVVideoBlockParams`."""

H264 = 1
"""FFmpeg's number of the quantizers' kind."""

LOWEST = 15
"""Coefficients of JPEG that count, in zigzag order without the mean: what is kept of a smooth face."""

LUMINANCE = np.array(
    [16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40],
)
"""Table K.1 of ITU-T T.81 in zigzag order, as far as it counts."""


def of_frame(frame: av.VideoFrame) -> float | None:
    """Returns the mean quantizer of a frame of H.264, 0 to 51.

    None of other codecs, and of B frames: most of their blocks are copied, and bear a number that nothing was
    quantized by.
    """
    if frame.pict_type == av.video.frame.PictureType.B:
        return None
    told: Any = frame.side_data.get("VIDEO_ENC_PARAMS")
    data = b"" if told is None else bytes(told)
    if len(data) < _HEADER.size:
        return None
    count, offset, size, kind, base = _HEADER.unpack_from(data)
    if kind != H264:
        return None
    if not count:
        return float(base)
    if size < _DELTA + 4 or offset + count * size > len(data):
        return None
    layout = np.dtype(
        {"names": ["delta"], "formats": ["<i4"], "offsets": [_DELTA], "itemsize": size}
    )
    return float(base + np.ndarray(count, layout, data, offset)["delta"].mean())


def of_jpeg(path: Path) -> float | None:
    """Returns the quantizer of H.264 with the step of a JPEG file's table; None where it holds none that can be read.

    The step is the geometric mean over the `LOWEST` coefficients of the first table, that of luma.
    """
    try:
        with path.open("rb") as file:
            data = file.read(1 << 16)
    except OSError:
        return None
    table = _first_table(data)
    return None if table is None else of_steps(table)


def of_steps(table: np.ndarray) -> float:
    """Returns the quantizer of H.264 with the step of a table of JPEG, `[64]` in zigzag order."""
    steps = np.log2(np.maximum(table[1 : LOWEST + 1], 1.0))
    return float(4 + 6 * steps.mean())


def of_quality(quality: int) -> float:
    """Returns the quantizer of H.264 with the step of JPEG's own table at a quality, 1 to 100."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return of_steps(np.clip((LUMINANCE * scale + 50) // 100, 1, 255))


def _first_table(data: bytes) -> np.ndarray | None:
    """Returns the first quantization table, `[64]` in zigzag order, of the segments at a file's beginning."""
    place = 2
    while data[:2] == b"\xff\xd8" and place + 4 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4])
        body = data[place + 4 : place + 2 + length]
        if marker == 0xDB and body:
            width = 2 if body[0] >> 4 else 1
            if len(body) < 1 + 64 * width:
                return None
            return np.frombuffer(body, f">u{width}", 64, 1).astype(np.float64)
        if marker == 0xDA or length < 2:
            return None
        place += 2 + length
    return None


def told(quantizer: float) -> str:
    """Returns a quantizer in words."""
    step = 2 ** ((quantizer - 4) / 6)
    digits = 0 if step >= 10 else 1
    return f"H.264's quantizer {quantizer:.0f} or its like, steps of {step:.{digits}f} grey levels"
