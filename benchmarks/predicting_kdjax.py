"""kdjax's side of predicting.py: a network as drawn, in a detector."""

import argparse
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kdjax import models
from kdjax.serve.detector import Detector
from kdjax.serve.spec import Faces, Spec
from kdjax.types import Array, PyTree


def prepare(arguments: argparse.Namespace) -> Detector:
    """Returns a detector that has been compiled."""
    size = arguments.size
    module = models.create(arguments.network)
    images = jnp.zeros((1, size, size, 3))
    variables = jax.jit(module.init)(jax.random.key(0), images)

    @jax.jit
    def log_odds(variables: PyTree, images: Array) -> Array:
        logits = module.apply(variables, images.astype(jnp.float32) / 255.0, train=False).logits
        return logits[:, 1] - logits[:, 0]

    def scorer(images: np.ndarray) -> np.ndarray:
        return np.asarray(log_odds(variables, images))

    faces = Faces("hog", 1.3, "", arguments.every)
    detector = Detector(
        Spec(
            *(arguments.network, size, size, ("real", "fake"), ("raw", "c23"), faces, None),
            *("", "", 0, 0, "", None),
        ),
        scorer,
    )
    detector.score(np.zeros((arguments.batch, size, size, 3), np.uint8), batch=arguments.batch)
    return detector


def judge(path: Path, detector: Detector, arguments: argparse.Namespace) -> tuple[int, int]:
    """Returns how many frames were looked through and scored."""
    (found,) = detector.predict(path, batch=arguments.batch)
    return found.seen.frames, found.scored
