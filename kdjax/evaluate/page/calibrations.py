"""The page's part on calibration: what probabilities mean before and after the temperature, and at the threshold."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kdjax.checks import UserError
from kdjax.evaluate.calibration import Calibration, calibrated, read_calibration
from kdjax.evaluate.evaluation import OVERALL, Evaluation
from kdjax.evaluate.page.table import Cell, Row, Table, number, text
from kdjax.evaluate.probabilities import Reliability, calibration_error, reliability
from kdjax.evaluate.runs import Run
from kdjax.evaluate.tables import qualities_of
from kdjax.folder import RunFolder

MOST = 12
"""Runs whose diagram is drawn; the tables have all."""


class Calibrated(NamedTuple):
    """A run's calibration, None where it has none, and what is wrong with it, a sentence each."""

    calibration: Calibration | None
    notes: tuple[str, ...]


def read_calibrations(runs: Sequence[Run]) -> list[Calibrated]:
    """Returns the calibration of each run."""
    return [_read(run) for run in runs]


def _read(run: Run) -> Calibrated:
    try:
        found = read_calibration(RunFolder(run.path))
    except UserError as error:
        # a page that is sent on need not tell where runs lie
        return Calibrated(None, (str(error).replace(str(run.path), run.name),))
    if found is None:
        return Calibrated(None, ())
    notes = []
    if found.problem:
        notes.append(f"its temperature is 1: {found.problem}")
    evaluated = None if run.evaluation is None else run.evaluation.step
    if evaluated is not None and found.step is not None and found.step != evaluated:
        notes.append(
            f"it was calibrated at step {found.step} and evaluated at step {evaluated}: calibrate it again"
        )
    return Calibrated(found, tuple(notes))


def scores_of(evaluation: Evaluation, quality: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns scores and labels `[N]` in a quality; of all qualities, one after the other, overall."""
    names = list(evaluation.scores) if quality == OVERALL else [quality]
    scores = np.concatenate([evaluation.scores[name] for name in names]).astype(np.float64)
    return scores, np.tile(evaluation.columns["labels"], len(names))


def error_table(runs: Sequence[Run], found: Sequence[Calibrated]) -> Table:
    """Returns the calibration error of each run in each quality, before and after its temperature."""
    qualities = qualities_of(runs)
    rows = []
    for position, (run, each) in enumerate(zip(runs, found, strict=True)):
        cells = [_errors(run.evaluation, each.calibration, quality) for quality in qualities]
        rows.append(Row(position, run.name, cells))
    return Table("Expected calibration error by quality", "run", qualities, rows)


def _errors(evaluation: Evaluation | None, calibration: Calibration | None, quality: str) -> Cell:
    known = evaluation is not None and evaluation.scores
    if evaluation is None or not known or (quality != OVERALL and quality not in evaluation.scores):
        return Cell()
    scores, labels = scores_of(evaluation, quality)
    before = calibration_error(scores, labels)
    if calibration is None:
        return number(before)
    after = calibration_error(calibrated(scores, calibration.temperature), labels)
    return Cell(f"{after:.3f}", f"before: {before:.3f}", after)


def threshold_table(runs: Sequence[Run], found: Sequence[Calibrated], split: str) -> Table:
    """Returns what the threshold that was chosen on validation images does to those of the split."""
    heads = (
        *("temperature", "threshold", "chosen on", "false alarms wanted"),
        *(f"false alarms on {split}", f"fakes found on {split}"),
    )
    rows = [
        Row(position, run.name, _at_threshold(run.evaluation, each.calibration))
        for position, (run, each) in enumerate(zip(runs, found, strict=True))
        if each.calibration is not None
    ]
    return Table("At the threshold of the validation images", "run", heads, rows, frozenset({2}))


def _at_threshold(evaluation: Evaluation | None, calibration: Calibration | None) -> list[Cell]:
    if calibration is None:
        return [Cell()] * 6
    threshold = calibration.of_images
    cells = [
        number(calibration.temperature, "%.2f"),
        number(threshold.value),
        text(f"{calibration.videos} videos in {', '.join(calibration.qualities)}"),
        number(threshold.wanted, "%.3g"),
    ]
    used = [name for name in calibration.qualities if evaluation and name in evaluation.scores]
    if evaluation is None or not used:
        return [*cells, Cell(), Cell()]
    parts = [scores_of(evaluation, name) for name in used]
    scores, labels = (np.concatenate(each) for each in zip(*parts, strict=True))
    above = calibrated(scores, calibration.temperature) > threshold.value
    shares = [
        above[labels == label].mean() if (labels == label).any() else None for label in (0, 1)
    ]
    return [*cells, *(number(share) for share in shares)]


class Diagram(NamedTuple):
    """What a reliability diagram shows: the run's number, the bins before and after the temperature."""

    run: int
    before: Reliability
    after: Reliability | None


def diagrams(runs: Sequence[Run], found: Sequence[Calibrated]) -> list[Diagram]:
    """Returns the diagrams of the first runs that have scores of both classes, all their qualities pooled."""
    drawn = []
    for position, (run, each) in enumerate(zip(runs, found, strict=True)):
        if (
            run.evaluation is None
            or not run.evaluation.scores
            or min(run.evaluation.counts.values()) < 1
        ):
            continue
        scores, labels = scores_of(run.evaluation, OVERALL)
        after = None
        if each.calibration is not None:
            after = reliability(calibrated(scores, each.calibration.temperature), labels)
        drawn.append(Diagram(position, reliability(scores, labels), after))
    return drawn[:MOST]
