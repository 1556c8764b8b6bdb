"""The MesoNet authors' own files give their own probabilities; KDJAX_MESONET names the folder that has them."""

import json
import os
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest

from kdjax import models

FOLDER = Path(os.environ.get("KDJAX_MESONET", "/nonexistent"))

pytestmark = pytest.mark.skipif(
    "KDJAX_MESONET" not in os.environ, reason="KDJAX_MESONET names no folder of the authors' files"
)


def read_image(path):
    """RGB in [0, 1], resized as the authors did: each pixel takes the one that its centre lies in."""
    image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    return np.float32(cv2.resize(image, (256, 256), interpolation=cv2.INTER_NEAREST_EXACT)) / 255


@pytest.mark.slow
@pytest.mark.parametrize("file", ["Meso4_DF", "Meso4_F2F", "MesoInception_DF", "MesoInception_F2F"])
def test_the_authors_weights_give_the_authors_probabilities(file):
    expected = json.loads((FOLDER / "expected.json").read_text())[file]
    images = np.stack([read_image(FOLDER / image) for image in expected])
    name = "meso4" if file.startswith("Meso4") else "mesoinception4"
    network = models.create(name, layout="keras")
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    variables = models.load_weights(name, FOLDER / f"{file}.h5", zeros, layout="keras")
    mean, deviation = models.normalization(name, "keras")
    logits = jax.jit(network.apply)(variables, (images - mean) / deviation).logits
    probabilities = np.asarray(jax.nn.softmax(logits))
    np.testing.assert_allclose(probabilities[:, 0], list(expected.values()), atol=1e-4)
