"""Defaults of every method's own options, which the configurations show, and names that come with kdjax.

They are the papers' but where docs/decisions.md says what a paper's does to a student.
"""

from collections.abc import Mapping
from copy import deepcopy
from types import MappingProxyType
from typing import Any

COMMON: dict[str, Any] = {
    "cross_entropy_weight": 1.0,
    # or `tempered`: 1 - softmax(logits / classification_temperature)[label]
    "classification": "cross_entropy",
    "classification_temperature": 1.0,
    # what the loss of a real and of a fake image counts
    "class_weights": (1.0, 1.0),
}
"""Options of every method: how the labels themselves teach."""

PARTS: dict[str, dict[str, Any]] = {
    "kd": {
        "temperature": 4.0,
        "kd_weight": 0.9,
        "shares": {"kd": 1.0},
    },
    "add": {
        "frequency_weight": 1.0,
        "view_weight": 16.0,
        "frequency_layers": (0.0, 1.0, 2.0, 0.25),
        "view_layers": (0.0, 0.5, 2.5, 2.0),
        "frequency_gamma": 1.0,
        "view_gamma": 100.0,
        "view_eta": 50.0,
        "margin": 0.012,
        "views": 12,
        "adapter": "none",
        "scale": "sum",
        "coordinates": "index",
        "cost": "squared",
        "both_directions": False,
        "relative_margin": False,
        # `paper`: Eq. 1 to 3 as they stand, whose weights explode on maps of another scale
        "mode": "relative",
        "shares": {"frequency_attention": 0.3, "multi_view": 0.3},
    },
    "ckd": {
        "contrast_weight": 0.1,
        "temperature": 0.05,
        "negatives": 32,
        "width": 128,
        "bank_size": 0,
        "bank_reset": "epoch",
        "anchors": "both",
        # `none`: the paper's as printed, where negatives alone have a gradient on large sets
        "normalizer": "first_batch",
        "store": "representations",
        "shares": {"contrast": 1.0},
    },
    "tokd": {
        "rgb_weight": 10.0,
        "frequency_weight": 10.0,
        "layer": "stage4",
        "projectors": True,
        # `joint`: the paper's, which collapses
        "teacher_projectors": "frozen",
        "width": 256,
        "rotation": "channel",
        "rotation_size": 0,
        "rotation_method": "expm",
        "rotation_target": "mean",
        "rotation_form": "cosine",
        "shares": {"rgb": 0.3, "frequency": 0.3},
    },
    "qad": {
        "collaboration": "hsic",
        "collaborative_weight": 0.004,
        "perturbation": "classification",
        "gamma": 0.002,
        "layers": ("stage2", "stage3", "stage4"),
        "representation": "pooled",
        "sigma": 6.0,
        "scale_by_dim": False,
        "kernel": "gaussian",
        # `fixed`: the paper's, whose gradient is nearly 0, or rewards spread where it is not
        "bandwidth": "mean",
        "estimator": "biased",
        # the alignment: of the forms that were searched it did the least harm, and does not reward spread
        "normalized": True,
        "random_features": 0,
        "pairs": "unordered",
        "soft_temperature": 4.0,
        "soft_mix": 0.5,
        "center_rate": 0.5,
        "shares": {"collaboration": 0.02},
    },
    "baselines": {
        "loss": "rkd",
        # -1: the loss's own
        "weight": -1.0,
        # empty: the loss's own
        "features": (),
        # empty: as the student's
        "teacher_features": (),
        "negatives": 1024,
        "sam_radius": 0.05,
        "shares": {"loss": 0.5},
    },
}
"""Options of each part, by its name.

`shares` are of the cross-entropy's gradient, by term, where `train.balance` sets the terms' weights; a term without a
share keeps its own. `loss` stands for whichever loss `baselines` has.
"""

TRACED: dict[str, tuple[str, ...]] = {
    "kd": ("temperature", "kd_weight"),
    "add": (
        *("frequency_weight", "view_weight", "frequency_gamma", "view_gamma", "view_eta"),
        "margin",
    ),
    "ckd": ("contrast_weight", "temperature"),
    "tokd": ("rgb_weight", "frequency_weight"),
    "qad": ("collaborative_weight", "gamma", "sigma"),
    "baselines": ("weight", "sam_radius"),
}
"""Options of each part that are no constants of the compiled step: students that differ in these share it."""

TRACED_COMMON = ("cross_entropy_weight",)
"""The same of the options of every method."""

GROUP = 8
"""Runs of a sweep that are trained side by side at most: they end together, and one that is cut off is to have some."""

SCHEDULES = ("one_cycle", "constant", "cosine", "step")
OPTIMIZERS = ("adam", "adamw", "sgd")

SELECTIONS = ("accuracy", "auc", "recall_at_1", "video_auc")
"""Validation metrics by which the best weights can be chosen: higher is better."""

CHANGED: dict[str, dict[str, Any]] = {"kd": {"cross_entropy_weight": 0.1}}
"""Common options that a method has its own default for."""


def defaults(
    method: str, own: Mapping[str, dict[str, Any]] = MappingProxyType({})
) -> dict[str, Any]:
    """Returns every option of a method, at its default; `combine` has those of every part.

    Args:
      method: its name.
      own: the options of the user's own methods (`Extensions.method_options()`).
    """
    if method == "combine":
        return {**COMMON, "parts": (), **deepcopy(PARTS), **deepcopy(dict(own))}
    if method in own:
        return {**COMMON, **deepcopy(own[method])}
    return {**COMMON, **CHANGED.get(method, {}), **deepcopy(PARTS.get(method, {}))}
