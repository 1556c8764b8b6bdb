"""Optimisers and schedules; the learning rate is a traced number, the schedule its shape."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import optax

from kdjax.checks import check_choice, check_non_negative, check_pattern, check_positive
from kdjax.defaults import OPTIMIZERS, SCHEDULES
from kdjax.extensions import NONE, Factories, check_new
from kdjax.options import Factory
from kdjax.train import from_optax
from kdjax.train.parameters import check_found, matches, path_of, paths
from kdjax.types import Array, PyTree

Schedule = Callable[[Any], Any]

CLASSIFIER = "classifier"
"""Name of every network's linear head, a group of its own: it alone trains during a warm-up."""

ROTATION = "rotation"
"""Name of the group of TOKD's free matrices."""

FROZEN = "frozen"
"""Name of the group of what is never updated."""

FACTOR = "learning_rate_factor/"
"""Begins the names of the traced numbers that the learning rates of `optimizer.groups` are multiplied with."""

GROUPS = ("student", CLASSIFIER, "heads", ROTATION)
"""All groups of parameters that a method may have."""


def make_schedule(
    name: str,
    *,
    total_steps: int,
    warmup_fraction: float,
    decay_steps: int,
    decay_factor: float,
    own: Factories = NONE,
    own_options: Mapping[str, Any] = NONE,
) -> Schedule:
    """Returns `step -> factor` in [0, 1] that the peak learning rate is multiplied with.

    Args:
      name: `one_cycle` (Smith & Topin: cosine up from 1/25 for `warmup_fraction` of the steps, cosine down to
        4e-6), `constant`, `cosine` (linear warm-up, then cosine to 0), or `step` (times `decay_factor` every
        `decay_steps`); or `optax:NAME[:OPTION=VALUE...]`, see `from_optax.schedule`.
      total_steps: length of the run in steps.
      warmup_fraction: share of the steps before the peak, in [0, 1).
      decay_steps: steps between two decays, for `step`.
      decay_factor: factor of each decay in (0, 1], for `step`.
      own: the user's own factories, `(total_steps, **options) -> (step -> factor)`.
      own_options: options of the one that is named.

    Raises:
      ValueError: for an unknown name or a number out of range.
    """
    check_new("the schedule", own, SCHEDULES)
    named = from_optax.is_named(name)
    if not named:
        check_choice("optimizer.schedule", name, (*SCHEDULES, *own))
    check_positive("the number of training steps", total_steps)
    if name in own:
        return own[name](total_steps, **own_options)
    if not 0 <= warmup_fraction < 1:
        raise ValueError(f"optimizer.warmup_fraction={warmup_fraction} must be in [0, 1)")
    if named:
        warmup = int(warmup_fraction * total_steps)
        return from_optax.schedule(name, total_steps=total_steps, warmup_steps=warmup)
    if name == "one_cycle":
        # With a single step there is no room for an up and a down.
        return optax.schedules.cosine_onecycle_schedule(
            max(total_steps, 2), peak_value=1.0, pct_start=max(warmup_fraction, 1 / total_steps)
        )
    if name == "cosine":
        warmup = int(warmup_fraction * total_steps)
        return optax.schedules.warmup_cosine_decay_schedule(
            0.0 if warmup else 1.0, 1.0, warmup, max(total_steps, warmup + 1)
        )
    if name == "step":
        check_positive("optimizer.decay_epochs", decay_steps)
        if not 0 < decay_factor <= 1:
            raise ValueError(f"optimizer.decay_factor={decay_factor} must be in (0, 1]")
        return optax.schedules.exponential_decay(1.0, decay_steps, decay_factor, staircase=True)
    return optax.schedules.constant_schedule(1.0)


