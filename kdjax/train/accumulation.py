"""One update from several micro-batches: the gradient of the whole batch, with a part of it at work at a time."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kdjax.methods import Inputs, Method
from kdjax.methods.base import MICRO
from kdjax.types import Array, PyTree


class Micro(NamedTuple):
    """A micro-batch.

    Attributes:
      inputs: what the method takes: its share of the examples and of their targets.
      weight: float32 `[]`, its share of the examples that count, over all devices; of all micro-batches they sum to 1.
    """

    inputs: Inputs
    weight: Array


def micro_batches(inputs: Inputs, count: int) -> list[Micro]:
    """Returns the micro-batches of a batch: the rows `k, k + count, ...` are the `k`-th.

    So a micro-batch of several devices holds the examples that it holds on one.

    Args:
      inputs: of the whole batch, of this device.
      count: how many there are; it divides the device's examples.

    Raises:
      ValueError: for targets that do not have an example a row.
    """
    size = inputs.batch["mask"].shape[0]
    for path, leaf in jax.tree_util.tree_leaves_with_path(inputs.targets):
        if jnp.shape(leaf)[:1] != (size,):
            raise ValueError(
                f"accumulation.steps={count} takes targets apart by examples, but one has the shape {jnp.shape(leaf)} "
                f"for {size} of them ({jax.tree_util.keystr(path)}); set accumulation.steps=1"
            )
    counts = inputs.batch["mask"].astype(jnp.float32).reshape(-1, count).sum(axis=0)
    if inputs.axis_name is not None:
        counts = jax.lax.psum(counts, inputs.axis_name)
    weights = counts / jnp.maximum(jnp.sum(counts), 1.0)
    found = []
    for number in range(count):
        batch, targets = jax.tree.map(
            lambda leaf, k=number: leaf[k::count], (inputs.batch, inputs.targets)
        )
        place = jnp.array([number, count], jnp.int32)
        own = inputs._replace(batch=batch, targets=targets, hyper={**inputs.hyper, MICRO: place})
        found.append(Micro(own, weights[number]))
    return found


def accumulated(
    method: Method, params: dict[str, PyTree], inputs: Inputs, count: int
) -> tuple[dict[str, PyTree], PyTree, PyTree, Mapping[str, Array]]:
    """Returns what `Method.grads` returns of a batch: the weighted means of its micro-batches' gradients and metrics.

    Batch statistics and auxiliary state go from one micro-batch to the next.
    """
    if count == 1:
        return method.grads(params, *inputs)
    model_state, aux = inputs.model_state, inputs.aux

    def part(params: PyTree, own: Inputs) -> PyTree:
        nonlocal model_state, aux
        seen = own._replace(model_state=model_state, aux=aux)
        grads, model_state, aux, metrics = method.grads(params, *seen)
        return grads, metrics

    grads, metrics = weighted_mean(part, params, inputs, count)
    return grads, model_state, aux, metrics


def weighted_mean(
    function: Callable[[PyTree, Inputs], PyTree], params: PyTree, inputs: Inputs, count: int
) -> PyTree:
    """Returns the mean of `function(params, inputs)` over the micro-batches, by their weights.

    Unrolled, a compiler could run all of them at once and keep what all of them keep; so each waits for the sum of
    those before it.
    """
    if count == 1:
        return function(params, inputs)
    total: Any = None
    for micro in micro_batches(inputs, count):
        if total is not None:
            params, total = jax.lax.optimization_barrier((params, total))
        total = _add(total, function(params, micro.inputs), micro.weight)
    return total


def _add(total: PyTree, more: PyTree, weight: Array) -> PyTree:
    """Returns `total + weight * more`; `total` is None before the first."""
    scaled = jax.tree.map(lambda leaf: weight.astype(leaf.dtype) * leaf, more)
    return scaled if total is None else jax.tree.map(jnp.add, total, scaled)


def check_exact(method: Method, count: int, *, normalised: str, batch_norm: str) -> None:
    """Raises ValueError where micro-batches do not add up to the batch.

    Args:
      method: what is computed.
      count: micro-batches of an update.
      normalised: a batch normalisation that trains by its batch; empty: there is none.
      batch_norm: `exact`, or `micro`: each micro-batch is normalised by itself.
    """
    if count == 1:
        return
    for name, why in (method.couples or {}).items():
        raise ValueError(
            f"accumulation.steps={count} would train otherwise than the whole batch: {name} {why}; set "
            "accumulation.steps=1"
        )
    if method.couples is None:
        raise ValueError(
            f"accumulation.steps={count} may train otherwise than the whole batch: the method does not say whether it "
            "looks at several examples at once (couples={} says that it does not); set accumulation.steps=1"
        )
    if normalised and batch_norm != "micro":
        raise ValueError(
            f"accumulation.steps={count} would train otherwise than the whole batch: the student's {normalised} "
            "normalises by it; set accumulation.batch_norm=micro to normalise each micro-batch by itself, or "
            "train.freeze_statistics=all"
        )
