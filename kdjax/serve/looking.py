"""Looks through one input, frame by frame: its faces, cut out, and at its end what is known of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import cv2
import numpy as np

from kdjax.checks import kind_and_line
from kdjax.data_pipeline.clips import shrink
from kdjax.data_pipeline.faces import Box
from kdjax.data_pipeline.frames import Frames
from kdjax.data_pipeline.video import Media, MediaError, open_media
from kdjax.serve.cutting import MAX_SIDE, Cutter
from kdjax.serve.following import Follower, Told
from kdjax.serve.inputs import Input
from kdjax.serve.options import Options

MAX_FRAMES = 10_000_000
"""Most frames of one video: four days."""


class Face(NamedTuple):
    """A face in a frame.

    Attributes:
      name: a number from 1; no two faces of an input share one.
      box: in pixels of the input, upright.
      side: of the square that was cut out, in pixels of the input before it was scaled to the detector's.
      crop: uint8 `[S, S, 3]`; None in a frame that is not scored.
    """

    name: int
    box: Box
    side: float
    crop: np.ndarray | None


class Sight(NamedTuple):
    """A frame with its faces.

    Attributes:
      number: of the frame, from 0.
      moving: whether it is of a video.
      rate: frames a second, 0 of an image and where it is not known.
      faces: the largest first.
      scale: pixels of the input by those of `frame`.
      frame: uint8 `[H, W, 3]`, shrunk to `MAX_SIDE`; None unless frames are kept.
    """

    number: int
    moving: bool
    rate: float
    faces: tuple[Face, ...]
    scale: float
    frame: np.ndarray | None = None

    @property
    def time(self) -> float | None:
        """Seconds since the beginning; None where nobody knows."""
        return self.number / self.rate if self.rate else None


class Ended(NamedTuple):
    """What is known of an input at its end.

    Attributes:
      kind: `image` or `video`; empty of what could not be opened.
      frames: how many were looked through.
      expected: how many it announces.
      most: the most faces in one frame.
      cuts: how many times the scene changed.
      codec: FFmpeg's name of it.
      lossless: whether that loses nothing.
      quantizer: how coarsely it was quantized, where that is told; see `data_pipeline.quantizers`.
      rate: frames a second, 0 where it is not known.
      size: width and height in pixels.
      oddities: see `data_pipeline.video.ODDITIES`.
      problem: why it was not looked through, or not to its end; one clause.
    """

    kind: str = ""
    frames: int = 0
    expected: int = 0
    most: int = 0
    cuts: int = 0
    codec: str = ""
    lossless: bool = False
    quantizer: float | None = None
    rate: float = 0.0
    size: tuple[int, int] = (0, 0)
    oddities: tuple[str, ...] = ()
    problem: str = ""


def look(each: Input, cutter: Cutter, options: Options) -> Iterator[Sight | Ended]:
    """Yields an input's frames with faces, in order, and `Ended` as the last; a bad input is no error, but told there.

    Frames without a face are passed over unless frames are kept. A few are held at a time, however long a video is.
    """
    ended = Ended(problem=each.problem)
    if each.problem:
        yield ended
        return
    try:
        with _opened(each, options) as media:
            follower = Follower(cutter.begin(), every=cutter.every, limit=options.max_faces)
            ended = _described(media)
            sights = _still if ended.kind == "image" else _moving
            try:
                for sight in sights(media, follower, cutter, options):
                    ended = ended._replace(frames=sight.number + 1)
                    if sight.faces or sight.frame is not None:
                        yield sight
            finally:
                ended = ended._replace(
                    most=follower.most,
                    cuts=follower.cuts,
                    quantizer=media.quantizer if isinstance(media, Media) else None,
                    oddities=tuple(sorted(media.oddities)),
                )
        # a decoder may hold back a frame or two of a video that is whole
        if ended.frames < 0.95 * ended.expected:
            problem = f"truncated: {ended.frames} of the {ended.expected} frames it announces"
            ended = ended._replace(problem=problem)
    except MediaError as error:
        ended = ended._replace(problem=error.reason)
    except MemoryError:
        ended = ended._replace(problem="cannot be worked on: too little memory")
    except (cv2.error, ValueError, OverflowError) as error:
        ended = ended._replace(problem=f"cannot be worked on: {kind_and_line(error)}")
    yield ended


@contextmanager
def _opened(each: Input, options: Options) -> Iterator[Media | Frames]:
    if options.frames and each.path.is_dir():
        yield Frames(each.path)
    else:
        with open_media(each.path, max_frames=MAX_FRAMES, measure=True) as media:
            yield media


def _described(media: Media | Frames) -> Ended:
    still = media.frames == 1 and not isinstance(media, Frames)
    return Ended(
        kind="image" if still else "video",
        expected=media.frames,
        codec=media.codec,
        lossless=media.lossless,
        rate=media.rate,
        size=media.size,
    )


def _still(
    media: Media | Frames, follower: Follower, cutter: Cutter, options: Options
) -> Iterator[Sight]:
    for number, pixels in media.read(range(1)):
        frame = shrink(pixels, MAX_SIDE)
        boxes = cutter.search(frame)
        follower.most = len(boxes)
        largest = sorted(boxes, key=lambda box: (-box.area, box))[: options.max_faces]
        told = Told(number, frame, dict(enumerate(largest, 1)))
        scale = pixels.shape[1] / frame.shape[1]
        sight = Sight(number, moving=False, rate=0.0, faces=(), scale=scale)
        yield _with_faces(sight, told, cutter, options)


def _moving(
    media: Media | Frames, follower: Follower, cutter: Cutter, options: Options
) -> Iterator[Sight]:
    scale = 1.0

    def sight(told: Told) -> Sight:
        empty = Sight(told.number, moving=True, rate=media.rate, faces=(), scale=scale)
        return _with_faces(empty, told, cutter, options)

    try:
        for number, pixels in media.read(range(media.frames)):
            frame = shrink(pixels, MAX_SIDE)
            scale = pixels.shape[1] / frame.shape[1]
            yield from map(sight, follower.add(number, frame))
    except MediaError:
        # what was seen before the damage is told
        yield from map(sight, follower.finish())
        raise
    yield from map(sight, follower.finish())


def _with_faces(sight: Sight, told: Told, cutter: Cutter, options: Options) -> Sight:
    scored = sight.number % options.score_every == 0
    found = []
    if scored or options.keep_frames:
        for name, box in sorted(told.boxes.items(), key=lambda item: (-item[1].area, item[0])):
            crop, side = cutter.cut(told.frame, box) if scored else (None, 0.0)
            where = Box(*(round(edge * sight.scale) for edge in box))
            found.append(Face(name, where, side * sight.scale, crop))
    frame = told.frame if options.keep_frames else None
    return sight._replace(faces=tuple(found), frame=frame)
