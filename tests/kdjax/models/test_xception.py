"""Xception: published figures, the order within its blocks, the names of its layers in published files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from kdjax.models import xception
from kdjax.models.cost import cost
from kdjax.models.dual_branch import DualBranch
from kdjax.models.weights.xception_names import schemes


@pytest.fixture(scope="module")
def published():
    """What the network with ImageNet's head costs on the published size of images."""
    return cost(xception.build("xception", num_classes=1000), 299)


def test_it_has_the_published_number_of_parameters(published):
    assert published.parameters == 22_855_952


def test_it_costs_what_tokd_prints_at_299_pixels(published):
    assert published.multiply_adds / 1e9 == pytest.approx(8.45, rel=0.02)


def test_its_stages_are_those_of_the_paper(published):
    shapes = {name: x.shape[1:] for name, x in published.outputs.features.items()}
    assert shapes == {
        "stage1": (74, 74, 128),
        "stage2": (19, 19, 728),
        "stage3": (19, 19, 728),
        "stage4": (10, 10, 2048),
        "pooled": (2048,),
    }


def test_two_of_them_are_the_teacher_that_tokd_prints():
    branches = (xception.build("xception") for _ in range(2))
    teacher = cost(DualBranch(*branches, *xception.normalizations("xception")["torch"]), 299)
    assert round(teacher.parameters / 1e6, 2) == 62.78
    assert teacher.multiply_adds / 1e9 == pytest.approx(20.14, rel=0.02)


def shapes(image_dtype=jnp.float32, **options):
    network = xception.build("xception", **options)
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), image_dtype)
    return jax.eval_shape(network.init_with_output, jax.random.key(0), images)


@pytest.fixture(scope="module")
def half():
    """Outputs and variables of an eighth of the network in bfloat16."""
    return shapes(width=0.125, dtype=jnp.bfloat16)


def test_width_multiplies_every_channel_count(half):
    widths = [half[0].features[f"stage{i}"].shape[-1] for i in (1, 2, 3, 4)]
    assert widths == [16, 91, 91, 256]
    assert xception.scaled((32, 64), 0.01) == (1, 1)


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_where_it_matters(half):
    outputs, variables = half
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    dtypes = {name: x.dtype for name, x in outputs.features.items()}
    assert dtypes.pop("pooled") == outputs.logits.dtype == jnp.float32
    assert set(dtypes.values()) == {jnp.dtype(jnp.bfloat16)}


def test_float64_stays_float64():
    with jax.enable_x64(True):
        found = shapes(width=0.05, dtype=jnp.float64, image_dtype=jnp.float64)
    assert {x.dtype for x in jax.tree.leaves(found)} == {jnp.dtype(jnp.float64)}


def by_hand(x, variables, *, leading_relu, layout):
    """A block of two separable convolutions with stride 2, of one image, in float64 NumPy."""
    epsilon = {"torch": 1e-5, "keras": 1e-3}[layout]
    params, stats = (
        jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables[name])
        for name in ("params", "batch_stats")
    )

    def normalise(y, name):
        scale = params[name]["scale"] / np.sqrt(stats[name]["var"] + epsilon)
        return (y - stats[name]["mean"]) * scale + params[name]["bias"]

    y = x
    for index in (1, 2):
        if index == 2 or leading_relu:
            y = np.maximum(y, 0)
        layer = params[f"sepconv{index}"]
        padded = np.pad(y, ((1, 1), (1, 1), (0, 0)))
        y = sum(
            padded[i : i + y.shape[0], j : j + y.shape[1]] * layer["depthwise"]["kernel"][i, j]
            for i in range(3)
            for j in range(3)
        )
        y = normalise(y @ layer["pointwise"]["kernel"][0, 0], f"norm{index}")
    # on an even side PyTorch pads before and after, of which the latter is not reached; Keras after alone
    margin = (1, 0) if layout == "torch" else (0, 1)
    padded = np.pad(y, (margin, margin, (0, 0)), constant_values=-np.inf)
    places = range(0, len(x), 2)
    y = np.array([[padded[i : i + 3, j : j + 3].max((0, 1)) for j in places] for i in places])
    shortcut = x[::2, ::2] @ params["shortcut_conv"]["kernel"][0, 0]
    return y + normalise(shortcut, "shortcut_norm")


