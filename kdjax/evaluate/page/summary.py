"""The page's first lines: which run to use in each quality, and how sure that is."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kdjax.evaluate.evaluation import OVERALL
from kdjax.evaluate.grouped import Group, Line, Summary, auc_of, same_images
from kdjax.evaluate.intervals import evaluation_intervals
from kdjax.evaluate.page.table import Cell, Row, Table, bounded, number, text
from kdjax.evaluate.runs import Run
from kdjax.evaluate.statistics import NOTHING, Interval

LEVEL = 0.05
"""A difference counts where its interval leaves out 0 and its corrected p-value is at most this."""

NAMED = 4
"""Rivals that are named in a cell; of more, how many they are."""


class Rival(NamedTuple):
    """A row beside the best.

    Attributes:
      name: of the row.
      lead: AUC of the best less that of this row, with the bootstrap's interval; NaN where they were not compared.
      corrected: p-value by Holm's correction over the rivals.
      is_decided: whether the best is better by more than chance.
    """

    name: str
    lead: Interval
    corrected: float
    is_decided: bool


class Choice(NamedTuple):
    """The best row in a quality.

    Attributes:
      quality: or `overall`.
      best: its name.
      seeds: how many runs it has.
      fewest: how many the row of the fewest has, of those that were compared.
      auc: with the interval over videos of one run, over seeds of several.
      rivals: the other rows on the same images, the best of them first.
      apart: rows that were evaluated on other images and cannot be compared.
    """

    quality: str
    best: str
    seeds: int
    fewest: int
    auc: Interval
    rivals: tuple[Rival, ...]
    apart: tuple[str, ...]


def candidates(runs: Sequence[Run], groups: Sequence[Group]) -> list[Group]:
    """Returns the rows to choose among: groups of runs, and every run that is in none.

    Where they have no seed in common, seeds are counted from 0: rows are compared all the same, as they are on the
    same videos.
    """
    known = [evaluation for group in groups for evaluation in group.runs.values()]
    alone = [
        Group(run.name, {0: run.evaluation})
        for run in runs
        if run.evaluation is not None and not any(run.evaluation is each for each in known)
    ]
    rows = [*groups, *alone]
    shared = set.intersection(*(set(row.runs) for row in rows)) if rows else set()
    if shared:
        return rows
    return [
        Group(row.name, {n: row.runs[seed] for n, seed in enumerate(sorted(row.runs))})
        for row in rows
    ]


def choose(
    rows: Sequence[Group], quality: str, summary: Summary, *, intervals: bool = True
) -> Choice | None:
    """Returns the best row in a quality by its mean AUC, compared with every other; None where none has an AUC.

    Rows are compared on the same images alone: on those that most rows were evaluated on.

    Args:
      rows: of `candidates`.
      quality: or `overall`.
      summary: what compares them.
      intervals: whether the AUC of a single run is given its interval over videos, which takes time.
    """
    able = [row for row in rows if all(_is_known(run, quality) for run in row.runs.values())]
    kept = _alike(able, quality)
    if not kept:
        return None
    best = max(kept, key=lambda row: _mean(row, quality))
    lines = summary.lines(kept, best.name, quality)
    own = next(line for line in lines if line.is_baseline)
    auc = own.auc
    if own.seeds == 1 and intervals:
        (run,) = best.runs.values()
        auc = evaluation_intervals(run, quality, ("auc",))["auc"]
    rivals = [_rival(line) for line in lines if not line.is_baseline]
    order = {row.name: -_mean(row, quality) for row in kept}
    rivals.sort(key=lambda rival: order[rival.name])
    apart = tuple(row.name for row in able if row not in kept)
    fewest = min(len(row.runs) for row in kept)
    return Choice(quality, best.name, own.seeds, fewest, auc, tuple(rivals), apart)


def _is_known(run: Any, quality: str) -> bool:
    has_scores = quality in run.scores or (quality == OVERALL and run.scores)
    return bool(has_scores) and math.isfinite(auc_of(run, quality))


def _mean(row: Group, quality: str) -> float:
    return float(np.mean([auc_of(run, quality) for run in row.runs.values()]))


def _alike(rows: Sequence[Group], quality: str) -> list[Group]:
    """Returns the largest set of rows that were evaluated on the same data set and images of it."""
    sets: list[list[Group]] = []
    for row in rows:
        run = next(iter(row.runs.values()))
        for found in sets:
            first = next(iter(found[0].runs.values()))
            # two data sets may be built alike
            if first.dataset == run.dataset and same_images(first, run, quality):
                found.append(row)
                break
        else:
            sets.append([row])
    return max(sets, key=len, default=[])


def _rival(line: Line) -> Rival:
    comparison = line.comparison
    if comparison is None:
        return Rival(line.name, NOTHING, math.nan, False)
    less = comparison.bootstrap
    lead = Interval(-less.estimate, -less.high, -less.low)
    # of one seed nothing is known but the videos; of several both have to say it
    both = comparison.sign != 0 if comparison.seeds > 1 else lead.excludes_zero
    return Rival(line.name, lead, line.corrected, both and line.corrected <= LEVEL)


def summary_table(choices: Sequence[Choice]) -> Table:
    """Returns the choices as a table, a row a quality."""
    heads = ("use", "AUC", "next best", "lead in AUC", "p (Holm)", "how sure")
    rows = []
    for choice in choices:
        second = choice.rivals[0] if choice.rivals else None
        rows.append(
            Row(
                None,
                choice.quality,
                [
                    Cell(choice.best, mark="choice"),
                    bounded(choice.auc),
                    text(second.name if second else None),
                    bounded(second.lead, "%+.3f") if second else Cell(),
                    number(second.corrected) if second else Cell(),
                    text(verdict(choice)),
                ],
            )
        )
    return Table("What to use in each quality", "quality", heads, rows, frozenset({0, 2, 5}))


def verdict(choice: Choice) -> str:
    """Returns in a few words what the comparisons of a choice say."""
    if not choice.rivals:
        return "nothing to compare it with"
    open_ = [rival.name for rival in choice.rivals if not rival.is_decided]
    if not open_:
        return "better than every other" if len(choice.rivals) > 1 else "better than the other"
    return f"undecided against {_listed(open_)}"


def _listed(names: Sequence[str]) -> str:
    if len(names) > NAMED:
        return f"{', '.join(names[: NAMED - 1])} and {len(names) - NAMED + 1} more"
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def sentences(
    choices: Sequence[Choice], data: Sequence[Mapping[str, Any]], unit: str = "videos"
) -> list[str]:
    """Returns two or three plain sentences: what to use, whether that differs by quality, how much is known.

    Args:
      choices: one a quality, `overall` last where there are several.
      data: what the runs were evaluated on, of `sections.evaluated_data`.
      unit: what is drawn by the bootstrap.
    """
    if not choices:
        return []
    main = choices[-1]
    where = "Over all qualities" if main.quality == OVERALL and len(choices) > 1 else main.quality
    where = (
        "On these images"
        if where == OVERALL
        else where
        if main.quality == OVERALL
        else f"In {where}"
    )
    of = f", the mean of {main.seeds} seeds" if main.seeds > 1 else ""
    said = f"AUC {main.auc.estimate:.3f}{of}"
    if math.isfinite(main.auc.low):
        said += f", 95 % interval {main.auc.low:.3f} to {main.auc.high:.3f}"
    found = [f"{where}, {_use(main)} ({said}){_against(main)}."]
    others = [choice for choice in choices[:-1] if choice.best != main.best]
    if others:
        different = [
            f"in {choice.quality} {choice.best} has the highest AUC ({verdict(choice)})"
            for choice in others
        ]
        found.append(f"It is not the same everywhere: {'; '.join(different)}.")
    elif len(choices) > 1 and main.rivals:
        found.append("It has the highest AUC in each quality too.")
    found.append(_known(choices, data, unit))
    return found


def _use(choice: Choice) -> str:
    if not choice.rivals:
        others = "cannot be compared with the others" if choice.apart else "is the only one to use"
        return f"{choice.best} {others}"
    return f"use {choice.best}"


def _against(choice: Choice) -> str:
    if not choice.rivals:
        return ""
    second = choice.rivals[0]
    lead = f"{second.lead.estimate:+.3f}"
    if not math.isfinite(second.lead.low):
        return (
            f"; whether it is better than {second.name} cannot be said: they could not be compared"
        )
    bounds = f"{lead}, {second.lead.low:+.3f} to {second.lead.high:+.3f}"
    if second.is_decided:
        return f"; it is better than the next best, {second.name} ({bounds})"
    return f"; whether it is better than {second.name} is undecided ({bounds})"


def _known(choices: Sequence[Choice], data: Sequence[Mapping[str, Any]], unit: str) -> str:
    counts = sorted({entry["videos"] for entry in data})
    videos = " or ".join(map(str, counts))
    apart = sorted({name for choice in choices for name in choice.apart})
    left = f" Not compared, as evaluated on other images: {_listed(apart)}." if apart else ""
    fewest = min(choice.fewest for choice in choices)
    if fewest == 1:
        which = "one seed" if all(choice.seeds == 1 for choice in choices) else "one seed of some"
        return (
            f"This is known from {which} and {videos} {unit}: the intervals know the {unit}, not how much "
            f"another seed would change.{left}"
        )
    return f"This is known from at least {fewest} seeds a row and {videos} {unit}.{left}"
