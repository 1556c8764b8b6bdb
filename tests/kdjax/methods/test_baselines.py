"""The compared losses as a method: every row trains, on one device as on four."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import losses, methods
from kdjax.methods import crd
from kdjax.methods.baselines import ALONE, LOSSES
from kdjax.train.step import method_inputs, prepare_batch

ALL = ("raw", "c23", "c40")
QUICK = ("simkd", "similarity", "crd")
"""Rows that stand for their kind among the quick tests: with a head, relational, with state."""
RECORDED = Path(__file__).parents[1] / "losses" / "rep_distiller.npz"


def build(bench, loss, **changed):
    alone = loss in ALONE
    qualities = ALL if loss == "collaborative" else ("c40",)
    own = {"negatives": 6} if loss == "crd" else {}
    return bench(
        "baselines",
        qualities=qualities,
        teacher_count=0 if alone else 1,
        loss=loss,
        **{**own, **changed},
    )


@pytest.mark.parametrize(
    "loss", [pytest.param(x, marks=() if x in QUICK else pytest.mark.slow) for x in LOSSES]
)
def test_every_row_has_finite_gradients_of_its_own(bench, loss):
    built = build(bench, loss)
    grads, _, metrics = built.first_step()
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        assert np.isfinite(leaf).all(), path
    assert built.method.term_names == ("cross_entropy", *(() if loss == "sam" else (loss,)))
    if loss == "sam":
        plain, _, _ = bench("supervised").first_step()
        moved = [
            np.abs(a - b).max()
            for a, b in zip(
                *map(jax.tree.leaves, (grads["student"], plain["student"])), strict=True
            )
        ]
        assert max(moved) > 0
        return
    weight = float(built.state.hyper["weight"])
    expected = metrics["cross_entropy"] + weight * metrics[loss]
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["rkd", "similarity", "pkt", "crd", "vid", "nonlocal"])
def test_four_devices_give_the_gradients_of_one(bench, loss):
    # in float32 rounding alone is near 1e-5 where distances are divided by their mean
    with jax.enable_x64(True):
        (one, aux, _), (four, shared, _) = (
            build(bench, loss, devices=devices, dtype=jnp.float64).first_step()
            for devices in (1, 4)
        )
    for path, leaf in jax.tree_util.tree_leaves_with_path(one):
        other = dict(jax.tree_util.tree_leaves_with_path(four))[path]
        scale = max(np.linalg.norm(leaf), 1e-12)
        # the gate of the attention starts at 0, and so do the gradients behind it
        assert np.linalg.norm(other - leaf) <= 1e-9 * scale + 1e-15, path
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), aux, shared)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, {"classification": "tempered", "classification_temperature": 0.5}]
)
def test_sam_moves_the_weights_by_its_radius_along_the_gradient(bench, options):
    built = build(bench, "sam", sam_radius=0.1, **options)
    plain = bench("supervised", **options)
    first, _, _ = plain.first_step()
    norm = np.sqrt(
        sum(np.sum(g.astype(np.float64) ** 2) for g in jax.tree.leaves(first["student"]))
    )
    weights = jax.tree.map(
        lambda w, g: w + 0.1 * g / norm, plain.state.params["student"], first["student"]
    )
    there = plain.state.replace(params={"student": weights})
    expected, _, _ = dataclasses.replace(plain, state=there).first_step()
    found, _, _ = built.first_step()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), found, expected
    )


@pytest.mark.slow
def test_rkd_weighs_distances_and_angles_as_its_authors_do(bench):
    built = build(bench, "rkd")
    prepared = prepare_batch(built.parts, built.state, built.batch(0))
    pooled = built.outputs(prepared)[0].features["pooled"]
    [target] = built.method.targets(built.teachers, prepared)["baselines"]
    distance = losses.rkd_distance(pooled, target["pooled"])
    angle = losses.rkd_angle(pooled, target["pooled"])
    expected = 25 * distance + 50 * angle
    np.testing.assert_allclose(built.first_step()[2]["rkd"], expected, rtol=1e-4)


@pytest.mark.slow
def test_the_divergences_of_several_teachers_are_averaged(bench):
    both = bench("kd", teacher_count=2)
    prepared = prepare_batch(both.parts, both.state, both.batch(0))
    logits = both.outputs(prepared)[0].logits
    found = both.method.targets(both.teachers, prepared)["kd"]
    each = [float(losses.kd(logits, other, temperature=4.0).mean()) for other in found]
    assert abs(each[0] - each[1]) > 1e-3 * abs(each[0])
    np.testing.assert_allclose(both.first_step()[2]["kd"], np.mean(each), rtol=1e-4)


@pytest.mark.slow
def test_sam_without_a_gradient_stays_where_it_is(bench):
    built = build(bench, "sam")
    grads, _, metrics = built.first_step({**built.batch(0), "mask": np.zeros(8, np.float32)})
    assert metrics["loss"] == 0
    jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, 0), grads)


@pytest.mark.slow
def test_crds_loss_is_that_of_its_definition(bench):
    built = build(bench, "crd")
    aux, heads = (
        jax.device_get(tree["baselines"]["0"])
        for tree in (built.state.aux, built.state.params["heads"])
    )
    prepared = prepare_batch(built.parts, built.state, built.batch(0))
    outputs, _ = built.outputs(prepared)
    targets = built.method.targets(built.teachers, prepared)
    inputs = method_inputs(built.parts, built.state, targets, prepared, None)
    index = prepared["index"]
    drawn = np.asarray(crd.draw_others(index, jnp.arange(8), 6, 40, inputs.rng))

    def embedded(side, pooled):
        found = np.float64(pooled) @ np.float64(heads[side]["kernel"]) + heads[side]["bias"]
        return found / np.linalg.norm(found, axis=1, keepdims=True)

    anchors = {
        "student": embedded("student", outputs.features["pooled"]),
        "teacher": embedded("teacher", targets["baselines"][0]),
    }
    expected, normalizers = 0.0, {}
    for side, other in (("teacher", "student"), ("student", "teacher")):
        bank = np.float64(aux[other])
        rows = np.concatenate([index[:, None], drawn], axis=1)
        scores = np.exp(np.einsum("bd,bkd->bk", anchors[side], bank[rows]) / 0.07)
        normalizers[side] = 40 * scores.mean()
        scores, noise = scores / normalizers[side], 6 / 40
        expected -= np.log(scores[:, 0] / (scores[:, 0] + noise + 1e-7))
        expected -= np.log(noise / (scores[:, 1:] + noise + 1e-7)).sum(axis=1)
    _, new, metrics = built.first_step()
    np.testing.assert_allclose(metrics["crd"], expected.mean(), rtol=1e-4)
    np.testing.assert_allclose(
        new["baselines"]["0"]["normalizers"], list(normalizers.values()), rtol=1e-3
    )


def test_crd_remembers_what_it_saw_and_no_padding(bench):
    built = build(bench, "crd")
    batch = built.batch(0)
    batch["mask"] = np.where(np.arange(8) < 6, 1, 0).astype(np.float32)
    before = jax.device_get(built.state.aux["baselines"]["0"])
    method = built.method
    prepared = prepare_batch(built.parts, built.state, batch)
    inputs = method_inputs(
        built.parts, built.state, method.targets(built.teachers, prepared), prepared, None
    )
    _, _, aux, _ = jax.jit(method.grads)(built.state.params, *inputs)
    after = jax.device_get(aux["baselines"]["0"])
    for name in ("student", "teacher"):
        changed = np.flatnonzero(np.any(before[name] != after[name], axis=1))
        np.testing.assert_array_equal(changed, np.arange(6))
        np.testing.assert_allclose(np.linalg.norm(after[name], axis=1), 1, rtol=1e-5)
    assert (after["normalizers"] > 0).all()


@pytest.mark.slow
def test_crd_on_a_subset_is_crd_on_as_many_images(bench):
    indices = (2, 3, 11, 17, 30, 31, 38, 39, 44, 90)
    found = []
    for chosen in (tuple(range(10)), indices):
        built = build(bench, "crd", indices=chosen)
        assert built.state.aux["baselines"]["0"]["student"].shape == (10, 128)
        # one augmentation, whatever the images' numbers in the split
        prepared = prepare_batch(built.parts, built.state, built.batch(0))
        prepared["index"] = np.array(chosen, np.int32)[[9, 1, 4, 3, 0, 7, 5, 6]]
        targets = built.method.targets(built.teachers, prepared)
        inputs = method_inputs(built.parts, built.state, targets, prepared, None)
        found.append(jax.jit(built.method.grads)(built.state.params, *inputs))
    jax.tree.map(np.testing.assert_array_equal, *jax.device_get(found))


def test_crd_moves_an_embedding_as_its_authors_do():
    recorded = np.load(RECORDED, allow_pickle=False)
    for side in "12":
        old, new = recorded[f"crd_positive_{side}"], recorded[f"crd_v{side}"]
        moved = crd.remember(jnp.asarray(old), jnp.arange(6), jnp.asarray(new), jnp.ones(6))
        np.testing.assert_allclose(moved, recorded[f"crd_updated_{side}"], rtol=1e-5, atol=1e-6)
    assert recorded["crd_momentum"] == crd.MOMENTUM


def test_crd_never_draws_the_image_itself_and_every_other_one():
    drawn = crd.draw_others(jnp.array([0, 3, 4]), jnp.arange(3), 200, 5, jax.random.key(0))
    for own, row in zip((0, 3, 4), np.asarray(drawn), strict=True):
        assert set(row) == set(range(5)) - {own}


@pytest.mark.slow
def test_one_map_may_learn_from_both_branches(bench):
    built = build(
        bench,
        "fitnet",
        dual=True,
        features=("stage4", "stage4"),
        teacher_features=("rgb", "frequency"),
    )
    heads = built.state.params["heads"]["baselines"]["0"]
    assert set(heads) == {"stage4_rgb", "stage4_frequency"}
    _, _, metrics = built.first_step()
    alone = build(bench, "fitnet", dual=True, features=("stage4",), teacher_features=("rgb",))
    assert metrics["fitnet"] > alone.first_step()[2]["fitnet"] > 0


def test_weights_are_those_of_rep_distillers_authors(bench):
    wanted = {"fitnet": 100, "attention": 1000, "similarity": 3000, "pkt": 30000, "vid": 1}
    for loss, weight in wanted.items():
        assert build(bench, loss).method.hyper["weight"] == weight
    assert build(bench, "crd").method.hyper["weight"] == 0.8
    assert build(bench, "pkt", weight=2.0).method.hyper["weight"] == 2.0
    assert methods.defaults("kd")["kd_weight"] == 0.9
    assert methods.defaults("kd")["cross_entropy_weight"] == 0.1


def test_vid_starts_at_a_variance_of_five(bench):
    head = build(bench, "vid").state.params["heads"]["baselines"]["0"]["stage2_stage2"]
    variance = np.log1p(np.exp(np.float64(head["log_scale"]))) + losses.VARIANCE_FLOOR
    np.testing.assert_allclose(variance, 5, rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "dkd"}, r"method\.loss"),
        ({"loss": "fitnet", "features": ("stage7",)}, "has no 'stage7'; it has"),
        ({"loss": "fitnet", "features": ("pooled",)}, r"method\.features: fitnet compares maps"),
        ({"loss": "simkd", "features": ("stage4",)}, "simkd compares vectors"),
        (
            {"loss": "pkt", "features": ("pooled",), "teacher_features": ("stage4",)},
            "two maps or two vectors",
        ),
        ({"loss": "rkd", "teacher_features": ("pooled", "stage4")}, r"method\.teacher_features"),
        (
            {"loss": "logit_mse", "features": ("stage1",), "teacher_features": ("stage2",)},
            "one width",
        ),
        ({"loss": "crd", "negatives": 0}, r"method\.negatives"),
        ({"loss": "crd", "features": ("stage2",)}, r"method\.features has no use"),
        ({"loss": "rkd", "weight": -5.0}, r"method\.weight=-5\.0 must be at least 0, or -1"),
        ({"loss": "rkd", "sam_radius": -1.0}, r"method\.sam_radius"),
        ({"loss": "sam", "weight": 2.0, "teacher_count": 0}, r"set method\.sam_radius"),
        ({"loss": "collaborative", "teacher_count": 0}, r"student\.qualities=c40"),
        ({"loss": "sam"}, r"teacher\.runs, teacher\.weights or teacher\.recorded is set"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(bench, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        bench("baselines", **options)
    assert "\n" not in str(caught.value)