@pytest.mark.parametrize(("layout", "leading_relu"), [("torch", True), ("keras", False)])
def test_a_block_adds_its_input_as_it_was_before_the_first_relu(layout, leading_relu):
    draw = np.random.default_rng(0)
    images = draw.normal(size=(1, 6, 6, 3)).astype(np.float32)
    block = xception.Block((4, 5), 2, leading_relu, layout)
    variables = jax.eval_shape(lambda x: block.init(jax.random.key(0), x, train=False), images)
    variables = jax.tree.map(
        lambda leaf: (
            draw.uniform(0.5, 1.5, leaf.shape).astype(leaf.dtype)
            * (1 if len(leaf.shape) == 1 else draw.choice([-1, 1], leaf.shape).astype(leaf.dtype))
        ),
        variables,
    )
    found = jax.jit(lambda v, x: block.apply(v, x, train=False))(variables, images)
    expected = by_hand(images[0], variables, leading_relu=leading_relu, layout=layout)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-4)


def test_every_layer_has_one_name_in_every_scheme(half):
    found = schemes("xception")
    assert set(found) == {"pretrainedmodels", "timm", "keras"}
    ours = {"/".join(path[:-1]) for path in flatten_dict(half[1]["params"])}
    for name, table in found.items():
        assert set(table) == ours, name
        assert len(set(table.values())) == len(table), name


def test_the_names_are_those_of_the_published_files():
    found = schemes("xception")
    torch, keras = found["timm"], found["keras"]
    # ours: PyTorch's, Keras'
    known = {
        "stem_norm2": ("bn2", "block1_conv2_bn"),
        "stage1_block1/sepconv1/depthwise": ("block1.rep.0.conv1", "block2_sepconv1/depthwise"),
        "stage1_block1/norm2": ("block1.rep.4", "block2_sepconv2_bn"),
        "stage2_block1/sepconv2/pointwise": (
            "block2.rep.4.pointwise",
            "block3_sepconv2/pointwise",
        ),
        "stage2_block2/shortcut_conv": ("block3.skip", "conv2d_2"),
        "stage3_block1/norm3": ("block4.rep.8", "block5_sepconv3_bn"),
        "stage3_block8/sepconv3/depthwise": ("block11.rep.7.conv1", "block12_sepconv3/depthwise"),
        "stage4_block1/shortcut_norm": ("block12.skipbn", "batch_normalization_3"),
        "stage4_sepconv2/pointwise": ("conv4.pointwise", "block14_sepconv2/pointwise"),
        "stage4_norm1": ("bn3", "block14_sepconv1_bn"),
        "classifier": ("fc", "predictions"),
    }
    assert {name: (torch[name], keras[name]) for name in known} == known
    assert found["pretrainedmodels"]["classifier"] == "last_linear"


@pytest.mark.slow
def test_a_training_step_is_finite_and_moves_every_statistic():
    network = xception.build("xception", width=0.05)
    images = np.random.default_rng(0).normal(size=(4, 64, 64, 3)).astype(np.float32)
    variables = jax.jit(network.init)(jax.random.key(0), images)

    def loss(params):
        outputs, state = network.apply(
            {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
        )
        return jnp.mean(jnp.sin(outputs.logits)), (outputs, state)

    (_, (outputs, state)), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(
        variables["params"]
    )
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves((outputs, grads)))
    assert all(jnp.abs(x).max() > 0 for x in jax.tree.leaves(grads["classifier"]))
    before, after = variables["batch_stats"], state["batch_stats"]
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), before, after)))
    np.testing.assert_allclose(
        outputs.features["pooled"], outputs.features["stage4"].mean((1, 2)), rtol=1e-5, atol=1e-6
    )
