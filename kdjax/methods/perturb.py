"""Gradients taken elsewhere: at weights that a first gradient has moved (AWP, SAM)."""

from collections.abc import Callable
from typing import Any

import jax

from kdjax.methods.base import Inputs
from kdjax.methods.part import Around, Gradient, Wrap
from kdjax.types import Array, Outputs, PyTree

MOVED = "moves the weights by the gradient of the whole batch"
"""What such a part says of itself in `couples`."""

Objective = Callable[[Outputs, Inputs, Around], Array]
"""`(the student's outputs, inputs, the method around) -> scalar`: what the first gradient is of."""

Move = Callable[[PyTree, PyTree, Inputs], PyTree]
"""`(weights, their gradient, the part's own inputs) -> moved weights`."""


def classification(outputs: Outputs, inputs: Inputs, around: Around) -> Array:
    """Returns the method's own loss of the labels: the objective of AWP and of SAM."""
    return around.classify(outputs, inputs)


def at_moved_weights(objective: Objective, move: Move) -> Wrap:
    """Returns a part's `wrap`: the gradient at moved weights, to be applied where they were.

    The first gradient is averaged over the devices. Batch statistics come from the second pass alone.
    """

    def wrap(gradient: Gradient, around: Around) -> Gradient:
        def moved_gradient(params: dict[str, PyTree], inputs: Inputs) -> Any:
            def value(weights: PyTree) -> Array:
                outputs = around.forward({**params, "student": weights}, inputs)
                return objective(outputs, inputs, around)

            first = jax.grad(value)(params["student"])
            if inputs.axis_name is not None:
                first = jax.lax.pmean(first, inputs.axis_name)
            moved = move(params["student"], first, around.view(inputs))
            return gradient({**params, "student": moved}, inputs)

        return moved_gradient

    return wrap
