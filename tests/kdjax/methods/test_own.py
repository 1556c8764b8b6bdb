"""What a part hands over is refused in one line that names it, where training would die or overwrite of it."""

import jax
import jax.numpy as jnp
import pytest

from kdjax import methods
from kdjax.methods import Inputs, Network, Part, assemble
from kdjax.methods.bench import Bench
from kdjax.methods.own import GROUPS
from kdjax.methods.shares import part_shares
from kdjax.train import optim


def built(network, terms=("mine",), metrics=(), announced=("mine",), **facts):
    """Returns the method of a part that returns these terms and metrics, all 1."""

    def compare(outputs, params, inputs):
        return dict.fromkeys(terms, jnp.ones(())), inputs.aux, dict.fromkeys(metrics, jnp.ones(()))

    part = Part("own", compare, term_names=announced, **facts)
    return assemble(network, ("raw",), [part])


@pytest.fixture
def network(tiny_networks):
    return Network(tiny_networks[0](jnp.float32, None), (0.5,) * 3, (0.25,) * 3)


def batch():
    images = {"raw": jnp.zeros((2, 32, 32, 3))}
    return {"image": images, "label": jnp.array([0, 1]), "mask": jnp.ones(2)}


def trace(method, network):
    """Traces the gradients; computes nothing."""

    def run(rng):
        variables = network.module.init(rng, batch()["image"]["raw"], train=False)
        heads, aux = method.init(rng, batch())
        hyper = {name: jnp.asarray(value) for name, value in method.hyper.items()}
        inputs = Inputs(variables["batch_stats"], aux, {"own": ()}, batch(), hyper, rng)
        return method.grads({"student": variables["params"], **heads}, *inputs)

    return jax.eval_shape(run, jax.random.key(0))


def refused(caught, *words):
    line = str(caught.value)
    assert "\n" not in line
    assert all(word in line for word in ("part own", *words)), line


@pytest.mark.parametrize("group", ["student", "classifier", "projectors"])
def test_groups_that_training_does_not_know_are_refused(network, group):
    method = built(network, init=lambda rng, example: ({group: {"w": jnp.ones(2)}}, ()))
    with pytest.raises(ValueError) as caught:
        method.init(jax.random.key(0), batch())
    refused(caught, repr(group), "heads, trained like the student", "rotation, with an optimizer")


@pytest.mark.parametrize("made", [{}, {"heads": {}}, ((), ()), ({}, (), ()), None])
def test_an_init_of_another_form_is_refused(network, made):
    with pytest.raises(ValueError) as caught:
        built(network, init=lambda rng, example: made).init(jax.random.key(0), batch())
    refused(caught, "(parameters by group, auxiliary state)")


def test_the_groups_that_are_allowed_are_those_of_the_optimizer(network):
    assert set(GROUPS) == set(optim.GROUPS) - {"student", optim.CLASSIFIER}
    method = built(network, init=lambda rng, example: ({name: {} for name in GROUPS}, ()))
    assert set(method.init(jax.random.key(0), batch())[0]) == set(GROUPS)


@pytest.mark.parametrize("name", ["cross_entropy", "loss", "term/mine", "balance/mine"])
def test_terms_that_the_library_has_are_refused(network, name):
    with pytest.raises(ValueError) as caught:
        built(network, announced=(name,))
    refused(caught, f"the term {name!r}")


@pytest.mark.parametrize(
    "name",
    [
        *("cross_entropy_weight", "learning_rate", "rotation_learning_rate"),
        *("step", "backbone_trains", "balance/mine"),
    ],
)
def test_numbers_that_the_library_has_are_refused(network, name):
    with pytest.raises(ValueError) as caught:
        built(network, hyper={name: 1.0})
    refused(caught, "number", repr(name))


@pytest.mark.parametrize(
    "name",
    [
        *("loss", "cross_entropy", "accuracy", "kind", "step", "epoch", "learning_rate"),
        *("term/mine", "gradient_ratio/mine", "balance/mine", "balance_skipped"),
    ],
)
def test_metrics_that_the_library_has_are_refused(network, name):
    with pytest.raises(ValueError) as caught:
        trace(built(network, metrics=(name,)), network)
    refused(caught, f"the metric {name!r}")


def test_other_names_pass(network):
    found = trace(built(network, metrics=("mine", "distance/raw"), hyper={"weight": 1.0}), network)
    assert {"mine", "distance/raw", "term/mine", "loss"} <= set(found[3])


def test_a_term_that_never_comes_is_refused(network):
    with pytest.raises(ValueError) as caught:
        trace(built(network, announced=("mine", "other")), network)
    refused(caught, "'other'", "announces")


def test_shares_of_no_term_are_refused(network):
    with pytest.raises(ValueError) as caught:
        built(network, shares={"mein": 0.3})
    refused(caught, "'mein'", "mine")
    with pytest.raises(ValueError, match="shares of own names mein; its terms are mine"):
        part_shares("own", ("mine",), {"mein": 0.3}, {"mein": 0.3})
    # as a shipped part's whose option leaves one of its terms out
    usual = {"mine": 0.3, "other": 0.3}
    assert part_shares("own", ("mine",), usual, usual) == {"mine": 0.3}


def test_create_refuses_shares_of_no_term(network):
    def factory(student, teachers):
        return Part("own", lambda o, p, i: ({}, (), {}), term_names=("mine",), shares={"mein": 0.3})

    with pytest.raises(ValueError, match="part own gives a share to 'mein'"):
        methods.create("own", network, (), qualities=("raw",), own={"own": factory})


def test_terms_are_announced_as_a_tuple(network):
    with pytest.raises(ValueError) as caught:
        built(network, terms=("t",), announced="t")
    refused(caught, "term_names must be a tuple of names, as ('t',)")


@pytest.mark.slow
def test_a_shipped_part_may_go_by_another_name(tiny_networks):
    """TOKD's gradient looks for its own heads; they are under the name of the part, whatever that is."""

    def mine(student, teachers, *, qualities, teacher_quality):
        facts = {"qualities": qualities, "teacher_quality": teacher_quality}
        return methods.tokd(student, teachers, **facts, width=8, rotation_size=6)

    student, teacher = (
        Network(make(jnp.float32, None), (0.5,) * 3, (0.25,) * 3) for make in tiny_networks
    )
    facts = {"qualities": ("c40",), "dataset_size": 2}
    method = methods.create("mine", student, (teacher,), own={"mine": mine}, **facts)
    bench = Bench(method, student, (teacher,), None)
    images = {"raw": jnp.zeros((2, 32, 32, 3)), "c40": jnp.zeros((2, 32, 32, 3))}
    seen = {**batch(), "image": images}
    grads, _, _ = jax.eval_shape(bench.grads, bench.params, bench.teachers, seen)
    assert set(grads["rotation"]) == {"mine"}
