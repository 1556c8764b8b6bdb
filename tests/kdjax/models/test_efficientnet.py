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

from kdjax.models import efficientnet
from kdjax.models.cost import cost
from kdjax.models.inverted_residual import divisible
from kdjax.models.stochastic import EXAMPLES
from kdjax.models.weights import efficientnet_names

rng = np.random.default_rng(0)


@functools.cache
def published(name):
    return cost(efficientnet.build(name, num_classes=1000), 224)


COUNTS = {
    "efficientnet_b0": (5_288_548, 1280, 4.0),
    "efficientnet_b1": (7_794_184, 1280, 6.5),
    "efficientnet_b4": (19_341_616, 1792, 17.6),
    "efficientnet_lite0": (4_652_008, 1280, 3.4),
    "efficientnet_lite1": (5_416_680, 1280, 4.1),
    "efficientnet_lite2": (6_092_072, 1280, 4.8),
}


@pytest.mark.parametrize("name", COUNTS)
def test_networks_have_the_published_number_of_parameters(name):
    count, width, millions_of_two_classes = COUNTS[name]
    assert published(name).parameters == count
    two = count - 998 * (width + 1)
    assert round(two / 1e6, 1) == millions_of_two_classes
    assert published(name).outputs.features["pooled"].shape == (1, width)


def test_b0_costs_what_the_paper_prints():
    multiply_adds = published("efficientnet_b0").multiply_adds
    assert multiply_adds / 1e9 == pytest.approx(0.39, rel=0.02)


@pytest.mark.parametrize("name", COUNTS)
def test_every_network_returns_the_common_features(name):
    outputs = published(name).outputs
    assert set(outputs.features) == {"stage1", "stage2", "stage3", "stage4", "pooled"}
    assert [outputs.features[f"stage{i}"].shape[1] for i in range(1, 5)] == [56, 28, 14, 7]


def test_channels_are_multiples_of_eight_near_what_was_asked():
    asked = [1, 11, 12, 20, 44.8, 156.8, 179.2]
    assert [divisible(x) for x in asked] == [8, 16, 16, 24, 48, 160, 176]
    half = efficientnet.build("efficientnet_b0", width=0.5)
    assert (half.stem_width, half.head_width) == (16, 640)
    assert {block.settings.channels for block in half.blocks} == {8, 16, 24, 40, 56, 96, 160}


def test_repeats_are_scaled_and_rounded_up():
    blocks = efficientnet.block_plans(efficientnet.PLANS["efficientnet_b1"])
    repeats = [sum(block.group == group for block in blocks) for group in range(7)]
    assert repeats == [2, 3, 3, 4, 4, 5, 2]


def test_a_lite_networks_ends_are_scaled_by_no_coefficient_but_by_width():
    network = efficientnet.build("efficientnet_lite2")
    assert (network.stem_width, network.head_width) == (32, 1280)
    repeats = [sum(block.group == group for block in network.blocks) for group in range(7)]
    assert repeats == [1, 3, 3, 4, 4, 5, 1]
    channels = [block.settings.channels for block in network.blocks if block.place == 0]
    assert channels == [16, 24, 48, 88, 120, 208, 352]
    half = efficientnet.build("efficientnet_lite2", width=0.5)
    assert (half.stem_width, half.head_width) == (16, 640)


def test_a_lite_network_is_tensorflows_unless_it_is_asked_for_pytorchs():
    assert tuple(efficientnet.normalizations("efficientnet_lite0")) == ("keras", "torch")
    assert efficientnet.build("efficientnet_lite0").layout == "keras"
    # (x - 127) / 128 of RGB in [0, 255]
    mean, deviation = (
        np.array(x) for x in efficientnet.normalizations("efficientnet_lite0")["keras"]
    )
    np.testing.assert_allclose(
        (np.array([255, 127, 0]) / 255 - mean) / deviation, [1, 0, -127 / 128]
    )
    mean, _ = efficientnet.normalizations("efficientnet_lite0")["torch"]
    assert mean == (0.485, 0.456, 0.406)


def layers(variables):
    return {"/".join(path[1:-1]) for path in flatten_dict(variables)}


