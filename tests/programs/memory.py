"""A data set of one's own: arrays in memory, of one quality, with nobody's name on them."""

import numpy as np

from kdjax.configs import supervised
from kdjax.data_pipeline.own import Sources


def squares(count=48, side=32, seed=0):
    def split(number, size):
        rng = np.random.default_rng([seed, number])
        labels = np.arange(size) % 2
        images = rng.integers(0, 200, (size, side, side, 3), dtype=np.uint8)
        images[labels == 1, 4:12, 4:12] = 255
        return {"image": images, "label": labels}

    return Sources(
        train=split(0, count),
        validation=split(1, 16),
        test=split(2, 16),
        name="squares",
        quality="c40",
    )


DATASETS = {"squares": squares}


def get_config(network="resnet_tiny"):
    config = supervised.get_config(network)
    config.data.path = "own:squares"
    return config
