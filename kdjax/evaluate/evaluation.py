"""What an evaluation found: scores of every example, metrics, and the two files that hold them."""

import dataclasses
import json
import math
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kdjax.checks import UserError
from kdjax.evaluate.files import parse_json, replacing

COLUMNS = ("labels", "forgery", "video", "identity", "index")
OVERALL = "overall"


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The scores of one network on one split and what follows from them.

    Attributes:
      scores: `{quality: float32 [N]}`, probability of fake.
      columns: `{"labels" | "forgery" | "video" | "identity" | "index": int32 [N]}`.
      metrics: `{quality or "overall": {metric: value}}`, NaN where a metric is not defined.
      per_forgery: `{quality or "overall": {kind: {"auc", "accuracy", "count"}}}`: the fakes of that
        kind against all reals; `accuracy` is of those fakes alone.
      step: the training step of the network, None if not known.
      parameters: how many numbers the network learns, None if not known.
      dataset: what the scores were computed on, as JSON.
      per_dataset: `{quality or "overall": {data set: {"count", metric: value}}}` where several were evaluated as
        one, else empty.
    """

    scores: dict[str, np.ndarray]
    columns: dict[str, np.ndarray]
    metrics: dict[str, dict[str, float]]
    per_forgery: dict[str, dict[str, dict[str, float]]]
    step: int | None = None
    parameters: int | None = None
    dataset: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    per_dataset: dict[str, dict[str, dict[str, float]]] = dataclasses.field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """How many images of each class were scored, in each quality."""
        labels = self.columns["labels"]
        return {"real": int((labels == 0).sum()), "fake": int((labels == 1).sum())}

    def to_json(self) -> dict[str, Any]:
        """Returns all but the scores as JSON values; a metric that is not defined is null."""
        return {
            "step": self.step,
            "parameters": self.parameters,
            "dataset": dict(self.dataset),
            "counts": self.counts,
            "metrics": _finite_or_none(self.metrics),
            "per_forgery": _finite_or_none(self.per_forgery),
            **({"per_dataset": _finite_or_none(self.per_dataset)} if self.per_dataset else {}),
        }

    def save(self, folder: str | os.PathLike[str], split: str) -> Path:
        """Writes `SPLIT.npz` and then `SPLIT.json` into `folder`; returns the path of the JSON."""
        folder = Path(folder)
        arrays = {f"scores_{quality}": values for quality, values in self.scores.items()}
        with replacing(folder / f"{split}.npz") as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays, **self.columns)
        path = folder / f"{split}.json"
        with replacing(path) as temporary:
            document = {"split": split, **self.to_json()}
            temporary.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n")
        return path

    @classmethod
    def load(cls, folder: str | os.PathLike[str], split: str) -> "Evaluation":
        """Reads what `save` wrote.

        Raises:
          UserError: a file is missing, damaged or does not hold an evaluation.
        """
        folder = Path(folder)
        try:
            document = parse_json((folder / f"{split}.json").read_text("utf-8"))
            with (folder / f"{split}.npz").open("rb") as file:
                archive = np.load(file, allow_pickle=False)
                arrays = {name: archive[name] for name in archive.files}
            return _assemble(document, arrays)
        except _UNREADABLE as error:
            raise UserError(
                f"{folder / split}.json and .npz hold no readable evaluation "
                f"({type(error).__name__}); run `kdjax evaluate` on this run again"
            ) from error


def _finite_or_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite_or_none(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


_UNREADABLE = (
    OSError,
    EOFError,
    OverflowError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    zipfile.BadZipFile,
    zlib.error,
)


def _assemble(document: Any, arrays: dict[str, np.ndarray]) -> Evaluation:
    """Builds an evaluation from what the files held; raises one of `_UNREADABLE` if it cannot."""
    columns = {name: arrays[name].astype(np.int32) for name in COLUMNS}
    scores = {
        name.removeprefix("scores_"): values.astype(np.float32)
        for name, values in arrays.items()
        if name.startswith("scores_")
    }
    shapes = {array.shape for array in (*columns.values(), *scores.values())}
    if len(shapes) != 1 or len(shapes.pop()) != 1:
        raise ValueError("columns differ in length")
    if not all(((values >= 0) & (values <= 1)).all() for values in scores.values()):
        raise ValueError("scores are not probabilities")
    if not np.isin(columns["labels"], (0, 1)).all():
        raise ValueError("labels are not 0 or 1")
    return Evaluation(
        scores,
        columns,
        {name: _numbers(entry) for name, entry in document["metrics"].items()},
        _tables(document["per_forgery"]),
        _integer(document.get("step")),
        _integer(document.get("parameters")),
        dict(document.get("dataset") or {}),
        _tables(document.get("per_dataset") or {}),
    )


def _tables(found: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    return {
        quality: {name: _numbers(entry) for name, entry in entries.items()}
        for quality, entries in found.items()
    }


def _numbers(entry: Mapping[str, Any]) -> dict[str, float]:
    return {key: math.nan if value is None else float(value) for key, value in entry.items()}


def _integer(value: Any) -> int | None:
    return None if value is None else int(value)
