"""The contract that every method keeps, and what most of them share: networks at work, classification, checks."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kdjax import losses
from kdjax.checks import check_non_negative
from kdjax.models.stochastic import EXAMPLES
from kdjax.types import STAGES as STAGES
from kdjax.types import Array, Batch, Features, Images, Metrics, Outputs, PyTree

MICRO = "micro_batch"
"""Traced numbers of a micro-batch, int32 `[2]`: which it is, and of how many; absent where the batch is whole."""

BALANCE = "balance/"
"""Begins the name of the traced number that a term is multiplied with: the balance of the terms' gradients."""

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


class Recorded(NamedTuple):
    """A teacher of which only recorded outputs exist; they come with the batch, found by `index`.

    Attributes:
      shapes: of each recorded array for one example: `logits`, and features by name.
    """

    shapes: Mapping[str, tuple[int, ...]]


Teacher = Network | Recorded


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
      targets: `(teachers, batch) -> targets`: the frozen teachers' part, with no gradient.
      terms: `(params, inputs) -> (terms, (model_state, aux, metrics))`: the weighted loss terms, for
        comparing the terms' gradients.
      grads: `(params, model_state, aux, targets, batch, hyper, rng, axis_name) ->
        (grads by group, model_state, aux, metrics)`. `batch["image"]` holds float images in [0, 1],
        augmented. The gradients are of this device's share: their mean over the axis is the
        gradient of the global batch. `hyper` holds this method's numbers, and may hold `backbone_trains`, 0 while
        the classifier alone is trained, else 1, and `step`.
      hyper: the numbers that may be traced (loss weights, temperatures, margins).
      term_names: names of the loss terms, `cross_entropy` first.
      shares: by term, the wanted share of the cross-entropy's gradient, where the terms are balanced.
      couples: why, by term or by what else it is of, an update is more than the mean of what its examples say one by
        one, as `{"contrast": "draws negatives from the whole batch"}`; `{}`: it is not; None: it is not known. Such an
        update cannot be accumulated over micro-batches.
    """

    init: Callable[..., tuple[dict[str, PyTree], PyTree]]
    targets: Callable[..., PyTree]
    terms: TermsFunction
    grads: Callable[..., tuple[dict[str, PyTree], PyTree, PyTree, Metrics]]
    hyper: Mapping[str, float]
    term_names: tuple[str, ...]
    shares: Mapping[str, float] = MappingProxyType({})
    couples: Mapping[str, str] | None = None


def no_heads(rng: Array, example: Batch) -> tuple[dict[str, PyTree], PyTree]:
    """`Method.init` of a method without parameters or state of its own."""
    del rng, example
    return {}, ()


def no_targets(teachers: Sequence[PyTree], batch: Batch) -> PyTree:
    """`Method.targets` of a method without teachers."""
    del teachers, batch
    return ()


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


def gather(values: Array, count: int, axis_name: str | None) -> Array:
    """Returns `[count*G, ...]` of all devices from this device's `[count*B, ...]`, in one device's order."""
    if axis_name is None:
        return values
    apart = values.reshape(count, -1, *values.shape[1:])
    everywhere = jax.lax.all_gather(apart, axis_name, axis=1, tiled=True)
    return everywhere.reshape(-1, *values.shape[1:])


def places(size: int, count: int, axis_name: str | None, micro: Array | None = None) -> Array:
    """Returns where this device's `count * size` stacked examples stand in the gathered batch, int32.

    With `micro`, the numbers of a micro-batch (`MICRO`), they stand in the batch that it is of.
    """
    number, step = (jnp.int32(0), jnp.int32(1)) if micro is None else (micro[0], micro[1])
    whole, first = size * step, jnp.zeros((), jnp.int32)
    if axis_name is not None:
        whole, first = whole * jax.lax.axis_size(axis_name), whole * jax.lax.axis_index(axis_name)
    rows = whole * jnp.arange(count, dtype=jnp.int32)
    own = first + number + step * jnp.arange(size, dtype=jnp.int32)
    return (rows[:, None] + own[None]).reshape(-1)


def apply_student(
    student: Network, params: dict[str, PyTree], inputs: Inputs, qualities: Sequence[str]
) -> tuple[Outputs, PyTree]:
    """Runs the student in training mode on all `qualities` in one pass.

    Returns:
      Its outputs, in the order of `stack_qualities`, and the new batch statistics.
    """
    images = stack_qualities(inputs.batch["image"], qualities)
    # what is drawn for an example depends on its place in the batch of all devices
    count = len(qualities)
    ids = places(len(images) // count, count, inputs.axis_name, inputs.hyper.get(MICRO))
    outputs, updated = student.module.apply(
        {
            "params": params["student"],
            "batch_stats": inputs.model_state,
            EXAMPLES: {"id": ids},
        },
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


def teach(
    teachers: Sequence[Teacher], variables: Sequence[PyTree], batch: Batch, quality: str
) -> list[Outputs]:
    """Returns what each frozen teacher says of a batch: run on `quality`, or read from its records."""
    found = []
    for number, (teacher, weights) in enumerate(zip(teachers, variables, strict=True)):
        if isinstance(teacher, Recorded):
            values = dict(batch["recorded"][str(number)])
            found.append(Outputs(values.pop("logits"), values))
        else:
            found.append(apply_teacher(teacher, weights, batch["image"][quality]))
    return found


def feature_shapes(network: Teacher, example: Batch) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a network's features for one image, and of its logits, computing nothing."""
    if isinstance(network, Recorded):
        return {name: (1, *shape) for name, shape in network.shapes.items()}
    image = next(iter(example["image"].values()))[:1]
    outputs, _ = jax.eval_shape(
        lambda x: network.module.init_with_output(jax.random.key(0), x, train=False), image
    )
    found = {name: tuple(value.shape) for name, value in outputs.features.items()}
    return {**found, "logits": tuple(outputs.logits.shape)}


