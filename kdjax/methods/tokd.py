"""TOKD: two branches of one teacher into a single-branch student, their gradients reconciled by rotations."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from kdjax import losses
from kdjax.checks import check_choice, check_positive
from kdjax.methods import base
from kdjax.methods.base import STAGES, Inputs, Network, Teacher, Terms
from kdjax.methods.complete import with_defaults
from kdjax.methods.part import Part
from kdjax.methods.projectors import Stack, apply_stack, init_linear, init_stack
from kdjax.methods.reconcile import Reconciliation
from kdjax.transforms.gradients import FORMS
from kdjax.transforms.rotation import AXES, METHODS
from kdjax.types import Array, Batch, Metrics, Outputs, PyTree

BRANCHES = ("rgb", "frequency")
LARGEST = 1024
"""Size of the rotations where none is given and the maps are wider."""


@with_defaults("tokd")
def tokd(
    student: Network,
    teachers: Sequence[Teacher],
    *,
    qualities: Sequence[str],
    teacher_quality: str,
    rgb_weight: float,
    frequency_weight: float,
    layer: str,
    projectors: bool,
    teacher_projectors: str,
    width: int,
    rotation: str,
    rotation_size: int,
    rotation_method: str,
    rotation_target: str,
    rotation_form: str,
) -> Part:
    """Two-in-one distillation over one or more dual-branch teachers (Eq. 10 and 13).

    `alpha_1 D(G_r(R_r m), G_tr(T_rgb)) + alpha_2 D(G_f(R_f m), G_tf(T_frequency))`, `m` the student's map, `R_k`
    rotations that this loss never trains; `methods.reconcile` turns them so that both branches' gradients at `m`
    agree. `D` is `losses.normalized_distance`.

    See "Two-in-one Knowledge Distillation for Efficient Facial Forgery Detection" by Zhou et al., 2023
    (https://arxiv.org/abs/2302.10437).

    Args:
      student: the network to train.
      teachers: frozen networks with the features `rgb` and `frequency`.
      qualities: the qualities the student sees.
      teacher_quality: the quality the teachers see.
      rgb_weight: `alpha_1`; 0 leaves the branch out.
      frequency_weight: `alpha_2`; likewise.
      layer: the student's map.
      projectors: whether maps go through projectors; without, their widths must be equal.
      teacher_projectors: `joint` trains the teachers' by this loss (the paper); `frozen` leaves them as
        drawn; `teacher_ce` trains them to classify the teachers' maps, and by nothing else.
      width: channels of the projectors.
      rotation: `none`, `channel` (at every position) or `flat` (entries of the flattened map).
      rotation_size: `d`; 0: as many as there are, at most 1024.
      rotation_method: `expm` or `cayley`.
      rotation_target: `mean` of the branches' gradients (Eq. 13), or `rotograd`: brought to one norm first.
      rotation_form: of the rotations' objective: `cosine` (Eq. 13) or `squared` (RotoGrad).

    Returns:
      The part, with the terms `rgb` and `frequency` as far as they weigh.

    Raises:
      ValueError: without teachers, for a single-branch teacher, or a setting out of range.
    """
    base.check_teachers("tokd", teachers)
    base.check_weights(rgb_weight=rgb_weight, frequency_weight=frequency_weight)
    base.check_weights(rotation_size=rotation_size)
    check_choice("method.layer", layer, STAGES)
    check_choice("method.teacher_projectors", teacher_projectors, PROJECTORS)
    check_choice("method.rotation", rotation, ("none", *AXES))
    check_choice("method.rotation_method", rotation_method, METHODS)
    check_choice("method.rotation_form", rotation_form, FORMS)
    check_choice("method.rotation_target", rotation_target, ("mean", "rotograd"))
    check_positive("method.width", width)
    weights = {"rgb": rgb_weight, "frequency": frequency_weight}
    branches = tuple(name for name in BRANCHES if weights[name])
    if not branches:
        raise ValueError("method.rgb_weight and method.frequency_weight are both 0; set one")
    rotates = rotation != "none"
    if rotates and len(branches) < 2:
        raise ValueError(
            "method.rotation reconciles two branches; with one of the weights 0 set method.rotation=none"
        )
    reconciliation = Reconciliation(
        layer=layer,
        branches=branches,
        axis=rotation,
        method=rotation_method,
        one_norm=rotation_target == "rotograd",
        form=rotation_form,
        qualities=len(qualities),
    )
    asks = teacher_projectors == "teacher_ce" and projectors
    axis_name = student.module.axis_name
    stacks = {
        "student": {
            name: Stack(*PLANS[f"student_{name}"], width, 3, axis_name) for name in BRANCHES
        },
        "teacher": {
            name: Stack(*PLANS[f"teacher_{name}"], width, 3, axis_name) for name in BRANCHES
        },
    }

    def init(rng: Array, example: Batch) -> tuple[dict[str, PyTree], PyTree]:
        own = base.need_features(student, example, [layer], "the student")[layer]
        size = _rotation_size(own, rotation, rotation_size) if rotates else 0
        heads: dict[str, PyTree] = {}
        kept: dict[str, PyTree] = {}
        for number, teacher in enumerate(teachers):
            other = base.need_features(
                teacher, example, branches, f"teacher.runs needs dual-branch networks: {number + 1}"
            )
            for index, name in enumerate(branches):
                if not projectors and own[-1] != other[name][-1]:
                    raise ValueError(
                        f"{layer} has {own[-1]} channels in the student and {other[name][-1]} in the "
                        "teacher; set method.projectors=true"
                    )
                if projectors:
                    key = jax.random.fold_in(rng, 10 * number + index)
                    found = init_stack(key, stacks["teacher"][name], other[name][-1])
                    place = kept if teacher_projectors == "frozen" else heads
                    place[f"teacher{number}_{name}"] = found
                    if asks:
                        heads[f"classifier{number}_{name}"] = init_linear(key, width, 2)["kernel"]
        for index, name in enumerate(branches if projectors else ()):
            key = jax.random.fold_in(rng, 1000 + index)
            heads[f"student_{name}"] = init_stack(key, stacks["student"][name], own[-1])
        groups = {"heads": heads} if heads else {}
        if rotates:
            groups["rotation"] = {name: jnp.zeros((size, size)) for name in branches}
        return groups, kept

    def targets(variables: Sequence[PyTree], batch: Batch) -> PyTree:
        return [
            {name: outputs.features[name] for name in branches}
            for outputs in base.teach(teachers, variables, batch, teacher_quality)
        ]

    def compare(
        outputs: Outputs, params: dict[str, PyTree], inputs: Inputs
    ) -> tuple[Terms, PyTree, Metrics]:
        count, seen = len(qualities), losses.at_least_float32(outputs.features[layer])
        mask = base.tile(inputs.batch["mask"], count)
        heads = params.get("heads", {})
        terms: Terms = {}
        metrics: Metrics = {}
        asked = jnp.zeros(())
        for name in branches:
            own = reconciliation.rotated(name, seen, params)
            if projectors:
                own = apply_stack(stacks["student"][name], heads[f"student_{name}"], own)
            total = jnp.zeros(())
            for number, target in enumerate(inputs.targets):
                other = target[name]
                if projectors:
                    key = f"teacher{number}_{name}"
                    stack = heads.get(key, inputs.aux.get(key))
                    other = apply_stack(stacks["teacher"][name], stack, other)
                    metrics[f"teacher_cosine/{key}"] = _mean_cosine(other, inputs)
                    if asks:
                        asked += _ask(other, heads[f"classifier{number}_{name}"], inputs)
                        other = jax.lax.stop_gradient(other)
                each = losses.normalized_distance(own, base.tile(other, count))
                total += losses.masked_mean(each, mask, inputs.axis_name)
            metrics[name] = total / len(inputs.targets)
            terms[name] = inputs.hyper[f"{name}_weight"] * metrics[name]
        if asks:
            terms["projector_cross_entropy"] = metrics["projector_cross_entropy"] = asked
        return terms, inputs.aux, metrics

    couples = {}
    if projectors:
        couples["projectors"] = "(method.projectors) normalise by the whole batch"
    if rotates:
        couples["rotation"] = "(method.rotation) is turned by the gradients of the whole batch"
    names = (*branches, *(("projector_cross_entropy",) if asks else ()))
    return Part(
        "tokd",
        compare,
        targets,
        hyper={"rgb_weight": rgb_weight, "frequency_weight": frequency_weight},
        term_names=names,
        init=init,
        wrap=reconciliation.wrap,
        couples=couples,
    )


PROJECTORS = ("joint", "frozen", "teacher_ce")

PLANS: dict[str, tuple[int, tuple[int, ...]]] = {
    "student_rgb": (2, (1, 2)),
    "student_frequency": (3, (1, 2, 3)),
    "teacher_rgb": (3, (1, 2, 3)),
    "teacher_frequency": (5, (2, 4)),
}
"""Of each projector: number of convolutions, and which are normalised and rectified."""


def _rotation_size(shape: tuple[int, ...], rotation: str, wanted: int) -> int:
    """Returns `d`; ValueError when there is less to rotate."""
    channels = shape[-1]
    present = channels if rotation == "channel" else shape[1] * shape[2] * channels
    if wanted > present:
        raise ValueError(
            f"method.rotation_size={wanted} is larger than the {present} entries that "
            f"method.rotation={rotation} has to rotate"
        )
    return wanted or min(present, LARGEST)


def _mean_cosine(maps: Array, inputs: Inputs) -> Array:
    """Returns the mean cosine between different images' maps, by which a collapse is seen."""
    unit = losses.unit_vectors(jax.lax.stop_gradient(maps).reshape(maps.shape[0], -1))
    counts = (inputs.batch["mask"] > 0).astype(unit.dtype)
    unit = jnp.where(counts[:, None] > 0, unit, 0.0)
    total, squares, size = jnp.sum(unit, axis=0), jnp.sum(unit**2), jnp.sum(counts)
    if inputs.axis_name is not None:
        total, squares, size = jax.lax.psum((total, squares, size), inputs.axis_name)
    return (jnp.sum(total**2) - squares) / jnp.maximum(size * (size - 1), 1.0)


def _ask(maps: Array, head: Array, inputs: Inputs) -> Array:
    """Returns the cross-entropy of a linear classifier on pooled maps."""
    logits = jnp.matmul(jnp.mean(maps, axis=(1, 2)), head, precision="highest")
    each = losses.cross_entropy(logits, inputs.batch["label"])
    return losses.masked_mean(each, inputs.batch["mask"], inputs.axis_name)
