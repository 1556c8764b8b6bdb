import functools
import importlib.util
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict

from kdjax.models import inverted_residual, mobilenet
from kdjax.models.cost import cost
from kdjax.models.dual_branch import DualBranch
from kdjax.models.weights import mobilenet_names

NAMES = tuple(mobilenet.PLANS)


@functools.cache
def shapes(name, size=64, dtype=jnp.float32, **options):
    # XLA's depthwise convolution is the quickest to trace
    return trace(mobilenet.build(name, dtype=dtype, depthwise="lax", **options), size, dtype)


def trace(network, size=64, dtype=jnp.float32):
    images = jax.ShapeDtypeStruct((2, size, size, 3), dtype)
    outputs, variables = jax.eval_shape(network.init_with_output, jax.random.key(0), images)
    return variables, outputs


def short(name, **options):
    """The network with the last block of each stage alone, which is as good and quicker."""
    network = mobilenet.build(name, depthwise="lax", **options)
    return network.clone(stages=tuple(rows[-1:] for rows in network.stages))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


PUBLISHED = {"mobilenet_v2": (3_504_872, 300), "mobilenet_v3_large": (5_483_032, 219)}


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_multiply_adds_are_the_published_ones_on_imagenet(name):
    parameters, millions = PUBLISHED[name]
    found = cost(mobilenet.build(name, num_classes=1000, depthwise="lax"), 224)
    assert found.parameters == parameters
    assert found.multiply_adds / 1e6 == pytest.approx(millions, rel=0.02)


WIDTHS = {"mobilenet_v2": [24, 32, 96, 1280], "mobilenet_v3_large": [24, 40, 112, 960]}


@pytest.mark.parametrize("layout", ["torch", "keras"])
@pytest.mark.parametrize("name", NAMES)
def test_every_network_returns_the_common_features(name, layout):
    variables, outputs = shapes(name, 65, layout=layout)
    assert outputs.logits.shape == (2, 2)
    assert set(outputs.features) == {"stage1", "stage2", "stage3", "stage4", "pooled"}
    maps = [outputs.features[f"stage{i}"].shape for i in range(1, 5)]
    assert [shape[1] for shape in maps] == [17, 9, 5, 3]
    assert [shape[3] for shape in maps] == WIDTHS[name]
    assert outputs.features["pooled"].shape == (2, 1280)
    assert set(variables) == {"params", "batch_stats"}


@pytest.mark.parametrize(
    ("channels", "rounded"), [(0.8, 8), (12, 16), (11.2, 16), (42, 40), (56, 56), (184, 184)]
)
def test_channels_are_multiples_of_eight_that_lose_a_tenth_at_most(channels, rounded):
    assert inverted_residual.divisible(channels) == rounded


def test_a_thin_network_has_the_parameters_of_the_published_one():
    variables, _ = shapes("mobilenet_v2", width=0.35, num_classes=1000)
    assert count(variables["params"]) == 1_677_128  # of timm's mobilenetv2_035


@pytest.mark.parametrize("name", NAMES)
def test_layouts_differ_in_eps_momentum_and_padding_and_eps_can_be_set(name):
    torch, keras = (mobilenet.build(name, layout=layout) for layout in ("torch", "keras"))
    assert (torch.padding, keras.padding) == ("symmetric", "same")
    expected = {"mobilenet_v2": (1e-5, 0.9), "mobilenet_v3_large": (1e-3, 0.99)}[name]
    assert (torch.epsilon, torch.momentum) == expected
    assert (keras.epsilon, keras.momentum) == (1e-3, 0.999)
    assert mobilenet.build(name, epsilon=1e-4).epsilon == 1e-4
    assert list(mobilenet.normalizations(name)) == ["torch", "keras"]


