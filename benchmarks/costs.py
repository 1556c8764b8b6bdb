"""What a training step costs, and how much of it is the losses."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from harness import Work, alternate, ratio, significant, summary
from workloads import (
    ALL_QUALITIES,
    METHODS,
    STUDENT_QUALITY,
    TEACHER_QUALITY,
    Setting,
    Training,
    float_images,
    network,
)

from kdjax import losses
from kdjax.methods import defaults
from kdjax.methods.base import apply_teacher
from kdjax.train.state import student_variables
from kdjax.types import Array

STAGES = ("stage1", "stage2", "stage3", "stage4")


def steps(setting: Setting, repeats: int, methods: tuple[str, ...] = METHODS) -> dict[str, Any]:
    """Times the whole training step of each method in turn: images a second, and relative cost."""
    trainings = {method: Training(method, setting) for method in methods}
    for training in trainings.values():
        training.advance()
    # a round long enough that its start and the waiting at its end do not count
    trial = alternate({method: each.advance for method, each in trainings.items()}, 1)
    slowest = max(values[0] for values in trial.values())
    count = max(1, min(50, round(0.3 / slowest)))
    works = {method: partial(training.advance, count) for method, training in trainings.items()}
    seconds = alternate(works, repeats)
    images = setting.batch * count
    row: dict[str, Any] = {"setting": setting._asdict()}
    for method, values in seconds.items():
        row[f"{method} images/s"] = summary([images / value for value in values])
        if method != "supervised":
            row[f"{method} / supervised"] = ratio(values, seconds["supervised"])
    return row


def add_costs(setting: Setting, repeats: int) -> dict[str, Any]:
    """Times ADD's losses with gradients against the whole ADD step, and ADD's step against KD's.

    The two answer one question twice: the share that the losses take when run alone on the step's
    feature maps, and what the step takes more than one with the same two networks and no such loss.
    """
    trainings = {"add": Training("add", setting), "kd": Training("kd", setting)}
    works = {f"{method} step": each.advance for method, each in trainings.items()}
    maps = training_maps(trainings["add"])
    losses_alone = {
        "frequency attention": frequency_work(maps),
        "multi-view": multi_view_work(maps),
        "both losses": both_work(maps),
    }
    seconds = alternate({**losses_alone, **works}, repeats, warm_up=2)
    step = seconds.pop("add step")
    without = seconds.pop("kd step")
    row: dict[str, Any] = {"setting": setting._asdict()}
    for name, values in seconds.items():
        row[f"{name} / ADD step"] = ratio(values, step)
    more = [(add - kd) / add for add, kd in zip(step, without, strict=True)]
    row["(ADD step - KD step) / ADD step"] = summary(more)
    row["ADD step seconds"] = significant(summary(step)["median"])
    return row


def method_costs(setting: Setting, repeats: int) -> dict[str, Any]:
    """Times CKD, TOKD and QAD against what they cannot do without.

    That is a supervised step and the teacher's forward pass; for QAD, which has no teacher, a supervised
    step on the same images in the same three qualities.
    """
    trainings = {
        "supervised": Training("supervised", setting),
        "supervised, three qualities": Training("supervised", setting, qualities=ALL_QUALITIES),
        **{name: Training(name, setting) for name in ("ckd", "tokd", "qad")},
    }
    works = {name: each.advance for name, each in trainings.items()}
    teachers = {f"teacher of {name}": trainings[name].teach() for name in ("ckd", "tokd")}
    seconds = alternate({**works, **teachers}, repeats, warm_up=2)
    row: dict[str, Any] = {"setting": setting._asdict()}
    for name in ("ckd", "tokd"):
        pairs = zip(seconds["supervised"], seconds[f"teacher of {name}"], strict=True)
        needed = [step + forward for step, forward in pairs]
        row[f"{name} / (supervised + its teacher)"] = ratio(seconds[name], needed)
    alone = seconds["supervised, three qualities"]
    row["qad / supervised, three qualities"] = ratio(seconds["qad"], alone)
    row["supervised step seconds"] = significant(summary(seconds["supervised"])["median"])
    return row


class Maps(NamedTuple):
    """The maps that ADD's losses meet in a training step, by stage.

    Attributes:
      student: float `[B, H, W, C]` of the four stages, of the compressed images.
      teacher: the same of the raw images.
      labels: int32 `[B]`.
    """

    student: list[Array]
    teacher: list[Array]
    labels: Array


def training_maps(training: Training) -> Maps:
    """Returns the maps of a training's student and teacher on its own batch."""
    images = float_images(training.batch)["image"]
    net = network(training.setting)
    sides = []
    for variables, quality in (
        (student_variables(training.state), STUDENT_QUALITY),
        (training.teachers[0], TEACHER_QUALITY),
    ):
        features = jax.jit(partial(apply_teacher, net))(variables, images[quality]).features
        sides.append([features[stage] for stage in STAGES])
    return Maps(*sides, training.batch["label"])


def frequency_loss(student: list[Array], maps: Maps) -> Array:
    """Returns the frequency attention of the stages, weighted as ADD weights it."""
    options = defaults("add")
    total = jnp.zeros(())
    for own, other, weight in zip(student, maps.teacher, options["frequency_layers"], strict=True):
        if weight:
            distance = losses.frequency_attention(own, other, gamma=options["frequency_gamma"])
            total += options["frequency_weight"] * weight * jnp.mean(distance)
    return total


def multi_view_loss(student: list[Array], maps: Maps, *, both_directions: bool = False) -> Array:
    """Returns the multi-view loss of the stages, weighted as ADD weights it."""
    options = defaults("add")
    total = jnp.zeros(())
    weights = options["view_layers"]
    for number, (own, other, weight) in enumerate(zip(student, maps.teacher, weights, strict=True)):
        if weight:
            draw_key, pair_key = jax.random.split(jax.random.fold_in(jax.random.key(0), number))
            directions = losses.directions(draw_key, options["views"])
            value = losses.multi_view(
                *losses.view_densities(own, other, directions),
                maps.labels,
                pair_key,
                gamma=options["view_gamma"],
                eta=options["view_eta"],
                margin=options["margin"],
                both_directions=both_directions,
            )
            total += options["view_weight"] * weight * value
    return total


def frequency_work(maps: Maps) -> Work:
    """Returns one value and gradient of `frequency_loss`."""
    return _gradient_work(frequency_loss, maps)


def multi_view_work(maps: Maps, *, both_directions: bool = False) -> Work:
    """Returns one value and gradient of `multi_view_loss`."""
    return _gradient_work(partial(multi_view_loss, both_directions=both_directions), maps)


def both_work(maps: Maps) -> Work:
    """Returns one value and gradient of the sum of both."""
    return _gradient_work(lambda x, m: frequency_loss(x, m) + multi_view_loss(x, m), maps)


def _gradient_work(loss: Callable[[list[Array], Maps], Array], maps: Maps) -> Work:
    # the maps are arguments, so that nothing of them is folded into the program
    function = jax.jit(jax.value_and_grad(loss))
    return lambda: jax.block_until_ready(function(maps.student, maps))
