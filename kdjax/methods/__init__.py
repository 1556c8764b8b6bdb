"""Methods: which features meet which losses."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from kdjax import losses
from kdjax.checks import check_choice, check_positive, nearest
from kdjax.defaults import defaults
from kdjax.extensions import NONE, Extensions, Factories, check_new
from kdjax.methods import base
from kdjax.methods.add import add
from kdjax.methods.base import Inputs, Method, Network, Recorded, Teacher
from kdjax.methods.baselines import ALONE, baselines
from kdjax.methods.check import check
from kdjax.methods.ckd import ckd
from kdjax.methods.kd import kd
from kdjax.methods.part import Part, assemble, checked_part
from kdjax.methods.qad import qad
from kdjax.methods.shares import part_shares
from kdjax.methods.tokd import tokd
from kdjax.options import Factory
from kdjax.types import LABELS, Array

__all__ = [
    "Inputs",
    "Method",
    "Network",
    "Part",
    "Recorded",
    "Teacher",
    "add",
    "assemble",
    "baselines",
    "check",
    "ckd",
    "create",
    "defaults",
    "kd",
    "names",
    "qad",
    "tokd",
]

TEACHERLESS = ("qad", *ALONE)
"""Parts, and rows of `baselines`, that learn from no teacher."""

CLASSIFICATIONS = ("cross_entropy", "tempered")


def _parts() -> dict[str, Factory]:
    return {"kd": kd, "ckd": ckd, "add": add, "tokd": tokd, "qad": qad, "baselines": baselines}


def names() -> tuple[str, ...]:
    """Returns the names that `create` knows."""
    return ("supervised", *_parts(), "combine")


def create(
    name: str,
    student: Network,
    teachers: Sequence[Teacher],
    *,
    qualities: Sequence[str],
    teacher_quality: str = "raw",
    dataset_size: int = 0,
    indices: np.ndarray | None = None,
    steps_per_epoch: int = 1,
    own: Factories = NONE,
    **options: Any,
) -> Method:
    """Returns the method called `name`: cross-entropy, and its part; `combine` sums several parts.

    Args:
      name: `supervised`, a part's name, or `combine`.
      student: the network to train.
      teachers: frozen networks, or records of some.
      qualities: the qualities the student sees, all in one forward pass.
      teacher_quality: the quality the teachers see.
      dataset_size: number of training images.
      indices: their `index`, ascending; None: from 0 to `dataset_size - 1`.
      steps_per_epoch: steps in which each of them is seen once.
      own: the user's own factories by name (`Extensions.methods`).
      **options: what differs from `defaults(name)`.

    Raises:
      ValueError: for an unknown name or an option out of range.
    """
    check_new("the method", own, names())
    if name not in (*names(), *own):
        raise ValueError(f"unknown method {name!r}; {nearest(name, (*names(), *own))}")
    known = defaults(name, Extensions(methods=own).method_options())
    factories = {**_parts(), **own}
    options = _complete(options, known, name)
    facts: dict[str, Any] = {
        "qualities": tuple(qualities),
        "teacher_quality": teacher_quality,
        "dataset_size": dataset_size,
        "indices": indices,
        "steps_per_epoch": steps_per_epoch,
    }
    common = {key: options.pop(key) for key in defaults("supervised")}
    chosen = {name: options}
    if name == "combine":
        names_of_parts = options["parts"]
        if not names_of_parts or len(set(names_of_parts)) < len(names_of_parts):
            raise ValueError("method.parts must name one or more different methods, as qad,add")
        for part in names_of_parts:
            check_choice("method.parts", part, tuple(factories))
        options |= {part: _complete(options[part], known[part], part) for part in factories}
        _check_unused(set(factories) - set(names_of_parts), options, known)
        chosen = {part: options[part] for part in names_of_parts}
        if all(_needs_none(part, own) for part, own in chosen.items()):
            base.check_no_teachers(f"combine with method.parts={','.join(chosen)}", teachers)
    elif name == "supervised":
        base.check_no_teachers(name, teachers)
        chosen = {}
    parts = []
    for part, given in chosen.items():
        usual = (known if name != "combine" else known[part])["shares"]
        built = _build(
            part, factories[part], student, teachers, facts, given, usual, alone=name != "combine"
        )
        if isinstance(built, Method):
            return built
        parts.append(built)
    return assemble(
        student,
        facts["qualities"],
        parts,
        cross_entropy_weight=_checked_weight(common["cross_entropy_weight"]),
        classify=_classify(
            common["classification"],
            common["classification_temperature"],
            tuple(common["class_weights"]),
        ),
        prefix=name == "combine",
    )


def _complete(options: Mapping[str, Any], known: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Returns the options with all others at their default; ValueError for one that is not known."""
    for key in options:
        if key not in known:
            raise ValueError(f"unknown option method.{key} of {name}; {nearest(key, known)}")
    found = {**known, **options}
    if "shares" in known:
        found["shares"] = {**known["shares"], **found["shares"]}
    return found


