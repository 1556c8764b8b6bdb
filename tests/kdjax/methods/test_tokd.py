"""TOKD: the rows of the paper's Table 6, and rotations turned by gradients out of the one backward pass."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import transforms
from kdjax.configs.sweeps import tokd_table6
from kdjax.methods.projectors import Stack, apply_stack
from kdjax.methods.tokd import PLANS
from kdjax.train.step import method_inputs, prepare_batch

ROWS = [
    {key.removeprefix("method."): value for key, value in row.items()} for row in tokd_table6.ROWS
]


def inputs_of(bench, number=0, state=None):
    batch = prepare_batch(bench.parts, bench.state, bench.batch(number))
    targets = bench.method.targets(bench.teachers, batch)
    return method_inputs(bench.parts, state or bench.state, targets, batch, None)


def run(bench, params=None):
    params = bench.state.params if params is None else params
    return jax.device_get(jax.jit(bench.method.grads)(params, *inputs_of(bench)))


def turned(bench, size=6):
    """Returns the parameters with rotations that are not the identity."""
    draw = np.random.default_rng(0)
    free = {name: jnp.float32(draw.normal(size=(size, size))) for name in ("rgb", "frequency")}
    return {**bench.state.params, "rotation": {"tokd": free}}


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: ",".join(map(str, row.values())) or "both")
def test_every_row_of_the_table_has_finite_gradients(bench, row):
    if row.get("projectors") is False:
        with pytest.raises(ValueError, match=r"set method\.projectors=true"):
            bench("tokd", **row)
        return
    grads, _, _, metrics = run(bench("tokd", **row))
    for leaf in jax.tree.leaves(grads):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 0
    assert ("rgb" in metrics) == (row.get("rgb_weight") != 0)
    assert ("gradient_cosine/after" in metrics) == (row == {})
    assert ("rotation" in grads) == (row == {})


@pytest.mark.parametrize(
    ("name", "convolutions", "activated"),
    [
        ("student_rgb", 2, (1, 2)),
        ("student_frequency", 3, (1, 2, 3)),
        ("teacher0_rgb", 3, (1, 2, 3)),
        ("teacher0_frequency", 5, (2, 4)),
    ],
)
def test_projectors_are_the_papers(bench, name, convolutions, activated):
    head = bench("tokd", teacher_projectors="joint").state.params["heads"]["tokd"][name]
    wanted = {f"conv{number}" for number in range(1, convolutions + 1)}
    assert set(head) == wanted | {f"norm{number}" for number in activated}
    assert all(head[layer]["kernel"].shape[:2] == (3, 3) for layer in wanted)


@pytest.mark.slow
def test_a_branch_counts_the_distance_of_directions(bench):
    built = bench("tokd", projectors=False, rotation="none", frequency_weight=0.0, teacher_count=2)
    batch = prepare_batch(built.parts, built.state, built.batch(0))
    own = np.float64(built.outputs(batch)[0].features["stage4"])
    targets = built.method.targets(built.teachers, batch)["tokd"]
    maps = [np.float64(target["rgb"]) for target in targets]
    own, *maps = (x.reshape(len(x), -1) for x in (own, *maps))
    own, *maps = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (own, *maps))
    distance = np.mean([((own - other) ** 2).sum(axis=1) for other in maps])
    metrics = run(built)[3]
    np.testing.assert_allclose(metrics["rgb"], distance, rtol=1e-4)
    np.testing.assert_allclose(metrics["loss"], metrics["cross_entropy"] + 10 * distance, rtol=1e-4)


@pytest.mark.slow
def test_the_losses_never_train_the_rotations(bench):
    built = bench("tokd", rotation_size=6)
    inputs, params = inputs_of(built), turned(built)

    def loss(params):
        terms, _ = built.method.terms(params, inputs)
        return sum(terms.values())

    grads = jax.jit(jax.grad(loss))(params)
    for leaf in jax.tree.leaves(grads["rotation"]):
        np.testing.assert_array_equal(leaf, 0)
    # and what the wrapped gradient says of all others is the same
    found, _, _, _ = run(built, params)
    for group in ("student", "heads"):
        for a, b in zip(*map(jax.tree.leaves, (found[group], grads[group])), strict=True):
            assert np.linalg.norm(a - b) <= 1e-4 * np.linalg.norm(b)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("axis", "target", "form"),
    [("channel", "mean", "cosine"), ("flat", "rotograd", "cosine"), ("channel", "mean", "squared")],
)
def test_the_rotations_follow_the_objective_of_the_gradients_at_the_map(bench, axis, target, form):
    weights = {"rgb": 10.0, "frequency": 2.0}
    built = bench(
        "tokd",
        rotation_size=6,
        rotation=axis,
        rotation_target=target,
        rotation_form=form,
        **{f"{name}_weight": weight for name, weight in weights.items()},
    )
    inputs, params = inputs_of(built), turned(built)
    shape = built.outputs(inputs.batch)[0].features["stage4"].shape

    def branch(noise, name):
        """The sum of the examples' unweighted losses of one branch, with its rotated map moved."""
        probes = {other: jnp.zeros(shape) for other in weights} | {name: noise}
        terms, _ = built.method.terms({**params, "probes": {"tokd": probes}}, inputs)
        return len(noise) * terms[name] / weights[name]

    gradients = {
        name: jax.jit(jax.grad(functools.partial(branch, name=name)))(jnp.zeros(shape))
        for name in weights
    }
    own = {name: transforms.rotated_entries(g, 6, axis=axis) for name, g in gradients.items()}
    free = params["rotation"]["tokd"]
    back = [
        transforms.rotate(own[name], transforms.rotation_matrix(free[name]).T) for name in weights
    ]
    goal = transforms.gradient_target(back, one_norm=target == "rotograd")
    found, _, _, metrics = run(built, params)
    for name in weights:
        objective = functools.partial(transforms.rotation_objective, form=form)
        expected = jax.grad(objective)(free[name], own[name], goal)
        got = found["rotation"]["tokd"][name]
        assert np.linalg.norm(got - expected) <= 1e-4 * np.linalg.norm(expected)
    cosine, _ = transforms.gradient_cosine(*gradients.values())
    np.testing.assert_allclose(metrics["gradient_cosine/before"], cosine.mean(), atol=1e-5)
    cosine, _ = transforms.gradient_cosine(*back)
    np.testing.assert_allclose(metrics["gradient_cosine/rotated_after"], cosine.mean(), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["cosine", "squared"])
