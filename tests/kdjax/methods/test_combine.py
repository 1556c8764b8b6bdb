"""Several methods in one run: names, weights that change, and what is refused."""

import dataclasses

import jax
import numpy as np
import pytest

from kdjax import configs
from kdjax.train.ramps import make_ramps
from kdjax.train.step import method_inputs, prepare_batch


def run(bench, step=0):
    state = bench.state.replace(step=np.int32(step))
    batch = prepare_batch(bench.parts, bench.state, bench.batch(0))
    targets = bench.method.targets(bench.teachers, batch)
    inputs = method_inputs(bench.parts, state, targets, batch, None)
    return jax.device_get(jax.jit(bench.method.grads)(state.params, *inputs))


def test_terms_and_numbers_carry_their_parts_name(bench):
    built = bench("combine")
    assert built.method.term_names == ("cross_entropy", "qad.collaboration", "kd.kd")
    numbers = {"cross_entropy_weight", "qad.gamma", "qad.sigma", "qad.collaborative_weight"}
    assert set(built.method.hyper) == numbers | {"kd.temperature", "kd.kd_weight"}


@pytest.mark.slow
def test_the_loss_is_the_sum_with_weights_of_the_step(bench):
    built = bench("combine", parts=("kd",))
    ramps = make_ramps(["kd.kd_weight:rise:0:1"], built.method.hyper, 10)
    ramped = dataclasses.replace(built, parts=built.parts._replace(ramps=ramps))
    for step, share in ((0, 0.0), (5, 0.5), (10, 1.0)):
        metrics = run(ramped, step)[3]
        expected = metrics["cross_entropy"] + share * 0.9 * metrics["kd.kd"]
        np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)


@pytest.mark.slow
def test_rotations_and_perturbation_go_together(bench):
    built = bench("combine", parts=("qad", "tokd", "ckd"), dual=True)
    grads, _, aux, metrics = run(built)
    assert set(grads) == {"student", "heads", "rotation"}
    assert set(grads["heads"]) == {"tokd", "ckd"}
    assert set(aux) == {"qad", "tokd", "ckd"}
    assert {"gradient_cosine/after", "ckd.contrast", "qad.collaboration"} <= set(metrics)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parts": ()}, r"method\.parts must name"),
        ({"parts": ("kd", "kd")}, r"method\.parts must name"),
        ({"parts": ("kd", "ad")}, r"method\.parts"),
        ({"parts": ("qad",)}, "method.parts=qad learns from no teacher"),
        ({"parts": ("tokd",), "dual": False}, "dual-branch"),
        (
            {"parts": ("kd",), "ckd": {"width": 3}},
            r"method\.ckd\.width=3 is set, but method\.parts=kd",
        ),
        ({"parts": ("ckd",), "ckd": {"wide": 3}}, "did you mean 'width'"),
        ({"parts": ("ckd",), "ckd": {"width": 0}}, r"method\.ckd\.width=0"),
        # found when the heads are made
        (
            {"parts": ("tokd",), "dual": True, "tokd": {"rotation_size": 99}},
            r"method\.tokd\.rotation_size=99 .* method\.tokd\.rotation=channel",
        ),
    ],
)
def test_wrong_parts_are_refused_in_one_line(bench, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        # options of parts are dicts, which no cache takes
        bench.__wrapped__("combine", **options)
    assert "\n" not in str(caught.value)


def test_parts_are_set_from_the_command_line():
    config = configs.load("combine", {"method.parts": "qad,add", "method.add.view_weight": "0"})
    assert config.method.parts == ("qad", "add")
    assert config.method.add.view_weight == 0.0