def need_features(
    network: Teacher, example: Batch, names: Sequence[str], whose: str
) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of the named features; `whose` says in the message whose they are.

    Raises:
      ValueError: when the network has no feature of a name, listing those it has.
    """
    shapes = feature_shapes(network, example)
    for name in names:
        if name not in shapes:
            raise ValueError(f"{whose} has no {name!r}; it has {', '.join(sorted(shapes))}")
    return {name: shapes[name] for name in names}


def classification(
    outputs: Outputs,
    inputs: Inputs,
    count: int,
    classify: Callable[[Array, Array], Array] | None = None,
) -> tuple[Array, Metrics]:
    """Returns the mean classification loss over `count` stacked qualities, and the first two metrics."""
    labels, mask = tile(inputs.batch["label"], count), tile(inputs.batch["mask"], count)
    each = (classify or losses.cross_entropy)(outputs.logits, labels)
    value = losses.masked_mean(each, mask, inputs.axis_name)
    correct = (jnp.argmax(outputs.logits, axis=-1) == labels).astype(jnp.float32)
    accuracy = losses.masked_mean(correct, mask, inputs.axis_name)
    return value, {"cross_entropy": value, "accuracy": accuracy}


def check_teachers(method: str, teachers: Sequence[Teacher]) -> None:
    """Raises ValueError when a method that distils has nothing to distil from."""
    if not teachers:
        raise ValueError(
            f"method {method} needs a teacher: set teacher.runs to a finished run, teacher.weights, or teacher.recorded"
        )


def check_no_teachers(method: str, teachers: Sequence[Teacher]) -> None:
    """Raises ValueError when a method that distils from nobody is given a teacher."""
    if teachers:
        raise ValueError(
            f"teacher.runs, teacher.weights or teacher.recorded is set, but method {method} learns from no teacher"
        )


def check_several_qualities(method: str, qualities: Sequence[str]) -> None:
    """Raises ValueError when a method that compares qualities is given one."""
    if len(qualities) < 2:
        raise ValueError(
            f"method {method} compares qualities, but student.qualities={','.join(qualities)}; "
            "give two or more, as raw,c23,c40"
        )


def check_weights(**weights: float) -> None:
    """Raises ValueError for a negative weight, naming its config key."""
    for name, value in weights.items():
        check_non_negative(f"method.{name}", value)
