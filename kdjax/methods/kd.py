"""Knowledge distillation by softened logits."""

from collections.abc import Sequence

import jax.numpy as jnp

from kdjax import losses
from kdjax.checks import check_positive
from kdjax.methods import base
from kdjax.methods.base import Inputs, Network, Teacher, Terms
from kdjax.methods.complete import with_defaults
from kdjax.methods.part import Part
from kdjax.types import Batch, Metrics, Outputs, PyTree


@with_defaults("kd")
def kd(
    student: Network,
    teachers: Sequence[Teacher],
    *,
    qualities: Sequence[str],
    teacher_quality: str,
    temperature: float,
    kd_weight: float,
) -> Part:
    """The divergence from the teachers' softened predictions.

    `b T^2 mean_t KL(softmax(z_t / T) || softmax(z_s / T))`

    See "Distilling the Knowledge in a Neural Network" by Hinton, Vinyals and Dean
    (https://arxiv.org/abs/1503.02531).

    Args:
      student: the network to train.
      teachers: one or more frozen networks; their divergences are averaged.
      qualities: the qualities the student sees.
      teacher_quality: the quality the teachers see.
      temperature: `T`, greater than 0.
      kd_weight: `b`.

    Returns:
      The part, with the term `kd`.

    Raises:
      ValueError: without teachers, or for a temperature or weight out of range.
    """
    del student
    base.check_teachers("kd", teachers)
    base.check_weights(kd_weight=kd_weight)
    check_positive("method.temperature", temperature)

    def targets(variables: Sequence[PyTree], batch: Batch) -> PyTree:
        return [found.logits for found in base.teach(teachers, variables, batch, teacher_quality)]

    def compare(
        outputs: Outputs, params: dict[str, PyTree], inputs: Inputs
    ) -> tuple[Terms, PyTree, Metrics]:
        del params
        count, hyper = len(qualities), inputs.hyper
        divergences = [
            losses.kd(outputs.logits, base.tile(logits, count), temperature=hyper["temperature"])
            for logits in inputs.targets
        ]
        divergence = losses.masked_mean(
            jnp.mean(jnp.stack(divergences), axis=0),
            base.tile(inputs.batch["mask"], count),
            inputs.axis_name,
        )
        return {"kd": hyper["kd_weight"] * divergence}, inputs.aux, {"kd": divergence}

    return Part(
        "kd",
        compare,
        targets,
        hyper={"temperature": temperature, "kd_weight": kd_weight},
        term_names=("kd",),
        couples={},
    )
