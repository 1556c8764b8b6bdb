"""The page's part on corrupted images: AUC by kind and severity, of evaluations that lie in the runs."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from kdjax.checks import UserError
from kdjax.evaluate.evaluation import Evaluation
from kdjax.evaluate.intervals import mean_intervals, part_intervals
from kdjax.evaluate.page.table import Row, Table, bounded
from kdjax.evaluate.parts import Part
from kdjax.evaluate.runs import Run
from kdjax.evaluate.statistics import Interval
from kdjax.folder import RunFolder


class Corrupted(NamedTuple):
    """What a run does under a kind of corruption.

    Attributes:
      run: its number.
      kind: of corruption.
      areas: AUC by severity, 0 being the image as it is.
      mean: over the severities but 0.
      images: how many there were.
      videos: of how many videos.
    """

    run: int
    kind: str
    areas: tuple[Interval, ...]
    mean: Interval
    images: int
    videos: int


class Robustness(NamedTuple):
    """What the runs do under corruptions: runs by kind, and what is damaged, a sentence each by the run's number."""

    found: tuple[Corrupted, ...]
    notes: tuple[tuple[int, str], ...]


def read_robustness(runs: Sequence[Run], split: str) -> Robustness:
    """Returns what `kdjax evaluate --corruptions` has left in the runs; of several the one of most images."""
    found: list[Corrupted] = []
    notes: list[tuple[int, str]] = []
    for position, run in enumerate(runs):
        files = RunFolder(run.path)
        kinds: dict[str, Corrupted] = {}
        for name in files.evaluations():
            if not re.fullmatch(rf"{re.escape(split)}(-limit\d+)?-under-[a-z0-9-]+", name):
                continue
            try:
                evaluation = Evaluation.load(files.evaluation, name)
                each = _kinds(evaluation, position)
            except (UserError, ValueError):
                notes.append((position, f"its evaluation {name} is damaged"))
                continue
            own = None if run.evaluation is None else run.evaluation.step
            if own is not None and evaluation.step != own:
                notes.append(
                    (
                        position,
                        f"its evaluation {name} is of step {evaluation.step}, that on {split} of {own}",
                    )
                )
            for corrupted in each:
                other = kinds.get(corrupted.kind)
                if other is None or other.images < corrupted.images:
                    kinds[corrupted.kind] = corrupted
        found += kinds.values()
    order = list(dict.fromkeys(each.kind for each in found))
    found.sort(key=lambda each: (order.index(each.kind), each.run))
    return Robustness(tuple(found), tuple(notes))


def _kinds(evaluation: Evaluation, position: int) -> list[Corrupted]:
    columns = evaluation.columns
    clean, *names = evaluation.scores
    if not len(columns["labels"]):
        raise ValueError("no images")
    kinds: dict[str, list[Part]] = {}
    for name in names:
        kind, _, severity = name.rpartition("-")
        if kind and severity == str(len(kinds.get(kind, [])) + 1):
            kinds.setdefault(kind, []).append(Part(evaluation.scores[name], columns))
    of_clean = _area([Part(evaluation.scores[clean], columns)])
    videos = len(set(columns["video"].tolist()))
    return [
        Corrupted(
            position,
            kind,
            (of_clean, *(_area([part]) for part in parts)),
            mean_intervals(parts, ("auc",))["auc"],
            len(columns["labels"]),
            videos,
        )
        for kind, parts in kinds.items()
    ]


def _area(parts: Sequence[Part]) -> Interval:
    return part_intervals(parts, ("auc",))["auc"]


def robustness_tables(runs: Sequence[Run], found: Sequence[Corrupted]) -> list[Table]:
    """Returns a table for each kind: runs down, severities across, and their mean."""
    tables = []
    for kind in dict.fromkeys(each.kind for each in found):
        own = [each for each in found if each.kind == kind]
        severities = max(len(each.areas) for each in own)
        rows = [
            Row(
                each.run,
                runs[each.run].name,
                [*map(bounded, each.areas), bounded(each.mean)],
            )
            for each in own
            if len(each.areas) == severities
        ]
        heads = [*map(str, range(severities)), "mean"]
        tables.append(Table(f"AUC under {kind}, by severity", "run", heads, rows))
    return tables