def _build(
    name: str,
    factory: Factory,
    student: Network,
    teachers: Sequence[Teacher],
    facts: dict[str, Any],
    options: dict[str, Any],
    usual: Mapping[str, float],
    *,
    alone: bool,
) -> Part | Method:
    wanted = inspect.signature(factory).parameters
    facts = {key: value for key, value in facts.items() if key in wanted}

    def build(teachers: Sequence[Teacher]) -> Part | Method:
        given = {key: value for key, value in options.items() if key != "shares" or key in wanted}
        made = checked_part(name, factory(student, teachers, **facts, **given), alone=alone)
        if isinstance(made, Method):
            return made
        shares = part_shares(name, made.term_names, options["shares"], usual)
        return made._replace(name=name, shares=shares)

    if alone:
        return build(teachers)
    # the others of a combination have the teachers
    part = _naming(name, options, build)(() if _needs_none(name, options) else teachers)
    return part._replace(init=_naming(name, options, part.init))


def _naming(part: str, options: Mapping[str, Any], function: Callable[..., Any]) -> Any:
    """Returns the function with `method.KEY` in its errors as a combination calls it, `method.PART.KEY`."""

    def full(found: re.Match[str]) -> str:
        return f"method.{part}.{found[1]}" if found[1] in options else found[0]

    def named(*arguments: Any, **keywords: Any) -> Any:
        try:
            return function(*arguments, **keywords)
        except ValueError as error:
            raise ValueError(re.sub(r"\bmethod\.(\w+)", full, str(error))) from error

    return named


def _check_unused(
    absent: Iterable[str], options: Mapping[str, Any], known: Mapping[str, Any]
) -> None:
    """Raises ValueError when something is set of a part that the combination does not have."""
    for part in sorted(absent):
        for key, value in options[part].items():
            if value != known[part][key]:
                raise ValueError(
                    f"method.{part}.{key}={value} is set, but method.parts={','.join(options['parts'])} "
                    f"does not name {part}"
                )


def _needs_none(name: str, options: dict[str, Any]) -> bool:
    return name in TEACHERLESS or options.get("loss") in TEACHERLESS


def _checked_weight(weight: float) -> float:
    base.check_weights(cross_entropy_weight=weight)
    return weight


def _classify(kind: str, temperature: float, weights: tuple[float, ...]) -> Callable[..., Any]:
    check_choice("method.classification", kind, CLASSIFICATIONS)
    check_positive("method.classification_temperature", temperature)
    if len(weights) != len(LABELS) or not min(weights) > 0:
        raise ValueError(
            f"method.class_weights={','.join(f'{each:g}' for each in weights)} must be {len(LABELS)} positive "
            f"numbers, of {' and '.join(LABELS)} images"
        )
    loss = losses.cross_entropy
    if kind == "tempered":
        loss = partial(losses.tempered_softmax, temperature=temperature)
    if len(set(weights)) == 1 == weights[0]:
        return loss

    def weighted(logits: Array, labels: Array) -> Array:
        return jnp.asarray(weights, jnp.float32)[labels] * loss(logits, labels)

    return weighted
