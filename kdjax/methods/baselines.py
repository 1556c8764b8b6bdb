"""The losses that the papers compare with, one at a time."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kdjax import losses
from kdjax.checks import check_choice, check_positive
from kdjax.methods import base
from kdjax.methods.base import Inputs, Network, Teacher, Terms
from kdjax.methods.baseline_rows import ROWS, Row
from kdjax.methods.complete import with_defaults
from kdjax.methods.crd import crd
from kdjax.methods.part import Part
from kdjax.methods.perturb import MOVED, at_moved_weights, classification
from kdjax.types import Array, Batch, Metrics, Outputs, PyTree

ALONE = ("collaborative", "sam")
"""What compares qualities, or moves the weights, and needs no teacher."""

LOSSES = (*ROWS, "crd", *ALONE)


@with_defaults("baselines")
def baselines(
    student: Network,
    teachers: Sequence[Teacher],
    *,
    qualities: Sequence[str],
    teacher_quality: str,
    loss: str,
    weight: float,
    features: Sequence[str],
    teacher_features: Sequence[str],
    negatives: int,
    sam_radius: float,
    dataset_size: int = 0,
    indices: np.ndarray | None = None,
) -> Part:
    """One loss that a paper compares with, over one or more teachers; see `docs/baselines.md` for each.

    Args:
      student: the network to train.
      teachers: frozen networks; none for `collaborative` and `sam`.
      qualities: the qualities the student sees.
      teacher_quality: the quality the teachers see.
      loss: one of `LOSSES`.
      weight: of the loss; -1: as its authors set it.
      features: what it looks at in the student, as `stage2,stage3`; empty: as its authors do.
      teacher_features: what each of them is compared with in the teacher, as `rgb,frequency` for
        `features=stage4,stage4`; empty: what has the same name.
      negatives: of `crd`: images an anchor is compared with.
      sam_radius: of SAM's step (Foret et al. 2021), in units of the weights.
      dataset_size: number of training images, which `crd` keeps embeddings of.
      indices: their `index`, ascending; None: from 0 to `dataset_size - 1`.

    Returns:
      The part, with a term of the loss's name (`sam` has none).

    Raises:
      ValueError: for an unknown loss or feature, or teachers where none or some are needed.
    """
    check_choice("method.loss", loss, LOSSES)
    _check_options(loss, weight, features, teacher_features)
    base.check_weights(sam_radius=sam_radius)
    check_positive("method.negatives", negatives)
    if loss == "sam":
        base.check_no_teachers("baselines with method.loss=sam", teachers)
        return _sam(sam_radius)
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
            dataset_size=dataset_size,
            weight=0.8 if weight < 0 else weight,
            negatives=negatives,
            indices=indices,
        )
    row = ROWS[loss]
    names = tuple(features) or row.features
    others = tuple(teacher_features) or names
    if len(names) != len(others):
        raise ValueError(
            f"method.teacher_features has {len(others)} names for {len(names)} of method.features; "
            "give one for each"
        )
    pairs = tuple(dict.fromkeys(zip(names, others, strict=True)))
    value = row.weight if weight < 0 else weight

    def init(rng: Array, example: Batch) -> tuple[dict[str, PyTree], PyTree]:
        own = base.need_features(student, example, names, "method.features: the student")
        heads: dict[str, PyTree] = {}
        for number, teacher in enumerate(teachers):
            other = base.need_features(
                teacher, example, others, f"method.features: teacher {number + 1}"
            )
            for index, (name, taught) in enumerate(pairs):
                _check_ranks(loss, row, {name: own[name], f"the teacher's {taught}": other[taught]})
                if row.head is not None:
                    key = jax.random.fold_in(rng, 10 * number + index)
                    head = row.head(key, own[name], other[taught])
                    heads.setdefault(str(number), {})[f"{name}_{taught}"] = head
        return ({"heads": heads} if heads else {}), ()

    def targets(variables: Sequence[PyTree], batch: Batch) -> PyTree:
        return [
            {name: _feature(outputs, name) for name in others}
            for outputs in base.teach(teachers, variables, batch, teacher_quality)
        ]

    def compare(
        outputs: Outputs, params: dict[str, PyTree], inputs: Inputs
    ) -> tuple[Terms, PyTree, Metrics]:
        count, axis_name = len(qualities), inputs.axis_name
        mask = base.tile(inputs.batch["mask"], count)
        total = jnp.zeros(())
        for number, target in enumerate(inputs.targets):
            for name, taught in pairs:
                own = losses.at_least_float32(_feature(outputs, name))
                other = base.tile(losses.at_least_float32(target[taught]), count)
                if row.relational:
                    pair = [base.gather(x, count, axis_name) for x in (own, other, mask)]
                    total += row.compare(*pair)
                else:
                    head = params.get("heads", {}).get(str(number), {}).get(f"{name}_{taught}")
                    total += losses.masked_mean(row.compare(own, other, head), mask, axis_name)
        mean = total / len(inputs.targets)
        return {loss: inputs.hyper["weight"] * mean}, inputs.aux, {loss: mean}

    return Part(
        "baselines",
        compare,
        targets,
        hyper={"weight": value},
        term_names=(loss,),
        init=init,
        couples={loss: "compares images of the whole batch with each other"}
        if row.relational
        else {},
    )


def _check_options(
    loss: str, weight: float, features: Sequence[str], teacher_features: Sequence[str]
) -> None:
    """Raises ValueError for a negative weight, or a setting that the loss has no use for."""
    if weight != -1 and not weight >= 0:
        raise ValueError(f"method.weight={weight} must be at least 0, or -1 for the loss's own")
    if loss == "sam" and weight > 0:
        raise ValueError("method.weight has no use with method.loss=sam; set method.sam_radius")
    for key, value in (("features", features), ("teacher_features", teacher_features)):
        if value and loss not in ROWS:
            raise ValueError(f"method.{key} has no use with method.loss={loss}; leave it empty")


def _check_ranks(loss: str, row: Row, shapes: dict[str, tuple[int, ...]]) -> None:
    """Raises ValueError for features of another rank than the loss takes, or than each other's."""
    ranks = {len(shape) for shape in shapes.values()}
    if len(ranks) > 1 or (row.rank and ranks != {row.rank}):
        kinds = " and ".join(f"{name} {shape[1:]}" for name, shape in shapes.items())
        wanted = {0: "two maps or two vectors", 2: "vectors, as pooled", 4: "maps, as stage2"}
        raise ValueError(f"method.features: {loss} compares {wanted[row.rank]}; got {kinds}")
    if row.same_width and len({shape[-1] for shape in shapes.values()}) > 1:
        kinds = " and ".join(f"{name} {shape[1:]}" for name, shape in shapes.items())
        raise ValueError(f"method.features: {loss} compares features of one width; got {kinds}")


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
        "baselines", compare, hyper={"weight": weight}, term_names=("collaborative",), couples={}
    )


def _sam(radius: float) -> Part:
    unit = optax.contrib.normalize()

    def compare(
        outputs: Outputs, params: dict[str, PyTree], inputs: Inputs
    ) -> tuple[Terms, PyTree, Metrics]:
        del outputs, params
        return {}, inputs.aux, {}

    def move(weights: PyTree, gradient: PyTree, own: Inputs) -> PyTree:
        direction, _ = unit.update(gradient, unit.init(weights))
        length = own.hyper["sam_radius"]
        # a gradient of 0 has no direction
        present = optax.tree.norm(gradient) > 0
        direction = jax.tree.map(lambda step: jnp.where(present, step, 0.0), direction)
        return jax.tree.map(lambda w, step: w + length.astype(w.dtype) * step, weights, direction)

    wrap = at_moved_weights(classification, move)
    return Part(
        "baselines", compare, hyper={"sam_radius": radius}, wrap=wrap, couples={"sam": MOVED}
    )
