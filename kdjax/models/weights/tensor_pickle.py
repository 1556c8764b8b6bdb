"""Reads the pickle of a PyTorch checkpoint without a pickle machine: a closed list of instructions and names.

A pickle is a program. This one is walked instruction by instruction; the few that `torch.save` writes for dicts,
lists, numbers, strings and tensors are carried out on plain Python values, and a tensor becomes a description of where
its numbers lie. Nothing is imported and nothing of the file is called: a name outside the list ends the reading.
"""

import io
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

from kdjax.models.weights.guard import MAX_TENSORS, UnusableFileError, shown

MAX_INSTRUCTIONS = 5_000_000
MAX_DEPTH = 1_000

WAY_OUT = (
    "save the weights alone in PyTorch, torch.save(model.state_dict(), file), or as safetensors"
)
DAMAGED = "holds a damaged pickle; fetch it again"

# what a storage holds, little-endian; NumPy has no bfloat16
STORAGES = {
    "torch.FloatStorage": "<f4",
    "torch.DoubleStorage": "<f8",
    "torch.HalfStorage": "<f2",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "?",
    "torch.storage.UntypedStorage": "u1",
}


class Storage(NamedTuple):
    """A run of numbers, which lies elsewhere: in an archive in a file of its own.

    Attributes:
      key: what it is called there.
      dtype: what it holds, a value of `STORAGES`.
      size: how many.
    """

    key: str
    dtype: str
    size: int


class Tensor(NamedTuple):
    """A view of a storage: element `i, j, ...` is number `offset + i * strides[0] + j * strides[1] + ...`."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Name(NamedTuple):
    """A name of the closed list, as it stands in the pickle before it is called."""

    name: str


class Loaded(NamedTuple):
    """What a pickle describes.

    Attributes:
      value: dicts, lists, tuples, numbers, strings, None, `Storage` and `Tensor`. Dicts may hold themselves, so
        whoever walks it keeps count.
      storages: all that it names, also outside the value, each as often as it does.
    """

    value: Any
    storages: list[Storage]


def load(data: bytes) -> Any:
    """Returns the value that a pickle describes, see `load_next`."""
    return load_next(io.BytesIO(data)).value


def load_next(stream: BinaryIO) -> Loaded:
    """Returns what the pickle that begins here describes; the stream is left behind it.

    Raises:
      UnusableFileError: naming what the pickle would call or do beyond describing tensors.
    """
    machine = _Machine()
    try:
        for count, (instruction, argument, _) in enumerate(pickletools.genops(stream)):
            if count >= MAX_INSTRUCTIONS:
                raise UnusableFileError("holds a pickle too long for the weights of one network")
            if instruction.name == "STOP":
                return Loaded(machine.stack.pop(), machine.storages)
            step = STEPS.get(instruction.name)
            if step is None:
                raise UnusableFileError(
                    f"holds more than tensors (pickle instruction {instruction.name}); {WAY_OUT}"
                )
            step(machine, argument)
    except (ValueError, OverflowError, IndexError, KeyError) as error:
        # cut off, no instruction, an empty stack, a memo that was never written
        raise UnusableFileError(DAMAGED) from error
    raise UnusableFileError(DAMAGED)


class _Machine:
    """A stack, the stacks below the open marks, and the memo."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.tensors = 0
        self.storages: list[Storage] = []

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marked.pop()
        return items

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def mark(self) -> None:
        if len(self.marked) >= MAX_DEPTH:
            raise UnusableFileError("holds a pickle nested too deeply")
        self.marked.append(self.stack)
        self.stack = []

    def tuple_of(self, length: int) -> None:
        if len(self.stack) < length:
            raise IndexError
        self.stack[-length:] = [tuple(self.stack[-length:])]

    def extend(self, items: list[Any]) -> None:
        _expect(type(self.stack[-1]) is list)
        self.stack[-1].extend(items)

    def update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        # other keys (nested tuples, say) can exhaust the interpreter when they are hashed
        _expect(type(target) is dict and len(items) % 2 == 0)
        _expect(all(type(key) in (str, int) for key in items[::2]))
        target.update(zip(items[::2], items[1::2], strict=True))

    def find(self, module: Any, name: Any) -> None:
        _expect(type(module) is str and type(name) is str)
        full = f"{module}.{name}"
        if full not in STORAGES and full not in CALLS:
            raise UnusableFileError(
                f"holds more than tensors, it would call {shown(full)}; {WAY_OUT}"
            )
        self.push(Name(full))

    def call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        _expect(type(function) is Name and function.name in CALLS and type(arguments) is tuple)
        make, fewest, most = CALLS[function.name]
        _expect(fewest <= len(arguments) <= most)
        value = make(*arguments)
        self.tensors += isinstance(value, Tensor)
        # checkpoints hold the optimizer's tensors too
        if self.tensors > 4 * MAX_TENSORS:
            raise UnusableFileError(f"holds more than {4 * MAX_TENSORS:,} tensors")
        self.push(value)

    def storage(self) -> None:
        match self.stack.pop():
            case ("storage", Name(kind), str(key), str(), int(size), *view) if kind in STORAGES:
                # PyTorch before 1.6 says a sixth thing: which other storage this one is a part of, always None
                # since 0.4
                _expect(size >= 0 and len(view) <= 1)
                if view not in ([], [None]):
                    raise UnusableFileError(f"has a part of a storage as a storage; {WAY_OUT}")
                self.storages.append(Storage(key, STORAGES[kind], size))
                self.push(self.storages[-1])
            case _:
                raise ValueError

    def build(self) -> None:
        # the only state that a state dict carries is its list of module versions
        self.stack.pop()
        _expect(type(self.stack[-1]) is dict)


