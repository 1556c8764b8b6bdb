"""Calls of the user's own functions: whatever fails in one is one line that names it and its place."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from kdjax.checks import UserError, first_line, kind_and_line
from kdjax.extensions import Extensions, Factories
from kdjax.methods import Method, Part, Recorded, Teacher
from kdjax.methods.base import feature_shapes
from kdjax.options import Factory
from kdjax.train.programs import place_of

Hint = Callable[[BaseException], str]

UNLIKE_ABSENCE = (MemoryError, ArithmeticError, OSError)
"""Errors that have nothing to do with a teacher that is not there."""


@contextlib.contextmanager
def calling(
    kind: str,
    name: str,
    extensions: Extensions,
    *,
    passing: tuple[type[BaseException], ...] = (),
    hint: Hint = lambda error: "",
) -> Iterator[None]:
    """Makes one line of whatever fails within, an exit of the program included.

    Args:
      kind: what is called: `method`, `augmentation`.
      name: its name.
      extensions: the user's own, whose program the line is looked for in.
      passing: errors that say enough by themselves, beside UserError.
      hint: what an error says beside its own text.

    Raises:
      UserError: for every other error.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, (UserError, *passing)):
            raise
        place = place_of(error, extensions)
        line = f"{kind_and_line(error)}{hint(error)}{place}"
        raise UserError(f"{kind} {name!r} fails: {line}") from error


def guarded(
    function: Callable[..., Any],
    kind: str,
    name: str,
    extensions: Extensions,
    hint: Callable[[Sequence[Any], BaseException], str] = lambda arguments, error: "",
) -> Any:
    """Returns the function, called by `calling`; its signature is the same. `hint` is given its arguments too."""

    @functools.wraps(function)
    def guard(*arguments: Any, **keywords: Any) -> Any:
        with calling(kind, name, extensions, hint=functools.partial(hint, arguments)):
            return function(*arguments, **keywords)

    return guard


def refuse(kind: str, name: str, wanted: str, made: Any) -> UserError:
    """Returns the error of a factory that made something else than wanted."""
    got = "None" if made is None else f"a {type(made).__name__}"
    return UserError(f"{kind} {name!r} must return {wanted}; it returned {got}")


def own_methods(extensions: Extensions) -> dict[str, Factory]:
    """Returns the user's methods, whose factories and functions fail by name."""
    return {name: _method(name, each, extensions) for name, each in extensions.methods.items()}


def _method(name: str, factory: Factory, extensions: Extensions) -> Factory:
    @functools.wraps(factory)
    def make(student: Any, teachers: Sequence[Teacher], **options: Any) -> Any:
        with calling("method", name, extensions):
            made = factory(student, teachers, **options)
        if not isinstance(made, Part | Method):
            return made  # `methods.create` says what it must be

        def hint(arguments: Sequence[Any], error: BaseException) -> str:
            if not teachers and not isinstance(error, UNLIKE_ABSENCE):
                return " (it has no teacher: teacher.runs, teacher.weights and teacher.recorded are empty)"
            return (
                _features(arguments, teachers) if teachers and isinstance(error, KeyError) else ""
            )

        def guard(function: Callable[..., Any]) -> Any:
            return guarded(function, "method", name, extensions, hint)

        if isinstance(made, Method):
            own = {each: guard(getattr(made, each)) for each in ("init", "terms", "grads")}
            return made._replace(targets=guard(made.targets), **own)
        made = made._replace(**{each: guard(getattr(made, each)) for each in PARTS})
        return made if made.wrap is None else made._replace(wrap=_guarded_wrap(made.wrap, guard))

    return make


PARTS = ("compare", "targets", "init")


def _guarded_wrap(wrap: Any, guard: Callable[[Any], Any]) -> Any:
    """Returns a part's `wrap`, and the gradients that it makes, guarded."""
    return lambda gradient, around: guard(guard(wrap)(gradient, around))