def initial(network, size=32):
    images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    return jax.eval_shape(network.init, jax.random.key(0), images)


@pytest.mark.parametrize("name", ["efficientnet_tiny", "efficientnet_b0", "efficientnet_lite0"])
def test_every_scheme_names_every_layer_once(name):
    own = layers(initial(efficientnet.build(name)))
    for scheme, table in efficientnet_names.schemes(name).items():
        assert set(table) == own, scheme
        assert len(set(table.values())) == len(table), scheme


PUBLISHED_NAMES = {
    "torchvision": {
        "stem_norm": "features.0.1",
        "stage1_block1/depthwise_conv": "features.1.0.block.0.0",
        "stage1_block1/squeeze/reduce": "features.1.0.block.1.fc1",
        "stage1_block3/expand_norm": "features.2.1.block.0.1",
        "stage4_block5/project_norm": "features.7.0.block.3.1",
        "head_conv": "features.8.0",
        "classifier": "classifier.1",
    },
    "timm": {
        "stem_conv": "conv_stem",
        "stage1_block1/project_conv": "blocks.0.0.conv_pw",
        "stage1_block2/expand_conv": "blocks.1.0.conv_pw",
        "stage3_block4/squeeze/expand": "blocks.4.0.se.conv_expand",
        "stage4_block5/project_norm": "blocks.6.0.bn3",
        "head_norm": "bn2",
    },
    "lukemelas": {
        "stage1_block1/depthwise_norm": "_blocks.0._bn1",
        "stage2_block1/squeeze/reduce": "_blocks.3._se_reduce",
        "stage4_block5/project_conv": "_blocks.15._project_conv",
        "classifier": "_fc",
    },
    "keras": {
        "stage1_block1/depthwise_norm": "block1a_bn",
        "stage1_block3/expand_conv": "block2b_expand_conv",
        "stage4_block4/depthwise_conv": "block6d_dwconv",
        "stage4_block5/squeeze/expand": "block7a_se_expand",
        "head_conv": "top_conv",
        "classifier": "predictions",
    },
}


@pytest.mark.parametrize("scheme", PUBLISHED_NAMES)
def test_b0_has_the_published_names(scheme):
    table = efficientnet_names.schemes("efficientnet_b0")[scheme]
    expected = PUBLISHED_NAMES[scheme]
    assert {here: table[here] for here in expected} == expected


@pytest.mark.every
def test_keras_has_the_same_layers_with_parameters_of_the_same_shapes():
    if importlib.util.find_spec("keras") is None:
        pytest.skip("Keras is not installed")
    code = """
import json, keras
model = keras.applications.EfficientNetB0(weights=None)
print(json.dumps({layer.name: [list(w.shape) for w in layer.weights] for layer in model.layers if layer.weights}))
"""
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=True, text=True
    )
    theirs = json.loads(run.stdout.splitlines()[-1])
    table = efficientnet_names.schemes("efficientnet_b0")["keras"]
    ours = {}
    variables = initial(efficientnet.build("efficientnet_b0", num_classes=1000, layout="keras"))
    for path, leaf in flatten_dict(variables).items():
        depthwise = (1,) if path[-1] == "kernel" and len(leaf.shape) == 3 else ()
        ours.setdefault(table["/".join(path[1:-1])], []).append([*leaf.shape, *depthwise])
    ignored = {name for name in theirs if name.startswith(efficientnet_names.IGNORED["keras"])}
    assert len(ignored) == 1
    assert {name: sorted(theirs[name]) for name in theirs if name not in ignored} == {
        name: sorted(shapes) for name, shapes in ours.items()
    }


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def relu6(x):
    return np.clip(x, 0, 6)


