"""Runs a network over a set, keeps every score and computes the metrics once over all of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kdjax.checks import UserError
from kdjax.evaluate.evaluation import COLUMNS, Evaluation
from kdjax.evaluate.metrics import warn_of_one_class
from kdjax.evaluate.parts import Part, summarize_parts
from kdjax.types import FORGERIES, Batch

Predict = Callable[[np.ndarray], tuple[Any, Any]]
"""`images uint8 [B, H, W, 3] -> (probability of fake [B], pooled features [B, D] or None)`."""


def evaluate(
    predict: Predict,
    batches: Iterable[Batch],
    qualities: Sequence[str],
    *,
    step: int | None = None,
    parameters: int | None = None,
    dataset: Mapping[str, Any] | None = None,
    forgeries: Sequence[str] = FORGERIES,
    progress: Callable[[int], None] | None = None,
    gather: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]] = dict,
) -> Evaluation:
    """Scores every example of `batches` in every quality; computes the metrics over the whole set.

    Args:
      predict: see `Predict`; called once a batch and quality, padding included.
      batches: NumPy batches (`kdjax.types.Batch`); rows whose `mask` is 0 are dropped.
      qualities: which images of a batch are scored.
      step: kept in the result: the training step of the network.
      parameters: kept in the result: the size of the network.
      dataset: kept in the result: what was evaluated, as JSON.
      forgeries: names of the kinds of forgery, by id.
      progress: called after each batch with the number of examples so far.
      gather: puts the rows of all hosts together, where several share the examples.

    Raises:
      UserError: no example was found, or scores are not finite.
      ValueError: a batch lacks a quality, or `predict` returned wrong shapes.
    """
    collected: dict[str, list[np.ndarray]] = {}
    done = 0
    for batch in batches:
        kept = np.asarray(batch["mask"]) > 0
        for name, rows in _score(predict, batch, qualities).items():
            collected.setdefault(name, []).append(rows[kept])
        done += int(kept.sum())
        if progress is not None:
            progress(done)
    if not done:
        raise UserError("no example to evaluate: the split is empty; choose another split")
    whole = gather({name: np.concatenate(parts) for name, parts in collected.items()})
    has_features = all(f"pooled/{quality}" in whole for quality in qualities)
    return summarize(
        {quality: whole[f"scores/{quality}"] for quality in qualities},
        {name: whole[name] for name in COLUMNS},
        {quality: whole[f"pooled/{quality}"] for quality in qualities} if has_features else None,
        step=step,
        parameters=parameters,
        dataset=dataset or {},
        forgeries=forgeries,
    )


def summarize(
    scores: Mapping[str, np.ndarray],
    columns: Mapping[str, np.ndarray],
    embeddings: Mapping[str, np.ndarray] | None = None,
    *,
    forgeries: Sequence[str] = FORGERIES,
    **facts: Any,
) -> Evaluation:
    """Computes the metrics of complete scores, by quality and over all qualities pooled together.

    Args:
      scores: `{quality: float [N]}`.
      columns: `{name: int [N]}` for every name of `COLUMNS`.
      embeddings: `{quality: float [N, D]}` or None.
      forgeries: names of the kinds of forgery, by id.
      **facts: `step`, `parameters`, `dataset` of the result.

    Overall, one image in several qualities is several examples, which are not each other's
    neighbours in R@1, and one video in several qualities is several videos.
    """
    parts = {
        quality: Part(values, columns, None if embeddings is None else embeddings[quality])
        for quality, values in scores.items()
    }
    warn_of_one_class(np.asarray(columns["labels"]))
    metrics, per_forgery = summarize_parts(parts, forgeries)
    kept = {quality: np.clip(values, 0, 1, dtype=np.float32) for quality, values in scores.items()}
    return Evaluation(kept, dict(columns), metrics, per_forgery, **facts)


def _score(predict: Predict, batch: Batch, qualities: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns the columns of one batch, its `scores/QUALITY` and, where given, `pooled/QUALITY`."""
    rows = {
        name: np.asarray(batch["label" if name == "labels" else name], np.int32) for name in COLUMNS
    }
    for quality in qualities:
        if quality not in batch["image"]:
            raise ValueError(
                f"quality {quality!r} is not in the batch, which holds {', '.join(batch['image'])}"
            )
        scores, pooled = predict(batch["image"][quality])
        rows[f"scores/{quality}"] = np.asarray(scores, np.float32)
        if pooled is not None:
            rows[f"pooled/{quality}"] = np.asarray(pooled, np.float32)
    for name, values in rows.items():
        if values.ndim != 1 + name.startswith("pooled/") or len(values) != len(rows["labels"]):
            raise ValueError(
                f"{name} has shape {values.shape} in a batch of {len(rows['labels'])}; "
                "predict returns [B] and [B, D]"
            )
    return rows
