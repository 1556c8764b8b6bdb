import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from kdjax.models import inception_blocks, inception_resnet
from kdjax.models.dual_branch import DualBranch
from kdjax.models.weights import inception_resnet_names

NAME = "inception_resnet_v1"


def trace(network, size, dtype=jnp.float32):
    images = jax.ShapeDtypeStruct((2, size, size, 3), dtype)
    outputs, variables = jax.eval_shape(network.init_with_output, jax.random.key(0), images)
    return variables, outputs


@functools.cache
def shapes(size):
    return trace(inception_resnet.build(NAME, num_classes=8631), size)


def short(**options):
    """The network with one block a stage, which is as good and quicker."""
    network = inception_resnet.build(NAME, **options)
    stages = tuple(stage._replace(depth=1) for stage in network.plan.stages)
    return network.clone(plan=network.plan._replace(stages=stages))


def test_the_network_for_8631_faces_has_the_published_number_of_parameters():
    variables, _ = shapes(160)
    assert sum(x.size for x in jax.tree.leaves(variables["params"])) == 27_910_327


def test_it_returns_the_common_features_in_the_published_sizes():
    variables, outputs = shapes(160)
    assert outputs.logits.shape == (2, 8631)
    assert {name: x.shape[1:] for name, x in outputs.features.items()} == {
        "stage1": (17, 17, 256),
        "stage2": (8, 8, 896),
        "stage3": (3, 3, 1792),
        "stage4": (3, 3, 1792),
        "pooled": (512,),
    }
    assert set(variables) == {"params", "batch_stats"}


def test_images_need_75_pixels():
    assert trace(short(), 75)[1].features["stage4"].shape == (2, 1, 1, 1792)
    with pytest.raises(ValueError, match="images are too small"):
        trace(short(), 74)


def test_width_multiplies_the_channels():
    _, outputs = trace(short(width=0.1), 75)
    assert outputs.features["stage1"].shape[-1] == 26
    assert outputs.features["pooled"].shape == (2, 51)


def along(x, kernel, axis):
    """Convolves `[H, W, C]` with `[k, C, D]` along one axis, zeros around."""
    reach = len(kernel) // 2
    margins = [(0, 0)] * 3
    margins[axis] = (reach, reach)
    x = np.pad(x, margins)
    count = x.shape[axis] - 2 * reach
    slices = [np.take(x, np.arange(i, i + count), axis) for i in range(len(kernel))]
    return sum(part @ tap for part, tap in zip(slices, kernel, strict=True))


@pytest.mark.parametrize("relu", [True, False])
def test_a_block_is_the_one_computed_by_hand(relu):
    part = inception_blocks.Part
    branches = ((part(3),), (part(2), part(4, (1, 7)), part(3, (7, 1))))
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        block = inception_blocks.Block(branches, 0.1, relu, dtype=jnp.float64)
        x = rng.normal(size=(1, 5, 6, 4)) - 0.5
        structure = jax.eval_shape(lambda: block.init(jax.random.key(0), x, train=False))
        variables = jax.tree.map(lambda leaf: rng.uniform(0.2, 1.0, leaf.shape), structure)
        found = jax.jit(lambda v, x: block.apply(v, x, train=False))(variables, x)
    params, stats = variables["params"], variables["batch_stats"]

    def unit(y, name, axis):
        kernel = params[name]["conv"]["kernel"]
        y = along(y, kernel[:, 0] if axis == 0 else kernel[0], axis)
        mean, var = stats[name]["norm"]["mean"], stats[name]["norm"]["var"]
        norm = params[name]["norm"]
        return np.maximum((y - mean) / np.sqrt(var + 1e-3) * norm["scale"] + norm["bias"], 0)

    first = unit(x[0], "branch1_unit1", 1)
    second = unit(x[0], "branch2_unit1", 1)
    second = unit(unit(second, "branch2_unit2", 1), "branch2_unit3", 0)
    project = params["project_conv"]
    y = np.concatenate([first, second], -1) @ project["kernel"][0, 0] + project["bias"]
    y = x[0] + 0.1 * y
    assert (y < 0).any()
    np.testing.assert_allclose(found[0], np.maximum(y, 0) if relu else y, rtol=1e-10)


def test_reduced_precision_is_kept_in_maps_and_left_at_the_pooling():
    variables, outputs = trace(short(dtype=jnp.bfloat16), 75)
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    maps = {outputs.features[f"stage{i}"].dtype for i in range(1, 5)}
    assert maps == {jnp.dtype(jnp.bfloat16)}
    assert outputs.logits.dtype == outputs.features["pooled"].dtype == jnp.float32
    with jax.enable_x64(True):
        tree = trace(short(dtype=jnp.float64), 75, jnp.float64)
    assert {x.dtype for x in jax.tree.leaves(tree)} == {jnp.dtype(jnp.float64)}


def test_two_of_them_make_a_dual_branch_network():
    mean, std = inception_resnet.normalizations(NAME)["torch"]
    _, outputs = trace(DualBranch(short(), short(), mean, std), 75)
    assert outputs.features["pooled"].shape == (2, 2 * 1792)


def test_images_are_normalised_as_the_published_weights_take_them():
    ((mean, std),) = inception_resnet.normalizations(NAME).values()
    for value in (0, 97, 255):
        np.testing.assert_allclose((value / 255 - mean[0]) / std[0], (value - 127.5) / 128)


def test_every_layer_has_one_name():
    variables, _ = shapes(160)
    layers = {"/".join(path[:-1]) for path in flatten_dict(variables["params"])}
    names = inception_resnet_names.schemes(NAME)["facenet"]
    assert set(names) == layers
    assert len(set(names.values())) == len(layers)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("stem_unit4/norm", "conv2d_3b.bn"),
        ("stage1_block5/branch3_unit3/conv", "repeat_1.4.branch2.2.conv"),
        ("stage2_reduction/branch1_unit1/conv", "mixed_6a.branch0.conv"),
        ("stage3_reduction/branch1_unit1/conv", "mixed_7a.branch0.0.conv"),
        ("stage4_block1/branch2_unit3/norm", "block8.branch1.2.bn"),
        ("stage4_block1/project_conv", "block8.conv2d"),
        ("embedding_conv", "last_linear"),
    ],
)
def test_names_are_those_of_the_published_files(ours, theirs):
    assert inception_resnet_names.schemes(NAME)["facenet"][ours] == theirs


@pytest.mark.slow
def test_training_moves_every_statistic_and_parameter_and_draws():
    network = short(width=0.1)
    images = jnp.float32(np.random.default_rng(0).normal(size=(4, 75, 75, 3)))
    variables = jax.jit(network.init)(jax.random.key(0), images)

    @jax.jit
    def train(params, key):
        def loss(params):
            outputs, state = network.apply(
                {**variables, "params": params},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": key},
            )
            return jnp.sum(jnp.sin(outputs.logits) * jnp.arange(8.0).reshape(4, 2)), (
                outputs.features,
                state["batch_stats"],
            )

        return jax.grad(loss, has_aux=True)(params)

    grads, (features, state) = train(variables["params"], jax.random.key(1))
    assert all(bool(jnp.isfinite(x).all() & (x != 0).any()) for x in jax.tree.leaves(grads))
    moved = jax.tree.map(lambda old, new: bool((old != new).any()), variables["batch_stats"], state)
    assert all(jax.tree.leaves(moved))
    _, (others, _) = train(variables["params"], jax.random.key(2))
    np.testing.assert_array_equal(features["stage4"], others["stage4"])
    assert (features["pooled"] != others["pooled"]).any()
