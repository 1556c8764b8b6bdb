"""The tables of evaluation protocols: rows of runs, what they were trained on, and metrics with intervals."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from kdjax.data_pipeline.dataset import forgery_name
from kdjax.evaluate.evaluation import OVERALL, Evaluation
from kdjax.evaluate.intervals import evaluation_parts, mean_intervals, part_intervals
from kdjax.evaluate.parts import Part
from kdjax.evaluate.statistics import Interval
from kdjax.evaluate.trained import SEEN, STATES, UNSEEN, Trained
from kdjax.types import QUALITIES

OWN = "own"
"""What a run's own data set is called."""

ALONE = ""
"""The column of a table that has one for each metric."""

MEAN, POOLED = "mean", "pooled"
"""The mean of a metric over columns, each by itself; all of them as one set."""

ACROSS = ("auc", "video_auc")
"""Metrics of a table with several columns, a table each."""

TOGETHER = ("auc", "video_auc", "accuracy", "eer")
"""Metrics of a table with a column for each."""


TRAINED_IMAGES = "training images"

GROUPED = ("method", "network", "trained on", "data")
"""What rows of one few-sample curve have in common."""


class Measured(NamedTuple):
    """A run on a data set.

    Attributes:
      run: its name.
      trained: what it was trained on.
      data: the data set's name; `OWN` of the run's own.
      knows_data: of `trained.STATES`: whether the run was trained on it.
      forgeries: its kinds of forgery by id.
      evaluation: the run's on it.
    """

    run: str
    trained: Trained
    data: str
    knows_data: str
    forgeries: tuple[str, ...]
    evaluation: Evaluation


class Row(NamedTuple):
    """A row of a protocol's table.

    Attributes:
      facts: what it is of, as text and numbers, by heading.
      cells: `{column: {metric: interval}}`; one column alone is called `ALONE`.
    """

    facts: dict[str, Any]
    cells: dict[str, dict[str, Interval]]


def protocol_rows(table: str, measured: Sequence[Measured]) -> list[Row]:
    """Returns the rows of a protocol's table.

    Args:
      table: of `configs.protocols.TABLES`.
      measured: runs on data sets, as the protocol wants them evaluated.
    """
    make = {
        "qualities": _by_quality,
        "specialists": _by_quality,
        "forgeries": _by_forgery,
        "datasets": _by_dataset,
        "corruptions": _by_corruption,
        "samples": _by_samples,
    }[table]
    rows = [row for each in measured for row in make(each)]
    if table == "specialists":
        rows += _specialists(measured)
    if table == "samples":
        rows.sort(
            key=lambda row: (*(row.facts[name] for name in GROUPED), row.facts[TRAINED_IMAGES] or 0)
        )
    return rows


def _facts(each: Measured, **more: Any) -> dict[str, Any]:
    return {"run": each.run, "data": each.data, **more}


def _over(parts: dict[str, Part]) -> dict[str, dict[str, Interval]]:
    """Returns metrics of each column, and of several their mean and that of all as one set."""
    cells = {name: part_intervals([part], ACROSS) for name, part in parts.items()}
    if len(parts) > 1:
        every = list(parts.values())
        cells |= {MEAN: mean_intervals(every, ACROSS), POOLED: part_intervals(every, ACROSS)}
    return cells


def _parts(each: Measured) -> dict[str, Part]:
    columns = each.evaluation.columns
    return {name: Part(scores, columns) for name, scores in each.evaluation.scores.items()}


def _trained(each: Measured) -> str:
    return ", ".join(each.trained.qualities)


def _by_quality(each: Measured) -> Iterator[Row]:
    yield Row(_facts(each, **{"trained on": _trained(each)}), _over(_parts(each)))


def _specialists(measured: Sequence[Measured]) -> Iterator[Row]:
    """Yields a row for networks that were trained on one quality each, by method and network: as if it were told."""
    groups: dict[tuple[str, str, str], list[Measured]] = {}
    for each in measured:
        qualities = each.trained.qualities
        if len(qualities) == 1 and qualities[0] in each.evaluation.scores:
            key = (each.trained.method, each.trained.network, each.data)
            groups.setdefault(key, []).append(each)
    for (method, network, data), members in groups.items():
        told = [(each.trained.qualities[0], each) for each in members]
        parts = {quality: _parts(each)[quality] for quality, each in told}
        # several networks for a quality are its seeds, and "own" may be several data sets
        if len(parts) == len(members) > 1 and _same_images([each.evaluation for each in members]):
            facts = {"run": f"{method}:{network}, one each", "data": data}
            yield Row({**facts, "trained on": "the quality"}, _over(_sorted(parts)))


