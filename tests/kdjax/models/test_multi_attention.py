import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax.traverse_util import flatten_dict

from kdjax.models import efficientnet, multi_attention
from kdjax.models.cost import cost
from kdjax.models.stochastic import EXAMPLES

rng = np.random.default_rng(0)


@functools.cache
def published():
    return cost(multi_attention.build("mat"), 224)


def test_mat_has_the_backbones_parameters_and_those_of_its_heads():
    backbone = 19_341_616 - 1793 * 1000
    attention = 9 * 160**2 + 2 * 160 + 160 * 4 + 2 * 4
    dense = 32**2 + 9 * 32 * (32 + 64 + 96) + 128**2 + 2 * (32 + 64 + 96 + 128 + 128)
    linear = (4 * 128 + 1 + 257 + 1793 + 513) * 256 + 257 * 2
    assert published().parameters == backbone + attention + dense + linear


def test_mat_returns_the_common_features_and_its_attention():
    shapes = {name: x.shape for name, x in published().outputs.features.items()}
    assert shapes == {
        "stage1": (1, 56, 56, 32),
        "stage2": (1, 28, 28, 56),
        "stage3": (1, 14, 14, 160),
        "stage4": (1, 7, 7, 1792),
        "attention": (1, 14, 14, 4),
        "pooled": (1, 256),
    }


@pytest.mark.parametrize(("size", "layout"), [(64, "torch"), (67, "keras"), (99, "torch")])
def test_any_size_will_do_and_width_reaches_backbone_and_heads(size, layout):
    network = multi_attention.build(
        "mat", backbone="efficientnet_tiny", width=2.0, layout=layout, num_classes=3
    )
    outputs = cost(network, size).outputs
    assert outputs.logits.shape == (1, 3)
    assert outputs.features["pooled"].shape == (1, 512)
    assert outputs.features["stage4"].shape[-1] == 64
    assert outputs.features["attention"].shape[:3] == outputs.features["stage3"].shape[:3]
    assert network.backbone.layout == layout


def test_another_backbone_is_named_and_an_unknown_one_refused():
    network = multi_attention.build("mat", backbone="efficientnet_b0", drop_path_rate=0.1)
    assert network.backbone.blocks == efficientnet.build("efficientnet_b0").blocks
    assert network.backbone.drop_path_rate == 0.1
    with pytest.raises(ValueError, match="backbone='resnet18'"):
        multi_attention.build("mat", backbone="resnet18")


def between(maps, size):
    """Returns maps interpolated linearly between the positions' centres, in float64 by loops."""
    found = np.zeros((len(maps), *size, maps.shape[-1]))
    for i in range(size[0]):
        for j in range(size[1]):
            at = [
                min(max((place + 0.5) * length / new - 0.5, 0), length - 1)
                for place, length, new in zip((i, j), maps.shape[1:3], size, strict=True)
            ]
            for rows, row in ((1 - at[0] % 1, int(at[0])), (at[0] % 1, int(at[0]) + 1)):
                for columns, column in ((1 - at[1] % 1, int(at[1])), (at[1] % 1, int(at[1]) + 1)):
                    if rows * columns > 0:
                        found[:, i, j] += rows * columns * maps[:, row, column]
    return found


@pytest.mark.parametrize("size", [(3, 4), (7, 9), (2, 2)])
def test_attention_pooling_is_what_numpy_computes(size):
    maps, attention = rng.normal(size=(2, *size, 5)), rng.uniform(size=(2, 3, 4, 2))
    weights = between(attention, size)
    expected = np.zeros((2, 2, 5))
    for m in range(2):
        expected[:, m] = (weights[..., m : m + 1] * maps).sum((1, 2))
    lengths = np.sqrt((expected**2).sum(-1, keepdims=True))
    total = weights.sum(-1, keepdims=True) + 1e-8
    with jax.enable_x64(True):
        pooled = multi_attention.attention_pool(maps, attention)
        vectors = multi_attention.texture_vectors(maps, attention)
        mean = multi_attention.weighted_mean(maps, attention)
    np.testing.assert_allclose(pooled, expected, rtol=1e-12)
    np.testing.assert_allclose(vectors, expected / lengths, rtol=1e-12)
    np.testing.assert_allclose(mean, (total * maps).sum((1, 2)) / total.sum((1, 2)), rtol=1e-12)


@pytest.mark.parametrize("pooling", ["texture_vectors", "weighted_mean"])
def test_pooling_of_zeros_has_finite_gradients(pooling):
    @jax.jit
    def pooled_and_grads(maps, attention):
        pooled, back = jax.vjp(getattr(multi_attention, pooling), maps, attention)
        return pooled, back(jnp.ones_like(pooled))

    zeros, ones = np.zeros((1, 2, 2, 3), np.float32), np.ones((1, 2, 2, 3), np.float32)
    pooled, grads = pooled_and_grads(zeros, ones)
    assert not pooled.any()
    assert all(np.isfinite(grad).all() for grad in grads)
    pooled, grads = pooled_and_grads(ones, zeros)
    np.testing.assert_allclose(pooled, 1 if pooling == "weighted_mean" else 0, rtol=1e-6)
    assert all(np.isfinite(grad).all() for grad in grads)


