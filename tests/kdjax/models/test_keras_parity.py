"""Networks in Keras' layout against keras.applications: outputs, gradients and statistics in double precision."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from kdjax import models

SCRIPT = Path(__file__).with_name("keras_reference.py")
NO_DROPOUT = {"drop_rate": 0.0}
NO_DRAWS = {"drop_rate": 0.0, "drop_path_rate": 0.0}

# odd and even sides, since `same` padding depends on them; all three kinds of file
NETWORKS = [
    pytest.param(
        "ResNet50",
        "resnet50",
        "predictions",
        (64, 80),
        ".h5",
        {},
        id="resnet50",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        "Xception",
        "xception",
        "predictions",
        (75, 96),
        ".keras",
        {},
        id="xception",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        "EfficientNetB0",
        "efficientnet_b0",
        "predictions",
        (64, 75),
        ".weights.h5",
        NO_DRAWS,
        id="efficientnet_b0",
        marks=pytest.mark.every,
    ),
    pytest.param(
        "MobileNetV2",
        "mobilenet_v2",
        "predictions",
        (64, 75),
        ".h5",
        NO_DROPOUT,
        id="mobilenet_v2",
        marks=pytest.mark.every,
    ),
    pytest.param(
        "MobileNetV3Large",
        "mobilenet_v3_large",
        "logits",
        (75, 64),
        ".weights.h5",
        NO_DROPOUT,
        id="mobilenet_v3_large",
        marks=pytest.mark.every,
    ),
]

LARGER = [
    pytest.param("EfficientNetB1", "efficientnet_b1", id="efficientnet_b1"),
    pytest.param("EfficientNetB4", "efficientnet_b4", id="efficientnet_b4"),
]


def run_keras(folder, *arguments):
    """Runs the script and returns what it wrote to `reference.npz`."""
    subprocess.run(
        [sys.executable, str(SCRIPT), *arguments, str(folder)], check=True, env=os.environ
    )
    return np.load(folder / "reference.npz", allow_pickle=False)


def build(name, images, **options):
    """Returns the network in Keras' layout, and variables of zeros."""
    network = models.create(name, num_classes=10, dtype=jnp.float64, layout="keras", **options)
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)
    return network, jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def relative(ours, theirs):
    """The largest difference in units of the largest entry."""
    return np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()


def check_outputs(outputs, reference):
    assert outputs.logits.dtype == np.float64
    assert relative(outputs.logits, reference["logits"]) < 1e-9
    assert relative(outputs.features["pooled"], reference["pooled"]) < 1e-9


def check_trees(ours, theirs):
    """All tensors agree to 1e-7 of their norm; what is zero but for rounding may be other rounding."""
    ours, theirs = flatten_dict(ours, sep="/"), flatten_dict(theirs, sep="/")
    assert ours.keys() == theirs.keys()
    largest = max(float(np.linalg.norm(np.ravel(leaf))) for leaf in theirs.values())
    for key, leaf in theirs.items():
        norm = np.linalg.norm(np.ravel(leaf))
        distance = np.linalg.norm(np.ravel(ours[key]) - np.ravel(leaf))
        assert distance <= 1e-7 * norm + 1e-12 * largest, (key, distance, norm)


@pytest.mark.parametrize(("theirs", "name", "last", "size", "suffix", "options"), NETWORKS)
def test_a_network_in_keras_layout_computes_and_learns_as_keras_does(
    theirs, name, last, size, suffix, options, tmp_path
):
    reference = run_keras(tmp_path, theirs, last, *map(str, size), suffix)
    images, labels = reference["images"], reference["labels"]
    with jax.enable_x64(True):
        network, zeros = build(name, images, **options)
        weights, step = (
            models.load_weights(name, tmp_path / f"{file}{suffix}", zeros, layout="keras")
            for file in ("weights", "step")
        )

        def loss(params):
            variables = {"params": params, "batch_stats": weights["batch_stats"]}
            outputs, state = network.apply(variables, images, train=True, mutable=["batch_stats"])
            losses = optax.softmax_cross_entropy_with_integer_labels(outputs.logits, labels)
            return losses.mean(), state["batch_stats"]

        outputs = jax.jit(network.apply)(weights, images)
        gradients, statistics = jax.jit(jax.grad(loss, has_aux=True))(weights["params"])
    check_outputs(outputs, reference)
    check_trees(gradients, step["params"])
    check_trees(statistics, step["batch_stats"])


@pytest.mark.every
@pytest.mark.parametrize(("theirs", "name"), LARGER)
def test_a_larger_network_in_keras_layout_returns_what_keras_does(theirs, name, tmp_path):
    reference = run_keras(tmp_path, theirs, "predictions", "64", "75", ".weights.h5")
    with jax.enable_x64(True):
        network, zeros = build(name, reference["images"])
        path = tmp_path / "weights.weights.h5"
        variables = models.load_weights(name, path, zeros, layout="keras")
        outputs = jax.jit(network.apply)(variables, reference["images"])
    check_outputs(outputs, reference)
