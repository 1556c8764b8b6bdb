"""Published or own weights that a run begins with: the student's first ones, teachers from files."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from kdjax import models
from kdjax.checks import UserError
from kdjax.extensions import Extensions
from kdjax.methods import Network
from kdjax.models.families import choose_layout
from kdjax.models.weights import load_weights
from kdjax.models.weights.runs import restore_best
from kdjax.train.checkpoint import check_variables, read_config
from kdjax.train.networks import network, variable_shapes
from kdjax.train.programs import changes
from kdjax.train.state import TrainState, student_variables
from kdjax.types import PyTree

TEACHER = "teacher"
"""Value of `student.weights` that stands for the first run of `teacher.runs`."""


def load_student(config: ConfigDict, state: TrainState) -> TrainState:
    """Returns the state with the student's weights from `student.weights`, where that names any.

    Raises:
      UserError: naming the key and the file that cannot be used.
    """
    if not config.student.weights:
        return state
    loaded = _load_student(config, student_variables(state))
    params = {**state.params, "student": loaded["params"]}
    return state.replace(params=params, batch_stats=loaded["batch_stats"])


def check_student(config: ConfigDict, net: Network, image_size: int) -> None:
    """Raises UserError, naming the key, unless the student can begin with `student.weights`."""
    if config.student.weights:
        _load_student(config, _blank(net, image_size), say=lambda line: None)


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
        try:
            variables = load_weights(
                teacher.network,
                path,
                _blank(net, image_size),
                layout=teacher.layout,
                say=partial(_refuse_untrained, path),
            )
        except UserError as error:
            raise UserError(f"teacher.weights: {error}") from error
        found.append((net, variables))
    return found


def _load_student(config: ConfigDict, variables: PyTree, **how: Any) -> PyTree:
    student = config.student
    path = _teacher_run(config) if student.weights == TEACHER else student.weights
    if student.network not in models.names():
        return _of_own_network(student.network, path, variables)
    try:
        return load_weights(student.network, path, variables, layout=student.layout, **how)
    except UserError as error:
        raise UserError(f"student.weights: {error}") from error


def _of_own_network(name: str, path: str, variables: PyTree) -> PyTree:
    """Returns the weights of a run whose network is one of the user's own."""
    if not Path(path).is_dir():
        raise UserError(
            f"student.weights={path}: a network of your own, {name!r}, begins with the folder of a run alone"
        )
    found, step = restore_best(Path(path))
    check_variables(found, variables, f"{path}/best/{step}", name)
    return jax.tree.map(jnp.asarray, found)


def _teacher_run(config: ConfigDict) -> str:
    """Returns the folder of the first teacher's run; UserError when there is none, or of another network."""
    if not config.teacher.runs:
        raise UserError(
            "student.weights=teacher, but teacher.runs is empty; name the teacher's run there, or give "
            "student.weights a file or the folder of a run"
        )
    run = config.teacher.runs[0]
    own, other = _architecture(config), _architecture(read_config(run))
    for key, value in own.items():
        if other[key] != value:
            raise UserError(
                f"student.weights=teacher: student.{key} is {value!r}, but {other[key]!r} in the teacher {run}; "
                "choose the teacher's, or another start"
            )
    return run


def _architecture(config: ConfigDict) -> dict[str, Any]:
    """Returns what decides which weights a configuration's student has."""
    student = config.student
    return {
        "network": student.network,
        # one of the user's own has none
        "layout": choose_layout(student.network, student.layout)
        if student.network in models.names()
        else "",
        "width": student.width,
    }


def teachers_of_own_seed(config: ConfigDict) -> list[str]:
    """Returns a line for each teacher that began with the very weights that the student begins with."""
    found = []
    for run in config.teacher.runs:
        other = read_config(run)
        scratch = not config.student.weights and not other.student.weights
        same = config.seed.student == other.seed.student
        if scratch and same and _architecture(config) == _architecture(other):
            found.append(
                f"the teacher {run} was drawn from the student's own seed.student={config.seed.student}: its "
                "channels correspond to the student's, as another teacher's would not; give another seed "
                "to see what a method does without that"
            )
    return found


def changed_teachers(config: ConfigDict, extensions: Extensions) -> list[str]:
    """Returns a line for each teacher whose network is the user's own, of a program that has changed since."""
    found = []
    for run in config.teacher.runs:
        if read_config(run).student.network in extensions.networks:
            told = changes(Path(run), extensions)
            found += [f"{told}: this teacher's network is the one as it is now"] if told else []
    return found


def _blank(net: Network, image_size: int) -> PyTree:
    """Returns variables of a network that are all 0."""
    shapes = variable_shapes(net, image_size)
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def _refuse_untrained(path: str, line: str) -> None:
    """What a student would learn, nobody trains in a teacher: its weights must be whole and fit."""
    raise UserError(
        f"{path} is no detector that can teach as it is ({line.removeprefix(f'{path}: ')}); train it first: "
        "give it to a run as student.weights, and that run as teacher.runs"
    )
