"""A part: what one method adds to the cross-entropy; and the method that some parts make together."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from kdjax.methods import base
from kdjax.methods.base import BALANCE, Inputs, Method, Network, Rest, Terms
from kdjax.methods.own import SHARED, check_names, checked_compare, checked_init, kind
from kdjax.methods.own import TERM as TERM
from kdjax.types import Array, Batch, Metrics, Outputs, PyTree

Gradient = Callable[[dict[str, PyTree], Inputs], tuple[dict[str, PyTree], Rest]]
"""`(params, inputs) -> (gradients by group, (batch statistics, auxiliary state, metrics))`."""

Forward = Callable[[dict[str, PyTree], Inputs], Outputs]
"""The student's outputs in training mode, over all qualities stacked."""


class Around(NamedTuple):
    """What a part's `wrap` sees of the method around it.

    Attributes:
      forward: runs the student.
      classify: `(outputs, inputs) -> scalar`: the loss of the labels, without its weight.
      view: `inputs -> inputs`: those of the part alone.
      name: the part's, under which its heads are.
    """

    forward: Forward
    classify: Callable[[Outputs, Inputs], Array]
    view: Callable[[Inputs], Inputs]
    name: str


Wrap = Callable[[Gradient, Around], Gradient]
"""`(gradient, around) -> gradient`: takes a method's gradient elsewhere, or makes more of it."""


class Part(NamedTuple):
    """Pure functions that see the student's outputs, and never run it themselves.

    Attributes:
      name: the part's own place in the heads, the auxiliary state, the targets and the traced numbers.
      compare: `(outputs, params, inputs) -> (terms, aux, metrics)`: the weighted loss terms. `params` holds
        the student's parameters and this part's own by group; `inputs` its own aux, targets and numbers.
      targets: `(teachers, batch) -> targets`: what the frozen teachers say of a batch, with no gradient.
      hyper: the numbers that may be traced.
      term_names: names of the terms.
      init: `(rng, example) -> (heads by group, aux)`.
      wrap: takes the gradient elsewhere (AWP), or makes more of it (TOKD's rotations).
      shares: by term, the wanted share of the cross-entropy's gradient.
      couples: why terms, or what else is computed, look at several examples of a batch at once, as of `Method`; `{}`:
        nothing does; None: it is not said, and the part is not accumulated over micro-batches.
    """

    name: str
    compare: Callable[[Outputs, dict[str, PyTree], Inputs], tuple[Terms, PyTree, Metrics]]
    targets: Callable[..., PyTree] = base.no_targets
    hyper: Mapping[str, float] = {}
    term_names: tuple[str, ...] = ()
    init: Callable[..., tuple[dict[str, PyTree], PyTree]] = base.no_heads
    wrap: Wrap | None = None
    shares: Mapping[str, float] = {}
    couples: Mapping[str, str] | None = None


Classify = Callable[[Array, Array], Array]
"""`(logits [B, K], labels [B]) -> loss [B]`."""


def checked_part(name: str, made: Any, *, alone: bool) -> Part | Method:
    """Returns what a factory made, if a method can be of it.

    Raises:
      ValueError: when it is neither a Part nor a Method, a Method in a combination, or a Part that `check_names`
        refuses.
    """
    if isinstance(made, Part):
        check_names(made._replace(name=name))
        return made
    if not isinstance(made, Method):
        raise ValueError(
            f"method {name} must return a kdjax.methods.Part or Method; it returned {kind(made)}"
        )
    if not alone:
        raise ValueError(f"method {name} returns a whole Method; method.parts takes Parts alone")
    return made