def scale_by_given(name: str = "learning_rate") -> optax.GradientTransformationExtraArgs:
    """Multiplies updates by minus an extra argument of `update`, called `name`: never recompiled for it."""

    def update(
        updates: PyTree,
        state: optax.EmptyState,
        params: PyTree | None = None,
        **extra: Array,
    ) -> tuple[PyTree, optax.EmptyState]:
        del params
        if name not in extra and jax.tree.leaves(updates):
            raise ValueError(f"update() of this optimizer needs {name}=... beside the gradients")
        scaled = jax.tree.map(lambda u: -extra[name].astype(u.dtype) * u, updates)
        return scaled, state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def with_given_rate(
    factory: Factory, options: Mapping[str, Any] = NONE
) -> optax.GradientTransformationExtraArgs:
    """Returns an optax optimizer whose learning rate is an extra argument of `update`, `learning_rate`.

    Args:
      factory: as optax's own, `(learning_rate, **options)`; or one without `learning_rate`, whose updates are then
        multiplied by minus the learning rate.
      options: its further arguments.
    """
    names = tuple(inspect.signature(factory).parameters)
    if "learning_rate" not in names:
        return optax.chain(factory(**options), scale_by_given())
    static = tuple(name for name in names if name != "learning_rate")
    inner = optax.inject_hyperparams(factory, static_args=static)(learning_rate=0.0, **options)

    def update(
        updates: PyTree, state: Any, params: PyTree | None = None, **extra: Array
    ) -> tuple[PyTree, Any]:
        rate = extra["learning_rate"].astype(state.hyperparams["learning_rate"].dtype)
        state = state._replace(hyperparams={**state.hyperparams, "learning_rate": rate})
        return inner.update(updates, state, params)

    return optax.GradientTransformationExtraArgs(inner.init, update)


