"""What a detector needs beside its weights: found out of a run's files, and written with every export."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kdjax.checks import UserError
from kdjax.evaluate.calibration import (
    Calibration,
    calibration_from_json,
    calibration_to_json,
    read_calibration,
)
from kdjax.evaluate.statistics import Interval
from kdjax.folder import RunFolder
from kdjax.serve.origins import Faces, codecs_of_data, faces_of_data
from kdjax.version import __version__

FORMAT = 1

METRICS = ("auc", "video_auc", "accuracy", "eer")
"""What a spec tells of each quality."""

Scorer = Callable[[np.ndarray], np.ndarray]
"""uint8 RGB `[B, H, W, 3]`, squares at least as large as `Spec.image_size`, to float32 `[B]`: log-odds of fake."""

Heater = Callable[[np.ndarray], np.ndarray | None]
"""The same images to float32 `[B, S, S]`, S being `Spec.image_size`: where what speaks for fake is seen; or None."""


class Spec(NamedTuple):
    """What a detector needs beside its weights.

    Attributes:
      network: its name.
      image_size: side in pixels of the centre crop that it sees.
      stored_size: side of the faces that the crop is taken of.
      labels: the classes; the score is of the last.
      qualities: what it was trained and validated on.
      faces: how faces were cut; None where the data set does not tell.
      calibration: temperature and thresholds; None where the run was not calibrated.
      licence: of the weights, as their maker has it; empty where it is not known.
      version: of kdjax, that wrote it.
      parameters: how many numbers the network learned.
      step: of the weights.
      data: name of the data set.
      metrics: `{quality: {metric: interval}}` on test data; None where they are not known.
      codecs: FFmpeg's names of what the images of its data went through; none where the data set does not tell.
    """

    network: str
    image_size: int
    stored_size: int
    labels: tuple[str, ...]
    qualities: tuple[str, ...]
    faces: Faces | None
    calibration: Calibration | None
    licence: str
    version: str
    parameters: int
    step: int
    data: str
    metrics: dict[str, dict[str, Interval]] | None
    codecs: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns JSON values with a format number; a bound that is not defined is null."""
        return {
            "format": FORMAT,
            **self._asdict(),
            "labels": list(self.labels),
            "qualities": list(self.qualities),
            "codecs": list(self.codecs),
            "faces": self.faces and self.faces._asdict(),
            "calibration": self.calibration and calibration_to_json(self.calibration),
            "metrics": self.metrics
            and {
                quality: {name: [_finite(value) for value in each] for name, each in entry.items()}
                for quality, entry in self.metrics.items()
            },
        }

    @classmethod
    def from_json(cls, found: Any, where: str = "export.json") -> "Spec":
        """Returns what `to_json` gave; what else the object holds is passed over.

        Args:
          found: JSON values.
          where: what messages call the file.

        Raises:
          UserError: for values of a newer version of kdjax, or damaged ones.
        """
        number = found.get("format") if isinstance(found, dict) else None
        if not isinstance(number, int) or isinstance(number, bool):
            raise UserError(f"{where} is not of an export of kdjax; export the run again")
        if number > FORMAT:
            raise UserError(
                f"{where} is of a newer version of kdjax (format {number}, this one reads {FORMAT}); "
                "update kdjax, or export the run with this version"
            )
        try:
            return _parsed(found)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UserError(
                f"{where} is damaged ({type(error).__name__}: {error}); export the run again"
            ) from error


def _parsed(found: dict[str, Any]) -> Spec:
    faces, calibration, metrics = (found[name] for name in ("faces", "calibration", "metrics"))
    spec = Spec(
        str(found["network"]),
        int(found["image_size"]),
        int(found["stored_size"]),
        _names(found["labels"]),
        _names(found["qualities"]),
        None if faces is None else _faces(faces),
        None if calibration is None else calibration_from_json(calibration),
        str(found["licence"]),
        str(found["version"]),
        int(found["parameters"]),
        int(found["step"]),
        str(found["data"]),
        None
        if metrics is None
        else {
            quality: {
                name: Interval(*(math.nan if value is None else float(value) for value in each))
                for name, each in entry.items()
            }
            for quality, entry in metrics.items()
        },
        _names(found["codecs"]),
    )
    if not 0 < spec.image_size <= spec.stored_size:
        raise ValueError(f"image_size {spec.image_size} of {spec.stored_size} pixels")
    if len(spec.labels) != 2:
        raise ValueError(f"labels {', '.join(spec.labels)}")
    return spec


def _names(found: Any) -> tuple[str, ...]:
    if not isinstance(found, list):
        raise TypeError("names are no list")
    return tuple(map(str, found))


def _faces(found: dict[str, Any]) -> Faces:
    return Faces(
        str(found["detector"]),
        float(found["margin"]),
        str(found["alignment"]),
        int(found["detect_every"]),
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def spec_of_run(run: str | Path, *, metrics: bool = False, licence: str = "") -> Spec:
    """Returns what a run's best weights need beside them.

    Args:
      run: folder of a run.
      metrics: whether to take the metrics of its evaluation on test data, where there is one of these weights; the
        intervals take seconds.
      licence: of the weights.

    Raises:
      UserError: when the folder is no run, or has no weights yet.
    """
    # what reads runs takes JAX and Orbax, and a loaded export neither
    import jax

    from kdjax.models.weights.runs import restore_best
    from kdjax.train import checkpoint
    from kdjax.types import LABELS

    folder = Path(run)
    config = checkpoint.read_config(folder)
    variables, step = restore_best(folder)
    files = RunFolder(folder)
    dataset = files.read_inputs().get("dataset") if files.inputs.exists() else None
    dataset = dataset if isinstance(dataset, dict) else {}
    image_size = checkpoint.image_size_of(folder, config)
    qualities = tuple(config.student.qualities)
    calibration = _calibration(files, step)
    places = [config.data.path, *config.data.more]
    return Spec(
        config.student.network,
        image_size,
        max(image_size, _stored_size(dataset)),
        LABELS,
        qualities,
        faces_of_data(places, dataset),
        calibration,
        licence,
        __version__,
        sum(int(np.size(leaf)) for leaf in jax.tree.leaves(variables["params"])),
        step,
        str(dataset.get("name", "")),
        metrics_of_run(files, step) if metrics else None,
        codecs_of_data(places, dataset, calibration.qualities if calibration else qualities),
    )


def _stored_size(dataset: dict[str, Any]) -> int:
    parts = dataset.get("parts", [dataset])
    return max((part.get("image_size") or 0 for part in parts), default=0)


def _calibration(files: RunFolder, step: int) -> Calibration | None:
    found = read_calibration(files)
    # of weights that are not the best any more
    return found if found is not None and found.step in (None, step) else None


def metrics_of_run(files: RunFolder, step: int) -> dict[str, dict[str, Interval]] | None:
    """Returns `METRICS` of a run's evaluation on test data in each quality; None without one of this step."""
    # these take JAX, which a loaded export may do without
    from kdjax.evaluate.evaluation import Evaluation
    from kdjax.evaluate.intervals import evaluation_intervals

    if not files.has_evaluation("test"):
        return None
    evaluation = Evaluation.load(files.evaluation, "test")
    if evaluation.step != step:
        return None
    return {
        quality: evaluation_intervals(evaluation, quality, METRICS) for quality in evaluation.scores
    }