def by_hand(x, variables, settings, before, eps, activation=silu):
    """Returns the residual branch in float64; `before` is the number of zeros before each row."""
    params, stats = variables["params"], variables["batch_stats"]

    def norm(y, name):
        p, s = params[name], stats[name]
        return (y - s["mean"]) / np.sqrt(s["var"] + eps) * p["scale"] + p["bias"]

    y = activation(norm(x @ params["expand_conv"]["kernel"][0, 0], "expand_norm"))
    size, stride = settings.size, settings.stride
    padded = np.pad(y, ((0, 0), (before, size), (before, size), (0, 0)))
    rows, columns = -(-x.shape[1] // stride), -(-x.shape[2] // stride)
    z = np.zeros((len(x), rows, columns, y.shape[-1]))
    for i in range(rows):
        for j in range(columns):
            window = padded[:, i * stride : i * stride + size, j * stride : j * stride + size]
            z[:, i, j] = (window * params["depthwise_conv"]["kernel"][None]).sum((1, 2))
    z = activation(norm(z, "depthwise_norm"))
    if activation is not silu:
        assert "squeeze" not in params
        return norm(z @ params["project_conv"]["kernel"][0, 0], "project_norm")
    gate = params["squeeze"]
    s = z.mean((1, 2)) @ gate["reduce"]["kernel"][0, 0] + gate["reduce"]["bias"]
    s = sigmoid(silu(s) @ gate["expand"]["kernel"][0, 0] + gate["expand"]["bias"])
    z = z * s[:, None, None]
    return norm(z @ params["project_conv"]["kernel"][0, 0], "project_norm")


CASES = [("torch", 3, 1, 1), ("torch", 3, 2, 1), ("keras", 3, 2, 0), ("keras", 5, 2, 1)]


def random_block(x, **attributes):
    """Returns a block and float64 variables of it that are all drawn."""
    block = efficientnet.Block(number=3, dtype=jnp.float64, **attributes)
    shapes = jax.eval_shape(lambda: block.init(jax.random.key(0), x, train=False))
    return block, jax.tree.map(lambda leaf: rng.uniform(0.2, 0.8, leaf.shape), shapes)


@pytest.mark.parametrize(("layout", "size", "stride", "before"), CASES)
def test_a_block_is_what_numpy_computes(layout, size, stride, before):
    settings = efficientnet.Group(1, 8, 1, 2, size, stride)
    with jax.enable_x64(True):
        x = rng.normal(size=(2, 6, 4, 8))
        block, variables = random_block(x, settings=settings, layout=layout)
        y = jax.jit(functools.partial(block.apply, train=False))(variables, x)
    eps = {"torch": 1e-5, "keras": 1e-3}[layout]
    expected = by_hand(x, variables, settings, before, eps) + (x if stride == 1 else 0)
    np.testing.assert_allclose(y, expected, rtol=1e-10)


def test_a_lite_block_does_not_squeeze_and_ends_at_six():
    settings = efficientnet.Group(1, 8, 1, 2, 5, 2)
    with jax.enable_x64(True):
        x = 3 * rng.normal(size=(2, 6, 4, 8))
        block, variables = random_block(x, settings=settings, layout="keras", lite=True)
        y = jax.jit(functools.partial(block.apply, train=False))(variables, x)
    expected = by_hand(x, variables, settings, 1, 1e-3, relu6)
    np.testing.assert_allclose(y, expected, rtol=1e-10)
    open_ended = by_hand(x, variables, settings, 1, 1e-3, lambda x: np.maximum(x, 0))
    assert np.abs(expected - open_ended).max() > 0.1


def test_stochastic_depth_drops_the_branch_of_whole_examples_and_grows_the_others():
    settings = efficientnet.Group(1, 8, 1, 2, 3, 1)
    with jax.enable_x64(True):
        x = rng.normal(size=(16, 2, 2, 8))
        block, variables = random_block(x, settings=settings, drop_rate=0.5)
        keys = jax.vmap(jax.random.key)(jnp.arange(16))
        apply = jax.jit(functools.partial(block.apply, train=False))
        y, other = (np.asarray(apply(variables, x, keys=k)) for k in (keys, keys[::-1]))
    branch = by_hand(x, variables, settings, 1, 1e-5)
    kept = (y != x).any((1, 2, 3))
    assert 0 < kept.sum() < 16
    np.testing.assert_allclose(y, x + 2 * kept[:, None, None, None] * branch, rtol=1e-10)
    np.testing.assert_array_equal((other != x).any((1, 2, 3)), kept[::-1])


def test_stochastic_depth_rises_linearly_over_the_blocks():
    network, rates = efficientnet.build("efficientnet_tiny"), []

    def note(run, arguments, keywords, context):
        if isinstance(context.module, efficientnet.Block):
            rates.append(context.module.drop_rate)
        return run(*arguments, **keywords)

    with nn.intercept_methods(note):
        initial(network)
    np.testing.assert_allclose(rates, np.arange(6) * 0.2 / 6)


def test_training_draws_by_example_and_moves_every_statistic():
    network = efficientnet.build("efficientnet_tiny", drop_rate=0.5)
    images = jnp.float32(rng.normal(size=(4, 32, 32, 3)))
    variables = jax.tree.map(
        lambda leaf: np.float32(rng.uniform(-0.5, 0.5, leaf.shape)), initial(network)
    )

    @jax.jit
    def apply(ids):
        known = {**variables, EXAMPLES: {"id": ids}}
        rngs = {"dropout": jax.random.key(1)}
        return network.apply(known, images, train=True, mutable=["batch_stats"], rngs=rngs)

    ids = jnp.arange(4)
    (outputs, state), (turned, _) = apply(ids), apply(ids[::-1])
    pooled = outputs.features["pooled"]
    dropped = pooled == 0
    assert 0.3 < dropped.mean() < 0.7
    assert len(np.unique(dropped, axis=0)) == 4
    np.testing.assert_array_equal(turned.features["pooled"] == 0, dropped[::-1])
    expected = jnp.where(dropped, 0, 2 * outputs.features["stage4"].mean((1, 2)))
    np.testing.assert_allclose(pooled, expected, rtol=1e-5, atol=1e-6)
    head = variables["params"]["classifier"]
    logits = pooled @ head["kernel"] + head["bias"][None]
    np.testing.assert_allclose(outputs.logits, logits, rtol=1e-4, atol=1e-6)
    moved = jax.tree.map(
        lambda old, new: bool((old != new).any()), variables["batch_stats"], state["batch_stats"]
    )
    assert all(jax.tree.leaves(moved))


def test_without_rates_nothing_is_drawn():
    still = efficientnet.build("efficientnet_tiny", drop_rate=0.0, drop_path_rate=0.0)
    assert not still.draws
    assert efficientnet.build("efficientnet_tiny", drop_rate=0.0).draws
    train = functools.partial(still.apply, train=True, mutable=["batch_stats"])
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    outputs, _ = jax.eval_shape(train, initial(still), images)
    assert outputs.logits.shape == (2, 2)


def test_bfloat16_computes_in_bfloat16_and_float64_stays_float64():
    network = efficientnet.build("efficientnet_tiny", dtype=jnp.bfloat16)
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    variables = initial(network)
    outputs = jax.eval_shape(network.apply, variables, images)
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    assert outputs.logits.dtype == outputs.features["pooled"].dtype == jnp.float32
    assert {outputs.features[f"stage{i}"].dtype for i in range(1, 5)} == {jnp.dtype(jnp.bfloat16)}
    with jax.enable_x64(True):
        network = efficientnet.build("efficientnet_tiny")
        images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float64)
        outputs = jax.eval_shape(network.apply, variables, images)
    assert {x.dtype for x in jax.tree.leaves(outputs)} == {jnp.dtype(jnp.float64)}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("layout", ["torch", "keras"])
def test_a_training_step_is_finite_and_reaches_every_parameter(layout, dtype):
    network = efficientnet.build("efficientnet_tiny", layout=layout, dtype=dtype)
    images = jnp.float32(rng.normal(size=(4, 65, 64, 3)))
    variables = jax.jit(network.init)(jax.random.key(0), images)

    @jax.jit
    def grads(params):
        def loss(params):
            outputs, _ = network.apply(
                {**variables, "params": params},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(1)},
            )
            return jnp.mean(jax.nn.log_softmax(outputs.logits)[:, 0])

        return jax.grad(loss)(params)

    for leaf in jax.tree.leaves(grads(variables["params"])):
        assert leaf.dtype == jnp.float32
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).max() > 0
