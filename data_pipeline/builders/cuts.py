"""The same squares out of another file of the same video, frame by frame."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kdjax.data_pipeline import clips, faces, video
from kdjax.data_pipeline.builders.options import MediaConfig
from kdjax.data_pipeline.frames import Frames, open_source

SAME_RATE = 0.02
"""By how much two files of one video may differ in frames a second: containers round."""


class Cut(NamedTuple):
    """Where a stored face was cut out: its number among the examples, the square, height and width of the frame."""

    position: int
    square: faces.Square
    size: tuple[int, ...]


def same_frames(
    path: Path,
    best: video.Media | Frames,
    cuts: Mapping[int, Cut],
    config: MediaConfig,
    *,
    rate: bool = True,
) -> Iterator[tuple[Cut, np.ndarray]]:
    """Yields the frames, uint8 RGB `[H, W, 3]`, out of which something is cut, of another file of the same video.

    Args:
      path: the other file.
      best: the file that faces were found in.
      cuts: by the number of the frame.
      config: the options that frames were chosen by.
      rate: whether frames a second have to agree, where both are known.

    Raises:
      MediaError: it has other frames, another rate or another size.
    """
    only = best.names if isinstance(best, Frames) else None
    with open_source(path, only) as media:
        if media.frames != best.frames:
            raise video.MediaError(
                path, f"has {media.frames} frames, the best quality {best.frames}"
            )
        known = rate and media.rate and best.rate
        if known and abs(media.rate - best.rate) > SAME_RATE * best.rate:
            raise video.MediaError(
                path, f"has {media.rate:g} frames/s, the best quality {best.rate:g}"
            )
        # one may be stored upright where the other is turned when it is shown
        if sorted(media.size) != sorted(best.size):
            raise video.MediaError(
                path, "is {}x{}, the best quality {}x{}".format(*media.size, *best.size)
            )
        for clip in clips.sample_clips(media, config.frames_per_video, 1, max_side=config.max_side):
            cut = cuts.get(clip.position)
            if cut is not None:
                if clip.frames.shape[1:3] != cut.size:
                    raise video.MediaError(path, "is turned otherwise than the best quality")
                yield cut, clip.frames[0]
