"""Calibrating a finished run: temperature and threshold by its best weights' scores on the validation split."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kdjax.checks import UserError
from kdjax.data_pipeline.dataset import Dataset
from kdjax.evaluate.calibration import (
    Calibration,
    NotFittedError,
    calibrated,
    choose_threshold,
    fit_temperature,
    write_calibration,
)
from kdjax.evaluate.curves import has_both_classes
from kdjax.evaluate.evaluation import Evaluation
from kdjax.evaluate.metrics import set_metrics
from kdjax.evaluate.parts import Part, distinct_videos
from kdjax.evaluate.videos import clusters_of, pool_videos
from kdjax.extensions import NOTHING, Extensions
from kdjax.folder import RunFolder
from kdjax.train import checkpoint
from kdjax.train.data import open_data
from kdjax.train.evaluation import evaluate_run

SPLIT = "validation"


class Calibrated(NamedTuple):
    """A run's calibration, and what it does to the validation data that it was made of.

    Attributes:
      calibration: as it was stored.
      before: `metrics.binary_metrics` of the scores as they are.
      after: the same of the calibrated scores, what lies above the threshold being fake.
      reached: the rate of false alarms of images in each quality by itself.
    """

    calibration: Calibration
    before: dict[str, float]
    after: dict[str, float]
    reached: dict[str, float]


def calibrate_run(
    run: str | Path,
    *,
    false_alarms: float = 0.01,
    qualities: Sequence[str] = (),
    data: str | Path | Dataset = "",
    limit: int = 0,
    extensions: Extensions = NOTHING,
) -> Calibrated:
    """Evaluates a run on the validation split and stores temperature and threshold as `RUN/calibration.json`.

    The evaluation is kept too, as `evaluate_run` keeps it.

    Args:
      run: folder of a run.
      false_alarms: the wanted rate among reals, in (0, 1); of images, and of videos.
      qualities: which are pooled; none: those that the student was trained on.
      data: another data set than the run's own.
      limit: at most this many images; 0 for all.
      extensions: the user's own, for a run whose network is not shipped.

    Raises:
      UserError: when the run or the data set cannot be used, or its validation split lacks a class.
    """
    if not 0 < false_alarms < 1:
        raise UserError(
            f"--false_alarms={false_alarms:g} must lie between 0 and 1, as 0.01 for 1 %"
        )
    folder = Path(run)
    config = checkpoint.read_config(folder)
    dataset = open_data(config, extensions, data)
    _check_validation(dataset)
    evaluation = evaluate_run(
        folder,
        split=SPLIT,
        data=data,
        limit=limit,
        qualities=qualities or config.student.qualities,
        extensions=extensions,
    )
    # what training did not see, its threshold and temperature do not either
    left_out = [n for n, name in enumerate(dataset.forgeries) if name in config.data.leave_out]
    evaluation = _without(evaluation, left_out)
    found = calibrate(evaluation, false_alarms=false_alarms, data=data_hash(dataset.identity()))
    write_calibration(RunFolder(folder), found.calibration)
    return found


def _check_validation(dataset: Dataset) -> None:
    if not dataset.sizes.get(SPLIT):
        raise UserError(
            f"{dataset.where} has no {SPLIT} images, which temperature and threshold are made of; name a data set "
            "that has, --data=FOLDER, or prepare it with a validation split"
        )
    labels = dataset.labels(SPLIT)["label"]
    if not has_both_classes(labels):
        missing = "fake" if (labels == 0).any() else "real"
        raise UserError(
            f"{dataset.where} has no {missing} among its {labels.size} {SPLIT} images, and a threshold takes both "
            "classes; name a data set that has both, --data=FOLDER"
        )


def _without(evaluation: Evaluation, kinds: Sequence[int]) -> Evaluation:
    """Returns the scores of an evaluation without those of some kinds of forgery."""
    columns = evaluation.columns
    rows = (columns["labels"] == 0) | ~np.isin(columns["forgery"], kinds)
    return dataclasses.replace(
        evaluation,
        scores={quality: scores[rows] for quality, scores in evaluation.scores.items()},
        columns={name: values[rows] for name, values in columns.items()},
    )


def data_hash(identity: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of what tells a data set from another."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def calibrate(evaluation: Evaluation, *, false_alarms: float = 0.01, data: str = "") -> Calibrated:
    """Returns temperature and thresholds by an evaluation, all its qualities pooled.

    Where no temperature fits it is 1, and the calibration says why.

    Args:
      evaluation: of validation data.
      false_alarms: the wanted rate among reals.
      data: kept: a hash of the data set.

    Raises:
      UserError: for one class alone.
    """
    parts = [Part(scores, evaluation.columns) for scores in evaluation.scores.values()]
    scores = np.concatenate([part.scores for part in parts]).astype(np.float64)
    labels, clusters = (
        np.tile(evaluation.columns[name], len(parts)) for name in ("labels", "video")
    )
    temperature, problem = 1.0, ""
    try:
        temperature = fit_temperature(scores, labels)
    except NotFittedError as error:
        problem = str(error)
    after = calibrated(scores, temperature)
    of_images = choose_threshold(after, labels, false_alarms, videos=clusters)
    videos = distinct_videos(parts)
    pooled, classes, ids = pool_videos(after, labels, videos)
    calibration = Calibration(
        temperature,
        problem,
        of_images,
        choose_threshold(pooled, classes, false_alarms, videos=clusters_of(ids, videos, clusters)),
        len(scores),
        len(np.unique(clusters)),
        tuple(evaluation.scores),
        evaluation.step,
        data,
    )
    reals = evaluation.columns["labels"] == 0
    return Calibrated(
        calibration,
        set_metrics(scores, labels),
        set_metrics(after, labels, threshold=of_images.value),
        {
            quality: float((calibrated(values[reals], temperature) > of_images.value).mean())
            for quality, values in evaluation.scores.items()
        },
    )


def calibration_rows(name: str, found: Calibrated) -> list[dict[str, Any]]:
    """Returns a row for images and one for videos, for `tables.format_table`."""
    calibration = found.calibration
    rows = []
    for what, threshold in (("image", calibration.of_images), ("video", calibration.of_videos)):
        rows.append(
            {
                "run": name,
                "of a": what,
                "threshold": round(threshold.value, 6),
                "false alarms": threshold.reached,
                "low": threshold.low,
                "high": threshold.high,
                "wanted": threshold.wanted,
                "reals": threshold.reals,
                "of videos": threshold.videos,
                "fakes found": threshold.detections,
            }
        )
    return rows


def calibration_lines(name: str, found: Calibrated) -> list[str]:
    """Returns what the table leaves out, a line each."""
    calibration, before, after = found.calibration, found.before, found.after
    qualities = ", ".join(calibration.qualities)
    size = f"{calibration.images} scores of {calibration.videos} videos ({qualities})"
    lines = [
        f"{name}: {calibration.problem}"
        if calibration.problem
        else f"{name}: temperature {calibration.temperature:.3f} by {size}: log loss {before['log_loss']:.4f} to "
        f"{after['log_loss']:.4f}, calibration error {before['calibration_error']:.4f} to "
        f"{after['calibration_error']:.4f}"
    ]
    if len(found.reached) > 1:
        each = ", ".join(f"{rate:.4f} on {quality}" for quality, rate in found.reached.items())
        lines.append(f"{name}: false alarms of images by quality: {each}")
    for kind, what in (("images", calibration.of_images), ("videos", calibration.of_videos)):
        if what.videos * what.wanted < 1:
            lines.append(
                f"{name}: {what.videos} real videos cannot show a rate of {what.wanted:g}: that of {kind} may be up to "
                f"{what.high:.4f}"
            )
    return lines
