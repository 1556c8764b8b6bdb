"""A network as an ONNX model: traced by JAX once, each equation one or a few nodes, constants computed beforehand."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import export

from kdjax.checks import UserError
from kdjax.models.convolution import plain_kernels
from kdjax.serve.onnx_axes import Operand
from kdjax.serve.onnx_graph import Graph, UnknownPartError, Value
from kdjax.serve.onnx_primitives import convert, evaluated
from kdjax.serve.stablehlo import untraceable

INPUT, OUTPUT = "images", "log_odds"

INLINED = {"jit": "jaxpr", "pjit": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr",
           "closed_call": "call_jaxpr", "remat": "jaxpr", "checkpoint": "jaxpr"}  # fmt: skip
"""Primitives that compute another jaxpr, and where it stands."""


def to_onnx(
    score: Callable[[jax.Array], jax.Array], image_size: int, properties: dict[str, str]
) -> bytes:
    """Returns an ONNX model, input `images` uint8 `[batch, S, S, 3]`, output `log_odds` float32 `[batch]`.

    Kernels are XLA's plain ones: a model cannot choose by platform. Normalisations are folded into the convolutions
    before them.

    Args:
      score: from images to log-odds, its weights inside.
      image_size: S.
      properties: texts that the file keeps.

    Raises:
      UserError: where the network computes what has no counterpart in ONNX here; the line names it.
    """
    (batch,) = export.symbolic_shape("batch")
    shape = (batch, image_size, image_size, 3)
    try:
        with plain_kernels():
            # another function each time: what was traced with other kernels is not taken for it
            closed = jax.make_jaxpr(lambda images: score(images))(
                jax.ShapeDtypeStruct(shape, np.uint8)
            )
    # what it raises has no common kind
    except Exception as error:
        raise untraceable(error) from error
    graph = Graph()
    given = Value(INPUT, shape, tuple(range(4)))
    try:
        (found,) = _through(
            graph, closed.jaxpr, [np.asarray(each) for each in closed.consts], [given]
        )
        if not isinstance(found, Value):
            raise UnknownPartError("a score that depends on no image")
        graph.nodes.append(_named(graph.arranged(found, (0,))))
    except UnknownPartError as error:
        raise UserError(
            f"the network computes {error}, which kdjax has no ONNX for; export it as stablehlo"
        ) from error
    model = graph.model((INPUT, ("batch", *shape[1:])), OUTPUT, properties)
    return bytes(model.SerializeToString())


def _named(name: str) -> Any:
    from onnx import helper

    return helper.make_node("Identity", [name], [OUTPUT], name=OUTPUT)


def _through(
    graph: Graph, jaxpr: Any, constants: list[Any], inputs: list[Operand]
) -> list[Operand]:
    """Returns the outputs of a jaxpr after adding its nodes to the graph."""
    known: dict[Any, Operand] = {}
    known.update(zip(jaxpr.constvars, constants, strict=True))
    known.update(zip(jaxpr.invars, inputs, strict=True))

    def read(variable: Any) -> Operand:
        if hasattr(variable, "val"):
            return np.asarray(variable.val, variable.aval.dtype)
        return known[variable]

    for eqn in jaxpr.eqns:
        operands = [read(variable) for variable in eqn.invars]
        numbers = [operand for operand in operands if isinstance(operand, np.ndarray)]
        name = eqn.primitive.name
        if name in INLINED:
            inner = eqn.params[INLINED[name]]
            # a closed one brings its constants
            consts = [np.asarray(each) for each in getattr(inner, "consts", ())]
            results = _through(graph, getattr(inner, "jaxpr", inner), consts, operands)
        elif len(numbers) == len(operands) and _is_fixed(eqn):
            results = list(evaluated(eqn, numbers))
        else:
            results = [convert(graph, eqn, operands)]
        known.update(zip(eqn.outvars, results, strict=True))
    return [read(variable) for variable in jaxpr.outvars]


def _is_fixed(eqn: Any) -> bool:
    """Returns whether none of an equation's arrays grows with the batch."""
    shapes = [variable.aval.shape for variable in (*eqn.invars, *eqn.outvars)]
    return all(isinstance(size, int) for shape in shapes for size in shape)