@pytest.mark.parametrize("size", [(2, 3), (3, 2), (6, 7)])
def test_what_local_means_leave_is_what_numpy_computes(size):
    x = rng.normal(size=(2, 6, 7, 3))
    cells = [
        [
            range(k * length // cells, -(-(k + 1) * length // cells))
            for k in (place * cells // length for place in range(length))
        ]
        for length, cells in zip((6, 7), size, strict=True)
    ]
    expected = x.copy()
    for i, rows in enumerate(cells[0]):
        for j, columns in enumerate(cells[1]):
            expected[:, i, j] -= x[:, list(rows)][:, :, list(columns)].mean((1, 2))
    with jax.enable_x64(True):
        left = multi_attention.remove_local_mean(jnp.asarray(x), size)
        flat = multi_attention.remove_local_mean(jnp.ones((1, 6, 7, 1)), size)
    np.testing.assert_allclose(left, expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(flat, 0, atol=1e-14)


def test_attention_is_positive_inside_and_zero_in_the_border():
    module = multi_attention.Attention(2)
    x = jnp.float32(rng.normal(size=(1, 24, 12, 3)))
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), x, train=False))
    variables = jax.tree.map(lambda leaf: np.float32(rng.uniform(0.5, 1, leaf.shape)), shapes)
    attention = np.array(jax.jit(functools.partial(module.apply, train=False))(variables, x))
    assert (attention[:, 2:-2, 1:-1] > 0).all()
    attention[:, 2:-2, 1:-1] = 0
    assert not attention.any()


def random_variables(network):
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)
    draw = lambda leaf: np.float32(rng.uniform(-0.3, 0.5, leaf.shape))  # noqa: E731
    return jax.tree.map(draw, shapes)


@pytest.mark.slow
def test_pooled_gives_the_logits_and_training_draws_by_example():
    network = multi_attention.build("mat", backbone="efficientnet_tiny", drop_path_rate=0.0)
    images = jnp.repeat(jnp.float32(rng.normal(size=(1, 64, 64, 3))), 4, axis=0)
    variables = random_variables(network)

    @jax.jit
    def apply(ids):
        known = {**variables, EXAMPLES: {"id": ids}}
        rngs = {"dropout": jax.random.key(1)}
        return network.apply(known, images, train=True, mutable=["batch_stats"], rngs=rngs)

    ids = jnp.arange(4)
    (outputs, _), (turned, _) = apply(ids), apply(ids[::-1])
    head = variables["params"]["classifier"]
    logits = outputs.features["pooled"] @ head["kernel"] + head["bias"][None]
    np.testing.assert_allclose(outputs.logits, logits, rtol=1e-4)
    assert len(np.unique(np.asarray(outputs.logits), axis=0)) == 4
    np.testing.assert_allclose(turned.logits, outputs.logits[::-1], rtol=1e-4, atol=1e-5)


def test_dtypes_are_kept_and_nothing_is_drawn_without_rates():
    options = {"backbone": "efficientnet_tiny", "drop_rate": 0.0, "attention_drop_rate": 0.0}
    still = multi_attention.build("mat", dtype=jnp.bfloat16, drop_path_rate=0.0, **options)
    assert not still.draws
    assert multi_attention.build("mat", **options).draws
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    variables = jax.eval_shape(still.init, jax.random.key(0), images)
    train = functools.partial(still.apply, train=True, mutable=["batch_stats"])
    outputs, _ = jax.eval_shape(train, variables, images)
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    maps = {name: x.dtype for name, x in outputs.features.items()}
    assert maps.pop("pooled") == outputs.logits.dtype == jnp.float32
    assert set(maps.values()) == {jnp.dtype(jnp.bfloat16)}
    with jax.enable_x64(True):
        images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float64)
        outputs, _ = jax.eval_shape(train, variables, images)
    assert {x.dtype for x in jax.tree.leaves(outputs)} == {jnp.dtype(jnp.float64)}


def test_the_backbone_has_the_layers_of_its_own_network_but_the_classifier():
    network = multi_attention.build("mat", backbone="efficientnet_tiny")
    backbone = efficientnet.build("efficientnet_tiny")
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    own, alone = (
        jax.eval_shape(module.init, jax.random.key(0), images) for module in (network, backbone)
    )
    for collection in ("params", "batch_stats"):
        expected = flatten_dict(alone[collection])
        expected = {path: x for path, x in expected.items() if path[0] != "classifier"}
        assert flatten_dict(own[collection]["backbone"]) == expected


@pytest.mark.parametrize(
    "dtype",
    [
        pytest.param(jnp.float32, marks=pytest.mark.every),
        pytest.param(jnp.bfloat16, marks=pytest.mark.slow),
    ],
)
def test_a_training_step_is_finite_also_for_flat_images(dtype):
    network = multi_attention.build("mat", width=0.25, dtype=dtype)
    noise = jnp.float32(rng.normal(size=(2, 64, 64, 3)))
    variables = random_variables(network)

    @jax.jit
    def grads(params, images):
        def loss(params):
            outputs, _ = network.apply(
                {**variables, "params": params},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(1)},
            )
            return jnp.mean(nn.log_softmax(outputs.logits)[:, 0])

        return jax.grad(loss)(params)

    mean, deviation = (np.float32(x) for x in multi_attention.normalizations("mat")["torch"])
    black = jnp.broadcast_to((-mean / deviation)[None, None, None], noise.shape)
    for images in (noise, black):
        for leaf in jax.tree.leaves(grads(variables["params"], images)):
            assert leaf.dtype == jnp.float32
            assert np.isfinite(leaf).all()
