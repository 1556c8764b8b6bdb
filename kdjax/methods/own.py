"""What a part must keep to, checked when it is built and traced: one line that names it and what is wrong."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from kdjax.methods.base import BALANCE, MICRO, Terms
from kdjax.types import Metrics, PyTree

if TYPE_CHECKING:
    from kdjax.methods.part import Part

TERM = "term/"
"""Begins the name of the metric that is a term as it stands in the loss: weighted and balanced."""

SHARED = ("backbone_trains", "step", MICRO)
"""Traced numbers that the step gives every part: whether the backbone trains yet, the step itself, the micro-batch."""

GROUPS = {
    "heads": "trained like the student",
    "rotation": "with an optimizer chain of its own, for matrices of kdjax.transforms",
}
"""Groups of parameters that a part's `init` may return, and what training does with them."""

PREFIXES = (TERM, BALANCE, "gradient_ratio/", "learning_rate_factor/")
TERMS = ("cross_entropy", "loss")
RATES = ("learning_rate", "rotation_learning_rate")
NUMBERS = ("cross_entropy_weight", "ema_decay", *RATES, *SHARED)
METRICS = (*TERMS, "accuracy", "kind", "step", "epoch", *RATES, "balance_skipped")
"""Names, and beginnings of names, that the library writes itself: another's would silently replace them."""


def kind(value: Any) -> str:
    """Returns what a value is, for an error: its type, and of an array its shape."""
    if isinstance(value, jax.Array):
        return f"an array {value.shape} of {value.dtype}"
    return f"a {type(value).__name__}"


def check_names(part: "Part") -> None:
    """Raises ValueError for terms or numbers called as the library's own, and for a share of no term."""
    if isinstance(part.term_names, str):
        raise ValueError(
            f"part {part.name}: term_names must be a tuple of names, as ({part.term_names!r},), not one text"
        )
    _check_free(part, "the term", part.term_names, TERMS)
    _check_free(part, "the number of hyper", part.hyper, NUMBERS)
    for name in part.shares:
        if name not in part.term_names:
            raise ValueError(
                f"part {part.name} gives a share to {name!r}; its term_names are: {_known(part)} (a part made of "
                "another by _replace needs shares of its own)"
            )


def _check_free(part: "Part", what: str, names: Iterable[str], taken: tuple[str, ...]) -> None:
    for name in names:
        if name in taken or name.startswith(PREFIXES):
            raise ValueError(
                f"part {part.name}: {what} {name!r} has a name of the library's own; call it otherwise than "
                f"{', '.join(taken)}, and let it not begin with {', '.join(PREFIXES)}"
            )


def checked_init(part: "Part", made: Any) -> tuple[dict[str, PyTree], PyTree]:
    """Returns what a part's `init` gave, if training knows what to do with it.

    Raises:
      ValueError: for anything but `(heads by group, aux)`, or a group that is not of `GROUPS`.
    """
    what = f"init of part {part.name}"
    if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], Mapping)):
        raise ValueError(
            f"{what} must return (parameters by group, auxiliary state), as ({{}}, ()); it returned {kind(made)}"
        )
    for group in made[0]:
        if group not in GROUPS:
            known = "; ".join(f"{name}, {meaning}" for name, meaning in GROUPS.items())
            raise ValueError(f"{what} returns the group {group!r}; groups may be: {known}")
    return made


def checked_compare(part: "Part", compared: Any, aux: PyTree) -> tuple[Terms, PyTree, Metrics]:
    """Returns what a part's `compare` gave, if it is what the part announced: seen when it is traced.

    Raises:
      ValueError: for anything but `(terms, aux, metrics)`; for other terms than `term_names`, or one that is no
        floating scalar; an auxiliary state of another structure, shape or dtype than it was given; a metric
        called as one of the library's own, or that is no scalar.
    """
    what = f"compare of part {part.name}"
    if not (
        isinstance(compared, tuple)
        and len(compared) == 3
        and all(isinstance(compared[place], Mapping) for place in (0, 2))
    ):
        raise ValueError(f"{what} must return (terms by name, auxiliary state, metrics by name)")
    for name, value in compared[0].items():
        if name not in part.term_names:
            raise ValueError(
                f"{what} returns the term {name!r}; its term_names are: {_known(part)}"
            )
        if jnp.shape(value) != () or not jnp.issubdtype(jnp.result_type(value), jnp.floating):
            raise ValueError(
                f"{what} must return scalars of floating point numbers; its term {name!r} is "
                f"{jnp.result_type(value)} of shape {jnp.shape(value)}"
            )
    for name in part.term_names:
        if name not in compared[0]:
            raise ValueError(f"{what} does not return the term {name!r} that term_names announces")
    old, new = (jax.tree.map(_form, tree) for tree in (aux, compared[1]))
    if old != new:
        raise ValueError(
            f"{what} must return its auxiliary state with the structure, shapes and dtypes that it was given: {old}; "
            f"it returns {new}"
        )
    _check_free(part, "the metric", compared[2], METRICS)
    for name, value in compared[2].items():
        if jnp.shape(value) != ():
            raise ValueError(
                f"{what} must return scalars; its metric {name!r} has the shape {jnp.shape(value)}"
            )
    return compared


def _known(part: "Part") -> str:
    return ", ".join(part.term_names) or "none"


def _form(value: Any) -> str:
    return f"{jnp.result_type(value)}{list(jnp.shape(value))}"
