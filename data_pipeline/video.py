"""Opens images and videos: the one place, behind the guard of `containers`, that decodes media."""

from array import array
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from kdjax.data_pipeline import quantizers
from kdjax.data_pipeline.containers import MediaError, check_file, open_container, video_stream

MAX_PIXELS = 3840 * 2160 * 4
"""Most pixels of one frame: a photograph of 33 megapixels, or video in 8K."""

MAX_FRAMES = 100_000
"""Most frames of one video: about an hour."""

LOSSLESS = (
    *("png", "apng", "bmp", "tiff", "ppm", "pgm", "pbm"),
    *("ffv1", "ffvhuff", "huffyuv", "utvideo", "qtrle", "rawvideo", "v210"),
)
"""FFmpeg's names of codecs that lose nothing."""

LOSSLESS_PROFILES = ("High 4:4:4 Predictive",)
"""H.264's profile at crf 0, which FaceForensics++ calls its `raw` videos c0 for. Full colour alone needs it too."""

ODDITIES = ("of_variable_rate", "interlaced", "with_non_square_pixels", "with_transparency")
"""What is worth knowing of a video whose frames are stored as they are: fields stay woven, pixels are not stretched."""

UNEVEN = 1.5
"""The longest step between two frames by the shortest, from which the rate varies; containers round to milliseconds."""

SCALER = (
    Interpolation.BICUBIC
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.ACCURATE_RND
    | Interpolation.BITEXACT
)


