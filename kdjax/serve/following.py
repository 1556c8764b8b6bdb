"""Follows every face of a video whose frames come one after the other: what has been told is let go of.

Faces are looked for in every N-th frame of a scene, and in its first and last. A face is told from others by how far
its box overlaps the one before. Boxes are smoothed over the looks around and filled in between them, so a frame is told
a few looks after it was seen. `data_pipeline.tracking` does the same for one face of a whole video.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from kdjax.data_pipeline.faces import Box
from kdjax.data_pipeline.tracking import CUT, REACH, SAME, SPREAD, THUMBNAIL, overlap

AHEAD = 2
"""Looks that are waited for before a face's place is told."""

SAMPLED = 180
"""Shorter side of what a frame is compared by with the one before."""

Search = Callable[[np.ndarray, Box | None], list[Box]]
"""Takes a frame and the smallest face that was there last, returns the faces it finds."""


class Told(NamedTuple):
    """A frame, and where each face is in it.

    Attributes:
      number: from 0.
      frame: uint8 RGB `[H, W, 3]`.
      boxes: by the face's number, from 1; no two faces of a video share one.
    """

    number: int
    frame: np.ndarray
    boxes: Mapping[int, Box]


class _Look(NamedTuple):
    number: int
    boxes: dict[int, Box]


class Follower:
    """Follows the faces of one video.

    Attributes:
      cuts: how many times the scene changed.
      most: the most faces that were found in one frame.
    """

    def __init__(self, search: Search, *, every: int, limit: int) -> None:
        """Takes what finds faces.

        Args:
          search: finds the faces of a frame.
          every: frames between two looks.
          limit: of more faces in a frame the largest so many are followed.
        """
        self.cuts = self.most = 0
        self._search, self._every, self._limit = search, every, limit
        self._names = 0
        self._thumbnail: np.ndarray | None = None
        self._begin()

    def _begin(self) -> None:
        # looks are counted through a scene: `_first` is the earliest that is kept, `_next` the earliest not told
        self._looks: list[_Look] = []
        self._first = self._next = self._frames = 0
        self._waiting: deque[tuple[int, np.ndarray]] = deque()
        self._last: dict[int, tuple[int, Box]] = {}

    def add(self, number: int, frame: np.ndarray) -> Iterator[Told]:
        """Takes the next frame and yields what is known by now, in order."""
        before, self._thumbnail = self._thumbnail, _thumbnail(frame)
        if before is not None and np.abs(self._thumbnail - before).mean() > CUT:
            self.cuts += 1
            yield from self.finish()
        self._waiting.append((number, frame))
        if self._frames % self._every == 0:
            self._look(number, frame)
            yield from self._tell(self._first + len(self._looks) - 1 - AHEAD)
        self._frames += 1

    def finish(self) -> Iterator[Told]:
        """Yields what is left of the scene: it has ended."""
        if self._waiting:
            number, frame = self._waiting[-1]
            if self._looks[-1].number != number:
                self._look(number, frame)
            last = self._first + len(self._looks) - 1
            yield from self._tell(last)
            yield Told(number, frame, self._smooth(last))
        self._begin()

    def _look(self, number: int, frame: np.ndarray) -> None:
        """Finds the faces of a frame, and gives each the number that it had, or a new one."""
        now = self._first + len(self._looks)
        self._last = {name: each for name, each in self._last.items() if now - each[0] <= REACH}
        known = min((box for _, box in self._last.values()), key=lambda box: box.area, default=None)
        found = self._search(frame, known)
        self.most = max(self.most, len(found))
        found = sorted(found, key=lambda box: (-box.area, box))[: self._limit]
        boxes = self._matched(found)
        matched = set(boxes.values())
        for box in found:
            if box not in matched:
                self._names += 1
                boxes[self._names] = box
        for name, box in boxes.items():
            self._fill(name, box, now)
            self._last[name] = now, box
        self._looks.append(_Look(number, boxes))

    def _matched(self, found: Sequence[Box]) -> dict[int, Box]:
        """Returns which known face is which found box: pairs that overlap most come first."""
        pairs = [
            (overlap(box, known), name, place)
            for name, (_, known) in self._last.items()
            for place, box in enumerate(found)
        ]
        boxes: dict[int, Box] = {}
        taken: set[int] = set()
        for shared, name, place in sorted(pairs, key=lambda pair: (-pair[0], *pair[1:])):
            if shared >= SAME and name not in boxes and place not in taken:
                boxes[name] = found[place]
                taken.add(place)
        return boxes

    def _fill(self, name: int, box: Box, now: int) -> None:
        """Puts a face that is back after looks that missed it into these, as far as they are not told."""
        then, before = self._last.get(name, (now, box))
        for place in range(max(then + 1, self._next), now):
            share = (place - then) / (now - then)
            self._looks[place - self._first].boxes[name] = _between(before, box, share)

    def _tell(self, last: int) -> Iterator[Told]:
        """Yields the frames before a look."""
        while self._next < last:
            here, there = (self._looks[place - self._first].number for place in self._ends())
            one, other = (self._smooth(place) for place in self._ends())
            while self._waiting[0][0] < there:
                number, frame = self._waiting.popleft()
                share = (number - here) / (there - here)
                yield Told(number, frame, _boxes_between(one, other, share))
            self._next += 1
            gone = max(0, self._next - AHEAD - self._first)
            del self._looks[:gone]
            self._first += gone

    def _ends(self) -> tuple[int, int]:
        return self._next, self._next + 1

    def _smooth(self, place: int) -> dict[int, Box]:
        """Returns the boxes of a look, averaged over the looks around."""
        middle = place - self._first
        look = self._looks[middle]
        around = self._looks[max(0, middle - AHEAD) : middle + AHEAD + 1]
        boxes = {}
        for name in look.boxes:
            there = [each for each in around if name in each.boxes]
            times = np.array([each.number - look.number for each in there], float)
            weights = np.exp(-0.5 * (times / (SPREAD * self._every)) ** 2)
            edges = np.array([each.boxes[name] for each in there], float)
            boxes[name] = _rounded(weights @ edges / weights.sum())
        return boxes


def _thumbnail(frame: np.ndarray) -> np.ndarray:
    """Returns a tiny copy by area, float32; of large frames every few pixels count, which is a tenth of the work."""
    step = max(1, min(frame.shape[:2]) // SAMPLED)
    sampled = np.ascontiguousarray(frame[::step, ::step])
    small = cv2.resize(sampled, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32)


def _boxes_between(
    one: Mapping[int, Box], other: Mapping[int, Box], share: float
) -> dict[int, Box]:
    """Returns the boxes between two looks: of a face that one of them lacks nothing is known there."""
    if share == 0:
        return dict(one)
    return {name: _between(one[name], other[name], share) for name in one if name in other}


def _between(one: Box, other: Box, share: float) -> Box:
    return _rounded(np.multiply(one, 1 - share) + np.multiply(other, share))


def _rounded(edges: np.ndarray) -> Box:
    return Box(*(round(float(edge)) for edge in edges))
