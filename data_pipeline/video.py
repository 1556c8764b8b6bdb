"""The one place that opens media, images too.

Whatever lies on disk is hostile. FFmpeg is allowed real containers and image files alone (a
playlist under another name would make it read other files), is handed an open file instead of a
name (so that no pattern in a name is expanded), may open nothing else, and is told how many pixels
it may decode.
"""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import Interpolation

from kdjax import checks

MAX_PIXELS = 3840 * 2160 * 4
"""Most pixels of one frame: a photograph of 33 megapixels, or video in 8K."""

MAX_FRAMES = 100_000
"""Most frames of one video: about an hour."""

FORMATS = (
    *("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "flv", "asf", "ogg"),
    *("gif", "apng", "png_pipe", "jpeg_pipe", "webp_pipe", "bmp_pipe", "tiff_pipe"),
    *("ppm_pipe", "pgm_pipe", "pbm_pipe", "j2k_pipe"),
)
"""FFmpeg's names of what may be opened; everything that refers to other files is left out."""

LOSSLESS = (
    *("png", "apng", "bmp", "tiff", "ppm", "pgm", "pbm"),
    *("ffv1", "ffvhuff", "huffyuv", "utvideo", "qtrle", "rawvideo", "v210"),
)
"""FFmpeg's names of codecs that lose nothing."""

LOSSLESS_PROFILES = ("High 4:4:4 Predictive",)
"""H.264's profile at crf 0: FaceForensics++ calls its `raw` videos c0 for that."""

SCALER = (
    Interpolation.BICUBIC
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
)

_OLD = int(av.__version__.partition(".")[0]) < 19

_METADATA: Any = {"metadata_errors": "replace"} if _OLD else {}
"""PyAV 19 bears metadata of any encoding by itself, and knows this no more."""

if _OLD:
    # PyAV 18 trips over every side datum that its FFmpeg knows and it does not: EXIF, of all things
    _kinds: Any = SideDataType
    _kinds._missing_ = classmethod(lambda kind, value: kind.VIDEO_HINT)


class MediaError(checks.UserError):
    """A file that cannot be used; `reason` is one clause without the path."""

    def __init__(self, path: str | Path, reason: str):
        super().__init__(str(path), reason)
        self.path = str(path)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class Media:
    """An open image or video: iterating decodes its frames, uint8 RGB `[H, W, 3]`, upright.

    Attributes:
      path: where it lies.
      format: FFmpeg's name of its container.
      frames: how many frames it holds, 1 for a still image; found without decoding.
      codec: FFmpeg's name of what decodes it.
      lossless: whether its codec loses nothing: of WebP and JPEG 2000, which can do both, False.
    """

    def __init__(self, path: Path, container: av.container.InputContainer, frames: int):
        self.path = path
        self.format = container.format.name
        self.frames = frames
        context = _video_stream(path, container).codec_context
        self.codec = context.name
        self.lossless = self.codec in LOSSLESS or context.profile in LOSSLESS_PROFILES
        self._container = container

    def __iter__(self) -> Iterator[np.ndarray]:
        stream = _video_stream(self.path, self._container)
        size = None
        done = 0
        try:
            for frame in self._container.decode(stream):
                if size not in (None, (frame.width, frame.height)):
                    raise MediaError(
                        self.path,
                        f"its resolution changes from {size[0]}x{size[1]} "
                        f"to {frame.width}x{frame.height} at frame {done}",
                    )
                size = (frame.width, frame.height)
                pixels = frame.reformat(format="rgb24", interpolation=SCALER).to_ndarray()
                yield _upright(pixels, frame)
                done += 1
                if done == self.frames:
                    return
        except (av.FFmpegError, OSError) as error:
            raise MediaError(self.path, f"damaged or truncated at frame {done}") from error
        if done == 0:
            raise MediaError(self.path, "no frame could be decoded")


@contextmanager
def open_media(
    path: str | Path, *, max_pixels: int = MAX_PIXELS, max_frames: int = MAX_FRAMES
) -> Iterator[Media]:
    """Opens an image or a video of any common format, told by its content, never by its name.

    Args:
      path: a regular file.
      max_pixels: most pixels of a frame; checked before anything is decoded.
      max_frames: most frames; checked before anything is decoded.

    Yields:
      The open `Media`, whose frames can be iterated once.

    Raises:
      MediaError: the file is missing, empty, truncated, damaged, too large, of an unknown format,
        in disguise, or has no video stream; while iterating, if the resolution changes.
    """
    path = Path(path)
    _check_file(path)
    frames = _count_frames(path, max_pixels, max_frames)
    with _open(path, max_pixels) as container:
        yield Media(path, container, frames)


def _upright(pixels: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Returns pixels as their camera was held: turned and mirrored as the display matrix says.

    The matrix takes a pixel at `(x, y)` to `(a x + c y, b x + d y)`; photographs' EXIF orientation comes as one too.
    """
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5]
    right, down = a, d
    if abs(int(b)) + abs(int(c)) > abs(int(a)) + abs(int(d)):
        pixels, right, down = pixels.swapaxes(0, 1), c, b
    return np.ascontiguousarray(pixels[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1])


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
    except OSError as error:
        raise MediaError(path, "does not exist or cannot be reached") from error
    if not stat.S_ISREG(status.st_mode):
        raise MediaError(path, "not a regular file")
    if status.st_size == 0:
        raise MediaError(path, "empty (zero bytes)")


def _refuse_open(url: str, flags: int, options: dict) -> None:
    raise PermissionError(f"a media file may not open others: {url!r}")


class _Reader:
    """A file without its name: FFmpeg would read patterns and protocols out of one."""

    def __init__(self, path: Path):
        self._file = path.open("rb")
        self.read, self.seek, self.tell = self._file.read, self._file.seek, self._file.tell
        self.close = self._file.close


@contextmanager
def _open(path: Path, max_pixels: int) -> Iterator[av.container.InputContainer]:
    try:
        reader = _Reader(path)
    except OSError as error:
        raise MediaError(path, "cannot be read (permission?)") from error
    try:
        try:
            container = av.open(
                reader,
                mode="r",
                options=_limit(max_pixels),
                container_options={
                    "format_whitelist": ",".join(FORMATS),
                    "protocol_whitelist": "file",
                },
                io_open=_refuse_open,
                **_METADATA,
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            _refuse_animated_webp(path)  # FFmpeg 8.1 knows it by a format that is not among FORMATS
            raise MediaError(path, "not an image or video of a known format") from error
        with container:
            stream = _video_stream(path, container)
            context = stream.codec_context
            context.thread_count = 1
            context.options = _limit(max_pixels) | _strictness(context.name)
            _check_size(path, context, max_pixels)
            yield container
    finally:
        reader.close()


def _video_stream(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    cover = av.stream.Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & cover]
    if not streams:
        raise MediaError(path, "has no video stream")
    if container.format.name.startswith("mov") and len(streams) > 1 and _is_heif(container):
        raise MediaError(path, "a tiled HEIF image; convert it to JPEG or PNG")
    if streams[0].codec_context is None:
        raise MediaError(path, "its video codec is not known")
    return streams[0]


def _is_heif(container: av.container.InputContainer) -> bool:
    return container.metadata.get("major_brand", "") in ("heic", "heix", "mif1", "avif")


def _limit(max_pixels: int) -> dict[str, str]:
    """Bounds what FFmpeg decodes, also while probing; it counts its padding, hence the slack."""
    return {"max_pixels": str(2 * max_pixels + 2**16)}


def _strictness(codec: str) -> dict[str, str]:
    """Makes image decoders refuse what is cut off; for TIFF and video it would refuse too much."""
    strict = codec in ("mjpeg", "png", "apng", "webp", "bmp", "gif", "libdav1d", "jpeg2000")
    return {"err_detect": "explode"} if strict else {}


def _check_size(path: Path, context: av.VideoCodecContext, max_pixels: int) -> None:
    if context.width * context.height == 0:
        _refuse_animated_webp(path)  # FFmpeg before 8.1 opens it and finds no size
        raise MediaError(path, f"truncated, damaged or above {max_pixels} pixels")
    if context.width * context.height > max_pixels:
        raise MediaError(
            path, f"{context.width}x{context.height} is more than {max_pixels} pixels a frame"
        )


def _refuse_animated_webp(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(21)
    if head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) == 21 and head[20] & 2:
        raise MediaError(path, "an animated WebP; convert it to GIF or MP4")


def _count_frames(path: Path, max_pixels: int, max_frames: int) -> int:
    """Counts packets without decoding, since what a header announces may be absent or a lie."""
    with _open(path, max_pixels) as container:
        if container.format.name.endswith("_pipe"):
            return 1
        stream = _video_stream(path, container)
        if stream.frames > max_frames:
            raise MediaError(path, f"{stream.frames} frames are more than {max_frames}")
        frames, end = 0, 0.0
        try:
            for packet in container.demux():
                if packet.size == 0 or packet.is_discard:
                    continue
                if packet.pts is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                frames += packet.stream_index == stream.index
                if frames > max_frames:
                    raise MediaError(path, f"more than {max_frames} frames")
        except (av.FFmpegError, OSError) as error:
            raise MediaError(path, f"damaged or truncated after frame {frames}") from error
        _check_complete(path, container, stream, frames, end)
    return frames


def _check_complete(
    path: Path,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    frames: int,
    end: float,
) -> None:
    """Raises MediaError if the packets end well before what the header announces."""
    if frames == 0:
        raise MediaError(path, "holds no frame")
    if frames < 0.95 * stream.frames:
        raise MediaError(path, f"truncated: {frames} of the {stream.frames} frames it announces")
    announced = (container.duration or 0) / av.time_base
    # Some containers count from zero and some from the first frame: the milder reading counts.
    seconds = end - min(container.start_time or 0, 0) / av.time_base
    if seconds < 0.9 * announced:
        raise MediaError(
            path, f"truncated: {seconds:.1f} of the {announced:.1f} seconds it announces"
        )
    if container.format.name == "gif" and not path.read_bytes().rstrip(b"\0").endswith(b";"):
        raise MediaError(path, "truncated: the end of the GIF is missing")
