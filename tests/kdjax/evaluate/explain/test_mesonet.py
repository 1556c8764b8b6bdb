"""MesoInception4: what comes after its last map can be written down, and its authors say what it looks at.

KDJAX_MESONET names the folder of the authors' files.
"""

import os
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import evaluate, models
from kdjax.evaluate.explain import cam
from kdjax.models.mesonet import SLOPE

FOLDER = Path(os.environ.get("KDJAX_MESONET", "/nonexistent"))


def by_hand(variables, maps, label):
    """Grad-CAM at the last map: two linear layers and the leaky ReLU between them, in float64."""
    weights = jax.tree.map(lambda x: np.asarray(x, np.float64), variables["params"])
    maps = np.asarray(maps, np.float64)
    hidden, last = weights["hidden"], weights["classifier"]
    before = maps.reshape(len(maps), -1) @ hidden["kernel"] + hidden["bias"]
    slopes = np.where(before > 0, 1.0, SLOPE) * (last["kernel"][:, 1] - last["kernel"][:, 0])
    gradients = (slopes @ hidden["kernel"].T).reshape(maps.shape)
    sign = 1 if label else -1
    return np.maximum((sign * gradients.mean((1, 2), keepdims=True) * maps).sum(-1), 0)


def explain(network, variables, images, label):
    run = jax.jit(
        lambda v, x: cam.heat_maps(lambda y: network.apply(v, y), x, "stage4", label=label)
    )
    return run(variables, images)


def test_heat_at_the_last_map_is_what_is_written_down():
    network = models.create("mesoinception4")
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(3, 64, 64, 3)), jnp.float32)
    variables = jax.jit(network.init)(jax.random.key(0), images)
    hottest = 0.0
    for label in (0, 1):
        heat, outputs = explain(network, variables, images, label)
        wanted = by_hand(variables, outputs.features["stage4"], label)
        np.testing.assert_allclose(heat, wanted, rtol=1e-4, atol=1e-7)
        hottest = max(hottest, wanted.max())
    assert hottest > 1e-5


@pytest.mark.slow
@pytest.mark.skipif(
    "KDJAX_MESONET" not in os.environ, reason="KDJAX_MESONET names no folder of the authors' files"
)
def test_eyes_speak_for_real_in_the_authors_network():
    """As they write: the eyes of real faces are what their network answers to."""
    network = models.create("mesoinception4", layout="keras")
    read = [cv2.imread(str(FOLDER / f"real{name}.jpg"))[..., ::-1] for name in ("00240", "00772")]
    sized = [cv2.resize(x, (256, 256), interpolation=cv2.INTER_NEAREST_EXACT) for x in read]
    images = np.float32(sized) / 255
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    file = FOLDER / "MesoInception_DF.h5"
    variables = models.load_weights("mesoinception4", file, zeros, layout="keras")
    heat, outputs = explain(network, variables, images, 0)
    wanted = by_hand(variables, outputs.features["stage4"], 0)
    np.testing.assert_allclose(heat, wanted, rtol=1e-3, atol=1e-4 * wanted.max())
    # the eyes of both faces lie in 2 x 4 of the 8 x 8 cells
    eyes = np.zeros((8, 8), bool)
    eyes[2:4, 2:6] = True
    found = evaluate.heat_inside(heat, np.stack([eyes, eyes]))
    np.testing.assert_array_equal(found.pointing, 1)
    assert (found.share > 2 * eyes.mean()).all()
