"""Gradients at a map inside a network: what comes after the map is cut off as a function of it, and differentiated.

A network says in its outputs which of its maps is which. In its program (a jaxpr) such an output is the very variable
that the rest is computed from, so the rest is the same program with that variable given from outside. No network has to
know of it, the user's own neither.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, Var, jaxpr_as_fun

from kdjax.checks import nearest
from kdjax.types import Array, Outputs

Apply = Callable[[Array], Outputs]
"""`images [B, H, W, 3] -> Outputs`, in inference mode."""

Score = Callable[[Array], Array]
"""`logits [B, K] -> [B]`, each of its own example."""


def map_and_gradient(
    apply: Apply, images: Array, feature: str, score: Score
) -> tuple[Array, Array, Outputs]:
    """Returns a feature of each image, and the derivative of its score by that feature.

        G_n = d score(logits_n) / d A_n

    Args:
      apply: a network with its weights; what it makes of an image depends on no other of the batch.
      images: `[B, H, W, 3]`, as the network takes them.
      feature: name of one of its features.
      score: what is differentiated.

    Returns:
      The feature and its gradient, equal in shape and dtype, and the network's outputs.

    Raises:
      ValueError: the network has no such feature, or its logits are not computed from it.
    """
    outputs, rest = jax.eval_shape(apply, images), None
    if feature not in outputs.features:
        raise ValueError(f"no feature {feature!r}; {nearest(feature, outputs.features)}")
    # where a call makes both the feature and what follows it, calls are written out
    for context in (contextlib.nullcontext(), jax.disable_jit()):
        with context:
            rest = rest or _after(apply, images, feature)
    if rest is None:
        raise ValueError(
            f"the logits are not computed from the feature {feature!r} as the network returns it, so they have no "
            "derivative by it"
        )
    outputs = apply(images)
    found = outputs.features[feature]
    gradient = jax.grad(lambda x: jnp.sum(score(rest(x))))(found)
    return found, gradient, outputs


def _after(apply: Apply, images: Array, feature: str) -> Callable[[Array], Array] | None:
    """Returns the logits as a function of a feature, None where they do not depend on it."""
    closed, shapes = jax.make_jaxpr(apply, return_shape=True)(images)
    tree = jax.tree.structure(shapes)
    place = jax.tree.unflatten(tree, range(len(closed.jaxpr.outvars)))
    inner = closed.jaxpr.outvars[place.features[feature]]
    logits = closed.jaxpr.outvars[place.logits]
    if not isinstance(inner, Var) or not _reaches(closed.jaxpr, inner, logits):
        return None
    given = jax.make_jaxpr(lambda x: x)(shapes.features[feature]).jaxpr.invars[0]

    def swapped(places: Any) -> list[Any]:
        return [given if each is inner else each for each in places]

    # one more constant: what the program says of its arguments and results stays true
    program = closed.jaxpr.replace(
        constvars=[*closed.jaxpr.constvars, given],
        outvars=swapped(closed.jaxpr.outvars),
        eqns=[each.replace(invars=swapped(each.invars)) for each in closed.jaxpr.eqns],
    )

    def rest(x: Array) -> Array:
        found: Array = jaxpr_as_fun(ClosedJaxpr(program, [*closed.consts, x]))(images)[place.logits]
        return found

    return rest


def _reaches(program: Jaxpr, start: Var, end: Any) -> bool:
    """Returns whether `end` is computed from `start`."""
    reached: set[Any] = {start}
    for equation in program.eqns:
        if any(isinstance(place, Var) and place in reached for place in equation.invars):
            reached.update(equation.outvars)
    return isinstance(end, Var) and end in reached
