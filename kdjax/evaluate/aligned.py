"""Scores of several detectors brought onto the images that all of them have."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kdjax.checks import UserError
from kdjax.evaluate.evaluation import OVERALL
from kdjax.evaluate.scorerows import Coded, Scores


class Aligned(NamedTuple):
    """Rows that all detectors scored, in the order of the first.

    Attributes:
      names: of the detectors, distinct.
      scores: float64 `[N]` of each.
      logits: whether they are logits, of each.
      labels: int32 `[N]`.
      images: int32 `[N]`, which image a row is of; an image has a row in each quality.
      videos: int32 `[N]`, ids; each image its own where no file names videos. One name in several data sets, or of
        fakes of several forgeries, is that of several videos.
      has_videos: whether one does.
      namesakes: names of videos that are those of several.
      forgery: of each row, or None.
      quality: likewise.
      dataset: likewise.
      left_out: how many rows with a score others lack, of each.
    """

    names: tuple[str, ...]
    scores: tuple[np.ndarray, ...]
    logits: tuple[bool, ...]
    labels: np.ndarray
    images: np.ndarray
    videos: np.ndarray
    has_videos: bool
    namesakes: int
    forgery: Coded | None
    quality: Coded | None
    dataset: Coded | None
    left_out: tuple[int, ...]

    def rows(self, quality: str) -> np.ndarray:
        """Returns the places of the rows in a quality, of all of them overall."""
        if quality == OVERALL or self.quality is None:
            return np.arange(len(self.labels))
        return np.flatnonzero(self.quality.codes == self.quality.names.index(quality))


def align(files: Sequence[Scores]) -> Aligned:
    """Returns the rows that all files have.

    Videos, forgeries and data sets are those of the first file that names them.

    Raises:
      UserError: nothing was named, they share nothing, call an image real here and fake there, or not all of
        them have qualities.
    """
    if not files:
        raise UserError("no scores named; give one or more tables: --scores FILE.csv")
    first = files[0]
    for other in files[1:]:
        if (other.quality is None) != (first.quality is None):
            with_, without = (first, other) if other.quality is None else (other, first)
            raise UserError(
                f"{with_.name} has a column quality and {without.name} has none; give both or neither"
            )
    places = _shared(files)
    for other, place in zip(files[1:], places[1:], strict=True):
        differ = np.flatnonzero(first.labels[places[0]] != other.labels[place])
        if differ.size:
            here, there = places[0][differ[0]], place[differ[0]]
            said = ("real", "fake")[first.labels[here]], ("real", "fake")[other.labels[there]]
            raise UserError(
                f"{str(first.ids[here])[:80]!r} is {said[0]} in {first.name}, line {first.lines[here]}, and {said[1]} "
                f"in {other.name}, line {other.lines[there]} ({differ.size} such); correct the labels"
            )
    columns = {
        role: next(
            (
                _taken(getattr(file, role), place)
                for file, place in zip(files, places, strict=True)
                if getattr(file, role) is not None
            ),
            None,
        )
        for role in ("video", "forgery", "quality", "dataset")
    }
    count, labels = len(places[0]), first.labels[places[0]]
    numbers: dict[str, int] = {}
    images = np.array(
        [numbers.setdefault(name, len(numbers)) for name in first.ids[places[0]]], np.int32
    )
    videos, namesakes = _videos(columns, labels)
    return Aligned(
        _distinct([file.name for file in files]),
        tuple(file.scores[place] for file, place in zip(files, places, strict=True)),
        tuple(file.logits for file in files),
        labels,
        images,
        images if videos is None else videos,
        videos is not None,
        namesakes,
        columns["forgery"],
        columns["quality"],
        columns["dataset"],
        tuple(len(file.ids) - count for file in files),
    )


def _taken(column: Coded, place: np.ndarray) -> Coded:
    return Coded(column.codes[place], column.names)


def _videos(
    columns: Mapping[str, Coded | None], labels: np.ndarray
) -> tuple[np.ndarray | None, int]:
    """Returns ids of videos by row, None where nothing names them, and how many names are those of several."""
    video, forgery, dataset = (columns[role] for role in ("video", "forgery", "dataset"))
    if video is None:
        return None, 0
    alike = np.zeros(len(labels), np.int32)
    # FaceForensics++ has a 000_003 of each of its forgeries; what a table says of a real one's tells none apart
    kinds = alike if forgery is None else np.where(labels == 1, forgery.codes, -1)
    sets = alike if dataset is None else dataset.codes
    keys = np.stack([video.codes, sets, kinds], axis=1)
    _, ids = np.unique(keys, axis=0, return_inverse=True)
    # a real and a fake of one name are told apart by their labels wherever videos are
    named = np.unique(np.stack([video.codes, labels, sets, kinds], axis=1), axis=0)[:, :2]
    each, counts = np.unique(named, axis=0, return_counts=True)
    return ids.reshape(-1).astype(np.int32), len(np.unique(each[counts > 1, 0]))


def _keys(file: Scores) -> list[tuple[str, str]]:
    if file.quality is None:
        return [(name, "") for name in file.ids]
    qualities = [file.quality.names[code] for code in file.quality.codes]
    return list(zip(file.ids, qualities, strict=True))


def _shared(files: Sequence[Scores]) -> list[np.ndarray]:
    """Returns the places of the shared rows in each file."""
    if len(files) == 1:
        return [np.arange(len(files[0].ids))]
    first = _keys(files[0])
    others = [{key: row for row, key in enumerate(_keys(file))} for file in files[1:]]
    kept = [row for row, key in enumerate(first) if all(key in other for other in others)]
    if not kept:
        examples = ", ".join(f"{file.name} has {str(file.ids[0])[:60]!r}" for file in files)
        raise UserError(f"the tables share no image: {examples}; write ids alike in all of them")
    return [
        np.array(kept),
        *(np.array([other[first[row]] for row in kept]) for other in others),
    ]


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Returns names that differ: the second of a name has its number behind it."""
    return tuple(
        name if names.index(name) == place else f"{name} ({names[: place + 1].count(name)})"
        for place, name in enumerate(names)
    )
