"""The H.264 that every data set goes through, in memory."""

import re
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from kdjax import checks
from kdjax.data_pipeline.video import SCALER


def compress_clip(frames: np.ndarray, crf: int) -> np.ndarray:
    """Returns the frames as they come back from H.264 at a constant rate factor.

    libx264 in memory, preset medium, 4:2:0, one thread and no choices by processor, so that the
    bytes do not depend on the machine. An odd size is padded to even for the encoder.

    Args:
      frames: uint8 RGB `[T, H, W, 3]`, at 25 frames a second.
      crf: 0 (best) to 51; FaceForensics++ uses 23 and 40.

    Returns:
      uint8 `[T, H, W, 3]`, aligned with the input pixel by pixel.

    Raises:
      ValueError: wrong shape, type or factor.
    """
    checks.check_rank("frames", frames, 4)
    if frames.dtype != np.uint8 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ValueError(f"frames {frames.dtype} {frames.shape}; uint8 [T, H, W, 3] is expected")
    if not 0 <= crf <= 51:
        raise ValueError(f"crf={crf!r} must be between 0 and 51")
    height, width = frames.shape[1:3]
    padding = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
    padded = np.pad(frames, padding, mode="edge")
    encoder = _encoder(padded.shape[2], padded.shape[1], crf)
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    decoded = []
    # one scaler for the whole clip: setting one up costs more than scaling a small frame
    to_yuv, to_rgb = VideoReformatter(), VideoReformatter()
    for time, pixels in enumerate([*padded, None]):
        for packet in encoder.encode(None if pixels is None else _to_yuv(pixels, time, to_yuv)):
            decoded += decoder.decode(packet)
    decoded += decoder.decode(None)
    if len(decoded) != len(frames):
        raise RuntimeError(f"libx264 gave {len(decoded)} frames for {len(frames)}")
    images = [
        to_rgb.reformat(frame, format="rgb24", interpolation=SCALER).to_ndarray()
        for frame in decoded
    ]
    return np.stack(images)[:, :height, :width]


def encoder_version() -> str:
    """Returns libx264's version, which it writes into every stream: `164 r3107`, say."""
    encoder = _encoder(16, 16, 23)
    frame = _to_yuv(np.zeros((16, 16, 3), np.uint8), 0)
    stream = b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
    found = re.search(rb"x264 - core (\d+(?: r\d+)?)", stream)
    return found[1].decode() if found else "unknown"


def _encoder(width: int, height: int, crf: int) -> av.VideoCodecContext:
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.framerate, encoder.time_base = Fraction(25), Fraction(1, 25)
    encoder.thread_count = 1
    encoder.options = {
        "preset": "medium",
        "crf": str(crf),
        "x264-params": "threads=1:lookahead-threads=1:cpu-independent=1",
    }
    return encoder


def _to_yuv(pixels: np.ndarray, time: int, scaler: VideoReformatter | None = None) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    frame = (scaler or VideoReformatter()).reformat(frame, format="yuv420p", interpolation=SCALER)
    frame.pts = time
    return frame
