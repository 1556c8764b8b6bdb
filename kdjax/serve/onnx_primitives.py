"""JAX's primitives as ONNX's nodes: those that networks consist of when they do not train."""

import string
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from kdjax.serve.onnx_axes import (
    Operand,
    joined,
    moved,
    padded,
    pads_of,
    repeated,
    reshaped,
    sliced,
    squeezed,
    tensor,
    typed,
    whole_tensor,
)
from kdjax.serve.onnx_graph import Graph, Shape, UnknownPartError, Value

ELEMENTWISE = {
    "abs": "Abs", "add": "Add", "and": "And", "div": "Div", "eq": "Equal", "erf": "Erf",
    "exp": "Exp", "floor": "Floor", "ge": "GreaterOrEqual", "gt": "Greater", "le": "LessOrEqual",
    "log": "Log", "logistic": "Sigmoid", "lt": "Less", "max": "Max", "min": "Min", "mul": "Mul",
    "neg": "Neg", "not": "Not", "or": "Or", "pow": "Pow", "round": "Round", "sign": "Sign",
    "sqrt": "Sqrt", "sub": "Sub", "tanh": "Tanh",
}  # fmt: skip
"""What takes numbers one by one, or pairs of them."""


def elementwise(graph: Graph, kind: str, *operands: Operand) -> Value:
    """Returns what one of ONNX's nodes makes of each entry, or of entries at the same place."""
    values = [operand for operand in operands if isinstance(operand, Value)]
    # a map decides how axes lie, not what is repeated over it
    first = max(values, key=lambda value: sum(size != 1 for size in value.shape))
    shape: Shape = first.shape
    for operand in operands:
        if operand.shape:
            shape = tuple(b if a == 1 else a for a, b in zip(shape, operand.shape, strict=True))
    names = [tensor(graph, operand, first.order) for operand in operands]
    return Value(graph.add(kind, names), shape, first.order)


def _affine(graph: Graph, name: str, a: Operand, b: Operand) -> Value:
    """Subtraction and division by constants are addition and multiplication, which a convolution takes in."""
    if isinstance(b, np.ndarray) and b.dtype == np.float32:
        other = -b if name == "sub" else (1 / b.astype(np.float64)).astype(np.float32)
        return elementwise(graph, "Add" if name == "sub" else "Mul", a, other)
    return elementwise(graph, ELEMENTWISE[name], a, b)


def _maximum(graph: Graph, a: Operand, b: Operand) -> Value:
    for value, bound in ((a, b), (b, a)):
        if isinstance(value, Value) and isinstance(bound, np.ndarray) and not bound.any():
            return elementwise(graph, "Relu", value)
    return elementwise(graph, "Max", a, b)


def _select(graph: Graph, which: Operand, *cases: Operand) -> Value:
    if len(cases) != 2:
        raise UnknownPartError(f"select_n of {len(cases)} cases")
    return elementwise(graph, "Where", which, cases[1], cases[0])


def _convolution(graph: Graph, eqn: Any, x: Value, kernel: Operand) -> Value:
    params, numbers = eqn.params, eqn.params["dimension_numbers"]
    if any(d != 1 for d in params["lhs_dilation"]) or params["batch_group_count"] != 1:
        raise UnknownPartError("a transposed convolution")
    x = graph.whole(x, eqn.invars[0].aval.shape)
    found = graph.add(
        "Conv",
        [graph.arranged(x, numbers.lhs_spec), tensor(graph, kernel, numbers.rhs_spec)],
        strides=params["window_strides"],
        pads=pads_of(params["padding"]),
        dilations=params["rhs_dilation"],
        group=params["feature_group_count"],
    )
    return Value(found, eqn.outvars[0].aval.shape, tuple(numbers.out_spec))


def _max_pool(graph: Graph, eqn: Any, x: Value) -> Value:
    params = eqn.params
    window, strides = params["window_dimensions"], params["window_strides"]
    dilated = any(d != 1 for d in (*params["base_dilation"], *params["window_dilation"]))
    outer = [a for a, (w, s) in enumerate(zip(window, strides, strict=True)) if w == s == 1]
    if dilated or len(window) != 4 or len(outer) < 2:
        raise UnknownPartError("a maximum over other windows than of rows and columns")
    outer = [outer[0], outer[-1]]
    inner = [axis for axis in range(4) if axis not in outer]
    order = (*outer, *inner)
    found = graph.add(
        "MaxPool",
        [graph.arranged(graph.whole(x, eqn.invars[0].aval.shape), order)],
        kernel_shape=[window[axis] for axis in inner],
        strides=[strides[axis] for axis in inner],
        pads=pads_of([params["padding"][axis] for axis in inner]),
    )
    return Value(found, eqn.outvars[0].aval.shape, order)


