"""Networks that look at the same images, batch by batch: scores, heat inside masks, features, gaps."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.checks import UserError
from kdjax.data_pipeline.dataset import IDS, Dataset
from kdjax.data_pipeline.loader import read_examples
from kdjax.evaluate.explain.findings import Seen
from kdjax.evaluate.explain.gap import frequency_gap
from kdjax.evaluate.explain.masks import Inside, heat_inside
from kdjax.train.evaluation import evaluation_size
from kdjax.train.heat import Look, compile_look
from kdjax.train.log import Progress
from kdjax.train.run import Run
from kdjax.types import Batch

BATCH = 64
"""Images at a time: CKA compares those of a batch with each other."""

COSINES = "gradient_cosine/"
"""What the names of TOKD's logged cosines begin with."""


class Looking(NamedTuple):
    """A network ready to look.

    Attributes:
      seen: what it has seen so far.
      size: side of the crop that it sees.
      look: takes at most `BATCH` images `[B, S, S, 3]`.
    """

    seen: Seen
    size: int
    look: Callable[[np.ndarray], Look]


def ready(
    run: Run,
    name: str,
    dataset: Dataset,
    stage: str,
    qualities: Sequence[str],
    *,
    is_teacher: bool = False,
) -> Looking:
    """Returns a run's best network, ready to look at images in some qualities; its logged curves are read already.

    Raises:
      UserError: when it has no weights, or the images are too small; when it looks, if its stage cannot be explained.
    """
    size = evaluation_size(run.config.data.image_size, dataset)
    variables = jax.tree.map(jnp.asarray, run.variables())
    compiled = compile_look(run.network, size, stage)
    network, teacher_quality = run.config.student.network, run.config.teacher.quality

    def look(images: np.ndarray) -> Look:
        missing = np.zeros((BATCH - len(images), *images.shape[1:]), images.dtype)
        try:
            found = jax.device_get(compiled(variables, np.concatenate([images, missing])))
        except (ValueError, TypeError) as error:
            raise UserError(f"{name} ({network}) cannot be explained: {error}") from error
        kept: Look = jax.tree.map(lambda x: x[: len(images)], found)
        if not all(np.isfinite(x).all() for x in (kept.score, *kept.heat.values())):
            raise UserError(
                f"{name} ({network}) cannot be explained: its scores or their gradients are not finite"
            )
        return kept._replace(grams={key: x[:, : len(images)] for key, x in kept.grams.items()})

    seen = Seen(
        name,
        is_teacher,
        {
            "network": network,
            "step": run.best_step,
            "trained_on": list(run.config.student.qualities),
        },
        compared=teacher_quality if teacher_quality in qualities else qualities[0],
        curves=dict(_curves(run)),
    )
    return Looking(seen, size, look)


def _curves(run: Run) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Yields the gradient cosines that a run has logged, by name."""
    logged = run.metrics.get("train", {})
    for name, values in logged.items():
        if name.startswith(COSINES):
            pairs = zip(logged["step"].tolist(), values.tolist(), strict=True)
            yield name.removeprefix(COSINES), [pair for pair in pairs if np.isfinite(pair).all()]


def look_at(
    looking: Sequence[Looking],
    dataset: Dataset,
    split: str,
    indices: np.ndarray,
    qualities: Sequence[str],
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Lets networks look at images; what they see is kept in their `seen`. A teacher comes first.

    Returns:
      The images' ids with `index`, in the order of `indices`, and what could not be compared, a sentence each.
    """
    columns: dict[str, list[np.ndarray]] = {}
    parts: list[dict[str, Any]] = [{} for _ in looking]
    notes: dict[str, None] = {}
    progress = Progress(f"explain {len(looking)} networks", len(indices))
    try:
        for start in range(0, len(indices), BATCH):
            batch = read_batch(dataset, split, indices[start : start + BATCH])
            for name in (*IDS, "index"):
                columns.setdefault(name, []).append(np.asarray(batch[name]))
            taught: dict[str, np.ndarray] = {}
            for each, found in zip(looking, parts, strict=True):
                for quality in qualities:
                    look = each.look(batch["image"][quality])
                    _keep(found.setdefault(quality, {}), look, batch, each.size)
                    if each.seen.is_teacher:
                        taught[quality] = np.asarray(look.map)
                    elif taught:
                        other = taught[each.seen.compared]
                        if look.map.shape == other.shape:
                            gaps = found[quality].setdefault("gap", [])
                            gaps.append(frequency_gap(look.map, other))
                        else:
                            notes[_unlike(each, looking[0], look.map, other)] = None
            progress.advance(len(batch["label"]))
    finally:
        progress.close()
    for each, found in zip(looking, parts, strict=True):
        _settle(each.seen, found)
    return {name: np.concatenate(values) for name, values in columns.items()}, list(notes)


def _unlike(student: Looking, teacher: Looking, own: Any, other: Any) -> str:
    first, second = (" x ".join(map(str, each.shape[1:])) for each in (own, other))
    return (
        f"the map of {student.seen.name} is {first}, that of {teacher.seen.name} {second}: there is no frequency gap "
        "between them"
    )


def _keep(found: dict[str, Any], look: Look, batch: Batch, size: int) -> None:
    """Adds what was seen of one batch in one quality."""
    found.setdefault("scores", []).append(look.score)
    found.setdefault("pooled", []).append(look.pooled)
    for name, value in look.grams.items():
        found.setdefault("grams", {}).setdefault(name, []).append(value)
    if batch["forgery_mask"] is not None:
        masks = centre(batch["forgery_mask"], size)
        for name, heat in look.heat.items():
            inside = heat_inside(heat, masks, batch["video"])
            found.setdefault("inside", {}).setdefault(name, []).append(inside)


def _settle(seen: Seen, found: dict[str, Any]) -> None:
    """Puts the batches together."""
    for quality, values in found.items():
        seen.scores[quality] = np.concatenate(values["scores"])
        seen.pooled[quality] = np.concatenate(values["pooled"])
        seen.grams[quality] = values["grams"]
        if "inside" in values:
            seen.inside[quality] = {
                name: Inside(*map(np.concatenate, zip(*each, strict=True)))
                for name, each in values["inside"].items()
            }
        if "gap" in values:
            gaps = np.concatenate(values["gap"])
            known = np.isfinite(gaps[:, 0, 0])
            if known.any():
                seen.gap[quality] = gaps[known].mean(axis=0)


def read_batch(dataset: Dataset, split: str, indices: np.ndarray) -> Batch:
    """Returns examples as one batch in all stored qualities; `forgery_mask` uint8 `[B, S, S]`, None without any."""
    examples = read_examples(dataset, split, [int(index) for index in indices])
    batch: Batch = {name: np.array([each[name] for each in examples]) for name in (*IDS, "index")}
    batch["image"] = {
        name: np.stack([each["image"][name] for each in examples]) for name in dataset.qualities
    }
    batch["forgery_mask"] = None
    if dataset.has_masks:
        dark = np.zeros((dataset.image_size, dataset.image_size), np.uint8)
        masks = [each.get("forgery_mask", dark) for each in examples]
        batch["forgery_mask"] = np.stack([each.reshape(dark.shape) for each in masks])
    return batch


def centre(images: np.ndarray, size: int) -> np.ndarray:
    """Returns the centre of images or masks that a network sees."""
    start = (images.shape[1] - size) // 2
    return images[:, start : start + size, start : start + size]
