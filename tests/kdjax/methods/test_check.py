"""The check that is offered to methods of the user's own passes the shipped ones, and sees what is wrong."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from kdjax import losses, methods
from kdjax.methods import Part
from kdjax.methods.base import apply_teacher

ALL = ("raw", "c23", "c40")
SHIPPED = {
    "kd": {},
    "ckd": {"negatives": 2, "width": 8},
    "add": {"view_layers": (0.0, 0.5, 2.5, 0.0)},
    # its projectors' batch statistics see every row
    "tokd": {"width": 8, "own_statistics": True},
    "qad": {"qualities": ALL, "teachers": 0, "moves_weights": True},
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name == "kd" else pytest.mark.every)
        for name in SHIPPED
    ],
)
def test_shipped_methods_pass(name, tiny_networks):
    own, dual = tiny_networks
    teacher = dual if name == "tokd" else own
    checked = methods.check(name, network=own, teacher_network=teacher, **SHIPPED[name])
    assert ("teachers" in checked) == (name != "qad")


@pytest.mark.slow
def test_the_program_of_the_docs_passes():
    path = Path(__file__).resolve().parents[2] / "programs" / "closeness.py"
    spec = importlib.util.spec_from_file_location("closeness", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # on the default network
    methods.check(module.closeness, qualities=("raw", "c40"))


def made(term, targets=None, **facts):
    """Returns a factory whose one term is a function of the student's outputs and the inputs."""

    def factory(student, teachers):
        def compare(outputs, params, inputs):
            return {"mine": term(outputs, inputs)}, inputs.aux, {}

        def see(variables, batch):
            return targets(teachers, variables, batch) if targets else ()

        return Part("mine", compare, see, term_names=("mine",), **facts)

    return factory


def mean(values, inputs):
    return losses.masked_mean(values, inputs.batch["mask"], inputs.axis_name)


def taught(outputs, inputs):
    return mean(jnp.sum((outputs.logits - inputs.targets) ** 2, axis=-1), inputs)


def unmasked(outputs, inputs):
    return jnp.mean(jnp.sum((outputs.logits - inputs.targets) ** 2, axis=-1))


def leaking(teachers, variables, batch):
    images = batch["image"]["raw"]
    return teachers[0].module.apply(variables[0], images, train=False).logits


def stopped(teachers, variables, batch):
    return apply_teacher(teachers[0], variables[0], batch["image"]["raw"]).logits


def by_label(outputs, inputs):
    return jnp.take_along_axis(outputs.logits, inputs.batch["label"][:, None], axis=1)[:, 0]


@pytest.mark.slow
def test_a_right_one_passes(tiny_networks, capsys):
    tiny = dict.fromkeys(("network", "teacher_network"), tiny_networks[0])
    assert jax.local_device_count() > 1
    checked = methods.check(made(taught, stopped), **tiny)
    assert checked[:2] == ("gradients", "terms")
    assert checked[-1] == "two devices"
    said = capsys.readouterr().err.splitlines()
    assert said == [f"check: {name} ..." for name in checked]
    alone = methods.check(made(taught, stopped), several_devices=False, **tiny)
    assert alone == checked[:-1]
    methods.check(made(lambda outputs, inputs: mean(by_label(outputs, inputs), inputs)), **tiny)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (made(taught, leaking), "a gradient reaches the teachers"),
        (made(lambda o, i: jnp.mean(by_label(o, i))), "an example whose mask is 0 counts"),
        # neither reads a label: what networks say of masked rows must differ
        (made(unmasked, stopped), "an example whose mask is 0 counts"),
        (made(lambda o, i: jnp.mean(o.logits[:, 0])), "an example whose mask is 0 counts"),
        (made(lambda o, i: jnp.sqrt(jnp.sum(o.logits) * 0.0)), "a gradient is not finite"),
        (
            made(lambda o, i: mean(o.logits[:, 0] * jnp.max(o.logits[:, 1] * i.batch["mask"]), i)),
            "the gradients on two devices are not those on one",
        ),
        (
            made(
                lambda o, i: mean(o.logits[:, 0], i),
                init=lambda rng, example: ({"heads": {"w": jnp.ones(3)}}, ()),
            ),
            r"the gradient of \['heads'\]\['mine'\]\['w'\] is zero everywhere".replace(
                "mine", "checked"
            ),
        ),
    ],
)
def test_what_is_wrong_is_said(factory, message, tiny_networks):
    assert jax.local_device_count() > 1
    with pytest.raises(ValueError, match=message):
        methods.check(factory, network=tiny_networks[0], teacher_network=tiny_networks[0])
