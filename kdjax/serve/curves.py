"""A face's scores over time as a drawing of its own: SVG, which needs no script and asks nobody for anything."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from kdjax.serve.running import Point
from kdjax.serve.watching import Found

WIDTH, HEIGHT = 760, 220
LEFT, RIGHT, TOP, BOTTOM = 40, 12, 10, 34

PALETTE = ("#2A83C8", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#7A68C9")
"""Of the faces in turn, as the report's."""

TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 36000)
"""Steps of the time axis in seconds, or frames."""

_LINE = Markup(
    '<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8"><title>{title}</title>'
    "</polyline>"
)
_DOT = Markup('<circle cx="{x}" cy="{y}" r="2.5" fill="{colour}"><title>{title}</title></circle>')
_BAND = Markup('<polygon points="{points}" fill="{colour}" fill-opacity="0.15"/>')
_RULE = Markup('<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" class="{kind}"/>')
_TEXT = Markup('<text x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>')


class Axis(NamedTuple):
    """What the curves lie over.

    Attributes:
      frames: how many there are.
      rate: frames a second; 0 where it is not known: numbers of frames stand below then.
    """

    frames: int
    rate: float

    def x(self, frame: float) -> float:
        """Returns where a frame lies, in units of the drawing."""
        return round(LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, frame / max(self.frames, 1)), 1)


def _y(score: float) -> float:
    return round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - score), 1)


def colour(place: int) -> str:
    """Returns the colour of the face at a place."""
    return PALETTE[place % len(PALETTE)]


def draw(faces: Sequence[Found], axis: Axis, threshold: float | None, what: str) -> Markup:
    """Returns a drawing of the scores of some faces over time, with the threshold.

    Args:
      faces: at most as many as can be told apart.
      axis: what they lie over.
      threshold: where a line is drawn.
      what: says in words what is to be seen, for those who do not see it.
    """
    parts = [*_grid(axis)]
    if threshold is not None:
        y = _y(threshold)
        parts.append(_RULE.format(x1=LEFT, y1=y, x2=WIDTH - RIGHT, y2=y, kind="threshold"))
    for place, face in enumerate(faces):
        name = f"face {face.name}" if face.name else "the largest face of each frame"
        for stretch in _stretches(face.curve):
            parts += _curve(stretch, axis, colour(place), name)
    return Markup(
        '<svg viewBox="0 0 {width} {height}" role="img" aria-label="{what}">{parts}</svg>'
    ).format(width=WIDTH, height=HEIGHT, what=what, parts=Markup("").join(parts))


def _curve(points: Sequence[Point], axis: Axis, ink: str, name: str) -> list[Markup]:
    middles = [axis.x((point.start + point.stop) / 2) for point in points]
    means = [(x, _y(point.mean)) for x, point in zip(middles, points, strict=True)]
    if len(points) == 1:
        return [_DOT.format(x=means[0][0], y=means[0][1], colour=ink, title=name)]
    above = [(x, _y(point.high)) for x, point in zip(middles, points, strict=True)]
    below = [(x, _y(point.low)) for x, point in zip(middles, points, strict=True)]
    band = [*above, *reversed(below)]
    return [
        _BAND.format(points=_listed(band), colour=ink),
        _LINE.format(points=_listed(means), colour=ink, title=name),
    ]


def _listed(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def _stretches(points: Sequence[Point]) -> list[list[Point]]:
    """Returns a curve in pieces: where the face was not seen for long there is no line."""
    starts = [point.start for point in points]
    longest = 2 * min((later - start for start, later in itertools.pairwise(starts)), default=1)
    pieces: list[list[Point]] = []
    for point in points:
        if pieces and point.start - pieces[-1][-1].start <= longest:
            pieces[-1].append(point)
        else:
            pieces.append([point])
    return pieces


def _grid(axis: Axis) -> list[Markup]:
    parts = []
    for score in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _y(score)
        parts.append(_RULE.format(x1=LEFT, y1=y, x2=WIDTH - RIGHT, y2=y, kind="grid"))
        parts.append(_TEXT.format(x=LEFT - 6, y=y + 4, anchor="end", text=f"{score:g}"))
    length = axis.frames / (axis.rate or 1)
    step = next((tick for tick in TICKS if length / tick <= 10), max(1, int(length / 10)))
    for count in range(int(length / step) + 1):
        x = axis.x(count * step * (axis.rate or 1))
        text = clock(count * step) if axis.rate else str(count * step)
        parts.append(_RULE.format(x1=x, y1=_y(0), x2=x, y2=_y(0) + 4, kind="grid"))
        parts.append(_TEXT.format(x=x, y=HEIGHT - 16, anchor="middle", text=text))
    unit = "" if axis.rate else "frame"
    parts.append(_TEXT.format(x=WIDTH - RIGHT, y=HEIGHT - 2, anchor="end", text=unit))
    return parts


def clock(seconds: float) -> str:
    """Returns a time as hours, minutes and seconds, as far as it has them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
