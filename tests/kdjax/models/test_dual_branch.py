"""The dual-branch network: what each branch sees, and what the fusions make of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft

from kdjax import models


@pytest.fixture(scope="module")
def built():
    network = models.create("dual_resnet_tiny")
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    return network, images, jax.jit(network.init)(jax.random.key(0), images)


def test_both_branches_come_out_with_all_that_a_backbone_has(built):
    network, images, variables = built
    outputs = jax.jit(network.apply)(variables, images)
    single = models.create("resnet_tiny")
    expected = jax.eval_shape(lambda x: single.init_with_output(jax.random.key(0), x)[0], images)
    for name, shape in expected.features.items():
        wanted = shape.shape if name != "pooled" else (2, 2 * shape.shape[1])
        assert outputs.features[name].shape == wanted, name
    assert outputs.features["frequency"].shape == outputs.features["rgb"].shape
    np.testing.assert_array_equal(outputs.features["rgb"], outputs.features["stage4"])
    assert outputs.logits.shape == (2, 2)


def test_the_frequency_branch_sees_no_low_frequency(built):
    network, images, variables = built
    look = jax.jit(functools.partial(network.apply, method="high_frequencies"))
    seen = np.asarray(look(variables, images), np.float64)
    mean, std = (np.float64(x) for x in models.normalization("dual_resnet_tiny"))
    spectrum = scipy.fft.dctn(seen * std + mean, axes=(1, 2), norm="ortho")
    before = scipy.fft.dctn(images * std + mean, axes=(1, 2), norm="ortho")
    row, column = np.meshgrid(np.arange(32) / 32, np.arange(32) / 32, indexing="ij")
    low = row + column < 0.33
    np.testing.assert_allclose(spectrum[:, low], 0, atol=1e-4)
    np.testing.assert_allclose(spectrum[:, ~low], before[:, ~low], atol=1e-4)


def test_a_constant_added_to_the_image_reaches_the_rgb_branch_alone(built):
    network, images, variables = built
    look = jax.jit(functools.partial(network.apply, method="high_frequencies"))
    seen, moved = (look(variables, images + shift) for shift in (0, 1))
    np.testing.assert_allclose(seen, moved, atol=1e-4)


def test_fusion_multiplies_each_branch_with_one_map_between_0_and_1():
    from kdjax.models.dual_branch import Fusion

    draw = np.random.default_rng(1)
    rgb, frequency = draw.normal(size=(2, 2, 5, 5, 4)).astype(np.float32)
    block = functools.partial(Fusion().init_with_output, train=False)
    found, variables = jax.jit(block)(jax.random.key(0), rgb, frequency)
    for before, after in zip((rgb, frequency), found, strict=True):
        attention = after / before
        assert (attention > 0).all()
        assert (attention < 1).all()
        same = np.broadcast_to(attention[..., :1], attention.shape)
        np.testing.assert_allclose(attention, same, rtol=1e-4)
    shapes = {
        "/".join(str(part.key) for part in path): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables["params"])
    }
    assert shapes["mix_conv/kernel"] == (1, 1, 8, 8)
    assert shapes["attention_conv/kernel"] == (3, 3, 8, 2)
    # the first map is the RGB branch's, the second the other's
    kernel = np.zeros((3, 3, 8, 2), np.float32)
    kernel[1, 1, 0] = -1.0, 2.0
    ones = {"scale": np.zeros(8, np.float32), "bias": np.ones(8, np.float32)}
    params = {**variables["params"], "mix_norm": ones, "attention_conv": {"kernel": kernel}}
    seen, other = Fusion().apply({**variables, "params": params}, rgb, frequency, train=False)
    np.testing.assert_allclose(seen, rgb / (1 + np.exp(1.0)), rtol=1e-5)
    np.testing.assert_allclose(other, frequency / (1 + np.exp(-2.0)), rtol=1e-5)


def test_parameters_are_those_of_two_backbones_three_fusions_and_a_classifier(built):
    _, _, variables = built

    def count(tree):
        return sum(leaf.size for leaf in jax.tree.leaves(tree))

    single = jax.eval_shape(
        models.create("resnet_tiny").init, jax.random.key(0), jnp.zeros((1, 32, 32, 3))
    )
    backbone = count(single["params"]) - count(single["params"]["classifier"])
    widths = (16, 32, 64)
    fusions = sum((2 * w) ** 2 + 2 * 2 * w + 9 * 2 * w * 2 for w in widths)
    classifier = 2 * 64 * 2 + 2
    assert count(variables["params"]) == 2 * backbone + fusions + classifier


QUICK = ("dual_resnet18", "dual_efficientnet_tiny")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.every)
        for name in models.names()
        if name.startswith("dual_")
    ],
)
def test_every_one_has_both_maps_as_wide_as_its_backbones_last(name):
    network = models.create(name)
    images = jnp.zeros((2, 96, 96, 3))
    outputs, _ = jax.eval_shape(network.init_with_output, jax.random.key(0), images)
    last = outputs.features["stage4"].shape
    assert outputs.features["rgb"].shape == outputs.features["frequency"].shape == last
    assert outputs.features["pooled"].shape == (2, 2 * last[-1])