def _product(graph: Graph, eqn: Any, a: Operand, b: Operand) -> Value:
    (ours, theirs), (batch_a, batch_b) = eqn.params["dimension_numbers"]
    shape = eqn.outvars[0].aval.shape
    plain = tuple(range(len(shape)))
    ranks = [len(variable.aval.shape) for variable in eqn.invars]
    names = [
        whole_tensor(graph, variable, x) for variable, x in zip(eqn.invars, (a, b), strict=True)
    ]
    if not batch_a and ours == (ranks[0] - 1,) and theirs == (0,) and ranks[1] == 2:
        return Value(graph.add("MatMul", names), shape, plain)
    letters = iter(string.ascii_lowercase)
    left = [next(letters) for _ in range(ranks[0])]
    right = [next(letters) for _ in range(ranks[1])]
    for i, j in zip((*ours, *batch_a), (*theirs, *batch_b), strict=True):
        right[j] = left[i]
    out = [left[i] for i in batch_a]
    out += [left[i] for i in range(ranks[0]) if i not in (*ours, *batch_a)]
    out += [right[j] for j in range(ranks[1]) if j not in (*theirs, *batch_b)]
    equation = f"{''.join(left)},{''.join(right)}->{''.join(out)}"
    return Value(graph.add("Einsum", names, equation=equation), shape, plain)


def _reduced(graph: Graph, eqn: Any, x: Value) -> Value:
    axes = eqn.params["axes"]
    x = graph.whole(x, eqn.invars[0].aval.shape)
    places = sorted(x.places[axis] for axis in axes)
    if eqn.primitive.name == "reduce_sum":
        found = graph.add("ReduceSum", [x.name, graph.integers(places)], keepdims=0)
    else:
        found = graph.add("ReduceMax", [x.name], axes=places, keepdims=0)
    left = [axis for axis in x.order if axis not in axes]
    order = tuple(sorted(left).index(axis) for axis in left)
    return Value(found, eqn.outvars[0].aval.shape, order)


SPECIAL: dict[str, Callable[..., Operand]] = {
    "broadcast_in_dim": repeated,
    "concatenate": joined,
    "conv_general_dilated": _convolution,
    "convert_element_type": typed,
    "dot_general": _product,
    "pad": padded,
    "reduce_max": _reduced,
    "reduce_sum": _reduced,
    "reduce_window_max": _max_pool,
    "reshape": reshaped,
    "slice": sliced,
    "squeeze": squeezed,
    "transpose": moved,
}


def convert(graph: Graph, eqn: Any, operands: list[Operand]) -> Operand:
    """Returns what an equation of a jaxpr gives, after adding its nodes.

    Raises:
      UnknownPartError: where ONNX has nothing of the kind, or not here.
    """
    name = eqn.primitive.name
    if name in SPECIAL:
        if name != "broadcast_in_dim":
            operands = [_valued(graph, operands[0]), *operands[1:]]
        return SPECIAL[name](graph, eqn, *operands)
    operands = [_valued(graph, operands[0]), *operands[1:]] if _constant(operands) else operands
    match name:
        case "sub" | "div":
            return _affine(graph, name, *operands)
        case "max":
            return _maximum(graph, *operands)
        case "select_n":
            return _select(graph, *operands)
        case "clamp":
            low, x, high = operands
            return elementwise(graph, "Min", elementwise(graph, "Max", x, low), high)
        case "rsqrt":
            return elementwise(graph, "Reciprocal", elementwise(graph, "Sqrt", *operands))
        case "erfc":
            return elementwise(
                graph, "Sub", np.ones((), np.float32), elementwise(graph, "Erf", *operands)
            )
        case "square":
            return elementwise(graph, "Mul", *operands, *operands)
        case "integer_pow":
            power = np.asarray(eqn.params["y"], np.float32)
            return elementwise(graph, "Pow", *operands, power)
        case "stop_gradient" | "copy" | "optimization_barrier":
            return operands[0]
    if name not in ELEMENTWISE:
        raise UnknownPartError(f"JAX's {name}")
    return elementwise(graph, ELEMENTWISE[name], *operands)


def _constant(operands: list[Operand]) -> bool:
    return all(isinstance(operand, np.ndarray) for operand in operands)


def _valued(graph: Graph, operand: Operand) -> Value:
    if isinstance(operand, Value):
        return operand
    return Value(graph.constant(operand), operand.shape, tuple(range(operand.ndim)))


def evaluated(eqn: Any, operands: list[np.ndarray]) -> list[np.ndarray]:
    """Returns what an equation gives of constants."""
    found = eqn.primitive.bind(*map(jax.numpy.asarray, operands), **eqn.params)
    return [np.asarray(each) for each in (found if eqn.primitive.multiple_results else [found])]
