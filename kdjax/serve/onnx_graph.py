"""An ONNX graph that grows node by node: values with axes that are moved only where they must be."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from kdjax.checks import UserError

OPSET, IR_VERSION = 17, 8
"""Of 2022: what reads ONNX at all reads these."""

Order = tuple[int, ...]
Shape = tuple[Any, ...]


class Value(NamedTuple):
    """What a node gives.

    Attributes:
      name: of the tensor.
      shape: by our axes; 1 where entries are repeated by whoever uses them, as ONNX's broadcasting does.
      order: axis i of the tensor is our axis `order[i]`.
    """

    name: str
    shape: Shape
    order: Order

    @property
    def places(self) -> Order:
        """Where our axes are in the tensor."""
        return tuple(self.order.index(axis) for axis in range(len(self.order)))


class UnknownPartError(UserError):
    """Something that a network computes has no counterpart here."""


class Graph:
    """Nodes and constants of a model with one input and one output."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, np.ndarray] = {}
        self._arranged: dict[tuple[str, Order], str] = {}

    def add(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Adds a node of one output; returns the output's name."""
        from onnx import helper

        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, array: np.ndarray) -> str:
        """Returns the name of a constant."""
        name = f"constant_{len(self.constants)}"
        self.constants[name] = np.asarray(array, order="C")
        return name

    def integers(self, values: Sequence[int]) -> str:
        """Returns the name of a constant of whole numbers, as ONNX takes axes and shapes."""
        return self.constant(np.asarray(values, np.int64))

    def arranged(self, value: Value, order: Order) -> str:
        """Returns the name of a value's tensor with its axes in an order."""
        if value.order == order:
            return value.name
        key = (value.name, tuple(value.places[axis] for axis in order))
        if key not in self._arranged:
            self._arranged[key] = self.add("Transpose", [value.name], perm=key[1])
        return self._arranged[key]

    def whole(self, value: Value, shape: Shape) -> Value:
        """Returns a value that has all its entries.

        Raises:
          UnknownPartError: when images' own entries would have to be repeated.
        """
        if value.shape == shape:
            return value
        wide = [
            1 if known == wanted else wanted
            for known, wanted in zip(value.shape, shape, strict=True)
        ]
        if not all(isinstance(size, int) for size in wide):
            raise UnknownPartError("numbers that are repeated for each image")
        ordered = [wide[axis] for axis in value.order]
        return Value(self.add("Expand", [value.name, self.integers(ordered)]), shape, value.order)

    def model(self, given: tuple[str, Shape], found: str, properties: dict[str, str]) -> Any:
        """Returns the checked model.

        Args:
          given: name and shape of the uint8 input; an axis that is named may have any size.
          found: name of the output, float32, as long as the input.
          properties: kept in the file.
        """
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        fold_into_convolutions(self)
        used = {name for node in self.nodes for name in node.input}
        name, shape = given
        graph = helper.make_graph(
            self.nodes,
            "detector",
            [helper.make_tensor_value_info(name, TensorProto.UINT8, shape)],
            [helper.make_tensor_value_info(found, TensorProto.FLOAT, shape[:1])],
            [
                numpy_helper.from_array(array, constant)
                for constant, array in self.constants.items()
                if constant in used
            ],
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="kdjax",
        )
        helper.set_model_props(model, properties)
        onnx.checker.check_model(model, full_check=True)
        return model


def fold_into_convolutions(graph: Graph) -> None:
    """Puts factors and offsets of channels into the convolution before them: a normalisation costs nothing then."""
    uses = Counter(name for node in graph.nodes for name in node.input)
    users = {name: node for node in graph.nodes for name in node.input}
    folded: set[str] = set()
    for node in graph.nodes:
        if node.op_type != "Conv" or node.input[1] not in graph.constants:
            continue
        kernel = graph.constants[node.input[1]].astype(np.float64)
        bias = np.zeros(len(kernel))
        while uses[node.output[0]] == 1:
            after = users[node.output[0]]
            channels = _of_channels(graph, after, node.output[0], len(kernel))
            if channels is None:
                break
            if after.op_type == "Mul":
                kernel, bias = kernel * channels[:, None, None, None], bias * channels
            else:
                bias = bias + channels
            folded.add(after.name)
            node.output[0] = after.output[0]
        weights = [graph.constant(array.astype(np.float32)) for array in (kernel, bias)]
        del node.input[1:]
        node.input.extend(weights if bias.any() else weights[:1])
    graph.nodes[:] = [node for node in graph.nodes if node.name not in folded]


def _of_channels(graph: Graph, node: Any, before: str, count: int) -> np.ndarray | None:
    """Returns what a node multiplies or adds to each channel of `before`, None where it does something else."""
    if node.op_type not in ("Mul", "Add"):
        return None
    others = [graph.constants.get(name) for name in node.input if name != before]
    if len(others) != 1 or others[0] is None:
        return None
    numbers = others[0]
    if numbers.size == 1:
        return np.full(count, float(numbers.reshape(())))
    one_each = numbers.ndim == 4 and numbers.shape[1] == numbers.size == count
    return numbers.reshape(-1).astype(np.float64) if one_each else None
