import json
import os
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from kdjax.models import mesonet
from kdjax.models.weights import mesonet_names

NAMES = tuple(mesonet.PLANS)
FILES = os.environ.get("KDJAX_MESONET", "")


def trace(name, size=256, dtype=jnp.float32, **options):
    network = mesonet.build(name, dtype=dtype, **options)
    images = jax.ShapeDtypeStruct((2, size, size, 3), dtype)
    outputs, variables = jax.eval_shape(network.init_with_output, jax.random.key(0), images)
    return variables, outputs


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(("name", "parameters"), [("meso4", 27_977), ("mesoinception4", 28_615)])
def test_parameters_are_the_published_ones_with_a_head_of_one_unit(name, parameters):
    assert count(trace(name, num_classes=1)[0]["params"]) == parameters


@pytest.mark.parametrize(("name", "widths"), [("meso4", (8, 8)), ("mesoinception4", (11, 12))])
def test_both_return_the_common_features(name, widths):
    variables, outputs = trace(name)
    assert outputs.logits.shape == (2, 2)
    assert {key: x.shape[1:] for key, x in outputs.features.items()} == {
        "stage1": (128, 128, widths[0]),
        "stage2": (64, 64, widths[1]),
        "stage3": (32, 32, 16),
        "stage4": (8, 8, 16),
        "pooled": (16,),
    }
    assert set(variables) == {"params", "batch_stats"}


@pytest.mark.parametrize("name", NAMES)
def test_images_of_another_size_than_the_weights_are_refused(name):
    network = mesonet.build(name)
    variables, _ = trace(name, 64)
    images = jax.ShapeDtypeStruct((2, 96, 128, 3), jnp.float32)
    with pytest.raises(ValueError, match=r"96 x 128 do not fit .* made for 64 x 64"):
        jax.eval_shape(network.apply, variables, images)


def test_width_multiplies_the_channels():
    _, outputs = trace("mesoinception4", 64, width=0.25)
    assert [outputs.features[f"stage{i}"].shape[-1] for i in range(1, 5)] == [4, 4, 4, 4]
    assert outputs.features["pooled"].shape == (2, 4)