def make_optimizer(
    name: str,
    *,
    groups: Iterable[str],
    beta1: float,
    beta2: float,
    epsilon: float,
    momentum: float,
    weight_decay: float,
    clip_norm: float,
    decay_mask: str = "",
    scaled: Sequence[str] = (),
    freeze: Sequence[str] = (),
    own: Factories = NONE,
    own_options: Mapping[str, Any] = NONE,
) -> optax.GradientTransformationExtraArgs:
    """Returns one `optax.partition` over the groups of parameters, by top-level label.

    The group `rotation` has a chain of its own: plain SGD with its own learning rate.

    Args:
      name: `adam` (weight decay added to the gradient), `adamw` (decoupled decay) or `sgd`; or
        `optax:NAME[:OPTION=VALUE...]`, whose own `weight_decay` and mask are those of here unless it is given one.
      groups: labels that may occur in `TrainState.params`.
      beta1: Adam's first decay.
      beta2: Adam's second decay.
      epsilon: Adam's epsilon.
      momentum: of `sgd`.
      weight_decay: on what `decay_mask` chooses; 0 for none.
      clip_norm: bound on each group's gradient norm; 0 for none.
      decay_mask: expression of the paths of parameters that decay; empty: tensors of two or more axes.
      scaled: expressions of the paths whose updates are multiplied by the extra argument `factors`, one number an
        expression; the first one found counts.
      freeze: expressions of the paths of what is never updated: without moments, decay, or a part in the clipped norm.
      own: the user's own factories, as `with_given_rate` takes them.
      own_options: options of the one that is named.

    Raises:
      ValueError: for an unknown name, a number out of range, or what is no expression; by `init`, for an expression
        that matches no parameter, and where nothing of the student is left to train.
    """
    check_new("the optimizer", own, OPTIMIZERS)
    if from_optax.is_named(name):
        factory, own_options = from_optax.optimizer(name)
        own = {**own, name: factory}
    check_choice("optimizer.name", name, (*OPTIMIZERS, *own))
    wanted = {
        "optimizer.decay_mask": [decay_mask] if decay_mask else [],
        "optimizer.groups": scaled,
        "optimizer.freeze": freeze,
    }
    for key, patterns in wanted.items():
        for pattern in patterns:
            check_pattern(key, pattern)
    check_non_negative("optimizer.weight_decay", weight_decay)
    check_non_negative("optimizer.clip_norm", clip_norm)

    def decays(params: PyTree) -> PyTree:
        if not decay_mask:
            return jax.tree.map(lambda p: p.ndim > 1, params)
        return jax.tree_util.tree_map_with_path(
            lambda keys, p: matches(path_of(keys), [decay_mask]), params
        )

    decay = optax.add_decayed_weights(weight_decay, mask=decays)
    adam = optax.scale_by_adam(beta1, beta2, epsilon)
    middle = {
        "adam": lambda: [decay, adam, scale_by_given()],
        "adamw": lambda: [adam, decay, scale_by_given()],
        "sgd": lambda: [decay, optax.trace(momentum), scale_by_given()],
    }
    if name in own:
        options = dict(own_options)
        taken = inspect.signature(own[name]).parameters
        masks = {"mask", "weight_decay_mask"} & set(taken)
        decoupled = from_optax.is_named(name) and "weight_decay" in taken and bool(masks)
        if decoupled:
            options = {"weight_decay": weight_decay, **dict.fromkeys(masks, decays), **options}
        # as Adam's: added to the gradient
        before = [decay] if weight_decay and not decoupled else []
        middle[name] = lambda: [*before, with_given_rate(own[name], options)]
    clip = [optax.clip_by_global_norm(clip_norm)] if clip_norm else []

    def chain() -> optax.GradientTransformation:
        return optax.chain(*clip, *middle[name]())

    chains = {group: chain() for group in groups}
    if ROTATION in chains:
        # plain SGD: Adam would give every entry of the free matrix the same step
        chains[ROTATION] = scale_by_given("rotation_learning_rate")
    if freeze:
        chains[FROZEN] = optax.set_to_zero()
    inner = optax.partition(chains, lambda params: _labels(params, freeze))

    def init(params: PyTree) -> optax.OptState:
        known = paths(params)
        for key, patterns in wanted.items():
            for pattern in patterns:
                check_found(key, pattern, known)
        if all(matches(path, freeze) for path in known if path.startswith("student/")):
            raise ValueError(f"optimizer.freeze={','.join(freeze)} leaves nothing to train")
        return inner.init(params)

    def update(
        updates: PyTree, state: optax.OptState, params: PyTree | None = None, **extra: Any
    ) -> tuple[PyTree, optax.OptState]:
        given = extra.pop("factors", ())
        updates, state = inner.update(updates, state, params, **extra)
        return scale_by_path(updates, scaled, given), state

    return optax.GradientTransformationExtraArgs(init, update)


def scale_by_path(updates: PyTree, patterns: Sequence[str], factors: Sequence[Array]) -> PyTree:
    """Returns updates times the factor of the first expression that is found in their path, 1 where none is."""
    if len(patterns) != len(factors):
        raise ValueError(
            f"update() of this optimizer needs factors=..., {len(patterns)} numbers; got {len(factors)}"
        )
    if not patterns:
        return updates

    def scale(keys: Any, value: Array) -> Array:
        path = path_of(keys)
        for pattern, factor in zip(patterns, factors, strict=True):
            if matches(path, [pattern]):
                return factor.astype(value.dtype) * value
        return value

    return jax.tree_util.tree_map_with_path(scale, updates)


def _labels(params: PyTree, freeze: Sequence[str]) -> PyTree:
    """Returns each parameter's group: its top-level label, and the student's classifier its own."""
    labels = _groups(params)
    if not freeze:
        return labels
    everywhere = jax.tree.broadcast(labels, params)
    return jax.tree_util.tree_map_with_path(
        lambda keys, label: FROZEN if matches(path_of(keys), freeze) else label, everywhere
    )


def _groups(params: PyTree) -> PyTree:
    return {
        group: {name: CLASSIFIER if name == CLASSIFIER else group for name in tree}
        if group == "student"
        else group
        for group, tree in params.items()
    }
