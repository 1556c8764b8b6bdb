"""The losses that the papers compare with, one at a time: a row in `ROWS` each."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from kdjax import losses
from kdjax.checks import check_choice
from kdjax.methods import base, projectors
from kdjax.methods.base import STAGES, Inputs, Network, Teacher, Terms
from kdjax.methods.part import Forward, Gradient, Part
from kdjax.methods.crd import crd
from kdjax.methods.projectors import NonLocal, Stack
from kdjax.types import Array, Batch, Metrics, Outputs, PyTree


class Row(NamedTuple):
    """One loss between a student's and a teacher's features.

    Attributes:
      weight: as the loss's authors, or RepDistiller's, set it.
      features: what it looks at: names of features, or `logits`.
      compare: `(student, teacher, head) -> [B] or scalar`; scalars look at the batch of all devices.
      relational: whether it is such a scalar, and takes a mask.
      head: `(rng, student's shape, teacher's shape) -> parameters`, None without any.
    """

    weight: float
    features: tuple[str, ...]
    compare: Callable[..., Array]
    relational: bool = False
    head: Callable[..., PyTree] | None = None


def _regressor(rng: Array, own: tuple[int, ...], other: tuple[int, ...]) -> PyTree:
    """Returns a 1 x 1 convolution from the student's width to the teacher's."""
    return projectors.init_stack(rng, Stack(1, (), other[-1], 1), own[-1])


def _regress(features: Array, head: PyTree) -> Array:
    width = head["conv1"]["kernel"].shape[-1]
    return projectors.apply_stack(Stack(1, (), width, 1), head, features)


def _fitnet(student: Array, teacher: Array, head: PyTree) -> Array:
    return losses.fitnet(_regress(student, head), teacher)


def _vid_head(rng: Array, own: tuple[int, ...], other: tuple[int, ...]) -> PyTree:
    # softplus of it is the initial variance of 5
    start = jnp.log(jnp.expm1(jnp.asarray(5.0 - losses.VARIANCE_FLOOR)))
    return {"mean": _regressor(rng, own, other), "log_scale": jnp.full((other[-1],), start)}


def _vid(student: Array, teacher: Array, head: PyTree) -> Array:
    return losses.vid(_regress(student, head["mean"]), head["log_scale"], teacher)


def _linear(rng: Array, own: tuple[int, ...], other: tuple[int, ...]) -> PyTree:
    return projectors.init_linear(rng, own[-1], other[-1])


def _simkd(student: Array, teacher: Array, head: PyTree) -> Array:
    return losses.fitnet(projectors.apply_linear(head, student), teacher)


def _attention_head(rng: Array, own: tuple[int, ...], other: tuple[int, ...]) -> PyTree:
    keys = jax.random.split(rng, 3)
    return {
        "student": NonLocal().init(keys[0], jnp.zeros((1, 2, 2, own[-1])))["params"],
        "teacher": NonLocal().init(keys[1], jnp.zeros((1, 2, 2, other[-1])))["params"],
        "regressor": _regressor(keys[2], own, other),
    }


def _nonlocal(student: Array, teacher: Array, head: PyTree) -> Array:
    own, other = losses.match_spatial(student, teacher)
    own, other = (
        jnp.asarray(NonLocal().apply({"params": head[name]}, maps))
        for name, maps in (("student", own), ("teacher", other))
    )
    return losses.fitnet(_regress(own, head["regressor"]), other)


def _rkd(student: Array, teacher: Array, mask: Array) -> Array:
    distance = losses.rkd_distance(student, teacher, mask=mask)
    return 25.0 * distance + 50.0 * losses.rkd_angle(student, teacher, mask=mask)


ROWS = {
    "rkd": Row(1.0, ("pooled",), _rkd, relational=True),
    "fitnet": Row(100.0, ("stage2",), _fitnet, head=_regressor),
    "attention": Row(
        1000.0, STAGES, lambda student, teacher, head: losses.attention_transfer(student, teacher)
    ),
    "similarity": Row(
        3000.0,
        ("stage4",),
        lambda student, teacher, mask: losses.similarity_preserving(student, teacher, mask=mask),
        relational=True,
    ),
    "pkt": Row(
        30000.0,
        ("pooled",),
        lambda student, teacher, mask: losses.pkt(student, teacher, mask=mask),
        relational=True,
    ),
    "vid": Row(1.0, STAGES[1:], _vid, head=_vid_head),
    "logit_mse": Row(
        1.0, ("logits",), lambda student, teacher, head: losses.logit_mse(student, teacher)
    ),
    "simkd": Row(1.0, ("pooled",), _simkd, head=_linear),
    "nonlocal": Row(100.0, ("stage3",), _nonlocal, head=_attention_head),
}
"""The losses that learn from teachers, by name."""

ALONE = ("collaborative", "sam")
"""What compares qualities, or moves the weights, and needs no teacher."""

LOSSES = (*ROWS, "crd", *ALONE)


def baselines(
    student: Network,
    teachers: Sequence[Teacher],
    *,
    qualities: Sequence[str],
    teacher_quality: str,
    loss: str,
    weight: float,
    features: Sequence[str],
    negatives: int,
    sam_radius: float,
    split_size: int = 0,
) -> Part:
    """One loss that a paper compares with, over one or more teachers; see `docs/baselines.md` for each.

    Args:
      student: the network to train.
      teachers: frozen networks; none for `collaborative` and `sam`.
      qualities: the qualities the student sees.
      teacher_quality: the quality the teachers see.
      loss: one of `LOSSES`.
      weight: of the loss; below 0: as its authors set it.
      features: what it looks at, as `stage2,stage3`; empty: as its authors do.
      negatives: of `crd`: images an anchor is compared with.
      sam_radius: of SAM's step (Foret et al. 2021), in units of the weights.
      split_size: number of images in the training split, which `crd` keeps embeddings of.

    Returns:
      The part, with a term of the loss's name (`sam` has none).

    Raises:
      ValueError: for an unknown loss or feature, or teachers where none or some are needed.
    """
    check_choice("method.loss", loss, LOSSES)
    if loss == "sam":
        base.check_no_teachers("baselines with method.loss=sam", teachers)
        return _sam(sam_radius, len(qualities))
    if loss == "collaborative":
        base.check_no_teachers("baselines with method.loss=collaborative", teachers)
        base.check_several_qualities("baselines with method.loss=collaborative", qualities)
        return _collaborative(1.0 if weight < 0 else weight, len(qualities))
    base.check_teachers("baselines", teachers)
    if loss == "crd":
        return crd(
            student,
            teachers,
            qualities=qualities,
            teacher_quality=teacher_quality,
            dataset_size=split_size,
            weight=0.8 if weight < 0 else weight,
            negatives=negatives,
        )
    row = ROWS[loss]
    names = tuple(features) or row.features
    value = row.weight if weight < 0 else weight

    def init(rng: Array, example: Batch) -> tuple[dict[str, PyTree], PyTree]:
        own = base.need_features(student, example, names, "the student")
        heads: dict[str, PyTree] = {}
        for number, teacher in enumerate(teachers):
            other = base.need_features(teacher, example, names, f"teacher {number + 1}")
            for index, name in enumerate(names):
                if row.head is not None:
                    key = jax.random.fold_in(rng, 10 * number + index)
                    head = row.head(key, own[name], other[name])
                    heads.setdefault(str(number), {})[name] = head
        return ({"heads": heads} if heads else {}), ()

    def targets(variables: Sequence[PyTree], batch: Batch) -> PyTree:
        return [
            {name: _feature(outputs, name) for name in names}
            for outputs in base.teach(teachers, variables, batch, teacher_quality)
        ]

    def compare(
        outputs: Outputs, params: dict[str, PyTree], inputs: Inputs
    ) -> tuple[Terms, PyTree, Metrics]:
        count, axis_name = len(qualities), inputs.axis_name
        mask = base.tile(inputs.batch["mask"], count)
        total = jnp.zeros(())
        for number, target in enumerate(inputs.targets):
            for name in names:
                own = losses.at_least_float32(_feature(outputs, name))
                other = base.tile(losses.at_least_float32(target[name]), count)
                if row.relational:
                    pair = [base.gather(x, count, axis_name) for x in (own, other, mask)]
                    total += row.compare(*pair)
                else:
                    head = params.get("heads", {}).get(str(number), {}).get(name)
                    total += losses.masked_mean(row.compare(own, other, head), mask, axis_name)
        mean = total / len(inputs.targets)
        return {loss: inputs.hyper["weight"] * mean}, inputs.aux, {loss: mean}

    return Part(
        "baselines", compare, targets, hyper={"weight": value}, term_names=(loss,), init=init
    )


def _feature(outputs: Outputs, name: str) -> Array:
    return outputs.logits if name == "logits" else outputs.features[name]


def _collaborative(weight: float, count: int) -> Part:
    def compare(
        outputs: Outputs, params: dict[str, PyTree], inputs: Inputs
    ) -> tuple[Terms, PyTree, Metrics]:
        del params
        seen = (outputs.logits, outputs.features["pooled"])
        each = [losses.collaborative(jnp.stack(jnp.split(values, count))) for values in seen]
        mean = losses.masked_mean(each[0] + each[1], inputs.batch["mask"], inputs.axis_name)
        return {"collaborative": inputs.hyper["weight"] * mean}, inputs.aux, {"collaborative": mean}

    return Part(
        "baselines", compare, hyper={"weight": weight}, term_names=("collaborative",)
    )


def _sam(radius: float, count: int) -> Part:
    base.check_weights(sam_radius=radius)
    unit = optax.contrib.normalize()

    def compare(
        outputs: Outputs, params: dict[str, PyTree], inputs: Inputs
    ) -> tuple[Terms, PyTree, Metrics]:
        del outputs, params
        return {}, inputs.aux, {}

    def wrap(gradient: Gradient, forward: Forward, view: Callable[[Inputs], Inputs]) -> Gradient:
        def at_worst_neighbour(params: dict[str, PyTree], inputs: Inputs) -> Any:
            def objective(weights: PyTree) -> Array:
                outputs = forward({**params, "student": weights}, inputs)
                return base.classification(outputs, inputs, count)[0]

            first = jax.grad(objective)(params["student"])
            if inputs.axis_name is not None:
                first = jax.lax.pmean(first, inputs.axis_name)
            direction, _ = unit.update(first, unit.init(params["student"]))
            length = view(inputs).hyper["sam_radius"]
            moved = jax.tree.map(
                lambda weight, step: weight + length.astype(weight.dtype) * step,
                params["student"],
                direction,
            )
            return gradient({**params, "student": moved}, inputs)

        return at_worst_neighbour

    return Part("baselines", compare, hyper={"sam_radius": radius}, wrap=wrap)
