"""Whether a program of a step is compiled again while a run trains, which costs seconds each time."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

import jax

LOWERED = "/jax/core/compile/jaxpr_to_mlir_module_duration"
"""What JAX tells whenever it prepares a program for compilation, also where the cache on the disk has it then."""

PROGRAMS = ("lesson", "student_step")
"""The programs of a step, `train.step`."""


RECOMPILED = (
    "it takes seconds each time, so look at what changes its shapes or types (a network or method of your own that is "
    "not a pure function of its arguments)"
)
"""What is to be said of it."""


class _Call(threading.local):
    """The call of a mapped program that a thread is in: its name, "" outside, and a number of its own."""

    name, number = "", 0


_call = _Call()


class Mapped:
    """A program that `jax.pmap` made, with the name of its function: JAX compiles all such under one name."""

    def __init__(self, name: str, program: Callable[..., Any]) -> None:
        """Takes the function's name and the program."""
        self._name, self._program = name, program

    def __call__(self, *arguments: Any) -> Any:
        """Runs the program."""
        _call.name, _call.number = self._name, _call.number + 1
        try:
            return self._program(*arguments)
        finally:
            _call.name = ""

    def __getattr__(self, name: str) -> Any:
        """Whatever else the program has, `lower` for one."""
        return getattr(self._program, name)


class Recompiling:
    """Listens to what JAX compiles while it is open."""

    def __init__(self) -> None:
        """Listens to nothing yet."""
        self._found: list[str] = []
        self._last = 0

    def _note(self, event: str, duration_secs: float, **facts: Any) -> None:
        del duration_secs
        if event != LOWERED:
            return
        named = str(facts.get("fun_name", ""))
        self._found += [name for name in PROGRAMS if f"({name})" in named]
        # whatever is prepared in a call of a mapped program is of it: once for each call
        if _call.name in PROGRAMS and _call.number != self._last:
            self._found.append(_call.name)
            self._last = _call.number

    def __enter__(self) -> "Recompiling":
        """Begins to listen."""
        jax.monitoring.register_event_duration_secs_listener(self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stops listening."""
        jax.monitoring.unregister_event_duration_listener(self._note)

    def take(self) -> list[str]:
        """Returns the names of the step's programs that were compiled since this was last asked."""
        found, self._found = self._found, []
        return found
