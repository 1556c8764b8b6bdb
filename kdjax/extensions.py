"""What a user adds to the library without editing it: factories by name, handed in, kept nowhere."""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType, ModuleType
from typing import Any

from kdjax.checks import UserError, nearest
from kdjax.defaults import COMMON
from kdjax.options import Factory, no_options, options_of, why_no_option

Factories = Mapping[str, Factory]

FACTS = ("qualities", "teacher_quality", "dataset_size", "indices", "steps_per_epoch")
"""Keywords that a method's factory is given by those of them that it has: what it has to know of a run's data."""

RESERVED = frozenset({*COMMON, "name", "parts"})
"""Names at `method.*` that no option of a method may have."""

NETWORK_FACTS = ("num_classes", "dtype", "width", "axis_name")
"""The same of a network's factory."""

NONE: Mapping[str, Any] = MappingProxyType({})


METRIC_COLUMNS = frozenset(
    (
        *("step", "epoch", "kind", "loss", "learning_rate", "cross_entropy"),
        *(
            "accuracy",
            "accuracy_real",
            "accuracy_fake",
            "balanced_accuracy",
            "auc",
            "average_precision",
        ),
        *("eer", "eer_threshold", "log_loss", "brier", "calibration_error"),
        *("recall_at_1", "recall_at_5", "recall_at_10"),
        *(
            f"video_{pooling}{name}"
            for pooling in ("", "max_", "top_")
            for name in ("accuracy", "auc", "average_precision", "eer")
        ),
    )
)
"""Columns of a run's log, whose names no metric of the user's own may have."""

NAME = re.compile(r"[A-Za-z_][\w-]*")


def _none() -> Factories:
    return {}


