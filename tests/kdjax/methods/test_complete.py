"""Shipped factories called by hand."""

import inspect

import pytest

from kdjax import methods, models
from kdjax.defaults import COMMON, PARTS
from kdjax.methods import Network

STUDENT = Network(models.create("resnet_tiny"), (0.5,) * 3, (0.5,) * 3)
DUAL = Network(models.create("dual_resnet_tiny"), (0.5,) * 3, (0.5,) * 3)
FACTS = {
    "qualities": ("raw", "c40"), "teacher_quality": "raw", "dataset_size": 8, "indices": None,
    "steps_per_epoch": 2,
}  # fmt: skip


def build(name, **options):
    factory = getattr(methods, name)
    facts = {key: FACTS[key] for key in inspect.signature(factory).parameters if key in FACTS}
    teachers = {"tokd": (DUAL,), "qad": ()}.get(name, (STUDENT,))
    return factory(STUDENT, teachers, **facts, **options)


@pytest.mark.parametrize("name", PARTS)
def test_what_is_not_given_is_at_its_default(name):
    part = build(name)
    made = methods.create(
        name, STUDENT, {"tokd": (DUAL,), "qad": ()}.get(name, (STUDENT,)), **{
            key: value for key, value in FACTS.items() if key != "indices"
        },
    )  # fmt: skip
    assert {**part.hyper, "cross_entropy_weight": made.hyper["cross_entropy_weight"]} == made.hyper
    assert ("cross_entropy", *part.term_names) == made.term_names
    assert part.shares == made.shares


def test_defaults_are_taken_as_they_are():
    assert build("qad", **methods.defaults("qad")).shares == {"collaboration": 0.02}
    assert build("qad", shares={"collaboration": 0.5}).shares == {"collaboration": 0.5}
    assert build("add", view_weight=3.0).hyper["view_weight"] == 3.0


def test_options_of_the_whole_method_are_not_swallowed():
    assert methods.defaults("kd")["cross_entropy_weight"] != COMMON["cross_entropy_weight"]
    with pytest.raises(ValueError, match="cross_entropy_weight is of the whole method"):
        build("kd", **methods.defaults("kd"))
    with pytest.raises(TypeError, match="view_wait"):
        build("add", view_wait=3.0)
