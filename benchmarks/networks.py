"""A network's training step and its inference as compiled programs, for what is timed on a CPU."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from harness import Work

from kdjax import models
from kdjax.types import Array, PyTree

LEARNING_RATE = 0.01
MOMENTUM = 0.9
RATES = ("drop_rate", "drop_path_rate")
"""Attributes of networks that drop something in training."""


class Programs(NamedTuple):
    """What is timed of a network.

    Attributes:
      step: one supervised training step: forward, backward, SGD with momentum.
      infer: the logits of a batch with running statistics.
      parameters: number of trained parameters.
      compiled: the compiled step.
    """

    step: Work
    infer: Work
    parameters: int
    compiled: jax.stages.Compiled


def without_drops(module: nn.Module) -> nn.Module:
    """Returns the network with all its dropout and stochastic depth at rate 0."""
    return module.clone(**{rate: 0.0 for rate in RATES if hasattr(module, rate)})


def draw(size: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns normal float32 images `[B, size, size, 3]` and int32 labels `[B]`, 0 and 1 in turn."""
    images = np.random.default_rng(0).normal(size=(batch, size, size, 3)).astype(np.float32)
    return images, np.arange(batch, dtype=np.int32) % 2


def network_programs(name: str, *, size: int = 128, batch: int = 16) -> Programs:
    """Returns the programs of a network in float32; the step donates its state."""
    module = without_drops(models.create(name))
    images, labels = map(jnp.asarray, draw(size, batch))
    variables = jax.jit(module.init)(jax.random.key(0), images)
    optimizer = optax.sgd(LEARNING_RATE, momentum=MOMENTUM)

    def loss(params: PyTree, stats: PyTree, images: Array, labels: Array) -> Any:
        outputs, changed = module.apply(
            {"params": params, "batch_stats": stats}, images, train=True, mutable=["batch_stats"]
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(outputs.logits, labels)
        return jnp.mean(losses), changed["batch_stats"]

    def step(state: PyTree, images: Array, labels: Array) -> tuple[PyTree, Array]:
        params, stats, moments = state
        (value, stats), grads = jax.value_and_grad(loss, has_aux=True)(
            params, stats, images, labels
        )
        updates, moments = optimizer.update(grads, moments)
        return (optax.apply_updates(params, updates), stats, moments), value

    state = (
        jax.tree.map(jnp.copy, variables["params"]),
        jax.tree.map(jnp.copy, variables["batch_stats"]),
        optimizer.init(variables["params"]),
    )
    compiled = jax.jit(step, donate_argnums=0).lower(state, images, labels).compile()
    infer = jax.jit(lambda variables, images: module.apply(variables, images).logits)

    def advance() -> None:
        nonlocal state
        state, value = compiled(state, images, labels)
        jax.block_until_ready((state, value))

    return Programs(
        advance,
        lambda: jax.block_until_ready(infer(variables, images)),
        sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
        compiled,
    )
