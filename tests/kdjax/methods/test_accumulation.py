"""Micro-batches add up to the batch, for every method that says so; every other one is refused with its reason."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import methods
from kdjax.methods import Network, Part
from kdjax.methods.part import assemble
from kdjax.train.accumulation import check_exact, micro_batches
from kdjax.train.step import make_gradient_norms, method_inputs

EXACT = {
    "supervised": {},
    "kd": {},
    "add": {"view_weight": 0.0},
    "qad": {"collaboration": "soft_label", "perturbation": "none"},
    "baselines": {"loss": "vid"},
    "combine": {"parts": ("kd",)},
}
"""Of each method that adds up, options with which it does."""

COUPLED = {
    "add": ({}, "multi_view compares images of the whole batch"),
    "ckd": ({}, "contrast draws negatives from the whole batch, which a memory bank keeps"),
    "tokd": ({}, r"projectors \(method.projectors\) normalise by the whole batch"),
    "qad": ({}, r"collaboration \(method.collaboration=hsic\) compares all images of the batch"),
    "baselines": ({}, "rkd compares images of the whole batch with each other"),
    "combine": ({}, r"qad.collaboration \(method.collaboration=hsic\) compares all images"),
}

MORE = {
    "qad": [
        ({"collaboration": "none"}, "perturbation moves the weights by the gradient"),
        (
            {"collaboration": "center", "perturbation": "none"},
            r"collaboration \(method.collaboration=center\) moves its centres to the means of the whole",
        ),
    ],
    "baselines": [
        ({"loss": "similarity"}, "similarity compares images"),
        ({"loss": "pkt"}, "pkt compares images"),
        ({"loss": "crd", "negatives": 4}, "crd updates banks of embeddings"),
        ({"loss": "sam"}, "sam moves the weights"),
    ],
}


def masked(batch):
    """Returns a batch of whose images some do not count, unevenly spread over micro-batches and devices."""
    return {**batch, "mask": np.array([1, 0, 1, 1, 0, 1, 1, 0], np.float32)}


def close(found, expected, tolerance):
    for path, value in jax.tree_util.tree_leaves_with_path(expected):
        other = found
        for key in path:
            other = other[getattr(key, "key", getattr(key, "idx", None))]
        difference = np.linalg.norm(np.asarray(other, np.float64) - np.asarray(value, np.float64))
        assert difference <= tolerance * max(np.linalg.norm(value), 1e-3), jax.tree_util.keystr(
            path
        )


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        *((name, 2) for name in EXACT if name != "add"),
        *(pytest.param(name, 4, marks=pytest.mark.slow) for name in EXACT),
    ],
)
def test_the_gradient_is_that_of_the_batch(bench, name, steps):
    options = {"normalised": False, **EXACT[name]}
    whole, parts = (bench(name, accumulation=count, **options) for count in (1, steps))
    assert whole.method.couples == {}
    for batch in (whole.batch(0), masked(whole.batch(1))):
        grads, _, metrics = whole.first_step(batch)
        found, _, seen = parts.first_step(batch)
        close(found, grads, 1e-5)
        assert seen.keys() == metrics.keys()
        for key in ("loss", "cross_entropy"):
            np.testing.assert_allclose(seen[key], metrics[key], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kd", "supervised"])
def test_updates_are_those_of_the_batch_and_of_four_devices(bench, name):
    expected = bench(name, normalised=False).run(4)
    for devices, steps in ((1, 4), (2, 2), (4, 2)):
        found = bench(name, normalised=False, accumulation=steps, devices=devices).run(4)
        close(found.params, expected.params, 1e-4)


@pytest.mark.slow
def test_micro_batches_normalised_by_themselves_are_the_same_on_four_devices(bench):
    one, four = (bench("kd", accumulation=2, devices=devices).run(2) for devices in (1, 4))
    close(four.batch_stats, one.batch_stats, 1e-5)
    close(four.params, one.params, 1e-4)
    whole = bench("kd").run(2)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), one.batch_stats, whole.batch_stats)
    # two moves a step, not one
    assert max(jax.tree.leaves(moved)) > 1e-2


def test_compiled_is_as_uncompiled(bench):
    made = bench("kd", normalised=False, accumulation=2)
    grads, _, _ = made.first_step()
    with jax.disable_jit():
        inputs = method_inputs(
            made.parts,
            made.state,
            (),
            {"mask": np.ones(8, np.float32), "label": np.arange(8)},
            None,
        )
        micros = micro_batches(inputs, 2)
    assert [list(micro.inputs.batch["label"]) for micro in micros] == [[0, 2, 4, 6], [1, 3, 5, 7]]
    np.testing.assert_array_equal([micro.weight for micro in micros], [0.5, 0.5])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_a_term_is_measured_by_micro_batches_too(bench):
    norms = []
    for steps in (1, 4):
        made = bench("kd", normalised=False, accumulation=steps)
        norm = jax.jit(make_gradient_norms(made.parts))
        for name in ("cross_entropy", "kd"):
            selection = {other: float(other == name) for other in ("cross_entropy", "kd")}
            norms.append(float(norm(made.state, made.lesson(masked(made.batch(0))), selection)))
    np.testing.assert_allclose(norms[2:], norms[:2], rtol=1e-5)
    assert min(norms) > 0


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        *((name, *case) for name, case in COUPLED.items()),
        *((name, *case) for name, cases in MORE.items() for case in cases),
    ],
)
def test_what_looks_at_several_images_is_refused(bench, name, options, reason):
    teachers = 0 if options.get("loss") == "sam" else None
    method = bench(name, teacher_count=teachers, **options).method
    with pytest.raises(ValueError, match=rf"accumulation.steps=2 would train .*: {reason}.*=1"):
        check_exact(method, 2, normalised="", batch_norm="exact")
    check_exact(method, 1, normalised="stem_norm", batch_norm="exact")


def test_rotations_alone_are_refused_too(bench):
    made = bench("tokd")
    options = {"qualities": ("c40",), "teacher_quality": "raw", "projectors": False}
    part = methods.tokd(made.student, (made.student,), **options)
    assert part.couples == {
        "rotation": "(method.rotation) is turned by the gradients of the whole batch"
    }
    assert methods.tokd(made.student, (made.student,), rotation="none", **options).couples == {}


@pytest.mark.parametrize("name", [name for name in methods.names() if name not in COUPLED])
def test_every_other_method_is_said_to_add_up(name):
    assert name in EXACT


def test_a_part_of_ones_own_says_itself_whether_it_adds_up(tiny_networks):
    make, _ = tiny_networks
    network = Network(make(jnp.float32, None), (0.5,) * 3, (0.5,) * 3)

    def compare(outputs, params, inputs):
        return {"own": jnp.mean(outputs.logits**2)}, inputs.aux, {}

    part = Part("mine", compare, term_names=("own",))
    for couples, message in (
        (None, "part mine does not say whether it looks at several examples at once"),
        ({"own": "sorts the batch"}, "own sorts the batch"),
    ):
        method = assemble(network, ("raw",), [part._replace(couples=couples)])
        with pytest.raises(ValueError, match=message):
            check_exact(method, 2, normalised="", batch_norm="exact")
    method = assemble(network, ("raw",), [part._replace(couples={})])
    check_exact(method, 2, normalised="", batch_norm="exact")
    with pytest.raises(ValueError, match=r"the student's norm1 normalises by it; .*=micro"):
        check_exact(method, 2, normalised="norm1", batch_norm="exact")
    check_exact(method, 2, normalised="norm1", batch_norm="micro")
    with pytest.raises(ValueError, match="the method does not say"):
        check_exact(method._replace(couples=None), 2, normalised="", batch_norm="micro")
    inputs = method_inputs_of(jnp.ones(3))
    with pytest.raises(ValueError, match=r"one has the shape \(3,\) for 8 of them"):
        micro_batches(inputs, 2)


def method_inputs_of(targets):
    batch = {"mask": jnp.ones(8), "label": jnp.zeros(8, jnp.int32)}
    return methods.Inputs({}, (), {"mine": targets}, batch, {}, jax.random.key(0))
