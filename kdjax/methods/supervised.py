"""Training on labels alone: the teachers of every method, and the student each is compared with."""

from collections.abc import Sequence

from kdjax.methods import base
from kdjax.methods.base import Inputs, Method, Network, Rest, Terms
from kdjax.types import PyTree


def supervised(
    student: Network, teachers: Sequence[Network] = (), *, qualities: Sequence[str]
) -> Method:
    """Cross-entropy over the images of every quality in `qualities`.

    Args:
      student: the network to train.
      teachers: none are used; any given is refused.
      qualities: the qualities the student sees, all in one forward pass.

    Returns:
      The method, with the term `cross_entropy`.

    Raises:
      ValueError: when teachers are given.
    """
    if teachers:
        raise ValueError("teacher.runs is set, but method supervised learns from no teacher")

    def terms(params: dict[str, PyTree], inputs: Inputs) -> tuple[Terms, Rest]:
        outputs, model_state = base.apply_student(student, params, inputs, qualities)
        value, metrics = base.classification(outputs, inputs, len(qualities))
        return {"cross_entropy": value}, (model_state, inputs.aux, metrics)

    return Method(
        init=base.no_heads,
        targets=base.no_targets,
        terms=terms,
        grads=base.one_pass(terms),
        hyper={},
        term_names=("cross_entropy",),
    )
