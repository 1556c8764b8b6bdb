"""What moves, cuts, joins and names the axes of maps, as ONNX's nodes."""

from typing import Any

import numpy as np

from kdjax.serve.onnx_graph import Graph, UnknownPartError, Value

Operand = Value | np.ndarray
"""What an equation takes: what a node gives, or numbers that are known."""

TYPES = {"bool": 9, "float32": 1, "int32": 6, "int64": 7, "uint8": 2}
"""ONNX's numbers of dtypes."""


def tensor(graph: Graph, operand: Operand, order: tuple[int, ...]) -> str:
    """Returns the name of an operand's tensor with its axes in an order; a scalar has none."""
    if isinstance(operand, Value):
        return graph.arranged(operand, order)
    return graph.constant(operand.transpose(order) if operand.ndim else operand)


def whole_tensor(graph: Graph, variable: Any, operand: Operand) -> str:
    """Returns the name of an operand's tensor with our order of axes and all its entries."""
    shape = variable.aval.shape
    if isinstance(operand, Value):
        operand = graph.whole(operand, shape)
    return tensor(graph, operand, tuple(range(len(shape))))


def pads_of(padding: Any) -> list[int]:
    """Returns zeros before and after each axis as ONNX lists them."""
    if any(side < 0 for sides in padding for side in sides):
        raise UnknownPartError("a padding below 0")
    return [low for low, _ in padding] + [high for _, high in padding]


def repeated(graph: Graph, eqn: Any, x: Operand) -> Operand:
    """Adds axes of one entry; whoever uses the value repeats them."""
    rank = len(eqn.params["shape"])
    kept = eqn.params["broadcast_dimensions"]
    shape = [1] * rank
    for size, axis in zip(x.shape, kept, strict=True):
        shape[axis] = size
    if isinstance(x, np.ndarray):
        return x.reshape(shape)
    plain = tuple(range(len(x.shape)))
    name = graph.arranged(x, plain)
    new = [axis for axis in range(rank) if axis not in kept]
    if new:
        name = graph.add("Unsqueeze", [name, graph.integers(new)])
    return Value(name, tuple(shape), tuple(range(rank)))


def reshaped(graph: Graph, eqn: Any, x: Value) -> Value:
    """Changes the shape."""
    if eqn.params.get("dimensions") is not None:
        raise UnknownPartError("a reshape that moves axes")
    name = whole_tensor(graph, eqn.invars[0], x)
    shape = eqn.outvars[0].aval.shape
    sizes = [size if isinstance(size, int) else -1 for size in shape]
    if sizes.count(-1) > 1:
        raise UnknownPartError("a reshape to several axes that grow with the batch")
    name = graph.add("Reshape", [name, graph.integers(sizes)])
    return Value(name, shape, tuple(range(len(shape))))


def squeezed(graph: Graph, eqn: Any, x: Value) -> Value:
    """Takes axes of one entry away."""
    gone = eqn.params["dimensions"]
    places = graph.integers(sorted(x.places[axis] for axis in gone))
    left = [axis for axis in x.order if axis not in gone]
    shape = tuple(x.shape[axis] for axis in sorted(left))
    order = tuple(sorted(left).index(axis) for axis in left)
    return Value(graph.add("Squeeze", [x.name, places]), shape, order)


def moved(graph: Graph, eqn: Any, x: Value) -> Value:
    """Moves axes: no node, for a tensor's order is not ours anyway."""
    axes = tuple(eqn.params["permutation"])
    return Value(
        x.name, tuple(x.shape[axis] for axis in axes), tuple(axes.index(axis) for axis in x.order)
    )


def sliced(graph: Graph, eqn: Any, x: Value) -> Value:
    """Cuts out a part."""
    params, whole = eqn.params, eqn.invars[0].aval.shape
    x = graph.whole(x, whole)
    steps = params["strides"] or (1,) * len(whole)
    cut = [
        axis
        for axis, (start, end, step) in enumerate(
            zip(params["start_indices"], params["limit_indices"], steps, strict=True)
        )
        if not (start == 0 and end == whole[axis] and step == 1)
    ]
    if not all(isinstance(whole[axis], int) for axis in cut):
        raise UnknownPartError("a part of the batch")
    rows = [
        [params["start_indices"][a], params["limit_indices"][a], x.places[a], steps[a]] for a in cut
    ]
    names = [graph.integers(column) for column in zip(*rows, strict=True)]
    found = graph.add("Slice", [x.name, *names]) if cut else x.name
    return Value(found, eqn.outvars[0].aval.shape, x.order)


def joined(graph: Graph, eqn: Any, *operands: Operand) -> Value:
    """Puts maps behind each other along an axis."""
    first = next(operand for operand in operands if isinstance(operand, Value))
    names = []
    for variable, operand in zip(eqn.invars, operands, strict=True):
        if isinstance(operand, Value):
            operand = graph.whole(operand, variable.aval.shape)
        names.append(tensor(graph, operand, first.order))
    axis = first.places[eqn.params["dimension"]]
    return Value(graph.add("Concat", names, axis=axis), eqn.outvars[0].aval.shape, first.order)


def padded(graph: Graph, eqn: Any, x: Value, value: Operand) -> Value:
    """Puts numbers around a map."""
    config = eqn.params["padding_config"]
    if any(inside for *_, inside in config) or isinstance(value, Value):
        raise UnknownPartError("a padding between entries")
    x = graph.whole(x, eqn.invars[0].aval.shape)
    pads = pads_of([config[axis][:2] for axis in x.order])
    found = graph.add("Pad", [x.name, graph.integers(pads), graph.constant(value)])
    return Value(found, eqn.outvars[0].aval.shape, x.order)


def typed(graph: Graph, eqn: Any, x: Value) -> Value:
    """Changes the dtype."""
    before, after = (str(np.dtype(v.aval.dtype)) for v in (*eqn.invars, *eqn.outvars))
    if after not in TYPES:
        raise UnknownPartError(f"numbers of dtype {after}")
    return x if before == after else x._replace(name=graph.add("Cast", [x.name], to=TYPES[after]))