def _expect(right: bool) -> None:
    if not right:
        raise ValueError


def _counts(values: Any) -> tuple[int, ...]:
    _expect(type(values) is tuple and all(type(value) is int and value >= 0 for value in values))
    return values


def _tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, grad: Any, hooks: Any, marks: Any = None
) -> Tensor:
    del grad, hooks
    if marks:
        # a conjugate or negative view has other values than its storage
        raise UnusableFileError(f"marks a tensor in a way that is not read; {WAY_OUT}")
    _expect(isinstance(storage, Storage) and len(_counts(shape)) == len(_counts(strides)))
    _counts((offset,))
    return Tensor(storage, offset, shape, strides)


def _old_tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> Tensor:
    return _tensor(storage, offset, shape, strides, None, None)


def _parameter(tensor: Any, *_: Any) -> Tensor:
    _expect(isinstance(tensor, Tensor))
    return tensor


# with the fewest and the most arguments
CALLS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "torch._utils._rebuild_tensor_v2": (_tensor, 6, 7),
    # of PyTorch before 0.4
    "torch._utils._rebuild_tensor": (_old_tensor, 4, 4),
    "torch._utils._rebuild_parameter": (_parameter, 3, 3),
    "torch.Size": (_counts, 1, 1),
    "collections.OrderedDict": (dict, 0, 0),
}

_Step = Callable[[_Machine, Any], None]


def _constant(value: Any) -> _Step:
    return lambda machine, _: machine.push(value)


def _put(machine: _Machine, index: int) -> None:
    machine.memo[index] = machine.stack[-1]


def _append(machine: _Machine, _: Any) -> None:
    machine.extend([machine.stack.pop()])


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.update([key, value])


def _find_on_stack(machine: _Machine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.find(module, name)


STEPS: dict[str, _Step] = {
    "PROTO": lambda machine, version: _expect(2 <= version <= 5),
    "FRAME": lambda machine, size: None,
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    **dict.fromkeys(
        ["BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"],
        _Machine.push,
    ),
    "EMPTY_TUPLE": _constant(()),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.since_mark())),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "APPEND": _append,
    "APPENDS": lambda machine, _: machine.extend(machine.since_mark()),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "SETITEM": _set_item,
    "SETITEMS": lambda machine, _: machine.update(machine.since_mark()),
    "MARK": lambda machine, _: machine.mark(),
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "MEMOIZE": lambda machine, _: _put(machine, len(machine.memo)),
    "BINGET": lambda machine, index: machine.push(machine.memo[index]),
    "LONG_BINGET": lambda machine, index: machine.push(machine.memo[index]),
    "GLOBAL": lambda machine, pair: machine.find(*pair.split(" ", 1)),
    "STACK_GLOBAL": _find_on_stack,
    "REDUCE": lambda machine, _: machine.call(),
    "BINPERSID": lambda machine, _: machine.storage(),
    "BUILD": lambda machine, _: machine.build(),
}
