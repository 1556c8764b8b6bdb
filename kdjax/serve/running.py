"""What is kept of a series of scores while it goes by: as much at its end as after its first minute."""

import math
from typing import NamedTuple

import numpy as np
from scipy import stats

from kdjax.evaluate.statistics import CONFIDENCE

BLOCKS = 32
"""Sums that are kept: when there are so many, neighbours become one."""

FEWEST, MOST = 4, 15
"""Blocks that an interval is made of."""

BINS = 240
"""Points of a curve that are kept."""


class Blocks:
    """The mean of a series, and how sure it is although neighbours resemble each other.

    The series is cut into blocks of equal length, as long as leaves at most `MOST` of them. Their means are taken as
    independent: `mean +- t sd / sqrt(blocks)`, the method of batch means (Law and Kelton).

    Attributes:
      count: how many values came.
    """

    def __init__(self) -> None:
        """Begins with nothing."""
        self.count = 0
        self._total = 0.0
        self._sums: list[float] = []
        self._length = 1
        self._open, self._filled = 0.0, 0

    def add(self, value: float) -> None:
        """Takes the next value."""
        self.count += 1
        self._total += value
        self._open += value
        self._filled += 1
        if self._filled == self._length:
            self._sums.append(self._open)
            self._open, self._filled = 0.0, 0
            if len(self._sums) == BLOCKS:
                self._sums = _pairs(self._sums)
                self._length *= 2

    @property
    def mean(self) -> float:
        """The mean of all values; not a number of none."""
        return self._total / self.count if self.count else math.nan

    def interval(self) -> tuple[float, float]:
        """Returns the 95 % interval of the mean of values in [0, 1]; not a number of fewer than `FEWEST` blocks."""
        sums, length = self._sums, self._length
        while len(sums) > MOST:
            # of an odd number the first stands alone, and is left out of the spread
            sums, length = _pairs(sums[len(sums) % 2 :]), 2 * length
        if len(sums) < FEWEST:
            return math.nan, math.nan
        spread = float(np.std(np.divide(sums, length), ddof=1)) / math.sqrt(len(sums))
        reach = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(sums) - 1)) * spread
        return max(0.0, self.mean - reach), min(1.0, self.mean + reach)


def _pairs(sums: list[float]) -> list[float]:
    return [one + other for one, other in zip(sums[::2], sums[1::2], strict=True)]


class Point(NamedTuple):
    """A stretch of a curve: numbers of its first frame and the first after it, mean, lowest and highest value."""

    start: int
    stop: int
    mean: float
    low: float
    high: float


class Curve:
    """Values over the numbers of frames, `BINS` stretches of equal length at most."""

    def __init__(self) -> None:
        """Begins with stretches of one frame."""
        self._width = 1
        self._bins: dict[int, tuple[float, int, float, float]] = {}

    def add(self, number: int, value: float) -> None:
        """Takes a frame's value; numbers rise, or stay."""
        while number // self._width >= BINS:
            self._width *= 2
            merged: dict[int, tuple[float, int, float, float]] = {}
            for place, each in self._bins.items():
                merged[place // 2] = _joined(merged.get(place // 2), each)
            self._bins = merged
        place = number // self._width
        self._bins[place] = _joined(self._bins.get(place), (value, 1, value, value))

    def points(self) -> list[Point]:
        """Returns the stretches that have a value."""
        return [
            Point(place * self._width, (place + 1) * self._width, total / count, low, high)
            for place, (total, count, low, high) in sorted(self._bins.items())
        ]


def _joined(
    one: tuple[float, int, float, float] | None, other: tuple[float, int, float, float]
) -> tuple[float, int, float, float]:
    if one is None:
        return other
    return one[0] + other[0], one[1] + other[1], min(one[2], other[2]), max(one[3], other[3])
