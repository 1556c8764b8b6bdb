"""Meso4 and MesoInception4, small detectors of forged faces, as their authors published them in Keras.

Four convolutions, each with ReLU, normalisation and max-pool, in that order; then two linear layers. In
MesoInception4 the first two are four branches: 1 x 1 alone, and 1 x 1 followed by 3 x 3 with a dilation of
1, 2 and 3. The first linear layer takes the flattened map, so the weights fit images of one size only: the
authors' 256 pixels, or whatever the network is initialised with.

See "MesoNet: a Compact Facial Video Forgery Detection Network" by Afchar et al., 2018
(https://arxiv.org/abs/1809.00888).
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from kdjax.models.convolution import max_pool
from kdjax.models.layers import BatchNorm, Classifier, Conv
from kdjax.models.normalization import NONE, Normalizations
from kdjax.models.stochastic import dropout, example_keys
from kdjax.types import Array, Outputs

EPSILON, MOMENTUM = 1e-3, 0.99
"""Of the normalisations."""

SLOPE = 0.1
"""Of the leaky ReLU below zero, after the first linear layer."""


class Stage(NamedTuple):
    """One convolution, or four branches of them.

    Attributes:
      widths: channels that come out; four numbers for four branches.
      size: side of the kernel of the one convolution.
      pool: side and step of the max-pool.
    """

    widths: tuple[int, ...]
    size: int = 3
    pool: int = 2

    def branches(self) -> list[list[tuple[int, int]]]:
        """Returns side and dilation of the kernels of each branch, one after the other."""
        if len(self.widths) == 1:
            return [[(self.size, 1)]]
        return [[(1, 1)], *([(1, 1), (3, dilation)] for dilation in range(1, len(self.widths)))]


class MesoNet(nn.Module):
    """The network; its features are the four maps after the max-pools and what the classifier takes.

    Attributes:
      stages: its convolutions.
      hidden_width: width of the first linear layer.
      num_classes: width of the classifier.
      drop_rate: share that is dropped in training before each of the linear layers.
      dtype: dtype it computes in; parameters and statistics are float32 (float64 for float64).
      axis_name: device axis for the batch statistics.
    """

    stages: tuple[Stage, ...]
    hidden_width: int = 16
    num_classes: int = 2
    drop_rate: float = 0.5
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None

    @property
    def draws(self) -> bool:
        """Whether it draws anything in training."""
        return self.drop_rate > 0

    @nn.compact
    def __call__(self, images: Array, train: bool = False) -> Outputs:
        """Maps normalised images `[B, H, W, 3]` to logits `[B, num_classes]` and features.

        Raises:
          ValueError: when the parameters were made for images of another size.
        """
        keys = example_keys(self, len(images)) if train and self.draws else None
        x, features = images, {}
        for number, stage in enumerate(self.stages, start=1):
            features[f"stage{number}"] = x = self._stage(number, stage, x, train)
        flat = x.reshape(x.shape[0], -1)
        self._check_size(images, flat.shape[-1], x.shape[-1])
        flat = dropout(flat, self.drop_rate, keys, 0)
        hidden = nn.leaky_relu(Classifier(self.hidden_width, name="hidden")(flat), SLOPE)
        features["pooled"] = dropout(hidden, self.drop_rate, keys, 1)
        logits = Classifier(self.num_classes, name="classifier")(features["pooled"])
        return Outputs(logits, features)

    def _stage(self, number: int, stage: Stage, x: Array, train: bool) -> Array:
        ends: list[Array] = []
        for branch, path in zip(layer_names(number, stage), stage.branches(), strict=True):
            y = x
            for name, (size, dilation) in zip(branch, path, strict=True):
                y = nn.relu(
                    Conv(
                        stage.widths[len(ends)],
                        size,
                        dtype=self.dtype,
                        padding="same",
                        use_bias=True,
                        dilation=dilation,
                        name=name,
                    )(y)
                )
            ends.append(y)
        norm = BatchNorm(
            self.axis_name, epsilon=EPSILON, momentum=MOMENTUM, name=f"stage{number}_norm"
        )
        y = norm(jnp.concatenate(ends, axis=-1), train=train)
        return max_pool(y, size=stage.pool, stride=stage.pool, padding="same")

    def _check_size(self, images: Array, got: int, channels: int) -> None:
        if self.is_initializing():
            return
        expected = self.variables["params"]["hidden"]["kernel"].shape[0]
        if got != expected:
            height, width = images.shape[1:3]
            stride = math.prod(stage.pool for stage in self.stages)
            side = stride * math.isqrt(expected // channels)
            raise ValueError(
                f"images of {height} x {width} do not fit these weights, which were made for "
                f"{side} x {side}: this network takes images of one size"
            )


def layer_names(number: int, stage: Stage) -> list[list[str]]:
    """Returns the names of a stage's convolutions, branch by branch."""
    if len(stage.widths) == 1:
        return [[f"stage{number}_conv"]]
    return [
        [f"stage{number}_branch{branch}_conv{index}" for index in range(1, len(path) + 1)]
        for branch, path in enumerate(stage.branches(), start=1)
    ]


_LAST = (Stage((16,), 5), Stage((16,), 5, pool=4))

PLANS = {
    "meso4": (Stage((8,)), Stage((8,), 5), *_LAST),
    "mesoinception4": (Stage((1, 4, 4, 2)), Stage((2, 4, 4, 2)), *_LAST),
}
"""The stages of each network by name."""


def normalizations(name: str) -> Normalizations:
    """Returns the normalisation of the images: none, they stay in [0, 1]."""
    del name  # both have the same
    return {"keras": NONE}


def build(
    name: str, *, width: float = 1.0, layout: str = "keras", depthwise: str = "auto", **options: Any
) -> MesoNet:
    """Returns the network `name` of `PLANS`, every channel count multiplied by `width`.

    `options` are attributes of `MesoNet`.
    """
    del layout, depthwise  # it has one, and none

    def scaled(count: int) -> int:
        return max(1, round(count * width))

    stages = tuple(
        stage._replace(widths=tuple(scaled(count) for count in stage.widths))
        for stage in PLANS[name]
    )
    return MesoNet(stages, scaled(16), **options)
