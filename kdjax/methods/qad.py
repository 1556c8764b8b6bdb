"""QAD: one model for every quality, by HSIC between qualities and adversarial weight perturbation."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp

from kdjax import losses
from kdjax.checks import check_choice, check_positive
from kdjax.methods import base
from kdjax.methods.base import STAGES, Inputs, Network, Teacher, Terms
from kdjax.methods.complete import with_defaults
from kdjax.methods.part import Around, Part
from kdjax.methods.perturb import MOVED, at_moved_weights, classification
from kdjax.transforms.awp import adversarial_weight_perturbation
from kdjax.types import Array, Batch, Features, Metrics, Outputs, PyTree

COLLABORATIONS = ("hsic", "none", "soft_label", "pairwise", "center", "collaborative")
PERTURBATIONS = ("classification", "kl", "none")

TOGETHER = {
    "hsic": "compares all images of the batch",
    "center": "moves its centres to the means of the whole batch",
}
"""What looks at several images at once, and how."""


@with_defaults("qad")
def qad(
    student: Network,
    teachers: Sequence[Teacher],
    *,
    qualities: Sequence[str],
    collaboration: str,
    collaborative_weight: float,
    perturbation: str,
    gamma: float,
    layers: Sequence[str],
    representation: str,
    sigma: float,
    scale_by_dim: bool,
    kernel: str,
    bandwidth: str,
    estimator: str,
    normalized: bool,
    random_features: int,
    pairs: str,
    soft_temperature: float,
    soft_mix: float,
    center_rate: float,
) -> Part:
    """Quality-agnostic detection (Algorithm 1), and what the paper's Table 4 puts in its place.

    `-alpha sum_{q<r} sum_l HSIC(Z_lq, Z_lr)`, with the gradient taken at weights that `transforms.awp` has
    moved against the loss of the labels; `losses.hsic`.

    See "Quality-Agnostic Deepfake Detection with Intra-model Collaborative Learning" by Le and Woo, ICCV 2023
    (https://arxiv.org/abs/2309.05911).

    Args:
      student: the network to train.
      teachers: none are used; any given is refused.
      qualities: the qualities of each image, two or more.
      collaboration: `hsic`, `none`, or what Table 4 compares with: `soft_label`, `pairwise`, `center`;
        `collaborative` is Eq. 3.
      collaborative_weight: `alpha`.
      perturbation: gradient that the weights are moved along: of the `classification`, or of the `kl` between
        the first quality's prediction and the others'; or `none`.
      gamma: length of the move, relative to each tensor's.
      layers: features that HSIC is summed over.
      representation: `pooled` averages maps over their positions; `flat` takes them whole.
      sigma: width of the kernel, where `bandwidth` is `fixed`.
      scale_by_dim: whether the width is scaled by the number of features.
      kernel: `gaussian` or `laplace`.
      bandwidth: `fixed`, or the `mean` or `median` of the distances.
      estimator: `biased` (Eq. 8) or `unbiased`.
      normalized: whether HSIC is divided by the two qualities' own (CKA): then it does not reward spread.
      random_features: number of random Fourier features; 0: exact.
      pairs: `unordered`; `ordered` counts each pair twice, and each quality with itself (Eq. 10).
      soft_temperature: of `soft_label`'s targets.
      soft_mix: share of the other qualities' predictions in them.
      center_rate: share of the way that `center`'s centres go to each batch's means.

    Returns:
      The part, with the term `collaboration` unless that is `none`.

    Raises:
      ValueError: with teachers, for one quality, or a setting out of range.
    """
    base.check_no_teachers("qad", teachers)
    base.check_several_qualities("qad", qualities)
    base.check_weights(
        collaborative_weight=collaborative_weight, gamma=gamma, random_features=random_features
    )
    check_choice("method.collaboration", collaboration, COLLABORATIONS)
    check_choice("method.perturbation", perturbation, PERTURBATIONS)
    check_choice("method.representation", representation, ("pooled", "flat"))
    check_choice("method.kernel", kernel, ("gaussian", "laplace"))
    check_choice("method.bandwidth", bandwidth, ("fixed", "mean", "median"))
    check_choice("method.estimator", estimator, ("biased", "unbiased"))
    check_choice("method.pairs", pairs, ("unordered", "ordered"))
    check_positive("method.sigma", sigma)
    check_positive("method.soft_temperature", soft_temperature)
    for name, share in (("soft_mix", soft_mix), ("center_rate", center_rate)):
        if not 0 <= share <= 1:
            raise ValueError(f"method.{name}={share} must be in [0, 1]")
    for layer in layers:
        check_choice("method.layers", layer, (*STAGES, "pooled"))
    if not layers or len(set(layers)) < len(layers):
        raise ValueError(
            f"method.layers={','.join(layers)} must name one or more of stage1 to stage4 and pooled, each once"
        )
    if random_features % 2:
        raise ValueError(f"method.random_features={random_features} must be even, or 0")
    if normalized and estimator != "biased":
        raise ValueError(
            f"method.normalized=true needs method.estimator=biased; got method.estimator={estimator}"
        )
    if scale_by_dim and bandwidth != "fixed":
        raise ValueError(
            f"method.scale_by_dim=true needs method.bandwidth=fixed; got method.bandwidth={bandwidth}"
        )
    options: dict[str, Any] = {
        "scale_by_dim": scale_by_dim,
        "kernel": kernel,
        "bandwidth": bandwidth,
        "estimator": estimator,
        "normalized": normalized,
        "features": random_features,
    }

    def init(rng: Array, example: Batch) -> tuple[dict[str, PyTree], PyTree]:
        del rng
        if collaboration != "center":
            return {}, ()
        width = base.need_features(student, example, ["pooled"], "the student")["pooled"][-1]
        return {}, {"centers": jnp.zeros((2, width))}

    def hsic(features: list[Features], inputs: Inputs) -> Array:
        mask = base.gather(inputs.batch["mask"], 1, inputs.axis_name)
        total = jnp.zeros(())
        for number, layer in enumerate(layers):
            seen = [_points(one[layer], representation, inputs.axis_name) for one in features]
            rng = jax.random.fold_in(inputs.rng, number) if random_features else None
            for first, second in _pairs(seen, pairs):
                total += losses.hsic(
                    first, second, sigma=inputs.hyper["sigma"], rng=rng, mask=mask, **options
                )
        return total

    def collaborate(outputs: Outputs, inputs: Inputs) -> tuple[Array, PyTree]:
        """Returns what the student is to make small, and the new auxiliary state."""
        count, batch = len(qualities), inputs.batch
        if collaboration == "hsic":
            return -hsic(base.split_qualities(outputs.features, count), inputs), inputs.aux
        logits = jnp.stack(jnp.split(outputs.logits, count))
        pooled = jnp.stack(jnp.split(outputs.features["pooled"], count))
        aux = inputs.aux
        if collaboration == "soft_label":
            each = [
                losses.soft_label(
                    logits[one],
                    jax.lax.stop_gradient(jnp.delete(logits, one, axis=0)),
                    batch["label"],
                    temperature=soft_temperature,
                    mix=soft_mix,
                )
                for one in range(count)
            ]
        elif collaboration == "pairwise":
            each = [losses.pairwise(*pair) for pair in combinations(pooled, 2)]
        elif collaboration == "collaborative":
            each = [losses.collaborative(logits), losses.collaborative(pooled)]
        else:
            centers = aux["centers"]
            each = [losses.center(one, batch["label"], centers) for one in pooled]
            aux = {"centers": _move_centers(centers, pooled, inputs, center_rate)}
        means = [losses.masked_mean(value, batch["mask"], inputs.axis_name) for value in each]
        return jnp.sum(jnp.stack(means)), aux

    def compare(
        outputs: Outputs, params: dict[str, PyTree], inputs: Inputs
    ) -> tuple[Terms, PyTree, Metrics]:
        del params
        if collaboration == "none":
            return {}, inputs.aux, {}
        value, aux = collaborate(outputs, inputs)
        term = inputs.hyper["collaborative_weight"] * value
        return {"collaboration": term}, aux, {"collaboration": value}

    def divergence(outputs: Outputs, inputs: Inputs, around: Around) -> Array:
        """Returns how far the other qualities' predictions are from the first one's."""
        del around
        first, *others = jnp.split(outputs.logits, len(qualities))
        divergences = [
            losses.kd(other, jax.lax.stop_gradient(first), temperature=1.0) for other in others
        ]
        mean = jnp.mean(jnp.stack(divergences), axis=0)
        return losses.masked_mean(mean, inputs.batch["mask"], inputs.axis_name)

    def move(weights: PyTree, gradient: PyTree, own: Inputs) -> PyTree:
        return adversarial_weight_perturbation(weights, gradient, gamma=own.hyper["gamma"])

    couples = {}
    if collaboration in TOGETHER:
        couples["collaboration"] = (
            f"(method.collaboration={collaboration}) {TOGETHER[collaboration]}"
        )
    if perturbation != "none":
        couples["perturbation"] = MOVED
    objectives = {"classification": classification, "kl": divergence}
    return Part(
        "qad",
        compare,
        hyper={"collaborative_weight": collaborative_weight, "gamma": gamma, "sigma": sigma},
        term_names=() if collaboration == "none" else ("collaboration",),
        init=init,
        wrap=None if perturbation == "none" else at_moved_weights(objectives[perturbation], move),
        couples=couples,
    )


def _points(features: Array, representation: str, axis_name: str | None) -> Array:
    """Returns one vector for each example of all devices, `[G, D]`."""
    features = losses.at_least_float32(features)
    if features.ndim == 4 and representation == "pooled":
        features = jnp.mean(features, axis=(1, 2))
    return base.gather(features.reshape(features.shape[0], -1), 1, axis_name)


def _pairs(seen: list[Array], pairs: str) -> list[tuple[Array, Array]]:
    if pairs == "unordered":
        return list(combinations(seen, 2))
    return [(first, second) for first in seen for second in seen]


def _move_centers(centers: Array, pooled: Array, inputs: Inputs, rate: float) -> Array:
    """Returns the centres after they went towards the means of their classes; an absent class stays."""
    labels, mask = inputs.batch["label"], inputs.batch["mask"]
    belongs = jax.nn.one_hot(labels, 2, dtype=centers.dtype) * mask.astype(centers.dtype)[:, None]
    features = jax.lax.stop_gradient(pooled).astype(centers.dtype)
    sums = jnp.einsum("bk,mbd->kd", belongs, features, precision="highest")
    counts = pooled.shape[0] * jnp.sum(belongs, axis=0)
    if inputs.axis_name is not None:
        sums, counts = jax.lax.psum((sums, counts), inputs.axis_name)
    means = sums / jnp.maximum(counts, 1.0)[:, None]
    return jnp.where(counts[:, None] > 0, centers + rate * (means - centers), centers)
