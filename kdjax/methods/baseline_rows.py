"""What each loss that the papers compare with looks at, what it weighs, and the heads it trains."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from kdjax import losses
from kdjax.methods import projectors
from kdjax.methods.base import STAGES
from kdjax.methods.projectors import NonLocal, Stack
from kdjax.types import Array, PyTree


class Row(NamedTuple):
    """One loss between a student's and a teacher's features.

    Attributes:
      weight: as the loss's authors, or RepDistiller's, set it.
      features: what it looks at: names of features, or `logits`.
      compare: `(student, teacher, head) -> [B] or scalar`; scalars look at the batch of all devices.
      relational: whether it is such a scalar, and takes a mask.
      rank: axes of the features it takes; 0: any, student and teacher alike.
      head: `(rng, student's shape, teacher's shape) -> parameters`, None without any.
      same_width: whether student and teacher must have as many channels.
    """

    weight: float
    features: tuple[str, ...]
    compare: Callable[..., Array]
    relational: bool = False
    rank: int = 0
    head: Callable[..., PyTree] | None = None
    same_width: bool = False


def _regressor(rng: Array, own: tuple[int, ...], other: tuple[int, ...]) -> PyTree:
    """Returns a 1 x 1 convolution from the student's width to the teacher's."""
    return projectors.init_stack(rng, Stack(1, (), other[-1], 1), own[-1])


def _regress(features: Array, head: PyTree) -> Array:
    width = head["conv1"]["kernel"].shape[-1]
    return projectors.apply_stack(Stack(1, (), width, 1), head, features)


def _fitnet(student: Array, teacher: Array, head: PyTree) -> Array:
    return losses.fitnet(_regress(student, head), teacher)


def _vid_head(rng: Array, own: tuple[int, ...], other: tuple[int, ...]) -> PyTree:
    # softplus of it is the initial variance of 5
    start = jnp.log(jnp.expm1(jnp.asarray(5.0 - losses.VARIANCE_FLOOR)))
    return {"mean": _regressor(rng, own, other), "log_scale": jnp.full((other[-1],), start)}


def _vid(student: Array, teacher: Array, head: PyTree) -> Array:
    return losses.vid(_regress(student, head["mean"]), head["log_scale"], teacher)


def _linear(rng: Array, own: tuple[int, ...], other: tuple[int, ...]) -> PyTree:
    return projectors.init_linear(rng, own[-1], other[-1])


def _simkd(student: Array, teacher: Array, head: PyTree) -> Array:
    return losses.fitnet(projectors.apply_linear(head, student), teacher)


def _attention_head(rng: Array, own: tuple[int, ...], other: tuple[int, ...]) -> PyTree:
    keys = jax.random.split(rng, 3)
    return {
        "student": NonLocal().init(keys[0], jnp.zeros((1, 2, 2, own[-1])))["params"],
        "teacher": NonLocal().init(keys[1], jnp.zeros((1, 2, 2, other[-1])))["params"],
        "regressor": _regressor(keys[2], own, other),
    }


def _nonlocal(student: Array, teacher: Array, head: PyTree) -> Array:
    own, other = losses.match_spatial(student, teacher)
    own, other = (
        jnp.asarray(NonLocal().apply({"params": head[name]}, maps))
        for name, maps in (("student", own), ("teacher", other))
    )
    return losses.fitnet(_regress(own, head["regressor"]), other)


def _rkd(student: Array, teacher: Array, mask: Array) -> Array:
    distance = losses.rkd_distance(student, teacher, mask=mask)
    return 25.0 * distance + 50.0 * losses.rkd_angle(student, teacher, mask=mask)


ROWS = {
    "rkd": Row(1.0, ("pooled",), _rkd, relational=True),
    "fitnet": Row(100.0, ("stage2",), _fitnet, rank=4, head=_regressor),
    "attention": Row(
        1000.0,
        STAGES,
        lambda student, teacher, head: losses.attention_transfer(student, teacher),
        rank=4,
    ),
    "similarity": Row(
        3000.0,
        ("stage4",),
        lambda student, teacher, mask: losses.similarity_preserving(student, teacher, mask=mask),
        relational=True,
    ),
    "pkt": Row(
        30000.0,
        ("pooled",),
        lambda student, teacher, mask: losses.pkt(student, teacher, mask=mask),
        relational=True,
    ),
    "vid": Row(1.0, STAGES[1:], _vid, rank=4, head=_vid_head),
    "logit_mse": Row(
        1.0,
        ("logits",),
        lambda student, teacher, head: losses.logit_mse(student, teacher),
        same_width=True,
    ),
    "simkd": Row(1.0, ("pooled",), _simkd, rank=2, head=_linear),
    "nonlocal": Row(100.0, ("stage3",), _nonlocal, rank=4, head=_attention_head),
}
"""The losses that learn from teachers, by name."""
