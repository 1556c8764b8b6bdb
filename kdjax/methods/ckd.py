"""CKD: contrastive transfer from few samples, with a memory bank in the train state."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from kdjax import losses
from kdjax.checks import check_choice, check_positive
from kdjax.methods import base
from kdjax.methods.base import Inputs, Network, Teacher, Terms
from kdjax.methods.complete import with_defaults
from kdjax.methods.part import Part
from kdjax.methods.projectors import embed, init_linear
from kdjax.transforms.memory_bank import MemoryBank
from kdjax.transforms.negatives import draw_negatives
from kdjax.types import Array, Batch, Metrics, Outputs, PyTree

SHARED = "student"
"""Name of the one bank of representations, which all teachers' heads read."""


@with_defaults("ckd")
def ckd(
    student: Network,
    teachers: Sequence[Teacher],
    *,
    qualities: Sequence[str],
    teacher_quality: str,
    dataset_size: int,
    steps_per_epoch: int,
    contrast_weight: float,
    temperature: float,
    negatives: int,
    width: int,
    bank_size: int,
    bank_reset: str,
    anchors: str,
    normalizer: str,
    store: str,
) -> Part:
    """Contrastive knowledge transfer, over one or more teachers (Eq. 8 to 10).

    `lambda sum_t mean_i [-log h(t_i, s_i) - sum_k log(1 - h(t_i, s_ik))]`: teacher and student on the same image
    agree, student features of the other class are pushed away; `losses.contrastive_nce`. Negatives come from
    the batch of all devices, then from the bank, `transforms.negatives.draw_negatives`.

    See "Contrastive Knowledge Transfer for Deepfake Detection with Limited Data" by Li et al., 2022.

    Args:
      student: the network to train.
      teachers: frozen networks of any architecture; each has its own pair of linear maps.
      qualities: the qualities the student sees.
      teacher_quality: the quality the teachers see.
      dataset_size: `M`, number of training images.
      steps_per_epoch: after which the bank is emptied, if it is.
      contrast_weight: `lambda`.
      temperature: `tau`.
      negatives: `K`, negatives an image.
      width: of the common space the linear maps lead to.
      bank_size: entries of the memory bank; 0: `M`.
      bank_reset: `epoch` empties it at the start of an epoch, unless that has fewer than 4 steps; or `never`.
      anchors: `both`, or `real` images only.
      normalizer: `none`, or `first_batch` for CRD's `Z`, set from the first batch.
      store: what the bank keeps: `representations`, before the linear map, or `embeddings`, behind it.

    Returns:
      The part, with the term `contrast`.

    Raises:
      ValueError: without teachers, or for a setting out of range.
    """
    base.check_teachers("ckd", teachers)
    base.check_weights(contrast_weight=contrast_weight, bank_size=bank_size)
    for name, value in (("temperature", temperature), ("negatives", negatives), ("width", width)):
        check_positive(f"method.{name}", value)
    check_positive("the number of training images", dataset_size)
    check_choice("method.bank_reset", bank_reset, ("epoch", "never"))
    check_choice("method.anchors", anchors, ("both", "real"))
    check_choice("method.normalizer", normalizer, ("none", "first_batch"))
    check_choice("method.store", store, ("representations", "embeddings"))
    resets = bank_reset == "epoch" and steps_per_epoch >= 4

    def init(rng: Array, example: Batch) -> tuple[dict[str, PyTree], PyTree]:
        own = base.need_features(student, example, ["pooled"], "the student")["pooled"][-1]
        heads, names = {}, [str(number) for number in range(len(teachers))]
        for name, teacher in zip(names, teachers, strict=True):
            other = base.need_features(
                teacher, example, ["pooled"], f"teacher.runs: teacher {int(name) + 1}"
            )
            keys = jax.random.split(jax.random.fold_in(rng, int(name)))
            heads[name] = {
                "student": init_linear(keys[0], own, width),
                "teacher": init_linear(keys[1], other["pooled"][-1], width),
            }
        capacity, dtype = bank_size or dataset_size, jnp.zeros(()).dtype
        banks = (
            {SHARED: MemoryBank.create(capacity, own, dtype=dtype)}
            if store == "representations"
            else {name: MemoryBank.create(capacity, width, dtype=dtype) for name in names}
        )
        aux: dict[str, PyTree] = {"banks": banks}
        if normalizer == "first_batch":
            # 0: not set yet
            aux["normalizers"] = {name: jnp.zeros(()) for name in names}
        return {"heads": heads}, aux

    def targets(variables: Sequence[PyTree], batch: Batch) -> PyTree:
        found = base.teach(teachers, variables, batch, teacher_quality)
        return [outputs.features["pooled"] for outputs in found]

    def compare(
        outputs: Outputs, params: dict[str, PyTree], inputs: Inputs
    ) -> tuple[Terms, PyTree, Metrics]:
        count, hyper, axis_name = len(qualities), inputs.hyper, inputs.axis_name
        labels, mask = (base.tile(inputs.batch[name], count) for name in ("label", "mask"))
        counts = mask * (labels == 0) if anchors == "real" else mask
        # where no image of the batch is an anchor, the normaliser waits for the next
        anchored = jnp.any(base.gather(counts, 1, axis_name) > 0)
        everyone = [base.gather(values, count, axis_name) for values in (labels, mask)]
        places = base.places(len(inputs.batch["label"]), count, axis_name)
        banks = inputs.aux["banks"]
        if resets:
            fresh = inputs.hyper["step"] % steps_per_epoch == 0
            empty = {name: bank.reset() for name, bank in banks.items()}
            banks = jax.tree.map(partial(jnp.where, fresh), empty, banks)

        def draw(features: Array, bank: MemoryBank) -> tuple[Array, Array, MemoryBank]:
            pool = base.gather(features, count, axis_name)
            drawn, valid = draw_negatives(
                *(pool, everyone[0], bank, negatives, inputs.rng),
                mask=everyone[1],
                anchor_labels=labels,
                positions=places,
            )
            return drawn, valid, bank.push(pool, everyone[0], mask=everyone[1])

        representations = outputs.features["pooled"]
        filled = {}
        if store == "representations":
            drawn, valid, filled[SHARED] = draw(representations, banks[SHARED])
        total, shares, normalizers = jnp.zeros(()), [], {}
        for number, target in enumerate(inputs.targets):
            name = str(number)
            heads = params["heads"][name]
            taught = embed(heads["teacher"], base.tile(target, count))
            own = embed(heads["student"], representations)
            if store == "representations":
                others = embed(heads["student"], drawn)
            else:
                others, valid, filled[name] = draw(own, banks[name])
            options: dict[str, Any] = {
                "temperature": hyper["temperature"],
                "dataset_size": dataset_size,
            }
            if normalizer == "first_batch":
                found = losses.contrastive_normalizer(
                    *(taught, own, others),
                    **options,
                    mask=valid,
                    example_mask=counts,
                    axis_name=axis_name,
                )
                kept = inputs.aux["normalizers"][name]
                found = jnp.where(anchored, found, 0.0).astype(kept.dtype)
                normalizers[name] = jnp.where(kept > 0, kept, found)
                options["normalizer"] = jnp.where(normalizers[name] > 0, normalizers[name], 1.0)
            each = losses.contrastive_nce(taught, own, others, **options, mask=valid)
            total += losses.masked_mean(each, counts, axis_name)
            shares.append(jnp.mean(valid.astype(jnp.float32)))
        aux = {"banks": filled, **({"normalizers": normalizers} if normalizers else {})}
        metrics = {"contrast": total, "valid_negatives": jnp.mean(jnp.stack(shares))}
        return {"contrast": hyper["contrast_weight"] * total}, aux, metrics

    return Part(
        "ckd",
        compare,
        targets,
        hyper={"contrast_weight": contrast_weight, "temperature": temperature},
        term_names=("contrast",),
        init=init,
        couples={"contrast": "draws negatives from the whole batch, which a memory bank keeps"},
    )
