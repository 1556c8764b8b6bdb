"""The contract that every method keeps, and the one-pass gradient that most of them share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kdjax import losses
from kdjax.checks import check_non_negative
from kdjax.types import Array, Batch, Features, Images, Metrics, Outputs, PyTree

Terms = dict[str, Array]
"""Weighted scalar loss terms by name; their sum is the loss."""


class Network(NamedTuple):
    """A linen module with the normalisation that its weights expect.

    Attributes:
      module: maps normalised images `[B, H, W, 3]` to `Outputs`.
      mean: per RGB channel, for images in [0, 1].
      std: per RGB channel.
    """

    module: Any
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Inputs(NamedTuple):
    """What a method's terms depend on beside the parameters; fields as `Method.grads` takes them."""

    model_state: PyTree
    aux: PyTree
    targets: PyTree
    batch: Batch
    hyper: Mapping[str, Array]
    rng: Array
    axis_name: str | None = None


Rest = tuple[PyTree, PyTree, Metrics]
"""New batch statistics, new auxiliary state, metrics."""

TermsFunction = Callable[[dict[str, PyTree], Inputs], tuple[Terms, Rest]]


class Method(NamedTuple):
    """A training method as pure functions, in optax's manner.

    Attributes:
      init: `(rng, example) -> (heads, aux)`: the parameters of the method's own heads by group
        (`{}` without any) and its auxiliary state (`()` without any). `example` is a batch as
        `grads` gets it.
      targets: `(teachers, images) -> targets`: the frozen teachers' part, with no gradient.
      terms: `(params, inputs) -> (terms, (model_state, aux, metrics))`: the weighted loss terms, for
        one-pass gradients and for comparing the terms' gradients.
      grads: `(params, model_state, aux, targets, batch, hyper, rng, axis_name) ->
        (grads by group, model_state, aux, metrics)`. `batch["image"]` holds float images in [0, 1],
        augmented. The gradients are of this device's share: their mean over the axis is the
        gradient of the global batch.
      hyper: the numbers that may be traced (loss weights, temperatures, margins).
      term_names: names of the loss terms, `cross_entropy` first.
    """

    init: Callable[..., tuple[dict[str, PyTree], PyTree]]
    targets: Callable[..., PyTree]
    terms: TermsFunction
    grads: Callable[..., tuple[dict[str, PyTree], PyTree, PyTree, Metrics]]
    hyper: Mapping[str, float]
    term_names: tuple[str, ...]


def no_heads(rng: Array, example: Batch) -> tuple[dict[str, PyTree], PyTree]:
    """`Method.init` of a method without parameters or state of its own."""
    del rng, example
    return {}, ()


def no_targets(teachers: Sequence[PyTree], images: Images) -> PyTree:
    """`Method.targets` of a method without teachers."""
    del teachers, images
    return ()


def one_pass(terms: TermsFunction) -> Callable[..., Any]:
    """Returns `Method.grads` as one backward pass through the sum of `terms`."""

    def grads(
        params: dict[str, PyTree], *arguments: Any, **named: Any
    ) -> tuple[dict[str, PyTree], PyTree, PyTree, Metrics]:
        inputs = Inputs(*arguments, **named)

        def loss(params: dict[str, PyTree]) -> tuple[Array, Rest]:
            values, rest = terms(params, inputs)
            return sum(values.values(), start=jnp.zeros(())), rest

        (value, rest), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        model_state, aux, metrics = rest
        return gradients, model_state, aux, {**metrics, "loss": value}

    return grads


def normalize(network: Network, images: Array) -> Array:
    """Returns images in [0, 1] as the network expects them: `(images - mean) / std`."""
    mean = jnp.asarray(network.mean, images.dtype).reshape((1, 1, 1, 3))
    std = jnp.asarray(network.std, images.dtype).reshape((1, 1, 1, 3))
    return (images - mean) / std


def stack_qualities(images: Images, qualities: Sequence[str]) -> Array:
    """Returns `[M*B, H, W, 3]`: the qualities one after the other, each in batch order."""
    return jnp.concatenate([images[quality] for quality in qualities], axis=0)


def tile(values: Array, count: int) -> Array:
    """Returns `[count*B, ...]`: `values` repeated as `stack_qualities` orders the images."""
    return jnp.concatenate([values] * count, axis=0)


def split_qualities(features: Features, count: int) -> list[Features]:
    """Returns one dict of features a quality: the inverse of `stack_qualities`."""
    parts = {name: jnp.split(value, count, axis=0) for name, value in features.items()}
    return [{name: part[i] for name, part in parts.items()} for i in range(count)]


def apply_student(
    student: Network, params: dict[str, PyTree], inputs: Inputs, qualities: Sequence[str]
) -> tuple[Outputs, PyTree]:
    """Runs the student in training mode on all `qualities` in one pass.

    Returns:
      Its outputs, in the order of `stack_qualities`, and the new batch statistics.
    """
    images = stack_qualities(inputs.batch["image"], qualities)
    outputs, updated = student.module.apply(
        {"params": params["student"], "batch_stats": inputs.model_state},
        normalize(student, images),
        train=True,
        mutable=["batch_stats"],
        rngs={"dropout": inputs.rng},
    )
    return outputs, updated.get("batch_stats", inputs.model_state)


def apply_teacher(teacher: Network, variables: PyTree, images: Array) -> Outputs:
    """Runs a frozen teacher in inference mode, with no gradient."""
    outputs = teacher.module.apply(variables, normalize(teacher, images), train=False)
    return jax.lax.stop_gradient(outputs)


def classification(outputs: Outputs, inputs: Inputs, count: int) -> tuple[Array, Metrics]:
    """Returns the mean cross-entropy over `count` stacked qualities, and the first two metrics."""
    labels, mask = tile(inputs.batch["label"], count), tile(inputs.batch["mask"], count)
    value = losses.masked_mean(losses.cross_entropy(outputs.logits, labels), mask, inputs.axis_name)
    correct = (jnp.argmax(outputs.logits, axis=-1) == labels).astype(jnp.float32)
    accuracy = losses.masked_mean(correct, mask, inputs.axis_name)
    return value, {"cross_entropy": value, "accuracy": accuracy}


def check_teachers(method: str, teachers: Sequence[Network]) -> None:
    """Raises ValueError when a method that distils has nothing to distil from."""
    if not teachers:
        raise ValueError(f"method {method} needs a teacher: set teacher.runs to a finished run")


def check_weights(**weights: float) -> None:
    """Raises ValueError for a negative weight, naming its config key."""
    for name, value in weights.items():
        check_non_negative(f"method.{name}", value)
