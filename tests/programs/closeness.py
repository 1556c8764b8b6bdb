"""A method of one's own: the student's pooled features are turned towards the teachers'."""

import jax.numpy as jnp

from kdjax import losses
from kdjax.configs import base
from kdjax.methods import Part
from kdjax.methods.base import teach, tile

SHARES = {"closeness": 0.3}


def closeness(student, teachers, *, qualities, teacher_quality, weight=1.0, power=2, shares=SHARES):
    def targets(variables, batch):
        return [
            each.features["pooled"] for each in teach(teachers, variables, batch, teacher_quality)
        ]

    def compare(outputs, params, inputs):
        own, count = losses.unit_vectors(outputs.features["pooled"]), len(qualities)
        others = [losses.unit_vectors(tile(target, count)) for target in inputs.targets]
        distance = sum(jnp.sum((own - other) ** 2, axis=-1) for other in others) ** (power / 2)
        mean = losses.masked_mean(distance, tile(inputs.batch["mask"], count), inputs.axis_name)
        return {"closeness": inputs.hyper["weight"] * mean}, inputs.aux, {"distance": mean}

    return Part("closeness", compare, targets, hyper={"weight": weight}, term_names=("closeness",))


METHODS = {"closeness": closeness}


def get_config(network="resnet_tiny"):
    return base.get_config("closeness", network, methods=METHODS)
