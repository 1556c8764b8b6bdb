"""The rows of a table of scores: what is in their cells, and what is wrong with it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kdjax.checks import UserError
from kdjax.evaluate.evaluation import OVERALL
from kdjax.evaluate.scorewords import AMBIGUOUS, LABELS_HELP, NEEDED, parse_label, parse_number


class Coded(NamedTuple):
    """A column of names.

    Attributes:
      codes: int32 `[N]`, places in `names`.
      names: distinct names in the order in which they come.
    """

    codes: np.ndarray
    names: tuple[str, ...]


class Scores(NamedTuple):
    """The scores of one detector on some images.

    Attributes:
      name: what tables call it, after its file.
      ids: what images are called, `[N]`; with a quality, an image has a row in each.
      labels: int32 `[N]`, 0 real, 1 fake.
      scores: float64 `[N]`, finite: probability of fake, or logits.
      logits: whether scores are any real numbers.
      lines: int32 `[N]`, where each row lies in the file.
      video: of each row, or None.
      forgery: likewise, or generator.
      quality: likewise.
      dataset: likewise.
      missing: how many rows had no score; they are in none of the arrays.
      notes: what a reader should know, a line each.
    """

    name: str
    ids: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    logits: bool
    lines: np.ndarray
    video: Coded | None
    forgery: Coded | None
    quality: Coded | None
    dataset: Coded | None
    missing: int
    notes: tuple[str, ...]


class Rows:
    """Rows as they come, a list for each column."""

    def __init__(self, path: Path, places: dict[str, int]) -> None:
        self.path, self.places = path, places
        self.ids: list[str] = []
        self.labels: list[int] = []
        self.scores: list[float] = []
        self.lines: list[int] = []
        self.codes: dict[str, list[int]] = {role: [] for role in places if role not in NEEDED}
        self.known: dict[str, dict[str, int]] = {role: {} for role in self.codes}
        self.label_of: dict[str, int] = {}
        self.seen: dict[tuple[str, int], int] = {}
        self.missing: list[int] = []

    def fail(self, line: int, what: str) -> UserError:
        """Returns the error of a line."""
        return UserError(f"{self.path}, line {line}: {what}")

    def add(self, cells: Sequence[str], line: int) -> None:
        """Takes one row."""
        where = self.places
        name = cells[where["id"]].strip()
        if not name:
            raise self.fail(line, "no id; give every row a name of its own")
        label = self._label(cells[where["label"]], line)
        score = self._score(cells[where["score"]], line)
        codes = {role: self._code(role, cells[where[role]], label, line) for role in self.codes}
        key = (name, codes.get("quality", 0))
        first = self.seen.setdefault(key, line)
        if first != line:
            again = "" if "quality" not in codes else " in the same quality"
            raise self.fail(
                line, f"id {name[:80]!r} is in line {first} too{again}; leave one of the two out"
            )
        if score != score:
            self.missing.append(line)
            return
        self.ids.append(name)
        self.labels.append(label)
        self.scores.append(score)
        self.lines.append(line)
        for role, code in codes.items():
            self.codes[role].append(code)

    def _label(self, cell: str, line: int) -> int:
        label = self.label_of.get(cell)
        if label is None:
            label = parse_label(cell)
            if label is None:
                raise self.fail(
                    line,
                    f"label {cell.strip()[:80]!r} is neither real nor fake; write {LABELS_HELP}",
                )
            self.label_of[cell] = label
        return label

    def _score(self, cell: str, line: int) -> float:
        score = parse_number(cell)
        if score is None:
            raise self.fail(
                line,
                f"score {cell.strip()[:80]!r} is no finite number; write one as 0.93, or leave the cell empty where "
                "there is none",
            )
        return score

    def _code(self, role: str, cell: str, label: int, line: int) -> int:
        name = cell.strip()
        if role == "forgery":
            name = (name or "unnamed") if label else "none"
        if not name:
            raise self.fail(line, f"no {role}; fill the cell, or leave the column out")
        if role == "quality" and name == OVERALL:
            raise self.fail(line, f"quality {OVERALL!r} stands for all of them together; rename it")
        known = self.known[role]
        return known.setdefault(name, len(known))

    def coded(self, role: str) -> Coded | None:
        """Returns a column of names, None where there is none."""
        if role not in self.codes:
            return None
        return Coded(np.array(self.codes[role], np.int32), tuple(self.known[role]))


def notes_on(
    name: str, columns: Sequence[str], rows: Rows, logits: tuple[float, float] | None
) -> Iterator[str]:
    """Yields what a reader should know of a table, a line each.

    Args:
      name: of the table.
      columns: names in its header.
      rows: what was read.
      logits: the range of the scores where they are taken as such, else None.
    """
    used = set(rows.places.values())
    if unused := [each for place, each in enumerate(columns) if each and place not in used]:
        yield f"{name}: columns that are not used: {', '.join(unused)[:200]}"
    if rows.missing:
        total = len(rows.missing) + len(rows.scores)
        yield (
            f"{name}: {len(rows.missing)} of {total} rows have no score, the first in line {rows.missing[0]}; they "
            "count nowhere, which flatters a detector that fails on what is hard"
        )
    if words := sorted({cell.strip().lower() for cell in rows.label_of} & AMBIGUOUS):
        told = ", ".join(f"{word} as {('real', 'fake')[parse_label(word) or 0]}" for word in words)
        yield f"{name}: labels are read as of 'is it fake?': {told}"
    if rows.scores and set(rows.scores) <= {0.0, 1.0}:
        yield (
            f"{name}: every score is 0 or 1, a decision instead of a score; if its numbers have decimal commas, its "
            "cells must be separated by semicolons"
        )
    if logits:
        low, high = logits
        percent = (
            " (percentages would have to be divided by 100)" if low >= 0 and high <= 100 else ""
        )
        yield (
            f"{name}: scores lie in [{low:g}, {high:g}] and are taken as logits{percent}: where a probability is "
            "needed it is their logistic function"
        )
    if "video" not in rows.codes:
        yield (
            f"{name}: no column video, so images are taken as independent; if some are frames of one video, the "
            "intervals are too narrow"
        )