class Media:
    """An open image or video: reading decodes its frames, uint8 RGB `[H, W, 3]`, upright.

    Attributes:
      path: where it lies.
      format: FFmpeg's name of its container.
      frames: how many frames it holds, 1 for a still image; found without decoding.
      codec: FFmpeg's name of what decodes it.
      lossless: whether its codec loses nothing: of WebP, JPEG 2000 and H.264 of full
        colour, which can do both, False.
      rate: frames a second, as its container says; 0 where it does not.
      size: width and height of the stored frames in pixels.
      oddities: names of `ODDITIES` that it has; that frames are interlaced is known when one has been read.
    """

    def __init__(
        self,
        path: Path,
        container: av.container.InputContainer,
        frames: int,
        oddities: Collection[str] = (),
        *,
        measure: bool = False,
    ):
        self.path = path
        self.format = container.format.name
        self.frames = frames
        stream = video_stream(path, container)
        context = stream.codec_context
        self.rate = float(stream.average_rate or 0)
        self.size = (context.width, context.height)
        self.codec = context.name
        exact = context.profile in LOSSLESS_PROFILES and "444" not in str(context.pix_fmt)
        self.lossless = self.codec in LOSSLESS or exact
        self.oddities = set(oddities)
        if (stream.sample_aspect_ratio or 1) != 1:
            self.oddities.add("with_non_square_pixels")
        if context.format and any(part.is_alpha for part in context.format.components):
            self.oddities.add("with_transparency")
        self._quantized, self._quantizers = 0, 0.0
        self._measured = measure and self.codec == "h264"
        if self._measured:
            context.options = {**context.options, **quantizers.EXPORT}
        elif measure and self.format == "jpeg_pipe":
            self._count_quantizer(quantizers.of_jpeg(path))
        self._container = container

    @property
    def quantizer(self) -> float | None:
        """How coarsely the frames read so far were quantized, of H.264 and JPEG; see `quantizers`."""
        return self._quantizers / self._quantized if self._quantized else None

    def _count_quantizer(self, found: float | None) -> None:
        if found is not None:
            self._quantized += 1
            self._quantizers += found

    def __iter__(self) -> Iterator[np.ndarray]:
        return (pixels for _, pixels in self.read(range(self.frames)))

    def read(self, wanted: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yields numbers, from 0, and pixels of the wanted frames; the others are decoded, and not made into RGB."""
        stream = video_stream(self.path, self._container)
        scaler = VideoReformatter()
        last = max(wanted, default=-1)
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
                if frame.is_corrupt:  # decoders fill in what is missing, and go on
                    raise MediaError(self.path, f"damaged at frame {done}")
                if frame.interlaced_frame:
                    self.oddities.add("interlaced")
                if self._measured:
                    self._count_quantizer(quantizers.of_frame(frame))
                if done in wanted:
                    pixels = scaler.reformat(frame, format="rgb24", interpolation=SCALER)
                    yield done, _upright(pixels.to_ndarray(), frame)
                done += 1
                if done > last or done == self.frames:
                    return
        except (av.FFmpegError, OSError) as error:
            raise MediaError(self.path, f"damaged or truncated at frame {done}") from error
        if done == 0:
            raise MediaError(self.path, "no frame could be decoded")


@contextmanager
def open_media(
    path: str | Path,
    *,
    max_pixels: int = MAX_PIXELS,
    max_frames: int = MAX_FRAMES,
    measure: bool = False,
) -> Iterator[Media]:
    """Opens an image or a video of any common format, told by its content, never by its name.

    Args:
      path: a regular file.
      max_pixels: most pixels of a frame; checked before anything is decoded.
      max_frames: most frames; checked before anything is decoded.
      measure: ask the decoder how coarsely frames were quantized (`Media.quantizer`).

    Yields:
      The open `Media`, whose frames can be iterated once.

    Raises:
      MediaError: the file is missing, empty, truncated, damaged, too large, of an unknown format,
        in disguise, or has no video stream; while iterating, if the resolution changes.
    """
    path = Path(path)
    check_file(path)
    frames, oddities = _count_frames(path, max_pixels, max_frames)
    with open_container(path, max_pixels) as container:
        yield Media(path, container, frames, oddities, measure=measure)


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


def _count_frames(path: Path, max_pixels: int, max_frames: int) -> tuple[int, set[str]]:
    """Counts packets without decoding, since what a header announces may be absent or a lie; says what is odd."""
    with open_container(path, max_pixels) as container:
        if container.format.name.endswith("_pipe"):
            return 1, set()
        stream = video_stream(path, container)
        if stream.frames > max_frames:
            raise MediaError(path, f"{stream.frames} frames are more than {max_frames}")
        frames, hidden, end = 0, 0, 0.0
        times = array("q")
        try:
            for packet in container.demux():
                if packet.size == 0:
                    continue
                if packet.is_discard:  # cut off by an edit list
                    hidden += packet.stream_index == stream.index
                    continue
                if packet.pts is not None:
                    end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if packet.stream_index == stream.index:
                    frames += 1
                    if packet.pts is not None:
                        times.append(packet.pts)
                if frames > max_frames:
                    raise MediaError(path, f"more than {max_frames} frames")
        except (av.FFmpegError, OSError) as error:
            raise MediaError(path, f"damaged or truncated after frame {frames}") from error
        _check_complete(path, container, stream, frames, hidden, end)
    steps = np.diff(np.sort(times))
    uneven = len(steps) > 0 and steps.max() > UNEVEN * max(steps.min(), 1)
    return frames, {"of_variable_rate"} if uneven else set()


def _announced(container: av.container.InputContainer, stream: av.VideoStream) -> int:
    """Returns how many frames a header tells of; an edit list takes some out of an MP4's index, not out of that."""
    entries = len(stream.index_entries) if container.format.name.startswith("mov") else 0
    return min(stream.frames, entries) if entries else int(stream.frames)


def _check_complete(
    path: Path,
    container: av.container.InputContainer,
    stream: av.VideoStream,
    frames: int,
    hidden: int,
    end: float,
) -> None:
    """Raises MediaError if the packets end well before what the header announces."""
    if frames == 0:
        raise MediaError(path, "holds no frame" + (" that its edit list shows" if hidden else ""))
    present, announced_frames = frames + hidden, _announced(container, stream)
    if present < 0.95 * announced_frames:
        raise MediaError(
            path, f"truncated: {present} of the {announced_frames} frames it announces"
        )
    announced = (container.duration or 0) / av.time_base
    # Some containers count from zero and some from the first frame: the milder reading counts.
    seconds = end - min(container.start_time or 0, 0) / av.time_base
    if seconds < 0.9 * announced:
        raise MediaError(
            path, f"truncated: {seconds:.1f} of the {announced:.1f} seconds it announces"
        )
    if container.format.name == "gif" and not path.read_bytes().rstrip(b"\0").endswith(b";"):
        raise MediaError(path, "truncated: the end of the GIF is missing")
