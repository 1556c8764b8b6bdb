"""Knowledge distillation by softened logits."""

from collections.abc import Sequence

import jax.numpy as jnp

from kdjax import losses
from kdjax.checks import check_positive
from kdjax.methods import base
from kdjax.methods.base import Inputs, Method, Network, Rest, Terms
from kdjax.types import Images, PyTree


def kd(
    student: Network,
    teachers: Sequence[Network],
    *,
    qualities: Sequence[str],
    teacher_quality: str,
    temperature: float,
    cross_entropy_weight: float,
    kd_weight: float,
) -> Method:
    """Cross-entropy and the divergence from the teachers' softened predictions.

    `L = a CE(p_s, y) + b T^2 mean_t KL(softmax(z_t / T) || softmax(z_s / T))`

    See "Distilling the Knowledge in a Neural Network" by Hinton, Vinyals and Dean
    (https://arxiv.org/abs/1503.02531).

    Args:
      student: the network to train.
      teachers: one or more frozen networks; their divergences are averaged.
      qualities: the qualities the student sees.
      teacher_quality: the quality the teachers see.
      temperature: `T`, greater than 0.
      cross_entropy_weight: `a`.
      kd_weight: `b`.

    Returns:
      The method, with the terms `cross_entropy` and `kd`.

    Raises:
      ValueError: without teachers, or for a temperature or weight out of range.
    """
    base.check_teachers("kd", teachers)
    base.check_weights(cross_entropy_weight=cross_entropy_weight, kd_weight=kd_weight)
    check_positive("method.temperature", temperature)

    def targets(variables: Sequence[PyTree], images: Images) -> PyTree:
        return [
            base.apply_teacher(teacher, weights, images[teacher_quality]).logits
            for teacher, weights in zip(teachers, variables, strict=True)
        ]

    def terms(params: dict[str, PyTree], inputs: Inputs) -> tuple[Terms, Rest]:
        count, hyper = len(qualities), inputs.hyper
        outputs, model_state = base.apply_student(student, params, inputs, qualities)
        cross_entropy, metrics = base.classification(outputs, inputs, count)
        divergences = [
            losses.kd(outputs.logits, base.tile(logits, count), temperature=hyper["temperature"])
            for logits in inputs.targets
        ]
        divergence = losses.masked_mean(
            jnp.mean(jnp.stack(divergences), axis=0),
            base.tile(inputs.batch["mask"], count),
            inputs.axis_name,
        )
        values = {
            "cross_entropy": hyper["cross_entropy_weight"] * cross_entropy,
            "kd": hyper["kd_weight"] * divergence,
        }
        return values, (model_state, inputs.aux, {**metrics, "kd": divergence})

    hyper = {
        "temperature": temperature,
        "cross_entropy_weight": cross_entropy_weight,
        "kd_weight": kd_weight,
    }
    return Method(
        init=base.no_heads,
        targets=targets,
        terms=terms,
        grads=base.one_pass(terms),
        hyper=hyper,
        term_names=("cross_entropy", "kd"),
    )
