"""The train state: one pytree of arrays, nothing hidden."""

from collections.abc import Mapping

import flax.struct
import jax
import jax.numpy as jnp
import optax

from kdjax.methods import Method, Network
from kdjax.types import Array, Batch, PyTree


class TrainState(flax.struct.PyTreeNode):
    """All that changes while a run trains.

    Attributes:
      step: int32 `[]`, updates done.
      params: by group: `student`, and `heads` or `rotation` where the method has them.
      batch_stats: the student's running statistics.
      opt_state: state of the partitioned optimiser.
      aux: the method's own state (a memory bank), `()` without any.
      hyper: float `[]` by name: peak learning rate, loss weights, temperatures, margins.
      best_metric: float32 `[]`, best validation metric so far, -inf before the first validation.
      best_step: int32 `[]`, the step it was reached at.
      stale: int32 `[]`, validations in a row without a better metric.
      skipped: int32 `[]`, steps that were left out for not being finite.
      balance: what was measured of the terms' gradients, `()` where they are not balanced.
      key: uint32 `[2]`, data of the key that all the student's randomness is folded from. As an array of the state it
        is no constant of the compiled step: other seeds compile nothing again.
      data_key: uint32 `[2]`, the same of the key that augmentations are folded from.
      ema: the moving average of the student's variables (`student_variables`), `()` where there is none.
    """

    step: Array
    params: dict[str, PyTree]
    batch_stats: PyTree
    opt_state: optax.OptState
    aux: PyTree
    hyper: dict[str, Array]
    best_metric: Array
    best_step: Array
    stale: Array
    skipped: Array
    balance: PyTree
    key: Array
    data_key: Array
    ema: PyTree = ()


def create_state(
    rng: Array,
    data_rng: Array,
    student: Network,
    method: Method,
    optimizer: optax.GradientTransformation,
    example: Batch,
    hyper: Mapping[str, float],
    balance: PyTree = (),
    *,
    ema: bool = False,
) -> TrainState:
    """Returns the state before the first step.

    Args:
      rng: key for the student's and the heads' initial values, and for what a step draws.
      data_rng: key for what augmentations draw.
      student: the network to train.
      method: gives the heads, the auxiliary state and its own `hyper`.
      optimizer: transforms gradients of the groups of parameters.
      example: a batch as `Method.grads` gets it (float images); one row is enough.
      hyper: further traced numbers, such as `learning_rate`.
      balance: the state of the balance before its first measurement.
      ema: whether the student's variables are averaged over the steps; `hyper` then needs `ema_decay`.
    """
    student_key, method_key = jax.random.split(rng)
    images = next(iter(example["image"].values()))
    variables = jax.jit(
        lambda key, x: student.module.init(key, x, train=False),
        compiler_options=_initialization_options(),
    )(student_key, images[:1])
    heads, aux = jax.jit(method.init, compiler_options=_initialization_options())(
        method_key, example
    )
    params = {"student": variables["params"], **heads}
    numbers = {**method.hyper, **hyper}
    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=optimizer.init(params),
        aux=aux,
        hyper={name: jnp.asarray(value, jnp.float32) for name, value in numbers.items()},
        best_metric=jnp.asarray(-jnp.inf, jnp.float32),
        best_step=jnp.zeros((), jnp.int32),
        stale=jnp.zeros((), jnp.int32),
        skipped=jnp.zeros((), jnp.int32),
        balance=balance,
        key=jax.random.key_data(rng),
        data_key=jax.random.key_data(data_rng),
    )
    return begin_average(state) if ema else state


def _initialization_options() -> dict[str, int]:
    # LLVM spends seconds on every parameter's random draw, which runs only once
    return {"xla_backend_optimization_level": 1} if jax.default_backend() == "cpu" else {}


def begin_average(state: TrainState) -> TrainState:
    """Returns the state with its student's variables as their own average: what an average has before any step."""
    return state.replace(ema=jax.tree.map(jnp.copy, student_variables(state)))


def student_variables(state: TrainState) -> PyTree:
    """Returns what the student's module is applied with."""
    return {"params": state.params["student"], "batch_stats": state.batch_stats}