@dataclass(frozen=True)
class Extensions:
    """Factories of the user's own, by the names that a configuration calls them by.

    A program's are in variables of these names in capitals: `METHODS = {"closeness": closeness}`. A factory's
    arguments that have a default are its options, and are in the configuration: a method's at `method.*`, all others'
    at `own.NAME.*`.

    Attributes:
      methods: `(student, teachers, *, qualities, ..., OPTION=DEFAULT) -> Part`, or a whole `Method`; `method.name`,
        `method.parts`. A keyword `shares` holds the default shares of its terms.
      networks: `(*, num_classes, dtype, width, axis_name, OPTION=DEFAULT) -> module` or `methods.Network`, with as
        many of the first four as it has; `student.network`, `teacher.network`.
      augmentations: `(OPTION=DEFAULT) -> (image [H, W, 3], key, step) -> image`; `data.augmentation`.
      optimizers: `(learning_rate, OPTION=DEFAULT) -> optax transformation`, as optax's own, or one without
        `learning_rate` that leaves the step's length to the schedule; `optimizer.name`.
      schedules: `(total_steps, OPTION=DEFAULT) -> (step -> factor)`; `optimizer.schedule`.
      metrics: `(scores [N], labels [N]) -> number`, higher is better; `train.selection`.
      datasets: `(OPTION=DEFAULT) -> kdjax.data_pipeline.Dataset`; `data.path=own:NAME`.
      program: the program that names them, as it was called on the command line; empty: none does.
      source: its file.
      joined: those of several programs that were put together; empty: they are one's.
    """

    methods: Factories = field(default_factory=_none)
    networks: Factories = field(default_factory=_none)
    augmentations: Factories = field(default_factory=_none)
    optimizers: Factories = field(default_factory=_none)
    schedules: Factories = field(default_factory=_none)
    metrics: Factories = field(default_factory=_none)
    datasets: Factories = field(default_factory=_none)
    program: str = ""
    source: str = ""
    joined: tuple["Extensions", ...] = field(default=(), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raises UserError for anything but functions by names that a configuration can call them by."""
        for kind in KINDS:
            _check_kind(kind, getattr(self, kind))
            object.__setattr__(self, kind, dict(getattr(self, kind)))

    def is_empty(self) -> bool:
        """Returns whether the user adds nothing."""
        return not any(getattr(self, kind) for kind in KINDS)

    def join(self, other: "Extensions") -> "Extensions":
        """Returns both together; UserError where they mean different things by one name."""
        found: dict[str, Any] = {}
        for kind in KINDS:
            own, more = getattr(self, kind), getattr(other, kind)
            for name in sorted(own.keys() & more.keys()):
                if own[name] is not more[name]:
                    raise UserError(f"two {kind} are called {name!r}; rename one")
            found[kind] = {**own, **more}
        of = other if not other.is_empty() else self
        both = Extensions(**found, program=of.program, source=of.source)
        more = [each for each in other.apart() if each not in self.apart()]
        object.__setattr__(both, "joined", (*self.apart(), *more))
        return both

    def apart(self) -> tuple["Extensions", ...]:
        """Returns those of each program on its own, in the order in which they were put together."""
        return self.joined or (() if self.is_empty() else (self,))

    def method_options(self) -> dict[str, dict[str, Any]]:
        """Returns the options of each method, and its `shares`, at their defaults."""
        found = {}
        for name, factory in self.methods.items():
            options = options_of(f"method {name}", factory, FACTS, leading=2)
            for option in sorted(RESERVED & options.keys()):
                raise UserError(
                    f"method {name}: its option {option!r} has the name of one that every method has; rename it"
                )
            shares = inspect.signature(factory).parameters.get("shares")
            default = {} if shares is None else shares.default
            if not isinstance(default, Mapping):
                raise UserError(f"shares of method {name} must be a mapping of terms to numbers")
            found[name] = {**options, "shares": dict(default)}
        return found

    def other_options(self) -> dict[str, dict[str, Any]]:
        """Returns the options of everything that is no method, at their defaults; what has none is left out."""
        found: dict[str, dict[str, Any]] = {}
        for kind, name, factory in self._others():
            facts = NETWORK_FACTS if kind == "networks" else ()
            leading = int(kind in ("optimizers", "schedules"))
            options = options_of(f"{kind[:-1]} {name}", factory, facts, leading=leading)
            if name in found:
                raise UserError(f"two of the program's own are called {name!r}; rename one")
            if options:
                found[name] = options
        return found

    def ignored(self) -> dict[str, str]:
        """Returns by key, as a configuration would call it, why an argument of a factory is no option."""
        found = {}
        for name, factory in self.methods.items():
            for option, default in no_options(factory, FACTS, leading=2):
                found[f"method.{option}"] = found[f"method.{name}.{option}"] = why_no_option(
                    f"method {name}", option, default
                )
        for kind, name, factory in self._others():
            facts = NETWORK_FACTS if kind == "networks" else ()
            leading = int(kind in ("optimizers", "schedules"))
            for option, default in no_options(factory, facts, leading=leading):
                found[f"own.{name}.{option}"] = why_no_option(
                    f"{kind[:-1]} {name}", option, default
                )
        return found

    def _others(self) -> Iterator[tuple[str, str, Factory]]:
        for kind in ("networks", "augmentations", "optimizers", "schedules", "datasets"):
            for name, factory in getattr(self, kind).items():
                yield kind, name, factory


def _check_kind(kind: str, own: Any) -> None:
    """Raises UserError unless these are functions by name, none of which a configuration or a log has already."""
    if not isinstance(own, Mapping):
        raise UserError(
            f"{kind} must be a dict of functions by name, as {{'mine': mine}}, not a {type(own).__name__}"
        )
    for name, factory in own.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise UserError(
                f"{kind}: the name {name!r} must begin with a letter and have letters, digits, _ and - alone"
            )
        if not callable(factory):
            raise UserError(f"{kind}: {name!r} must be a function, not a {type(factory).__name__}")
        if kind == "metrics" and name in METRIC_COLUMNS:
            raise UserError(
                f"metrics: {name!r} is a column of every run's log; call your own otherwise"
            )


KINDS = tuple(
    each.name for each in fields(Extensions) if each.name not in ("program", "source", "joined")
)
"""Kinds of the user's own, as `Extensions` and, in capitals, a program name them."""

NOTHING = Extensions()
"""Nothing of the user's own."""


def check_extensions(extensions: Any) -> None:
    """Raises UserError for anything but `Extensions`."""
    if not isinstance(extensions, Extensions):
        raise UserError(
            f"extensions must be kdjax.Extensions(methods={{...}}, networks={{...}}, ...), not a "
            f"{type(extensions).__name__}"
        )


def of_program(module: ModuleType, path: str) -> Extensions:
    """Returns what a program names.

    Raises:
      UserError: where a variable of such a name is something else than factories by name.
    """
    found: dict[str, Any] = {}
    for kind in KINDS:
        value = getattr(module, kind.upper(), NONE)
        if not isinstance(value, Mapping) or not all(
            isinstance(name, str) and callable(factory) for name, factory in value.items()
        ):
            raise UserError(
                f"{kind.upper()} of {path} must be a dict of functions by name, as {{'mine': mine}}"
            )
        found[kind] = value
    if not any(found.values()):
        return NOTHING
    return Extensions(**found, program=path, source=str(module.__file__ or ""))


def check_new(kind: str, own: Iterable[str], shipped: Iterable[str]) -> None:
    """Raises ValueError where a user's name is one that kdjax ships, which would be another thing then."""
    known = set(shipped)
    for name in own:
        if name in known:
            raise ValueError(f"{kind} {name!r} is shipped with kdjax; call your own otherwise")


def choose(kind: str, name: str, own: Factories, shipped: Iterable[str]) -> Factory | None:
    """Returns the user's factory of a name, None where it is a shipped one.

    Raises:
      ValueError: where it is neither, with the nearest.
    """
    if name in own:
        return own[name]
    known = [*shipped, *own]
    if name not in known:
        raise ValueError(f"no {kind} is called {name!r}; {nearest(name, known)}")
    return None
