"""What may be opened, and how: the guard before every media file.

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
from av.sidedata.sidedata import Type as SideDataType

from kdjax import checks

FORMATS = (
    *("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "flv", "asf", "ogg"),
    *("gif", "apng", "png_pipe", "jpeg_pipe", "webp_pipe", "bmp_pipe", "tiff_pipe"),
    *("ppm_pipe", "pgm_pipe", "pbm_pipe", "j2k_pipe"),
)
"""FFmpeg's names of what may be opened; everything that refers to other files is left out."""

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


def check_file(path: Path) -> None:
    """Raises MediaError for anything but a regular file that is not empty."""
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
def open_container(path: Path, max_pixels: int) -> Iterator[av.container.InputContainer]:
    """Opens a container whose video stream's decoder is known and whose frames are not too large; or MediaError."""
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
            stream = video_stream(path, container)
            context = stream.codec_context
            context.thread_count = 1
            context.options = _limit(max_pixels) | _strictness(context.name)
            _check_size(path, context, max_pixels)
            yield container
    finally:
        reader.close()


def video_stream(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    """Returns the first stream of pictures that is no cover; MediaError without any, and for a tiled HEIF."""
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
