"""Opens what an item names: a media file, or a folder of one video's frames as images."""

import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from kdjax.data_pipeline.trees.item import IGNORED
from kdjax.data_pipeline.video import Media, MediaError, open_media


class Frames:
    """A folder of images in the order of their numbers; attributes as of `video.Media`.

    Attributes:
      path: the folder.
      frames: how many images it holds.
      codec: FFmpeg's name of what decodes the first.
      lossless: whether that loses nothing.
      rate: 0, nobody knows.
      size: width and height of the first image in pixels.
      oddities: none.
      left_out: how many images are not among the wanted names.
    """

    def __init__(self, path: Path, only: frozenset[str] | None = None) -> None:
        """Opens a folder; of its images those of some names alone, without their endings, where `only` says so.

        Raises:
          MediaError: it cannot be read, or holds no such image.
        """
        self.path = path
        found = _images(path)
        self._images = [image for image in found if only is None or image.stem in only]
        self.left_out = len(found) - len(self._images)
        if found and not self._images:
            raise MediaError(path, "has no frame of a name that all qualities have")
        self.frames = len(self._images)
        if not self._images:
            raise MediaError(path, "a folder without images")
        self.rate = 0.0
        self.oddities: set[str] = set()
        with self._open(self._images[0]) as first:
            self.codec, self.lossless, self.size = first.codec, first.lossless, first.size

    @property
    def names(self) -> frozenset[str]:
        """The names of its images without their endings."""
        return frozenset(image.stem for image in self._images)

    def name_of(self, number: int) -> str:
        """Returns the name of a frame's file without its ending."""
        return self._images[number].stem

    def read(self, wanted: Collection[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yields numbers, from 0, and pixels of the wanted frames; no other file is opened."""
        for number, image in enumerate(self._images):
            if number in wanted:
                with self._open(image) as media:
                    yield number, next(iter(media))

    @contextmanager
    def _open(self, image: Path) -> Iterator[Media]:
        with open_media(image) as media:
            if media.frames > 1:
                reason = f"a folder of frames, of which {image.name} is a video"
                raise MediaError(self.path, reason)
            yield media


def common_names(paths: Sequence[Path]) -> frozenset[str] | None:
    """Returns the names of frames that all folders have: qualities that lose frames lose others; None for files.

    Raises:
      MediaError: a folder cannot be read.
    """
    if len(paths) < 2 or not all(map(os.path.isdir, paths)):
        return None
    found = [frozenset(image.stem for image in _images(path)) for path in paths]
    return frozenset.intersection(*found)


@contextmanager
def open_source(path: Path, only: frozenset[str] | None = None) -> Iterator[Media | Frames]:
    """Opens a media file, or a folder of frames, `only` those of some names; MediaError as of `video.open_media`."""
    if os.path.isdir(path):
        yield Frames(path, only)
    else:
        with open_media(path) as media:
            yield media


def _images(folder: Path) -> list[Path]:
    try:
        found = [
            path
            for path in folder.iterdir()
            if not path.name.startswith(".") and path.name.lower() not in IGNORED
        ]
    except OSError as error:
        raise MediaError(folder, "cannot be looked into") from error
    return sorted(found, key=lambda path: (_number(path.stem), path.name))


def _number(name: str) -> int:
    digits = re.search(r"\d+$", name)
    return int(digits[0]) if digits else -1
