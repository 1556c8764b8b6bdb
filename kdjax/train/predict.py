"""Trained networks at work: scores and pooled features of images, on one device or several."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from kdjax.data_pipeline import augment
from kdjax.methods import Network
from kdjax.train import parallel
from kdjax.train.step import make_predict_step
from kdjax.types import PyTree


def make_predict(
    network: Network, variables: PyTree, image_size: int, devices: int = 1
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Returns the evaluator's `predict(images) -> (probability of fake, pooled features)`.

    Images are `[B, H, W, 3]`, uint8 or float in [0, 1]; anything else is refused, with the reason.
    """
    compiled = compile_predict(network, image_size, devices)
    return lambda images: compiled(variables, images)


@functools.lru_cache(maxsize=8)
def compile_predict(network: Network, image_size: int, devices: int = 1) -> Callable[..., Any]:
    """Returns `predict(variables, images)`; variables as on one device, or replicated.

    Compiled once for a network and a size: the runs of a sweep, and the evaluation after a training, share it.
    """
    step = make_predict_step(
        network, lambda images: augment.to_float(augment.center_crop(images, image_size))
    )
    compiled = parallel.compile_step(step, devices, alone=True)

    def predict(variables: PyTree, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images = augment.check_images(images)
        scores, pooled = compiled(variables, parallel.shard(images, devices, alone=True))
        count = len(images)
        return np.asarray(scores).reshape(count), np.asarray(pooled).reshape((count, -1))

    return predict
