"""The H.264 that every data set goes through, in memory or into a file."""

import os
import re
from fractions import Fraction
from pathlib import Path

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
    padded, (height, width) = _padded(frames, crf), frames.shape[1:3]
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


def write_clip(path: Path, frames: np.ndarray, crf: int) -> None:
    """Writes frames as an MP4 file, whole or not at all: the same H.264 as `compress_clip`'s, so the same pixels.

    Args:
      path: where it goes.
      frames: uint8 RGB `[T, H, W, 3]`, at 25 frames a second; an odd size becomes even.
      crf: 0 (best) to 51.

    Raises:
      ValueError: wrong shape, type or factor.
    """
    padded, scaler = _padded(frames, crf), VideoReformatter()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with av.open(str(temporary), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=25, options=_options(crf))
            stream.height, stream.width, stream.pix_fmt = *padded.shape[1:3], "yuv420p"
            stream.codec_context.time_base = Fraction(1, 25)
            stream.codec_context.thread_count = 1
            for time, pixels in enumerate(padded):
                container.mux(stream.encode(_to_yuv(pixels, time, scaler)))
            container.mux(stream.encode())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def encoder_version() -> str:
    """Returns libx264's version, which it writes into every stream: `164 r3107`, say."""
    encoder = _encoder(16, 16, 23)
    frame = _to_yuv(np.zeros((16, 16, 3), np.uint8), 0)
    stream = b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])
    found = re.search(rb"x264 - core (\d+(?: r\d+)?)", stream)
    return found[1].decode() if found else "unknown"


def _padded(frames: np.ndarray, crf: int) -> np.ndarray:
    """Returns frames of an even size; raises ValueError for what cannot be encoded."""
    checks.check_rank("frames", frames, 4)
    if frames.dtype != np.uint8 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ValueError(f"frames {frames.dtype} {frames.shape}; uint8 [T, H, W, 3] is expected")
    if not 0 <= crf <= 51:
        raise ValueError(f"crf={crf!r} must be between 0 and 51")
    height, width = frames.shape[1:3]
    return np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _options(crf: int) -> dict[str, str]:
    return {
        "preset": "medium",
        "crf": str(crf),
        "x264-params": "threads=1:lookahead-threads=1:cpu-independent=1",
    }


def _encoder(width: int, height: int, crf: int) -> av.VideoCodecContext:
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.framerate, encoder.time_base = Fraction(25), Fraction(1, 25)
    encoder.thread_count = 1
    encoder.options = _options(crf)
    return encoder


def _to_yuv(pixels: np.ndarray, time: int, scaler: VideoReformatter | None = None) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    frame = (scaler or VideoReformatter()).reformat(frame, format="yuv420p", interpolation=SCALER)
    frame.pts = time
    return frame