def assemble(
    student: Network,
    qualities: Sequence[str],
    parts: Sequence[Part],
    *,
    cross_entropy_weight: float = 1.0,
    classify: Classify | None = None,
    prefix: bool = False,
) -> Method:
    """Returns the method whose loss is the cross-entropy and the terms of all parts, in one forward pass.

    Args:
      student: the network to train.
      qualities: the qualities the student sees.
      parts: what is added to the cross-entropy.
      cross_entropy_weight: weight of the classification.
      classify: another loss for the classification than cross-entropy.
      prefix: whether names of terms and numbers begin with their part's, as several parts need.

    Raises:
      ValueError: for a term or a number called as one of the library's own, or a share of no term; when traced, for
        what `own.checked_init` and `own.checked_compare` refuse.
    """
    for part in parts:
        check_names(part)
    weights = {"cross_entropy_weight": cross_entropy_weight}

    def name_of(part: Part, name: str) -> str:
        return f"{part.name}.{name}" if prefix else name

    def view(part: Part, inputs: Inputs) -> Inputs:
        shared = {key: inputs.hyper[key] for key in SHARED if key in inputs.hyper}
        own = {name: inputs.hyper[name_of(part, name)] for name in part.hyper}
        for name in part.term_names:
            factor = inputs.hyper.get(f"{BALANCE}{name_of(part, name)}")
            own |= {} if factor is None else {f"{BALANCE}{name}": factor}
        return inputs._replace(
            aux=inputs.aux[part.name], targets=inputs.targets[part.name], hyper={**shared, **own}
        )

    def init(rng: Array, example: Batch) -> tuple[dict[str, PyTree], PyTree]:
        groups: dict[str, PyTree] = {}
        aux = {}
        for number, part in enumerate(parts):
            made = part.init(jax.random.fold_in(rng, number), example)
            heads, aux[part.name] = checked_init(part, made)
            for group, tree in heads.items():
                groups.setdefault(group, {})[part.name] = tree
        return groups, aux

    def targets(variables: Sequence[PyTree], batch: Batch) -> PyTree:
        return {part.name: part.targets(variables, batch) for part in parts}

    def terms(params: dict[str, PyTree], inputs: Inputs) -> tuple[Terms, Rest]:
        outputs, model_state = base.apply_student(student, params, inputs, qualities)
        value, metrics = base.classification(outputs, inputs, len(qualities), classify)
        values = {"cross_entropy": inputs.hyper["cross_entropy_weight"] * value}
        aux = {}
        for part in parts:
            own = {
                group: tree if group == "student" else tree.get(part.name, {})
                for group, tree in params.items()
            }
            seen_by = view(part, inputs)
            compared = part.compare(outputs, own, seen_by)
            found, aux[part.name], seen = checked_compare(part, compared, seen_by.aux)
            values |= {name_of(part, name): term for name, term in found.items()}
            metrics |= {name_of(part, name): metric for name, metric in seen.items()}
        values = {name: balanced(name, value, inputs.hyper) for name, value in values.items()}
        metrics |= {f"{TERM}{name}": value for name, value in values.items()}
        return values, (model_state, aux, metrics)

    def forward(params: dict[str, PyTree], inputs: Inputs) -> Outputs:
        return base.apply_student(student, params, inputs, qualities)[0]

    def label_loss(outputs: Outputs, inputs: Inputs) -> Array:
        return base.classification(outputs, inputs, len(qualities), classify)[0]

    gradient = plain_gradient(terms)
    for part in parts:
        if part.wrap is not None:
            gradient = part.wrap(
                gradient, Around(forward, label_loss, partial(view, part), part.name)
            )

    def grads(
        params: dict[str, PyTree], *arguments: PyTree, **named: PyTree
    ) -> tuple[dict[str, PyTree], PyTree, PyTree, Metrics]:
        found, rest = gradient(params, Inputs(*arguments, **named))
        return found, *rest

    numbers = {name_of(part, name): value for part in parts for name, value in part.hyper.items()}
    names = [name_of(part, name) for part in parts for name in part.term_names]
    shares = {name_of(part, name): share for part in parts for name, share in part.shares.items()}
    coupled: dict[str, str] = {}
    for part in parts:
        unsaid = {
            f"part {part.name}": "does not say whether it looks at several examples at once (couples={} "
            "says that it does not)"
        }
        named = part.couples if part.couples is not None else unsaid
        coupled |= {name_of(part, name): why for name, why in named.items()}
    return Method(
        init=init,
        targets=targets,
        terms=terms,
        grads=grads,
        hyper={**weights, **numbers},
        term_names=("cross_entropy", *names),
        shares=shares,
        couples=coupled,
    )


def balanced(name: str, value: Array, hyper: Mapping[str, Array]) -> Array:
    """Returns a term times its factor of the balance, where there is one."""
    factor = hyper.get(f"{BALANCE}{name}")
    return value if factor is None else factor.astype(value.dtype) * value


def plain_gradient(terms: base.TermsFunction) -> Gradient:
    """Returns the gradient of the sum of `terms`, in one backward pass."""

    def gradient(params: dict[str, PyTree], inputs: Inputs) -> tuple[dict[str, PyTree], Rest]:
        def loss(params: dict[str, PyTree]) -> tuple[Array, Rest]:
            values, rest = terms(params, inputs)
            return sum(values.values(), start=jnp.zeros(())), rest

        (value, (model_state, aux, metrics)), found = jax.value_and_grad(loss, has_aux=True)(params)
        return found, (model_state, aux, {**metrics, "loss": value})

    return gradient