def test_padding_and_devices_do_not_turn_the_rotations_further(bench, form):
    # the padding is spread unevenly over the devices
    mask = np.array([1, 1, 1, 0, 1, 1, 0, 0], np.float32)
    found = []
    for devices in (1, 4):
        built = bench("tokd", rotation_form=form, devices=devices)
        built = dataclasses.replace(built, state=built.state.replace(params=turned(built)))
        grads, _, metrics = built.first_step({**built.batch(0), "mask": mask})
        found.append((grads["rotation"], metrics))
    (one, before), (four, after) = found
    for a, b in zip(*map(jax.tree.leaves, (one, four)), strict=True):
        assert np.linalg.norm(a - b) <= 1e-4 * np.linalg.norm(a)
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_at_the_start_nothing_is_rotated(bench):
    metrics = run(bench("tokd", rotation_size=6))[3]
    plain = run(bench("tokd", rotation="none"))[3]
    for name in ("rgb", "frequency", "cross_entropy", "gradient_cosine/before"):
        np.testing.assert_allclose(metrics[name], plain[name], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        metrics["gradient_cosine/after"], metrics["gradient_cosine/before"], atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["frozen", "teacher_ce"])
def test_the_teachers_projectors_do_not_learn_from_the_distillation(bench, kind):
    built = bench("tokd", teacher_projectors=kind)
    grads, _, aux, _ = run(built)
    heads = grads["heads"]["tokd"]
    if kind == "frozen":
        assert set(heads) == {"student_rgb", "student_frequency"}
        jax.tree.map(np.testing.assert_array_equal, aux, jax.device_get(built.state.aux))
        return
    assert built.method.term_names[-1] == "projector_cross_entropy"
    inputs = inputs_of(built)

    def distillation(heads):
        params = {**built.state.params, "heads": {"tokd": heads}}
        terms, _ = built.method.terms(params, inputs)
        return terms["rgb"] + terms["frequency"]

    found = jax.jit(jax.grad(distillation))(built.state.params["heads"]["tokd"])
    for name in ("teacher0_rgb", "teacher0_frequency", "classifier0_rgb"):
        for leaf in jax.tree.leaves(found[name]):
            np.testing.assert_array_equal(leaf, 0)
        assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(heads[name])) > 0


@pytest.mark.slow
def test_a_collapse_is_seen_by_each_teachers_cosine(bench):
    built = bench("tokd", teacher_count=2, qualities=("raw", "c40"), teacher_projectors="joint")
    kept = np.array([1, 1, 1, 0, 1, 1, 0, 1], np.float32)
    batch = {**prepare_batch(built.parts, built.state, built.batch(0)), "mask": kept}
    targets = built.method.targets(built.teachers, batch)
    inputs = method_inputs(built.parts, built.state, targets, batch, None)
    metrics = jax.jit(built.method.grads)(built.state.params, *inputs)[3]
    heads = built.state.params["heads"]["tokd"]
    for number, name in itertools.product(range(2), ("rgb", "frequency")):
        key = f"teacher{number}_{name}"
        layers, activated = PLANS[f"teacher_{name}"]
        maps = apply_stack(Stack(layers, activated, 8), heads[key], targets["tokd"][number][name])
        rows = np.float64(maps).reshape(8, -1)[kept > 0]
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        cosines = (rows @ rows.T)[~np.eye(6, dtype=bool)]
        np.testing.assert_allclose(metrics[f"teacher_cosine/{key}"], cosines.mean(), rtol=1e-4)


@pytest.mark.slow
def test_variants_train(bench):
    for options in (
        {"rotation_method": "cayley"},
        {"rotation_form": "squared"},
        {"rotation": "flat", "rotation_size": 40},
    ):
        grads, _, _, _ = run(bench("tokd", **options))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
        assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(grads["rotation"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rotation_size": 17}, "method.rotation_size=17 is larger than the 16"),
        ({"rotation_size": -1}, r"method\.rotation_size"),
        ({"dual": False}, "teacher.runs needs dual-branch networks.*has no 'rgb'"),
        ({"layer": "stage5"}, r"method\.layer"),
        ({"rgb_weight": 0.0}, r"set method\.rotation=none"),
        ({"rgb_weight": 0.0, "frequency_weight": 0.0}, "both 0"),
        ({"rotation": "row"}, r"method\.rotation"),
        ({"teacher_projectors": "thawed"}, r"method\.teacher_projectors"),
        ({"teacher_count": 0}, r"teacher\.runs"),
        ({"width": 0}, r"method\.width"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(bench, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        bench("tokd", **options)
    assert "\n" not in str(caught.value)
