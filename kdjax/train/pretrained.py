"""Published or own weights that a run begins with: the student's first ones, teachers from files."""

from functools import partial

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from kdjax.checks import UserError
from kdjax.methods import Network
from kdjax.models.weights import load_weights
from kdjax.train.checkpoint import network, variable_shapes
from kdjax.train.state import TrainState, student_variables
from kdjax.types import PyTree


def load_student(config: ConfigDict, state: TrainState) -> TrainState:
    """Returns the state with the student's weights from `student.weights`, where that names any.

    Raises:
      UserError: naming the key and the file that cannot be used.
    """
    student = config.student
    if not student.weights:
        return state
    try:
        loaded = load_weights(
            student.network, student.weights, student_variables(state), layout=student.layout
        )
    except UserError as error:
        raise UserError(f"student.weights: {error}") from error
    params = {**state.params, "student": _arrays(loaded["params"])}
    return state.replace(params=params, batch_stats=_arrays(loaded.get("batch_stats", {})))


def load_teachers(config: ConfigDict, image_size: int) -> list[tuple[Network, PyTree]]:
    """Returns the teachers of `teacher.weights`, each a network and its variables.

    Raises:
      UserError: naming the key that does not fit, or the file that is no detector of this network.
    """
    teacher = config.teacher
    if bool(teacher.weights) != bool(teacher.network):
        missing, given = ("network", "weights") if teacher.weights else ("weights", "network")
        raise UserError(f"teacher.{given} is set without teacher.{missing}; the two go together")
    block = ConfigDict({"network": teacher.network, "layout": teacher.layout, "width": 1.0})
    found = []
    for path in teacher.weights:
        net = network(block, teacher.dtype, key="teacher")
        shapes = variable_shapes(net, image_size)
        blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        try:
            variables = load_weights(
                teacher.network,
                path,
                blank,
                layout=teacher.layout,
                say=partial(_refuse_untrained, path),
            )
        except UserError as error:
            raise UserError(f"teacher.weights: {error}") from error
        found.append((net, variables))
    return found


def _refuse_untrained(path: str, line: str) -> None:
    """A teacher's weights must be whole: what a student would learn anew, nobody trains here."""
    raise UserError(
        f"{path} does not hold a whole detector ({line}); train it first: give it to a run as "
        "student.weights, and that run as teacher.runs"
    )


def _arrays(tree: PyTree) -> PyTree:
    return jax.tree.map(jnp.asarray, tree)