def convolution(x, kernel, stride, before, after):
    """Depthwise convolution of `[H, W, C]` by sums over a window."""
    side = kernel.shape[0]
    x = np.pad(x, ((before, after), (before, after), (0, 0)))
    size = (x.shape[0] - side) // stride + 1
    y = np.zeros((size, size, x.shape[2]))
    for i in range(size):
        for j in range(size):
            window = x[i * stride :, j * stride :][:side, :side]
            y[i, j] = (window * kernel).sum((0, 1))
    return y


def normal(x, params, stats, epsilon):
    scaled = (x - stats["mean"]) / np.sqrt(stats["var"] + epsilon)
    return scaled * params["scale"] + params["bias"]


@pytest.mark.parametrize(("padding", "margins"), [("symmetric", (2, 2)), ("same", (1, 2))])
def test_a_block_is_the_one_computed_by_hand(padding, margins):
    row = inverted_residual.Row(3, 4.0, stride=2, size=5, squeeze=True, activation=nn.hard_swish)
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        block = inverted_residual.InvertedResidual(row, padding, 1e-3, dtype=jnp.float64)
        x = rng.normal(size=(1, 6, 6, 2))
        structure = jax.eval_shape(lambda: block.init(jax.random.key(0), x, train=False))
        variables = jax.tree.map(lambda leaf: rng.uniform(0.2, 1.0, leaf.shape), structure)
        found = jax.jit(lambda v, x: block.apply(v, x, train=False))(variables, x)
    params, stats = variables["params"], variables["batch_stats"]
    gate = lambda v: np.clip(v + 3, 0, 6) / 6  # noqa: E731
    y = x[0] @ params["expand_conv"]["kernel"][0, 0]
    y = normal(y, params["expand_norm"], stats["expand_norm"], 1e-3)
    y = convolution(y * gate(y), params["depthwise_conv"]["kernel"], 2, *margins)
    y = normal(y, params["depthwise_norm"], stats["depthwise_norm"], 1e-3)
    y = y * gate(y)
    squeeze = params["squeeze"]
    z = y.mean((0, 1)) @ squeeze["reduce"]["kernel"][0, 0] + squeeze["reduce"]["bias"]
    z = np.maximum(z, 0) @ squeeze["expand"]["kernel"][0, 0] + squeeze["expand"]["bias"]
    y = (y * gate(z)) @ params["project_conv"]["kernel"][0, 0]
    y = normal(y, params["project_norm"], stats["project_norm"], 1e-3)
    np.testing.assert_allclose(found[0], y, rtol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_reduced_precision_is_kept_in_maps_and_left_at_the_pooling(name):
    variables, outputs = trace(short(name, dtype=jnp.bfloat16))
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    maps = {outputs.features[f"stage{i}"].dtype for i in range(1, 5)}
    assert maps == {jnp.dtype(jnp.bfloat16)}
    assert outputs.logits.dtype == outputs.features["pooled"].dtype == jnp.float32
    with jax.enable_x64(True):
        tree = trace(short(name, dtype=jnp.float64), dtype=jnp.float64)
    assert {x.dtype for x in jax.tree.leaves(tree)} == {jnp.dtype(jnp.float64)}


def test_two_of_them_make_a_dual_branch_network():
    mean, std = mobilenet.normalizations("mobilenet_v2")["torch"]
    branches = [short("mobilenet_v2") for _ in range(2)]
    _, outputs = trace(DualBranch(*branches, mean, std))
    assert outputs.features["pooled"].shape == (2, 2 * 1280)


@pytest.mark.parametrize("scheme", ["torchvision", "timm", "keras"])
@pytest.mark.parametrize("name", NAMES)
def test_every_layer_has_one_name_in_every_scheme(name, scheme):
    variables, _ = shapes(name, 65, layout="torch")
    layers = {"/".join(path[:-1]) for path in flatten_dict(variables["params"])}
    names = mobilenet_names.schemes(name)[scheme]
    assert set(names) == layers
    assert len(set(names.values())) == len(layers)


@pytest.mark.parametrize(
    ("name", "scheme", "ours", "theirs"),
    [
        ("mobilenet_v2", "torchvision", "stage1_block1/project_norm", "features.1.conv.2"),
        ("mobilenet_v2", "torchvision", "stage4_block4/project_conv", "features.17.conv.2"),
        ("mobilenet_v2", "timm", "stage3_block5/depthwise_norm", "blocks.4.0.bn2"),
        ("mobilenet_v2", "timm", "stage1_block1/project_conv", "blocks.0.0.conv_pw"),
        ("mobilenet_v2", "keras", "stage1_block2/expand_norm", "block_1_expand_BN"),
        ("mobilenet_v3_large", "torchvision", "stage1_block1/project_conv", "features.1.block.1.0"),
        ("mobilenet_v3_large", "torchvision", "stage2_block1/squeeze/reduce", "features.4.block.2.fc1"),
        ("mobilenet_v3_large", "timm", "stage4_block3/squeeze/expand", "blocks.5.2.se.conv_expand"),
        ("mobilenet_v3_large", "timm", "last_norm", "blocks.6.0.bn1"),
        ("mobilenet_v3_large", "keras", "stage4_block3/project_conv", "expanded_conv_14_project"),
    ],
)  # fmt: skip
def test_names_are_those_of_the_published_files(name, scheme, ours, theirs):
    assert mobilenet_names.schemes(name)[scheme][ours] == theirs


KERAS = """
import json, keras
models = (keras.applications.MobileNetV2, keras.applications.MobileNetV3Large)
found = [
    {f"{layer.name}/{weight.path.split('/')[-1]}": list(weight.shape)
     for layer in model(weights=None, input_shape=(64, 64, 3)).layers for weight in layer.weights}
    for model in models
]
print(json.dumps(found))
"""


@pytest.mark.every
@pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="Keras is not installed")
def test_layers_have_the_sizes_of_keras_own():
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    run = subprocess.run(
        [sys.executable, "-c", KERAS], env=environment, capture_output=True, check=True
    )
    for name, theirs in zip(NAMES, json.loads(run.stdout.splitlines()[-1]), strict=True):
        variables, _ = shapes(name, layout="keras", num_classes=1000)
        names, ours = mobilenet_names.schemes(name)["keras"], {}
        for (_, *path, _leaf), x in flatten_dict(variables).items():
            ours.setdefault(names["/".join(path)], []).append(x.size)
        kept = {}
        for path, shape in theirs.items():
            kept.setdefault(path.split("/")[0], []).append(int(np.prod(shape)))
        assert {k: sorted(v) for k, v in ours.items()} == {k: sorted(v) for k, v in kept.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_training_moves_every_statistic_and_parameter_and_drops_features(name):
    network = short(name, width=0.1, drop_rate=0.5)
    images = jnp.float32(np.random.default_rng(0).normal(size=(4, 32, 32, 3)))
    variables = jax.jit(network.init)(jax.random.key(0), images)

    @jax.jit
    def train(params):
        def loss(params):
            outputs, state = network.apply(
                {**variables, "params": params},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(1)},
            )
            return jnp.sum(jnp.sin(outputs.logits + jnp.arange(2.0)[None])), (outputs, state)

        return jax.grad(loss, has_aux=True)(params)

    grads, (outputs, state) = train(variables["params"])
    assert all(bool(jnp.isfinite(x).all() & (x != 0).any()) for x in jax.tree.leaves(grads))
    moved = jax.tree.map(
        lambda old, new: bool((old != new).any()), variables["batch_stats"], state["batch_stats"]
    )
    assert all(jax.tree.leaves(moved))
    evaluated = jax.jit(network.apply)(variables, images).features["pooled"]
    dropped = float((outputs.features["pooled"] == 0).mean() - (evaluated == 0).mean())
    assert 0.2 < dropped < 0.6
