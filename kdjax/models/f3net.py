"""F3Net: two Xceptions, on the image's frequency bands and on local frequency statistics, that mix twice.

See "Thinking in Frequency: Face Forgery Detection by Mining Frequency-aware Clues" by Qian et al., 2020
(https://arxiv.org/abs/2007.09355).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from kdjax.models import xception
from kdjax.models.f3net_frequency import (
    FrequencyDecomposition,
    FrequencyStatistics,
    signed_sigmoid,
)
from kdjax.models.layers import BatchNorm, Classifier, Conv, DepthwiseConv, parameter_dtype, pool
from kdjax.models.normalization import UNIT, Normalizations
from kdjax.models.stochastic import dropout, example_keys
from kdjax.models.xception import Xception
from kdjax.types import Array, Outputs

DROPPED = 0.2
"""Share of the pooled features that are dropped in training."""

HALF = xception.DEPTHS[2] // 2
"""Blocks of the middle flow before the first mix, which so comes after Xception's seventh block."""


class MixBlock(nn.Module):
    """Cross-attention of the two branches: each map gets a share of the other one.

    For every channel, the rows of both maps are compared with each other:

        A = softmax over s of sum over columns c of (q1(r, c) k1(s, c) + q2(r, c) k2(s, c))
        y1 = x1 + norm(w2 * x2 * A * (2 sigmoid(gamma2) - 1)),    y2 likewise

    The queries `q` and keys `k` are 1 x 1 convolutions of the maps, `w` one weight a channel; A, rows by
    rows, is laid over the square map. It starts as identity: gamma is 0. The formulas are those of the
    public PyTorch reimplementation.

    Attributes:
      dtype: dtype it computes in; the attention is at least float32.
      depthwise: form of the depthwise convolutions.
      axis_name: device axis for the batch statistics.
    """

    dtype: jnp.dtype = jnp.float32
    depthwise: str = "auto"
    axis_name: str | None = None

    @nn.compact
    def __call__(self, rgb: Array, frequency: Array, *, train: bool) -> tuple[Array, Array]:
        """Maps two square maps `[B, H, H, C]` to two of the same shape."""
        channels = rgb.shape[-1]
        exact = parameter_dtype(rgb.dtype)
        both = {}
        for part in ("query", "key"):
            both[part] = jnp.concatenate(
                [
                    Conv(channels, 1, dtype=self.dtype, use_bias=True, name=f"{name}_{part}")(x)
                    for name, x in (("rgb", rgb), ("frequency", frequency))
                ],
                axis=2,
            )
        energy = jnp.einsum(
            "brcd,bscd->brsd", both["query"], both["key"], preferred_element_type=exact
        )
        attention = jax.nn.softmax(energy, axis=2).astype(rgb.dtype)

        def share(name: str, x: Array) -> Array:
            gamma = self.param(
                f"{name}_gamma", nn.initializers.zeros, (), parameter_dtype(self.dtype)
            )
            x = x * attention * signed_sigmoid(gamma).astype(x.dtype)
            x = DepthwiseConv(1, dtype=self.dtype, form=self.depthwise, name=f"{name}_conv")(x)
            return BatchNorm(self.axis_name, name=f"{name}_norm")(x, train=train)

        return rgb + share("frequency", frequency), frequency + share("rgb", rgb)


class F3Net(nn.Module):
    """F3Net with both branches and both mixes, after Xception's 7th and 12th block.

    `stage1` to `stage4` are the maps of the branch that sees the frequency bands (FAD), as an Xception
    has them; `rgb` is the last of them, `frequency` the other branch's (LFS) last map; `pooled` is of
    both branches. The filters' size is that of the images it is initialised with, and it takes no other.

    The local statistics are a map half as large as the image, so that the LFS branch's first convolution
    has no stride; here it is padded too: the maps of the branches are equally large for every image size.

    Attributes:
      channels: as of `Xception`.
      num_classes: width of the classifier.
      dtype: dtype it computes in; the spectra are at least float32.
      depthwise: form of the depthwise convolutions.
      axis_name: device axis for the batch statistics.
    """

    channels: tuple[int, ...]
    num_classes: int = 2
    dtype: jnp.dtype = jnp.float32
    depthwise: str = "auto"
    axis_name: str | None = None

    draws = True
    """Whether it draws anything in training: the pooled features' dropout."""

    @nn.compact
    def __call__(self, images: Array, train: bool = False) -> Outputs:
        """Maps images in [-1, 1] `[B, S, S, 3]` to logits `[B, num_classes]` and features.

        Raises:
          ValueError: for images that are not square, or not of the size the network was made for.
        """
        options: dict[str, Any] = {
            "dtype": self.dtype,
            "depthwise": self.depthwise,
            "axis_name": self.axis_name,
        }
        branches = (
            Xception(self.channels, name="rgb_branch", **options),
            Xception(self.channels, stem_stride=1, name="frequency_branch", **options),
        )
        keys = example_keys(self, len(images)) if train else None

        def each(step: Callable[[Xception, Array], Array], maps: list[Array]) -> list[Array]:
            return [step(branch, x) for branch, x in zip(branches, maps, strict=True)]

        maps = [
            FrequencyDecomposition(self.dtype, name="fad")(images),
            FrequencyStatistics(self.dtype, name="lfs")(images),
        ]
        features = {}
        maps = each(lambda branch, x: branch.stem(x, train=train), maps)
        maps = each(lambda branch, x: branch.stage(1, x, train=train), maps)
        features["stage1"] = maps[0]
        maps = each(lambda branch, x: branch.stage(2, x, train=train), maps)
        features["stage2"] = maps[0]
        middle = range(1, xception.DEPTHS[2] + 1)
        maps = each(lambda branch, x: branch.blocks(3, x, middle[:HALF], train=train), maps)
        maps = list(MixBlock(name="mix1", **options)(*maps, train=train))
        maps = each(lambda branch, x: branch.blocks(3, x, middle[HALF:], train=train), maps)
        features["stage3"] = maps[0]
        maps = each(lambda branch, x: branch.blocks(4, x, range(1, 2), train=train), maps)
        maps = list(MixBlock(name="mix2", **options)(*maps, train=train))
        maps = each(lambda branch, x: branch.last(x, train=train), maps)
        features["stage4"] = features["rgb"] = maps[0]
        features["frequency"] = maps[1]
        pooled = jnp.concatenate([pool(x) for x in maps], axis=-1)
        features["pooled"] = dropout(pooled, DROPPED, keys, 0)
        logits = Classifier(self.num_classes, name="classifier")(features["pooled"])
        return Outputs(logits, features)


PLANS = {"f3net": xception.PLANS["xception"]}
"""The network by name: the channels of its branches."""


def normalizations(name: str) -> Normalizations:
    """Returns the normalisation of the images, in [-1, 1] as its Xceptions take them."""
    del name  # there is one
    return {"torch": UNIT}


def build(name: str, *, width: float = 1.0, layout: str = "torch", **options: Any) -> F3Net:
    """Returns the network `name` of `PLANS`, every channel count of its branches multiplied by `width`."""
    del layout  # there is one
    return F3Net(xception.scaled(PLANS[name], width), **options)