def _same_images(evaluations: Sequence[Evaluation]) -> bool:
    first = evaluations[0].columns
    return all(
        np.array_equal(each.columns[name], first[name])
        for each in evaluations
        for name in ("labels", "video", "index")
    )


def _sorted(parts: dict[str, Part]) -> dict[str, Part]:
    return {name: parts[name] for name in in_order(parts)}


def in_order(columns: Iterable[str]) -> list[str]:
    """Returns names of columns: qualities from the best on, others, mean and pooled last."""
    names, last = list(columns), (MEAN, POOLED)
    known = [name for name in QUALITIES if name in names]
    others = [name for name in names if name not in (*known, *last)]
    return [*known, *others, *(name for name in last if name in names)]


def _by_forgery(each: Measured) -> Iterator[Row]:
    """Yields each kind of forgery against all reals, those that were trained on first, and all kinds of a state."""
    parts = evaluation_parts(each.evaluation, OVERALL)
    columns = each.evaluation.columns
    fakes = columns["forgery"][columns["labels"] == 1]
    for state in STATES:
        own = {
            n: name for n, name in _kinds(each).items() if each.trained.knows_forgery(name) == state
        }
        groups = [([number], name) for number, name in own.items()]
        if len(own) > 1:
            groups.append((list(own), f"all {state}"))
        for numbers, name in groups:
            facts = {"forgery": name, "in training": state}
            count = int(np.isin(fakes, numbers).sum())
            found = part_intervals([part.against_reals(numbers) for part in parts], TOGETHER)
            yield Row(_facts(each, **facts, fakes=count), {ALONE: found})


def _kinds(each: Measured) -> dict[int, str]:
    """Returns the kinds of the fakes that a run was evaluated on."""
    columns = each.evaluation.columns
    found = np.unique(columns["forgery"][columns["labels"] == 1]).tolist()
    return {kind: forgery_name(each.forgeries, kind) for kind in found}


def _states(each: Measured) -> set[str]:
    return {each.trained.knows_forgery(name) for name in _kinds(each).values()}


def _by_dataset(each: Measured) -> Iterator[Row]:
    columns = each.evaluation.columns
    facts = {
        "in training": each.knows_data,
        "images": len(columns["labels"]),
        "videos": len(np.unique(columns["video"])),
    }
    found = part_intervals(evaluation_parts(each.evaluation, OVERALL), TOGETHER)
    yield Row(_facts(each, **facts), {ALONE: found})


def _by_corruption(each: Measured) -> Iterator[Row]:
    """Yields a row for each kind: the image as it is, its severities, and their mean."""
    parts = _parts(each)
    clean, *names = parts
    of_clean = part_intervals([parts[clean]], ACROSS)
    kinds: dict[str, list[Part]] = {}
    for name in names:
        kinds.setdefault(name.rpartition("-")[0], []).append(parts[name])
    for kind, severities in kinds.items():
        cells = {"0": of_clean}
        for number, part in enumerate(severities):
            cells[str(number + 1)] = part_intervals([part], ACROSS)
        cells[MEAN] = mean_intervals(severities, ACROSS)
        yield Row(_facts(each, corruption=kind), cells)


def _by_samples(each: Measured) -> Iterator[Row]:
    trained = each.trained
    facts = {
        "method": trained.method,
        "network": trained.network,
        "trained on": _trained(each),
        TRAINED_IMAGES: trained.images,
        "share": trained.share,
    }
    found = part_intervals(evaluation_parts(each.evaluation, OVERALL), TOGETHER)
    yield Row(_facts(each, **facts), {ALONE: found})


def protocol_notes(table: str, measured: Sequence[Measured]) -> Iterator[str]:
    """Yields what a reader of the table has to know, a line each."""
    if table == "forgeries":
        without = [f"{each.run} on {each.data}" for each in measured if UNSEEN not in _states(each)]
        if without:
            yield (
                f"{', '.join(without)}: no kind of forgery is known to be unseen; leave one out in training, "
                "--config.data.leave_out=NAME, or name another data set, --data=FOLDER"
            )
    if table == "datasets":
        for each in measured:
            if each.data != OWN and each.knows_data == SEEN:
                yield f"{each.run} was trained on {each.data}: it is no other data set"
    if table == "samples":
        for each in measured:
            if each.trained.images is None:
                yield f"{each.run}: its files do not tell how many images it was trained on"
