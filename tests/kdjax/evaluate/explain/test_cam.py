"""Heat maps against central differences, closed forms and loops written down from the papers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from kdjax import models
from kdjax.evaluate.explain import cam
from kdjax.evaluate.explain.probing import map_and_gradient
from kdjax.types import Outputs

rng = np.random.default_rng(0)


class Known(nn.Module):
    """A network whose maps are its image and what a matrix makes of it: everything about it is known."""

    @nn.compact
    def __call__(self, images, train=False):
        first = images * 2.0
        second = nn.relu(nn.Dense(5, name="mix")(first))
        pooled = second.mean(axis=(1, 2))
        aside = first + 1.0
        logits = nn.Dense(2, name="classifier")(pooled)
        return Outputs(
            logits, {"stage1": first, "stage2": second, "aside": aside, "pooled": pooled}
        )


def known():
    module = Known()
    images = jnp.asarray(rng.normal(size=(3, 6, 4, 3)), jnp.float32)
    variables = module.init(jax.random.key(0), images)
    return variables["params"], images, lambda x: module.apply(variables, x)


def test_pooled_and_classified_linearly_it_is_cam():
    weights, images, apply = known()
    heat, outputs = cam.heat_maps(apply, images, "stage2")
    kernel = np.asarray(weights["classifier"]["kernel"], np.float64)
    maps = np.asarray(outputs.features["stage2"], np.float64)
    evidence = maps @ (kernel[:, 1] - kernel[:, 0])
    np.testing.assert_allclose(heat, np.maximum(evidence / 24, 0), rtol=1e-5, atol=1e-7)
    # without the cut at 0 it adds up to the score
    bias = np.asarray(weights["classifier"]["bias"], np.float64)
    score = outputs.logits[:, 1] - outputs.logits[:, 0]
    np.testing.assert_allclose(evidence.mean((1, 2)) + bias[1] - bias[0], score, rtol=1e-4)


def test_evidence_for_real_is_the_other_side_of_evidence_for_fake():
    _, images, apply = known()
    fake, _ = cam.heat_maps(apply, images, "stage2", label=1)
    real, _ = cam.heat_maps(apply, images, "stage2", label=0)
    assert (np.asarray(fake) > 0).any()
    assert (np.asarray(real) > 0).any()
    assert not ((np.asarray(fake) > 0) & (np.asarray(real) > 0)).any()


@pytest.mark.parametrize("stage", ["stage1", "stage2", "stage3", "stage4"])
def test_gradients_inside_a_residual_network_are_central_differences(stage):
    with jax.enable_x64(True):
        network = models.create("resnet_tiny", dtype=jnp.float64)
        images = jnp.asarray(rng.normal(size=(2, 32, 32, 3)))
        variables = jax.jit(network.init)(jax.random.key(1), images)
        variables = jax.tree.map(lambda x: x.astype(jnp.float64), variables)

        def rest(x):
            number = int(stage[-1])
            for later in range(number + 1, 5):
                x = network.apply(variables, later, x, train=False, method="stage")
            kernel = variables["params"]["classifier"]["kernel"]
            logits = x.mean(axis=(1, 2)) @ kernel
            return logits[:, 1] - logits[:, 0]

        found, gradient, outputs = jax.jit(
            lambda x: map_and_gradient(
                lambda y: network.apply(variables, y), x, stage, cam.log_odds
            )
        )(images)
        direct = jax.jit(network.apply)(variables, images)
        np.testing.assert_allclose(found, direct.features[stage], rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(outputs.logits, direct.logits, rtol=1e-12)
        flat = np.asarray(found[1]).reshape(-1)
        chosen = rng.choice(flat.size, 20, replace=False)
        step = 1e-6 * np.eye(flat.size)[chosen]
        moved = np.concatenate([flat + step, flat - step]).reshape(-1, *found.shape[1:])
        after, before = np.split(np.asarray(jax.jit(rest)(jnp.asarray(moved))), 2)
        expected = (after - before) / 2e-6
        assert np.abs(expected).max() > 1e-6
        np.testing.assert_allclose(
            np.asarray(gradient[1]).reshape(-1)[chosen], expected, rtol=1e-5, atol=1e-8
        )


def by_loops(maps, gradients):
    """Grad-CAM++ of one image as its paper writes it, in float64; both heats."""
    height, width, channels = maps.shape
    plain, plus = np.zeros((height, width)), np.zeros((height, width))
    for k in range(channels):
        weight, mean, total = 0.0, 0.0, maps[:, :, k].sum()
        for i in range(height):
            for j in range(width):
                g = gradients[i, j, k]
                mean += g / (height * width)
                if g > 0:
                    weight += g**2 / (2 * g**2 + total * g**3) * g
        plain += mean * maps[:, :, k]
        plus += weight * maps[:, :, k]
    return np.maximum(plain, 0), np.maximum(plus, 0)


def test_both_are_what_the_papers_write():
    maps = np.abs(rng.normal(size=(3, 4, 5, 6)))
    gradients = rng.normal(size=maps.shape)
    given = jnp.asarray(maps, jnp.float32), jnp.asarray(gradients, jnp.float32)
    for number in range(3):
        plain, plus = by_loops(maps[number], gradients[number])
        np.testing.assert_allclose(cam.grad_cam(*given)[number], plain, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            cam.grad_cam_plus_plus(*given)[number], plus, rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("method", list(cam.METHODS))
def test_an_image_does_not_see_the_others(method):
    _, images, apply = known()
    together, _ = cam.heat_maps(apply, images, "stage2", method=method)
    alone = [cam.heat_maps(apply, images[n : n + 1], "stage2", method=method)[0] for n in range(3)]
    np.testing.assert_allclose(together, jnp.concatenate(alone), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("heat", list(cam.METHODS.values()))
def test_nothing_in_gives_nothing_out(heat):
    zeros, ones = jnp.zeros((2, 3, 3, 4)), jnp.ones((2, 3, 3, 4))
    for maps, gradients in ((zeros, ones), (ones, zeros), (ones, -ones)):
        found = heat(maps, gradients)
        np.testing.assert_array_equal(found, np.zeros((2, 3, 3)))
        np.testing.assert_array_equal(cam.relative(found), np.zeros((2, 3, 3)))


def test_plus_plus_stays_finite_where_maps_are_negative():
    maps = jnp.asarray(rng.normal(size=(4, 3, 3, 8)), jnp.float32) * 100
    gradients = jnp.asarray(rng.normal(size=maps.shape), jnp.float32)
    heat = np.asarray(cam.grad_cam_plus_plus(maps, gradients))
    # every weight is at most half the sum of the positive gradients
    bound = np.maximum(gradients, 0).sum((1, 2), keepdims=True) / 2
    assert np.isfinite(heat).all()
    assert (heat <= (bound * np.abs(maps)).sum(-1) * 1.001).all()


def test_half_precision_is_explained_in_single():
    network = models.create("resnet_tiny", dtype=jnp.bfloat16)
    images = jnp.asarray(rng.uniform(size=(2, 32, 32, 3)), jnp.float32)
    variables = jax.jit(network.init)(jax.random.key(0), images)

    def explain(network):
        return jax.jit(lambda x: cam.heat_maps(lambda y: network.apply(variables, y), x, "stage3"))

    heat, outputs = explain(network)(images)
    assert outputs.features["stage3"].dtype == jnp.bfloat16
    assert heat.dtype == jnp.float32
    wanted, _ = explain(models.create("resnet_tiny"))(images)
    np.testing.assert_allclose(heat, wanted, atol=0.05 * float(wanted.max()))


def test_log_odds_of_three_classes_are_against_the_others_together():
    logits = jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)
    chance = np.exp(np.asarray(logits, np.float64))
    chance /= chance.sum(1, keepdims=True)
    for label in range(3):
        wanted = np.log(chance[:, label] / (1 - chance[:, label]))
        np.testing.assert_allclose(cam.log_odds(logits, label), wanted, rtol=1e-5, atol=1e-6)


def test_a_network_that_is_one_call_is_looked_into():
    module = nn.jit(Known)()
    images = jnp.asarray(rng.normal(size=(2, 4, 4, 3)), jnp.float32)
    variables = module.init(jax.random.key(0), images)
    inlined = Known()
    wanted, _ = cam.heat_maps(lambda x: inlined.apply(variables, x), images, "stage2")
    found, _ = cam.heat_maps(lambda x: module.apply(variables, x), images, "stage2")
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)


def test_what_cannot_be_explained_is_said():
    _, images, apply = known()
    with pytest.raises(ValueError, match="no feature 'stage3'; did you mean"):
        cam.heat_maps(apply, images, "stage3")
    with pytest.raises(ValueError, match="logits are not computed from the feature 'aside'"):
        cam.heat_maps(apply, images, "aside")
    with pytest.raises(ValueError, match=r"'pooled' is no map \[B, H, W, C\]; it is \[3, 5\]"):
        cam.heat_maps(apply, images, "pooled")
    with pytest.raises(ValueError, match="method='cam' is not one of 'gradcam', 'gradcam"):
        cam.heat_maps(apply, images, "stage2", method="cam")
    with pytest.raises(ValueError, match="label=2 is not one of 0, 1"):
        cam.heat_maps(apply, images, "stage2", label=2)


def every_stage_has_a_gradient(name):
    network = models.create(name, width=0.25)
    side = 75 if "inception_resnet" in name else 64  # its least
    images = jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
    variables = jax.eval_shape(network.init, jax.random.key(0), images)
    for stage in ("stage1", "stage2", "stage3", "stage4"):

        def explain(variables, images, stage=stage):
            return cam.heat_maps(lambda x: network.apply(variables, x), images, stage)

        heat, outputs = jax.eval_shape(explain, variables, images)
        assert heat.shape == outputs.features[stage].shape[:3]


@pytest.mark.parametrize("name", ["resnet_tiny", "mesoinception4", "dual_resnet_tiny"])
def test_every_stage_can_be_explained(name):
    every_stage_has_a_gradient(name)


KINDS = ("mobilenet_v3_large", "xception", "f3net")
"""What the slow suite takes of the networks; `make test-every` the others."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in KINDS else pytest.mark.every)
        for name in models.names()
    ],
)
def test_every_stage_of_every_network_can_be_explained(name):
    every_stage_has_a_gradient(name)
