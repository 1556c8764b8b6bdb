"""The four methods' losses as wholes, on arrays: what their papers minimise beside the cross-entropy.

Weights are the papers' `alpha`, `beta`, `lambda`; a run balances the terms by their gradients instead, unless
`train.balance=none`. Defaults are those of `kdjax.defaults`.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kdjax.checks import check_choice
from kdjax.defaults import PARTS
from kdjax.losses.contrastive import contrastive_nce
from kdjax.losses.features import normalized_distance
from kdjax.losses.frequency import frequency_attention
from kdjax.losses.hsic import hsic
from kdjax.losses.reductions import masked_mean
from kdjax.losses.view_contrast import multi_view_and_closed
from kdjax.losses.wasserstein import directions, view_densities
from kdjax.types import STAGES, Array, Features

ADD: dict[str, Any] = PARTS["add"]
CKD: dict[str, Any] = PARTS["ckd"]
TOKD: dict[str, Any] = PARTS["tokd"]
QAD: dict[str, Any] = PARTS["qad"]


class AddTerms(NamedTuple):
    """ADD's two losses, without their weights.

    Attributes:
      frequency_attention: float `[]`.
      multi_view: float `[]`.
      closed_hinges: float `[]`, the share of hinges of the second that are closed.
    """

    frequency_attention: Array
    multi_view: Array
    closed_hinges: Array


def add_terms(
    student: Features,
    teacher: Features,
    labels: Array,
    rng: Array,
    *,
    frequency_layers: Sequence[float] = ADD["frequency_layers"],
    view_layers: Sequence[float] = ADD["view_layers"],
    frequency_gamma: float | Array = ADD["frequency_gamma"],
    view_gamma: float | Array = ADD["view_gamma"],
    view_eta: float | Array = ADD["view_eta"],
    margin: float | Array = ADD["margin"],
    views: int = ADD["views"],
    scale: str = ADD["scale"],
    coordinates: str = ADD["coordinates"],
    cost: str = ADD["cost"],
    both_directions: bool = ADD["both_directions"],
    relative_margin: bool = ADD["relative_margin"],
    mode: str = ADD["mode"],
    mask: Array | None = None,
    axis_name: str | None = None,
) -> AddTerms:
    """Returns `sum_l a_l mean_i FR_l` and `sum_l b_l MV_l` over the four stages (Eq. 10).

    See "ADD: Frequency Attention and Multi-View based Knowledge Distillation to Detect Low-Quality Compressed
    Deepfake Images" by Le and Woo, AAAI 2022 (https://arxiv.org/abs/2112.03553).

    Args:
      student: maps `[B, H, W, C]` by stage; those whose two weights are 0 may be missing.
      teacher: the same of the teacher, of equal widths.
      labels: int `[B]`.
      rng: key of the directions and of the contrast's partners.
      frequency_layers: `a_l` of the four stages.
      view_layers: `b_l`.
      frequency_gamma: `gamma_FR` of Eq. 3.
      view_gamma: `gamma_MV` of Eq. 9.
      view_eta: `eta_MV`.
      margin: `Delta`.
      views: number of random directions.
      scale: as of `frequency_attention`.
      coordinates: as of `view_densities`.
      cost: as of `multi_view`.
      both_directions: as of `multi_view`.
      relative_margin: as of `multi_view`.
      mode: `relative`, `paper` or `official`; the multi-view loss has no scale, and is the paper's in the first.
      mask: float `[B]`: what is 0 does not count.
      axis_name: device axis over which means are taken.

    Raises:
      ValueError: for another number of weights than four, or a stage that is missing.
    """
    weights = list(zip(STAGES, frequency_layers, view_layers, strict=True))
    view_mode = "official" if mode == "official" else "paper"
    frequency, view = jnp.zeros(()), jnp.zeros(())
    closed = []
    for number, (stage, frequency_weight, view_weight) in enumerate(weights):
        if not (frequency_weight or view_weight):
            continue
        for whose, maps in (("student", student), ("teacher", teacher)):
            if stage not in maps:
                raise ValueError(f"the {whose} has no {stage!r}; it has {', '.join(sorted(maps))}")
        own, other = student[stage], teacher[stage]
        if frequency_weight:
            distances = frequency_attention(
                own, other, gamma=frequency_gamma, scale=scale, mode=mode
            )
            frequency += frequency_weight * masked_mean(distances, mask, axis_name)
        if view_weight:
            # one draw of directions and partners a stage; the same whatever the device
            keys = jax.random.split(jax.random.fold_in(rng, number))
            densities = view_densities(
                own, other, directions(keys[0], views), coordinates=coordinates, mode=view_mode
            )
            value, share = multi_view_and_closed(
                *densities,
                labels,
                keys[1],
                gamma=view_gamma,
                eta=view_eta,
                margin=margin,
                cost=cost,
                both_directions=both_directions,
                relative_margin=relative_margin,
                mask=mask,
                axis_name=axis_name,
                mode=view_mode,
            )
            view += view_weight * value
            closed.append(share)
    share = jnp.mean(jnp.stack(closed)) if closed else jnp.zeros(())
    return AddTerms(frequency, view, share)


def add(
    student: Features,
    teacher: Features,
    labels: Array,
    rng: Array,
    *,
    frequency_weight: float | Array = ADD["frequency_weight"],
    view_weight: float | Array = ADD["view_weight"],
    **options: Any,
) -> Array:
    """Returns `alpha sum_l a_l FR_l + beta sum_l b_l MV_l` (ADD, Eq. 10), float `[]`.

    Args:
      student: maps by stage, as of `add_terms`.
      teacher: the same of the teacher.
      labels: int `[B]`.
      rng: key of what is drawn.
      frequency_weight: `alpha`.
      view_weight: `beta`.
      **options: of `add_terms`.
    """
    terms = add_terms(student, teacher, labels, rng, **options)
    return frequency_weight * terms.frequency_attention + view_weight * terms.multi_view


def ckd(
    teacher: Array,
    student: Array,
    negatives: Array,
    *,
    dataset_size: int | Array,
    contrast_weight: float | Array = CKD["contrast_weight"],
    temperature: float | Array = CKD["temperature"],
    normalizer: float | Array = 1.0,
    negatives_mask: Array | None = None,
    mask: Array | None = None,
    axis_name: str | None = None,
) -> Array:
    """Returns `lambda mean_i [-log h(t_i, s_i) - sum_k log(1 - h(t_i, s_ik))]` (CKD, Eq. 8), float `[]`.

    See "Contrastive Knowledge Transfer for Deepfake Detection with Limited Data" by Li et al., 2022.

    Args:
      teacher: the teacher's embeddings `[B, D]`, unit vectors.
      student: the student's of the same images `[B, D]`.
      negatives: the student's of images of the other class `[B, K, D]`.
      dataset_size: `M`, number of training images.
      contrast_weight: `lambda`.
      temperature: `tau`.
      normalizer: CRD's `Z` (`contrastive_normalizer`); 1: the paper's as printed.
      negatives_mask: bool `[B, K]`: which negatives count.
      mask: float `[B]`: what is 0 does not count.
      axis_name: device axis over which the mean is taken.
    """
    each = contrastive_nce(
        teacher,
        student,
        negatives,
        temperature=temperature,
        dataset_size=dataset_size,
        mask=negatives_mask,
        normalizer=normalizer,
    )
    return contrast_weight * masked_mean(each, mask, axis_name)


def tokd(
    student: Mapping[str, Array],
    teacher: Mapping[str, Array],
    *,
    rgb_weight: float | Array = TOKD["rgb_weight"],
    frequency_weight: float | Array = TOKD["frequency_weight"],
    mask: Array | None = None,
    axis_name: str | None = None,
) -> Array:
    """Returns `l_r mean_i D(s_r, t_r) + l_f mean_i D(s_f, t_f)` (TOKD, Eq. 10), float `[]`.

    `D` is `normalized_distance`. Rotating the two gradients towards each other is no matter of the loss:
    `transforms.rotation_objective`.

    See "Two-in-one Knowledge Distillation for Efficient Facial Forgery Detection" by Zhou et al., 2023
    (https://arxiv.org/abs/2302.10437).

    Args:
      student: the student's map `[B, H, W, C]` as projected for each branch: `rgb` and `frequency`, or one.
      teacher: the maps of the teacher's branches of those names.
      rgb_weight: `l_r`.
      frequency_weight: `l_f`.
      mask: float `[B]`: what is 0 does not count.
      axis_name: device axis over which means are taken.

    Raises:
      ValueError: for a branch of another name, or one that the teacher lacks.
    """
    weights = {"rgb": rgb_weight, "frequency": frequency_weight}
    total = jnp.zeros(())
    for name, own in student.items():
        check_choice("a branch", name, tuple(weights))
        if name not in teacher:
            raise ValueError(f"the teacher has no branch {name!r}; it has {', '.join(teacher)}")
        each = normalized_distance(own, teacher[name])
        total += weights[name] * masked_mean(each, mask, axis_name)
    return total


def qad(
    features: Sequence[Features],
    *,
    layers: Sequence[str] = QAD["layers"],
    collaborative_weight: float | Array = QAD["collaborative_weight"],
    **options: Any,
) -> Array:
    """Returns `-alpha sum_{q<r} sum_l HSIC(Z_lq, Z_lr)` (QAD, Eq. 10 without its ordered pairs), float `[]`.

    Maps are averaged over their positions. The gradient that QAD takes of it is at weights moved by
    `transforms.adversarial_weight_perturbation`.

    See "Quality-Agnostic Deepfake Detection with Intra-model Collaborative Learning" by Le and Woo, ICCV 2023
    (https://arxiv.org/abs/2309.05911).

    Args:
      features: one network's features of the same images, by name, of each quality.
      layers: which of them.
      collaborative_weight: `alpha`.
      **options: of `hsic`; its bandwidth here is the `mean` distance unless said otherwise.
    """
    options = {"bandwidth": QAD["bandwidth"], **options}
    total = jnp.zeros(())
    for layer in layers:
        points = [
            one[layer].mean(axis=(1, 2)) if one[layer].ndim == 4 else one[layer] for one in features
        ]
        for first, second in combinations(points, 2):
            total += hsic(first, second, **options)
    return -collaborative_weight * total
