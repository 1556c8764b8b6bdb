"""Whether a program of a step is compiled again while a run trains, which costs seconds each time."""

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


class Recompiling:
    """Listens to what JAX compiles while it is open."""

    def __init__(self) -> None:
        """Listens to nothing yet."""
        self._found: list[str] = []

    def _note(self, event: str, duration_secs: float, **facts: Any) -> None:
        del duration_secs
        named = str(facts.get("fun_name", ""))
        self._found += [name for name in PROGRAMS if event == LOWERED and f"({name})" in named]

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
