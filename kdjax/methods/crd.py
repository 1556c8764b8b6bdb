"""CRD: contrastive representation distillation, with two banks addressed by the images' index."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import losses
from kdjax.checks import check_positive
from kdjax.methods import base
from kdjax.methods.base import Inputs, Network, Teacher, Terms
from kdjax.methods.part import Part
from kdjax.methods.projectors import embed, init_linear
from kdjax.types import Array, Batch, Metrics, Outputs, PyTree

TEMPERATURE = 0.07
MOMENTUM = 0.5


def crd(
    student: Network,
    teachers: Sequence[Teacher],
    *,
    qualities: Sequence[str],
    teacher_quality: str,
    dataset_size: int,
    weight: float,
    negatives: int,
    indices: np.ndarray | None = None,
    width: int = 128,
) -> Part:
    """Contrastive representation distillation by Tian et al. over one or more teachers, `losses.crd`.

    Both networks' embeddings of every training image are kept, moved half the way to the new one
    whenever the image is seen (in the first of several qualities). Negatives are other images, of any class.

    See "Contrastive Representation Distillation" by Tian, Krishnan and Isola, 2020
    (https://arxiv.org/abs/1910.10699).

    Args:
      student: the network to train.
      teachers: frozen networks; each has its own linear maps and banks.
      qualities: the qualities the student sees.
      teacher_quality: the quality the teachers see.
      dataset_size: `M`, number of training images.
      weight: of the term.
      negatives: `K`, images an anchor is compared with.
      indices: integer `[M]`, the training images' `index`, ascending; None: from 0 to `M - 1`.
      width: of the embeddings.

    Returns:
      The part, with the term `crd`.

    Raises:
      ValueError: without teachers, or for a setting out of range.
    """
    base.check_teachers("baselines", teachers)
    check_positive("method.negatives", negatives)
    if dataset_size < 2:
        raise ValueError(f"CRD contrasts with other images; {dataset_size} are too few")

    def row_of(index: Array) -> Array:
        """Returns the images' rows in the banks."""
        return index if indices is None else jnp.searchsorted(jnp.asarray(indices), index)

    def init(rng: Array, example: Batch) -> tuple[dict[str, PyTree], PyTree]:
        own = base.need_features(student, example, ["pooled"], "the student")["pooled"][-1]
        heads, aux = {}, {}
        for number, teacher in enumerate(teachers):
            whose = f"teacher.runs: teacher {number + 1}"
            other = base.need_features(teacher, example, ["pooled"], whose)["pooled"][-1]
            keys = jax.random.split(jax.random.fold_in(rng, number), 4)
            heads[str(number)] = {
                "student": init_linear(keys[0], own, width),
                "teacher": init_linear(keys[1], other, width),
            }
            aux[str(number)] = {
                **{
                    name: losses.unit_vectors(jax.random.normal(key, (dataset_size, width)))
                    for name, key in zip(("student", "teacher"), keys[2:], strict=True)
                },
                # 0: not set yet
                "normalizers": jnp.zeros(2),
            }
        return {"heads": heads}, aux

    def targets(variables: Sequence[PyTree], batch: Batch) -> PyTree:
        found = base.teach(teachers, variables, batch, teacher_quality)
        return [outputs.features["pooled"] for outputs in found]

    def compare(
        outputs: Outputs, params: dict[str, PyTree], inputs: Inputs
    ) -> tuple[Terms, PyTree, Metrics]:
        count, axis_name = len(qualities), inputs.axis_name
        size, seen = inputs.batch["index"].shape[0], row_of(inputs.batch["index"])
        index, mask = (base.tile(values, count) for values in (seen, inputs.batch["mask"]))
        others = draw_others(
            index, base.places(size, count, axis_name), negatives, dataset_size, inputs.rng
        )
        total, aux = jnp.zeros(()), {}
        for number, target in enumerate(inputs.targets):
            heads, kept = params["heads"][str(number)], inputs.aux[str(number)]
            own = embed(heads["student"], outputs.features["pooled"])
            taught = base.tile(embed(heads["teacher"], target), count)
            options: dict[str, Any] = {"temperature": TEMPERATURE, "dataset_size": dataset_size}
            bank = {name: kept[name].astype(own.dtype) for name in ("student", "teacher")}
            found = jnp.stack(
                [
                    losses.contrastive_normalizer(
                        *(anchor, bank[name][index], bank[name][others]),
                        **options,
                        example_mask=mask,
                        axis_name=axis_name,
                    )
                    for anchor, name in ((taught, "student"), (own, "teacher"))
                ]
            )
            normalizers = jnp.where(
                kept["normalizers"] > 0,
                kept["normalizers"],
                found.astype(kept["normalizers"].dtype),
            )
            each = losses.crd(
                *(taught, own, bank["teacher"][others], bank["student"][others]),
                **options,
                teacher_normalizer=normalizers[0],
                student_normalizer=normalizers[1],
                teacher_positive=bank["teacher"][index],
                student_positive=bank["student"][index],
            )
            total += losses.masked_mean(each, mask, axis_name)
            rows, counts = (
                base.gather(values, 1, axis_name) for values in (seen, inputs.batch["mask"])
            )
            new = {"student": own[:size], "teacher": taught[:size]}
            aux[str(number)] = {
                "normalizers": normalizers,
                **{
                    name: remember(kept[name], rows, base.gather(value, 1, axis_name), counts)
                    for name, value in new.items()
                },
            }
        mean = total / len(inputs.targets)
        return {"crd": inputs.hyper["weight"] * mean}, aux, {"crd": mean}

    return Part(
        "baselines",
        compare,
        targets,
        hyper={"weight": weight},
        term_names=("crd",),
        init=init,
        couples={"crd": "updates banks of embeddings by the whole batch"},
    )


def draw_others(index: Array, places: Array, count: int, size: int, rng: Array) -> Array:
    """Returns for each image `count` other ones of `size`, drawn with replacement: int32 `[B, count]`."""

    def draw(own: Array, place: Array) -> Array:
        found = jax.random.randint(jax.random.fold_in(rng, place), (count,), 0, size - 1, jnp.int32)
        return found + (found >= own).astype(jnp.int32)

    return jax.vmap(draw)(index, places)


def remember(bank: Array, rows: Array, new: Array, mask: Array) -> Array:
    """Returns the bank with its rows moved towards the new embeddings, each of length 1."""
    new = jax.lax.stop_gradient(new).astype(bank.dtype)
    moved = losses.unit_vectors(MOMENTUM * bank[rows] + (1 - MOMENTUM) * new)
    # rows of padding lie past the end and are dropped
    return bank.at[jnp.where(mask > 0, rows, bank.shape[0])].set(moved, mode="drop")