def convolution(x, layer, dilation):
    """Convolves `[H, W, C]`, zeros around, by a sum over the kernel's entries."""
    kernel = layer["kernel"]
    reach = dilation * (kernel.shape[0] // 2)
    padded = np.pad(x, ((reach, reach), (reach, reach), (0, 0)))
    y = np.zeros((*x.shape[:2], kernel.shape[-1])) + layer["bias"]
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            rows = padded[i * dilation :, j * dilation :][: x.shape[0], : x.shape[1]]
            y += rows @ kernel[i, j]
    return np.maximum(y, 0)


def by_hand(params, stats, image, inception):
    """The network in float64 on one image `[H, W, 3]`: logits, and the vector before them."""
    x = image
    for number, size in enumerate((2, 2, 2, 4), start=1):
        if inception and number <= 2:
            ends = [convolution(x, params[f"stage{number}_branch1_conv1"], 1)]
            for branch in (2, 3, 4):
                y = convolution(x, params[f"stage{number}_branch{branch}_conv1"], 1)
                second = params[f"stage{number}_branch{branch}_conv2"]
                ends.append(convolution(y, second, branch - 1))
            x = np.concatenate(ends, -1)
        else:
            x = convolution(x, params[f"stage{number}_conv"], 1)
        norm, running = params[f"stage{number}_norm"], stats[f"stage{number}_norm"]
        x = (x - running["mean"]) / np.sqrt(running["var"] + 1e-3) * norm["scale"] + norm["bias"]
        side = x.shape[0] // size
        x = x.reshape(side, size, side, size, -1).max((1, 3))
    hidden = x.reshape(-1) @ params["hidden"]["kernel"] + params["hidden"]["bias"]
    hidden = np.where(hidden > 0, hidden, 0.1 * hidden)
    return hidden @ params["classifier"]["kernel"] + params["classifier"]["bias"], hidden


@pytest.mark.parametrize("name", NAMES)
def test_the_networks_are_the_ones_computed_by_hand(name):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        network = mesonet.build(name, dtype=jnp.float64)
        variables = jax.tree.map(
            lambda x: rng.uniform(0.5, 1.5, x.shape) if x.ndim == 1 else rng.normal(size=x.shape),
            trace(name, 32, jnp.float64)[0],
        )
        images = rng.uniform(size=(2, 32, 32, 3))
        outputs = jax.jit(network.apply)(variables, images)
    for index in range(2):
        logits, hidden = by_hand(
            variables["params"], variables["batch_stats"], images[index], name == "mesoinception4"
        )
        assert (hidden < 0).any()
        np.testing.assert_allclose(outputs.features["pooled"][index], hidden, rtol=1e-9)
        np.testing.assert_allclose(outputs.logits[index], logits, rtol=1e-9)


def test_reduced_precision_is_kept_in_maps_and_left_at_the_linear_layers():
    variables, outputs = trace("mesoinception4", 32, jnp.bfloat16)
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    maps = {outputs.features[f"stage{i}"].dtype for i in range(1, 5)}
    assert maps == {jnp.dtype(jnp.bfloat16)}
    assert outputs.logits.dtype == outputs.features["pooled"].dtype == jnp.float32


@pytest.mark.slow
def test_training_moves_every_statistic_and_drops_before_both_linear_layers():
    network = mesonet.build("mesoinception4", width=2.0)
    images = jnp.float32(np.random.default_rng(0).uniform(size=(4, 64, 64, 3)))
    variables = jax.jit(network.init)(jax.random.key(0), images)

    @jax.jit
    def train(key):
        rngs = {"dropout": key}
        return network.apply(variables, images, train=True, mutable=["batch_stats"], rngs=rngs)

    (first, state), (second, _) = (train(jax.random.key(i)) for i in range(2))
    moved = jax.tree.map(
        lambda old, new: bool((old != new).any()), variables["batch_stats"], state["batch_stats"]
    )
    assert all(jax.tree.leaves(moved))
    left, right = first.features["pooled"], second.features["pooled"]
    assert 0.35 < float((left == 0).mean()) < 0.65
    kept = (left != 0) & (right != 0)
    assert kept.any()
    assert (left != right)[kept].all()


@pytest.mark.parametrize("name", NAMES)
def test_every_layer_has_one_name(name):
    variables, _ = trace(name, 32)
    layers = {"/".join(path[:-1]) for path in flatten_dict(variables["params"])}
    names = mesonet_names.schemes(name)["keras"]
    assert set(names) == layers
    assert len(set(names.values())) == len(layers)


def of_file(path):
    """The arrays of one of the authors' files by our numbering: `{conv2d_1: {kernel: ...}}`."""
    h5py = pytest.importorskip("h5py")
    kinds = {}
    with h5py.File(path) as file:
        for layer in (name for name in file if len(file[name])):
            kind, number = re.fullmatch(r"(.+?)_(\d+)", layer).groups()
            arrays = {key.split(":")[0]: x[()] for key, x in file[layer][layer].items()}
            kinds.setdefault(kind, {})[int(number)] = arrays
    return {
        f"{kind}_{place}" if place else kind: arrays[number]
        for kind, arrays in kinds.items()
        for place, number in enumerate(sorted(arrays))
    }


@pytest.mark.slow
@pytest.mark.skipif(not FILES, reason="KDJAX_MESONET names no folder of the authors' files")
@pytest.mark.parametrize("file", ["Meso4_DF", "Meso4_F2F", "MesoInception_DF", "MesoInception_F2F"])
def test_the_authors_weights_give_the_authors_probabilities(file):
    cv2 = pytest.importorskip("cv2")
    name = "meso4" if file.startswith("Meso4") else "mesoinception4"
    theirs, names = of_file(Path(FILES, f"{file}.h5")), mesonet_names.schemes(name)["keras"]
    assert set(theirs) == set(names.values())
    keys = {"scale": "gamma", "mean": "moving_mean", "var": "moving_variance"}
    variables = {}
    for (kind, layer, leaf), structure in flatten_dict(trace(name)[0]).items():
        arrays = theirs[names[layer]]
        key = "beta" if leaf == "bias" and "beta" in arrays else keys.get(leaf, leaf)
        array = arrays[key]
        if layer == "classifier":
            assert mesonet_names.SINGLE_UNIT == "real"
            array = np.stack([array[..., 0], np.zeros_like(array[..., 0])], -1)
        assert array.shape == structure.shape
        variables[kind, layer, leaf] = jnp.asarray(array)
    expected = json.loads(Path(FILES, "expected.json").read_text())[file]
    images = []
    for image in (cv2.imread(str(Path(FILES, image)))[..., ::-1] for image in expected):
        rows, columns = (((np.arange(256) + 0.5) * n / 256).astype(int) for n in image.shape[:2])
        images.append(np.float32(image[rows][:, columns]) / 255)
    apply = jax.jit(mesonet.build(name).apply)
    logits = apply(unflatten_dict(variables), np.stack(images)).logits
    found = jax.nn.softmax(logits)[:, 0]
    np.testing.assert_allclose(found, list(expected.values()), atol=1e-4)
