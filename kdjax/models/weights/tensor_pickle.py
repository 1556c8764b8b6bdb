"""Reads the pickle of a PyTorch checkpoint without a pickle machine: a closed list of instructions and names.

A pickle is a program. This one is walked instruction by instruction; the few that `torch.save` writes for dicts,
lists, numbers, strings and tensors are carried out on plain Python values, and a tensor becomes a description of where
its numbers lie. Nothing is imported and nothing of the file is called: an object of any class outside the closed list,
as training loops leave them beside their tensors, becomes a placeholder that holds the class's name and nothing else.
"""

import io
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

from kdjax.models.weights.guard import MAX_TENSORS, UnusableFileError, shown
from kdjax.models.weights.tensor_names import (
    CALLS,
    STORAGES,
    WAY_OUT,
    Name,
    Placeholder,
    Storage,
    Tensor,
    expect,
)

MAX_INSTRUCTIONS = 5_000_000
MAX_DEPTH = 1_000

HASHED = (str, int, float, bool, type(None), bytes, Name, Placeholder)
"""Types of the keys of dicts that are kept."""


DAMAGED = "holds a damaged pickle; fetch it again"


class Loaded(NamedTuple):
    """What a pickle describes.

    Attributes:
      value: dicts, lists, tuples, numbers, strings, bytes, None, `Storage`, `Tensor`, and `Placeholder` and `Name`
        for all else. Dicts may hold themselves, so whoever walks it keeps count.
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
      UnusableFileError: when it is damaged, too long, or does what no `torch.save` writes.
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
                    f"holds what torch.save does not write (pickle instruction {instruction.name}); {WAY_OUT}"
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
        expect(type(self.stack[-1]) in (list, Placeholder))
        if type(self.stack[-1]) is list:
            self.stack[-1].extend(items)

    def update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        expect(type(target) in (dict, Placeholder) and len(items) % 2 == 0)
        if type(target) is Placeholder:
            return
        for key, value in zip(items[::2], items[1::2], strict=True):
            # nested tuples can exhaust the interpreter when they are hashed
            expect(type(key) in (*HASHED, tuple))
            target[Placeholder("tuple") if type(key) is tuple else key] = value

    def find(self, module: Any, name: Any) -> None:
        expect(type(module) is str and type(name) is str)
        self.push(Name(f"{module}.{name}"))

    def call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        expect(type(function) in (Name, Placeholder) and type(arguments) is tuple)
        if function.name not in CALLS:
            expect(function.name not in STORAGES)
            self.push(Placeholder(function.name))
            return
        expect(type(function) is Name)
        make, fewest, most = CALLS[function.name]
        expect(fewest <= len(arguments) <= most)
        value = make(*arguments)
        self.tensors += isinstance(value, Tensor)
        # checkpoints hold the optimizer's tensors too
        if self.tensors > 4 * MAX_TENSORS:
            raise UnusableFileError(f"holds more than {4 * MAX_TENSORS:,} tensors")
        self.push(value)

    def instance(self) -> None:
        arguments, made = self.stack.pop(), self.stack.pop()
        expect(type(made) is Name and type(arguments) is tuple)
        self.push(Placeholder(made.name))

    def storage(self) -> None:
        match self.stack.pop():
            case ("storage", Name(kind), str(key), str(), int(size), *view) if kind in STORAGES:
                # PyTorch before 1.6 says a sixth thing: which other storage this one is a part of, always None
                # since 0.4
                expect(size >= 0 and len(view) <= 1)
                if view not in ([], [None]):
                    raise UnusableFileError(f"has a part of a storage as a storage; {WAY_OUT}")
                self.storages.append(Storage(key, STORAGES[kind], size))
                self.push(self.storages[-1])
            case ("storage", Name(kind), *_) if kind not in STORAGES:
                raise UnusableFileError(
                    f"holds numbers of a kind that is not read, {shown(kind)}; {WAY_OUT}"
                )
            case ("module", Name(kind), *_):
                raise UnusableFileError(f"holds a whole module, {shown(kind)}; {WAY_OUT}")
            case _:
                raise ValueError

    def build(self) -> None:
        # the only state that a state dict carries is its list of module versions; a placeholder's is dropped
        self.stack.pop()
        expect(type(self.stack[-1]) in (dict, Placeholder))


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


def _instance_by_keywords(machine: _Machine, _: Any) -> None:
    expect(type(machine.stack.pop()) is dict)
    machine.instance()


def _frozen_set(machine: _Machine, _: Any) -> None:
    machine.since_mark()
    machine.push(Placeholder("builtins.frozenset"))


def _find_on_stack(machine: _Machine, _: Any) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.find(module, name)


STEPS: dict[str, _Step] = {
    "PROTO": lambda machine, version: expect(2 <= version <= 5),
    "FRAME": lambda machine, size: None,
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    **dict.fromkeys(
        [
            *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
            *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
            *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
        ],
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
    "BYTEARRAY8": _constant(Placeholder("builtins.bytearray")),
    "EMPTY_SET": _constant(Placeholder("builtins.set")),
    "ADDITEMS": lambda machine, _: machine.extend(machine.since_mark()),
    "FROZENSET": _frozen_set,
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
    "NEWOBJ": lambda machine, _: machine.instance(),
    "NEWOBJ_EX": _instance_by_keywords,
    "BINPERSID": lambda machine, _: machine.storage(),
    "BUILD": lambda machine, _: machine.build(),
}