def _features(arguments: Sequence[Any], teachers: Sequence[Teacher]) -> str:
    """Returns the features of the student and the teachers that a method's function was given."""
    found = []
    student = getattr(arguments[0], "features", None) if arguments else None
    if isinstance(student, Mapping):
        found.append(f"the student has the features {', '.join(sorted(student))}")
    batch = getattr(arguments[-1], "batch", arguments[-1]) if arguments else {}
    for number, teacher in enumerate(teachers):
        # it is an error's text: what fails here is not what the user is to read
        with contextlib.suppress(Exception):
            if isinstance(teacher, Recorded) or "image" in batch:
                names = sorted({*feature_shapes(teacher, batch)} - {"logits"})
                found.append(f"teacher {number} has {', '.join(names)}")
    return f" ({'; '.join(found)})" if found else ""


def own_optimizers(extensions: Extensions) -> Factories:
    """Returns the user's optimizers, whose factories and transformations fail by name."""

    def make(name: str, factory: Factory) -> Factory:
        @functools.wraps(factory)
        def build(*arguments: Any, **options: Any) -> optax.GradientTransformation:
            with calling("optimizer", name, extensions):
                made = factory(*arguments, **options)
            if not isinstance(made, optax.GradientTransformation):
                raise refuse("optimizer", name, "an optax.GradientTransformation", made)
            init = guarded(made.init, "optimizer", name, extensions)
            update = guarded(made.update, "optimizer", name, extensions)
            return made._replace(init=init, update=update)

        return build

    return {name: make(name, each) for name, each in extensions.optimizers.items()}


def check_direction(name: str, extensions: Extensions, options: Mapping[str, Any]) -> None:
    """Raises UserError for an optimizer of the user's own that would climb, told by its first update of ones.

    One whose factory takes `learning_rate` must go against the gradient, as optax's own do; any other along with it,
    since the loop multiplies its updates by minus the learning rate. What fails here says so when it trains.
    """
    factory = extensions.optimizers[name]
    rated = "learning_rate" in inspect.signature(factory).parameters
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    try:
        made = factory(**options, **({"learning_rate": 0.1} if rated else {}))
        updates, _ = made.update(params, made.init(params), params)
        total = sum(float(jnp.sum(each)) for each in jax.tree.leaves(updates))
    except Exception:
        return
    if rated and total > 0:
        raise UserError(
            f"optimizer {name!r} takes learning_rate, but its updates have the gradient's own sign, so it would climb; "
            "end it with optax.scale_by_learning_rate(learning_rate), or leave that argument out"
        )
    if not rated and total < 0:
        raise UserError(
            f"optimizer {name!r} takes no learning_rate, so its updates are multiplied by minus the run's; they go "
            "against the gradient already and would climb: let it take learning_rate, as optax.sgd does, or return "
            "what has no step size, as optax.scale_by_adam()"
        )


def own_schedules(extensions: Extensions) -> Factories:
    """Returns the user's schedules, whose factories and functions fail by name."""

    def make(name: str, factory: Factory) -> Factory:
        @functools.wraps(factory)
        def build(*arguments: Any, **options: Any) -> Any:
            with calling("schedule", name, extensions):
                made = factory(*arguments, **options)
            if not callable(made):
                raise refuse("schedule", name, "a function step -> factor", made)
            schedule = guarded(made, "schedule", name, extensions)
            _check_factor(name, schedule)
            return schedule

        return build

    return {name: make(name, each) for name, each in extensions.schedules.items()}


def _check_factor(name: str, schedule: Callable[..., Any]) -> None:
    """Raises UserError unless a schedule returns one number for a step, and at the first one none below 0."""
    step = jax.ShapeDtypeStruct((), jnp.int32)
    try:
        found = jax.eval_shape(schedule, step)
    except TypeError as error:
        raise UserError(f"schedule {name!r} must return a number: {first_line(error)}") from error
    if not isinstance(found, jax.ShapeDtypeStruct) or found.shape != ():
        shape = f" of shape {found.shape}" if isinstance(found, jax.ShapeDtypeStruct) else ""
        raise UserError(
            f"schedule {name!r} must return a number; it returned a {type(found).__name__}{shape}"
        )
    first = float(schedule(jnp.int32(0)))
    if not first >= 0:
        raise UserError(
            f"schedule {name!r} must return what the learning rate is multiplied with, 0 or more; at step 0 it is "
            f"{first:g}"
        )
