"""What was seen of networks, as numbers: heat inside masks with intervals, differences, likeness, errors."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import special

from kdjax.data_pipeline.dataset import forgery_name
from kdjax.evaluate.explain.embedding import embed
from kdjax.evaluate.explain.masks import Inside, clustered_mean
from kdjax.evaluate.explain.similarity import FEWEST, cka
from kdjax.evaluate.metrics import binary_metrics
from kdjax.evaluate.spectrum import radial_profile
from kdjax.types import STAGES

ERRORS = 6
"""Most confident errors of a network that are shown."""

FEATURES = (*STAGES, "pooled")
"""What CKA compares."""

POINTS = 900
"""Images of all qualities that an embedding has at most."""


@dataclasses.dataclass
class Seen:
    """What a network made of some images, all arrays in their order.

    Attributes:
      name: what it is called.
      is_teacher: whether the others are compared with it.
      facts: what else is known of it, as JSON.
      scores: `{quality: float [N]}`, log-odds of fake.
      inside: `{quality: {method: Inside}}`; empty where no image has a mask.
      pooled: `{quality: float [N, D]}`.
      grams: `{quality: {feature: Gram matrices, a batch each}}`.
      gap: `{quality: float [h, w]}`, the mean frequency gap to the teacher.
      compared: the quality that the teacher sees beside this student's.
      curves: logged gradient cosines, `{name: [(step, value)]}`.
    """

    name: str
    is_teacher: bool = False
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    scores: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    inside: dict[str, dict[str, Inside]] = dataclasses.field(default_factory=dict)
    pooled: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    grams: dict[str, dict[str, list[np.ndarray]]] = dataclasses.field(default_factory=dict)
    gap: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    compared: str = ""
    curves: dict[str, list[tuple[float, float]]] = dataclasses.field(default_factory=dict)


def heat_numbers(
    seen: Seen, columns: Mapping[str, np.ndarray], forgeries: Sequence[str]
) -> dict[str, Any]:
    """Returns by quality and method how much heat of the fakes falls into their masks.

    With intervals over videos: `share`, `pointing`, `lift` (the share less the mask's area) and `following` (the share
    less that in the masks of other videos). The mean `area`, how many `images` have a mask and heat, and how many are
    `cold`: have a mask and no heat.
    """
    found: dict[str, Any] = {}
    for quality, methods in seen.inside.items():
        found[quality] = {}
        for method, inside in methods.items():
            kinds = np.unique(columns["forgery"][np.isfinite(inside.area)])
            found[quality][method] = {
                **_of(inside, columns["video"]),
                "by_forgery": {
                    forgery_name(forgeries, int(kind)): _of(
                        Inside(*(each[columns["forgery"] == kind] for each in inside)),
                        columns["video"][columns["forgery"] == kind],
                    )
                    for kind in kinds
                },
            }
    return found


def _of(inside: Inside, videos: np.ndarray) -> dict[str, Any]:
    masked, hot = np.isfinite(inside.area), np.isfinite(inside.share)
    return {
        "images": int(hot.sum()),
        "cold": int((masked & ~hot).sum()),
        "videos": len(np.unique(videos[hot])),
        "area": float(inside.area[hot].mean()) if hot.any() else math.nan,
        "share": clustered_mean(inside.share, videos),
        "pointing": clustered_mean(inside.pointing, videos),
        "lift": clustered_mean(inside.share - inside.area, videos),
        "following": clustered_mean(inside.share - inside.elsewhere, videos),
    }


def heat_differences(seen: Sequence[Seen], videos: np.ndarray) -> list[dict[str, Any]]:
    """Returns how much more heat inside the mask each network has than the first student, image by image.

    An image counts where both have heat.
    """
    base = next(each for each in seen if not each.is_teacher)
    return [
        {
            "network": each.name,
            "less": base.name,
            "quality": quality,
            "method": method,
            "images": int(np.isfinite(inside.share - other.share).sum()),
            "share": clustered_mean(inside.share - other.share, videos),
            "pointing": clustered_mean(inside.pointing - other.pointing, videos),
        }
        for each in seen
        if each is not base
        for quality, methods in each.inside.items()
        for method, inside in methods.items()
        if (other := base.inside.get(quality, {}).get(method)) is not None
    ]


def verdicts(seen: Seen, labels: np.ndarray) -> dict[str, Any]:
    """Returns accuracy and AUC in each quality, of the images that were explained."""
    return {
        quality: {
            name: value
            for name, value in binary_metrics(special.expit(scores), labels).items()
            if name in ("accuracy", "auc")
        }
        for quality, scores in seen.scores.items()
    }


def confident_errors(
    seen: Seen, labels: np.ndarray, videos: np.ndarray, *, count: int = ERRORS
) -> list[tuple[int, str, float]]:
    """Returns position, quality and log-odds of what a network was surest of and wrong about, the surest first.

    Of a video, the worst of its images counts, in the quality in which it was worst.
    """
    qualities = list(seen.scores)
    scores = np.stack([seen.scores[quality] for quality in qualities])
    wrongness = np.where(labels == 1, -scores, scores)
    worst = wrongness.argmax(axis=0)
    depth = wrongness.max(axis=0)
    order = [int(n) for n in np.argsort(-depth, kind="stable") if depth[n] > 0]
    first = {int(videos[n]): n for n in reversed(order)}
    kept = [n for n in order if first[int(videos[n])] == n][:count]
    return [(n, qualities[worst[n]], float(scores[worst[n], n])) for n in kept]


def likeness(student: Seen, teacher: Seen) -> dict[str, Any]:
    """Returns CKA of each of the student's features with each of the teacher's, by the student's quality."""
    others = teacher.grams[student.compared]
    return {
        quality: {
            "teacher_quality": student.compared,
            "student": FEATURES,
            "teacher": FEATURES,
            "cka": [[cka(*_large(own[a], others[b])) for b in FEATURES] for a in FEATURES],
        }
        for quality, own in student.grams.items()
    }


def _large(
    first: Sequence[np.ndarray], second: Sequence[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    kept = [pair for pair in zip(first, second, strict=True) if len(pair[0]) >= FEWEST]
    return [a for a, _ in kept], [b for _, b in kept]


def gap_numbers(student: Seen) -> dict[str, Any]:
    """Returns the frequency gap by quality: its sum, map and mean over rings of equal frequency."""
    found = {}
    for quality, values in student.gap.items():
        radius, profile = radial_profile(values)
        found[quality] = {
            "teacher_quality": student.compared,
            "total": float(values.sum()),
            "map": values.tolist(),
            "frequency": radius.tolist(),
            "profile": profile.tolist(),
        }
    return found


def points(seen: Seen, labels: np.ndarray) -> dict[str, Any]:
    """Returns images in all qualities as points (`embedding.embed`), with labels and qualities; at most `POINTS`."""
    qualities = list(seen.pooled)
    each = max(1, POINTS // len(qualities))
    chosen = np.linspace(0, len(labels) - 1, min(each, len(labels))).round().astype(int)
    features = np.concatenate([seen.pooled[quality][chosen] for quality in qualities])
    if len(features) < 4:
        return {}
    made = embed(features)
    return {
        "label": np.tile(labels[chosen], len(qualities)).tolist(),
        "quality": np.repeat(qualities, len(chosen)).tolist(),
        "pca": made.pca.round(4).tolist(),
        "explained": made.explained.tolist(),
        "tsne": made.tsne.round(3).tolist(),
    }


def as_json(value: Any) -> Any:
    """Returns findings as JSON has them: an interval is `[estimate, low, high]`, what is not defined null."""
    if isinstance(value, Mapping):
        return {str(key): as_json(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
