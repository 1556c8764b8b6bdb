"""The methods' losses as wholes are the weighted sums of their papers, and what the methods compute."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kdjax import losses
from kdjax.defaults import PARTS

LABELS = jnp.array([0, 1, 0, 1, 1, 0])
# channels of powers of two: no entry of the grid lies on the edge of a bin, where rounding decides
STAGES = {"stage1": (8, 4), "stage2": (4, 8), "stage3": (4, 8), "stage4": (2, 16)}


def maps(seed, scale=1.0):
    keys = jax.random.split(jax.random.key(seed), len(STAGES))
    return {
        name: scale * jax.random.uniform(key, (6, side, side, channels))
        for key, (name, (side, channels)) in zip(keys, STAGES.items(), strict=True)
    }


def test_add_is_the_weighted_sum_over_the_stages():
    student, teacher, rng = maps(0), maps(1), jax.random.key(3)
    own = PARTS["add"]
    frequency = view = 0.0
    for number, stage in enumerate(STAGES):
        each = losses.frequency_attention(
            student[stage], teacher[stage], gamma=1.0, mode="relative"
        )
        frequency += own["frequency_layers"][number] * np.mean(each)
        if not own["view_layers"][number]:
            continue
        keys = jax.random.split(jax.random.fold_in(rng, number))
        densities = losses.view_densities(
            student[stage], teacher[stage], losses.directions(keys[0], own["views"])
        )
        view += own["view_layers"][number] * losses.multi_view(
            *densities, LABELS, keys[1], gamma=100.0, eta=50.0, margin=0.012
        )
    weighted = functools.partial(losses.add, frequency_weight=2.0, view_weight=3.0)
    found = jax.jit(losses.add_terms)(student, teacher, LABELS, rng)
    np.testing.assert_allclose(found.frequency_attention, frequency, rtol=1e-5)
    np.testing.assert_allclose(found.multi_view, view, rtol=1e-5)
    total = jax.jit(weighted)(student, teacher, LABELS, rng)
    np.testing.assert_allclose(total, 2 * frequency + 3 * view, rtol=1e-5)
    assert 0 <= found.closed_hinges <= 1


def test_ckd_is_the_mean_of_the_contrasts():
    keys = jax.random.split(jax.random.key(0), 3)
    teacher, student = (losses.unit_vectors(jax.random.normal(key, (6, 4))) for key in keys[:2])
    negatives = losses.unit_vectors(jax.random.normal(keys[2], (6, 3, 4)))
    mask = jnp.array([1.0, 1, 1, 1, 0, 0])
    found = losses.ckd(teacher, student, negatives, dataset_size=50, contrast_weight=0.5, mask=mask)
    # float64, by hand: h = e / (e + K / M)
    t, s, n = (np.asarray(x, np.float64) for x in (teacher, student, negatives))
    positive = np.exp(np.sum(t * s, -1) / 0.05)
    negative = np.exp(np.einsum("bd,bkd->bk", t, n) / 0.05)
    noise = 3 / 50
    each = -np.log(positive / (positive + noise)) - np.log(noise / (negative + noise)).sum(-1)
    np.testing.assert_allclose(found, 0.5 * each[:4].mean(), rtol=1e-4)


def test_tokd_is_the_sum_of_both_branches():
    student, teacher = (
        {"rgb": maps(s)["stage3"], "frequency": maps(s + 5)["stage4"]} for s in (0, 1)
    )
    each = {
        name: np.mean(losses.normalized_distance(student[name], teacher[name])) for name in student
    }
    np.testing.assert_allclose(
        losses.tokd(student, teacher, rgb_weight=2.0, frequency_weight=3.0),
        2 * each["rgb"] + 3 * each["frequency"], rtol=1e-6,
    )  # fmt: skip
    one = losses.tokd({"rgb": student["rgb"]}, teacher, rgb_weight=2.0)
    np.testing.assert_allclose(one, 2 * each["rgb"], rtol=1e-6)


def test_qad_is_minus_the_dependence_of_each_pair():
    features = [{**maps(seed), "pooled": maps(seed)["stage4"].mean((1, 2))} for seed in range(3)]
    total = 0.0
    for first, second in ((0, 1), (0, 2), (1, 2)):
        for layer in ("stage3", "pooled"):
            x, y = (
                features[q][layer] if layer == "pooled" else features[q][layer].mean((1, 2))
                for q in (first, second)
            )
            total += losses.hsic(x, y, bandwidth="mean")
    found = losses.qad(features, layers=("stage3", "pooled"), collaborative_weight=0.5)
    np.testing.assert_allclose(found, -0.5 * total, rtol=1e-5)


def whole(name, student):
    teacher, rng = maps(1), jax.random.key(3)
    if name == "add":
        return losses.add(student, teacher, LABELS, rng)
    if name == "tokd":
        return losses.tokd({"rgb": student["stage3"]}, {"rgb": teacher["stage3"]})
    if name == "qad":
        return losses.qad([student, teacher])
    own, other = (losses.unit_vectors(each["stage4"].mean((1, 2))) for each in (student, teacher))
    return losses.ckd(other, own, own[::-1, None], dataset_size=50)


@pytest.mark.parametrize(
    "name", [pytest.param("add", marks=pytest.mark.slow), "ckd", "tokd", "qad"]
)
def test_gradients_are_right_and_jit_changes_nothing(name):
    with jax.enable_x64(True):
        student = jax.tree.map(lambda x: x.astype(jnp.float64), maps(0))
        check_grads(lambda s: whole(name, s), (student,), order=1, modes=["rev"], rtol=1e-3)
        compiled = jax.jit(whole, static_argnums=0)(name, student)
        np.testing.assert_allclose(compiled, whole(name, student), rtol=1e-10)
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), maps(0))
    assert np.isfinite(np.float32(whole(name, half)))


def test_what_is_missing_is_named():
    student = maps(0)
    with pytest.raises(
        ValueError, match="the teacher has no 'stage3'; it has stage1, stage2, stage4"
    ):
        losses.add_terms(
            student, {k: v for k, v in maps(1).items() if k != "stage3"}, LABELS, jax.random.key(0)
        )
    with pytest.raises(ValueError, match="a branch='depth' is not one of 'rgb', 'frequency'"):
        losses.tokd({"depth": student["stage3"]}, {"depth": student["stage3"]})
    with pytest.raises(ValueError, match="the teacher has no branch 'frequency'; it has rgb"):
        losses.tokd({"frequency": student["stage3"]}, {"rgb": student["stage3"]})
