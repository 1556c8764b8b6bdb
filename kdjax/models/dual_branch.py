"""TOKD's teacher: an RGB branch and a frequency branch, joined by attention after three stages.

See "Two-in-one Knowledge Distillation for Efficient Facial Forgery Detection" by Zhou et al., 2023
(https://arxiv.org/abs/2302.10437).
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from kdjax.models.layers import BatchNorm, Classifier, Conv, pool
from kdjax.models.stochastic import example_keys
from kdjax.signal import high_pass
from kdjax.types import Array, Outputs

JOINED = (2, 3, 4)
"""Stages after which the branches look at each other."""


class Fusion(nn.Module):
    """RFAM: one spatial attention map for each branch, made from both.

    Concatenate, convolve 1 x 1 to as many channels, normalise, ReLU, convolve 3 x 3 to two, sigmoid;
    the first map multiplies the RGB branch, the second the frequency branch.

    Attributes:
      dtype: dtype it computes in.
      axis_name: device axis for the batch statistics.
    """

    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, rgb: Array, frequency: Array, *, train: bool) -> tuple[Array, Array]:
        """Maps two maps `[B, H, W, C]` to two of the same shape."""
        both = jnp.concatenate([rgb, frequency], axis=-1)
        x = Conv(both.shape[-1], 1, dtype=self.dtype, name="mix_conv")(both)
        x = nn.relu(BatchNorm(self.axis_name, name="mix_norm")(x, train=train))
        attention = nn.sigmoid(Conv(2, 3, dtype=self.dtype, name="attention_conv")(x))
        # not as attention[..., :1], which is a gather where the number of images is a symbol
        of_rgb, of_frequency = (lax.slice_in_dim(attention, at, at + 1, axis=3) for at in (0, 1))
        return rgb * of_rgb, frequency * of_frequency


class DualBranch(nn.Module):
    """Two backbones of one kind; `rgb` and `frequency` are their maps after the last fusion.

    `stage1` to `stage4` are the RGB branch's maps after fusion; `pooled` is of both branches.

    Attributes:
      rgb_branch: backbone with the methods `stem` and `stage`, which sees the images.
      frequency_branch: one more, which sees `signal.high_pass` of the images in [0, 1].
      mean: normalisation of the images, per RGB channel.
      std: likewise.
      num_classes: width of the classifier.
      rho: share of the low frequencies that the frequency branch does not see.
      dtype: dtype it computes in.
      axis_name: device axis for the batch statistics.
    """

    rgb_branch: Any
    frequency_branch: Any
    mean: tuple[float, ...]
    std: tuple[float, ...]
    num_classes: int = 2
    rho: float = 0.33
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images: Array, train: bool = False) -> Outputs:
        """Maps normalised images `[B, H, W, 3]` to logits `[B, num_classes]` and features."""
        branches = (self.rgb_branch, self.frequency_branch)
        inputs = (images, self.high_frequencies(images))
        maps = [branch.stem(x, train=train) for branch, x in zip(branches, inputs, strict=True)]
        keys: list[Array | None] = [None, None]
        if train and self.rgb_branch.draws:
            own = example_keys(self, len(images))
            keys = [jax.vmap(jax.random.fold_in, (0, None))(own, place) for place in (0, 1)]
        features = {}
        for number in range(1, 5):
            maps = [
                branch.stage(number, x, train=train, keys=key)
                for branch, x, key in zip(branches, maps, keys, strict=True)
            ]
            if number in JOINED:
                fusion = Fusion(self.dtype, self.axis_name, name=f"fusion{number}")
                maps = list(fusion(*maps, train=train))
            features[f"stage{number}"] = maps[0]
        features["rgb"], features["frequency"] = maps
        both = jnp.concatenate(maps, axis=-1)
        features["pooled"] = pool(both)
        logits = Classifier(self.num_classes, name="classifier")(features["pooled"])
        return Outputs(logits, features)

    def high_frequencies(self, images: Array) -> Array:
        """Returns the images without their low frequencies, normalised as the images are."""
        mean = jnp.asarray(self.mean, images.dtype).reshape((1, 1, 1, 3))
        std = jnp.asarray(self.std, images.dtype).reshape((1, 1, 1, 3))
        seen = high_pass(images * std + mean, rho=self.rho)
        return ((seen - mean) / std).astype(images.dtype)
