"""Short runs of consecutive frames, from which the encoder predicts the one that is wanted."""

from collections import deque
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from kdjax.data_pipeline.video import MediaError


class Footage(Protocol):
    """What clips are taken from: a `video.Media` or a folder of `frames.Frames`."""

    path: Path
    frames: int

    def read(self, wanted: Collection[int]) -> Iterator[tuple[int, np.ndarray]]: ...  # noqa: D102


class Clip(NamedTuple):
    """Consecutive frames around the one that is wanted.

    Attributes:
      frames: uint8 `[T, H, W, 3]`.
      anchor: index into `frames` of the wanted frame.
      position: its number in the whole video, from 0.
    """

    frames: np.ndarray
    anchor: int
    position: int


def sample_clips(media: Footage, count: int, length: int, *, max_side: int) -> Iterator[Clip]:
    """Yields clips around `count` evenly spaced frames, in order, holding one clip in memory.

    Args:
      media: an open video or image, or a folder of frames.
      count: how many clips; fewer if the video has fewer frames.
      length: frames of one clip; fewer if the video is shorter. The wanted frame lies two thirds
        in, where the encoder has predicted from earlier frames, except at the ends of the video.
      max_side: larger frames are shrunk so that their longer side has this many pixels.

    Raises:
      MediaError: the video ends before the frames it announces.
    """
    length = min(length, media.frames)
    positions = spread(count, media.frames)
    count = len(positions)
    starts = [min(max(p - anchor_of(length), 0), media.frames - length) for p in positions]
    window: deque[np.ndarray] = deque(maxlen=length)
    done = 0
    wanted = {place for start in starts for place in range(start, start + length)}
    for last, frame in media.read(wanted):
        window.append(shrink(frame, max_side))
        while done < count and starts[done] + length - 1 == last:
            yield Clip(np.stack(window), positions[done] - starts[done], positions[done])
            done += 1
        if done == count:
            return
    raise MediaError(media.path, f"truncated: fewer than the {media.frames} frames it announces")


def spread(count: int, frames: int) -> list[int]:
    """Returns the numbers of `count` evenly spaced frames of a video, or of all if it has fewer."""
    count = min(count, frames)
    return [(2 * k + 1) * frames // (2 * count) for k in range(count)]


def anchor_of(length: int) -> int:
    """Returns which frame of a clip of `length` frames is the wanted one: two thirds in."""
    return 2 * length // 3


def still_to_clip(image: np.ndarray, length: int, *, seed: int) -> Clip:
    """Returns a clip in which a still image drifts and zooms slowly, so that frames predict frames.

    The camera moves on a straight line, a frame by at most half a pixel and a zoom of one in a
    thousand; in the wanted frame it is at rest: that frame is the image itself, bit for bit.

    Args:
      image: uint8 RGB `[H, W, 3]`.
      length: frames of the clip.
      seed: decides direction and speed.
    """
    generator = np.random.default_rng(seed)
    drift = generator.uniform(-0.5, 0.5, 2)
    zoom = generator.uniform(-1e-3, 1e-3)
    height, width = image.shape[:2]
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    anchor = anchor_of(length)

    def moved(time: int) -> np.ndarray:
        if time == 0:
            return image
        scale = 1 + zoom * time
        shift = centre * (1 - scale) + drift * time
        matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        return cv2.warpAffine(
            image, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
        )

    frames = np.stack([moved(index - anchor) for index in range(length)])
    return Clip(frames, anchor, 0)


def shrink(frame: np.ndarray, max_side: int) -> np.ndarray:
    """Returns a frame uint8 `[H, W, 3]` shrunk by area until its longer side is at most `max_side` pixels."""
    height, width = frame.shape[:2]
    scale = max_side / max(height, width)
    if scale >= 1:
        return frame
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
