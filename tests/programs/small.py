"""A network, an augmentation, an optimizer, a schedule and a metric of one's own."""

import jax
import numpy as np
import optax
from flax import linen as nn

from kdjax.configs import kd
from kdjax.types import Outputs


class Small(nn.Module):
    channels: int

    @nn.compact
    def __call__(self, x, train=False):
        features = {}
        for stage in range(1, 5):
            x = nn.relu(nn.Conv(self.channels * stage, (3, 3), strides=(2, 2))(x))
            features[f"stage{stage}"] = x
        features["pooled"] = x.mean(axis=(1, 2))
        return Outputs(nn.Dense(2, name="classifier")(features["pooled"]), features)


def noise(strength=0.05):
    return lambda image, key, step: image + strength * jax.random.normal(key, image.shape)


NETWORKS = {"small": lambda channels=8: Small(channels)}
AUGMENTATIONS = {"noise": noise}
OPTIMIZERS = {"lion": optax.lion}
SCHEDULES = {"linear": lambda steps, end=0.1: optax.linear_schedule(1.0, end, steps)}
METRICS = {"spread": lambda scores, labels: np.ptp(scores)}


def get_config():
    config = kd.get_config("small")
    config.data.augmentation, config.optimizer.name = "noise", "lion"
    config.optimizer.schedule, config.train.selection = "linear", "spread"
    return config
