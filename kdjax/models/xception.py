"""Xception: residual blocks of depthwise separable convolutions, in the PyTorch layout or Keras'.

The two differ in the margins of the max-pools on maps of even size, in eps and in the momentum of the statistics.

See "Xception: Deep Learning with Depthwise Separable Convolutions" by Chollet, 2017
(https://arxiv.org/abs/1610.02357).
"""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from kdjax.models.convolution import max_pool
from kdjax.models.layers import BatchNorm, Classifier, Conv, DepthwiseConv, pool
from kdjax.models.normalization import UNIT, Normalizations
from kdjax.types import Array, Outputs

NORMS: dict[str, dict[str, Any]] = {
    "torch": {"epsilon": 1e-5, "momentum": 0.9},
    "keras": {"epsilon": 1e-3, "momentum": 0.99},
}
"""Numbers of the batch normalisations, by layout."""

POOLS = {"torch": "symmetric", "keras": "same"}
"""Padding of the max-pools, by layout."""

DEPTHS = (1, 2, 8, 1)
"""Number of residual blocks in each of the four stages."""


class SeparableConv(nn.Module):
    """A 3 x 3 convolution of each channel on its own, then a 1 x 1 convolution across channels.

    Attributes:
      features: number of output channels.
      dtype: dtype it computes in.
      form: form of the depthwise convolution.
    """

    features: int
    dtype: jnp.dtype = jnp.float32
    form: str = "auto"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[B, H, W, C]` to `[B, H, W, features]`."""
        x = DepthwiseConv(3, dtype=self.dtype, form=self.form, name="depthwise")(x)
        return Conv(self.features, 1, dtype=self.dtype, name="pointwise")(x)


class Block(nn.Module):
    """Separable convolutions, normalised, with a ReLU before each; the input is added to the last.

    A block with a stride ends in a max-pool and convolves its input 1 x 1 before adding it. What is
    added has not been through the first ReLU.

    Attributes:
      widths: channels after each separable convolution.
      stride: step of the max-pool and of the shortcut; with 1 there is neither.
      leading_relu: whether there is a ReLU before the first convolution too.
      layout: `torch` or `keras`.
      dtype: dtype it computes in.
      depthwise: form of the depthwise convolutions.
      axis_name: device axis for the batch statistics.
    """

    widths: tuple[int, ...]
    stride: int = 1
    leading_relu: bool = True
    layout: str = "torch"
    dtype: jnp.dtype = jnp.float32
    depthwise: str = "auto"
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[B, H, W, C]` to `[B, ceil(H / stride), ceil(W / stride), widths[-1]]`."""
        numbers = NORMS[self.layout]
        y = x
        for index, width in enumerate(self.widths, start=1):
            if index > 1 or self.leading_relu:
                y = nn.relu(y)
            y = SeparableConv(width, self.dtype, self.depthwise, name=f"sepconv{index}")(y)
            y = BatchNorm(self.axis_name, name=f"norm{index}", **numbers)(y, train=train)
        if self.stride > 1:
            y = max_pool(y, stride=self.stride, padding=POOLS[self.layout])
            x = Conv(y.shape[-1], 1, self.stride, self.dtype, name="shortcut_conv")(x)
            x = BatchNorm(self.axis_name, name="shortcut_norm", **numbers)(x, train=train)
        return y + x.astype(y.dtype)


class Xception(nn.Module):
    """Xception, which returns logits and the maps of its four stages.

    The stem is the first two convolutions. Stage 1 is the first residual block; stage 2 the rest of
    the entry flow, two blocks; stage 3 the middle flow, eight blocks; stage 4 the exit flow, one block
    and two separable convolutions.

    Attributes:
      channels: of the stem (two), the entry flow (three, the last being the middle flow's too) and
        the exit flow (three).
      num_classes: width of the classifier.
      layout: `torch` or `keras`.
      stem_stride: step of the first convolution, 2 without padding. With 1 it is padded: a map of
        `ceil(S / 2) - 1` pixels then gives stages as large as an image of `S` pixels does with 2.
      dtype: dtype it computes in; parameters and statistics are float32 (float64 for float64).
      depthwise: form of the depthwise convolutions.
      axis_name: device axis for the batch statistics.
    """

    channels: tuple[int, ...]
    num_classes: int = 2
    layout: str = "torch"
    stem_stride: int = 2
    dtype: jnp.dtype = jnp.float32
    depthwise: str = "auto"
    axis_name: str | None = None

    draws = False
    """Whether it draws anything in training."""

    def setup(self) -> None:
        """Creates the layers, which `stem` and `stage` share between them."""
        first, second, entry1, entry2, middle, *outgoing = self.channels
        padding = "valid" if self.stem_stride > 1 else "symmetric"
        self.stem_conv1 = Conv(first, 3, self.stem_stride, self.dtype, padding)
        self.stem_norm1 = self._norm()
        self.stem_conv2 = Conv(second, 3, 1, self.dtype, "valid")
        self.stem_norm2 = self._norm()
        self.stage1_block1 = self._block((entry1, entry1), stride=2, leading_relu=False)
        self.stage2_block1 = self._block((entry2, entry2), stride=2)
        self.stage2_block2 = self._block((middle, middle), stride=2)
        for index in range(1, DEPTHS[2] + 1):
            setattr(self, f"stage3_block{index}", self._block((middle,) * 3))
        self.stage4_block1 = self._block((middle, outgoing[0]), stride=2)
        self.stage4_sepconv1 = SeparableConv(outgoing[1], self.dtype, self.depthwise)
        self.stage4_norm1 = self._norm()
        self.stage4_sepconv2 = SeparableConv(outgoing[2], self.dtype, self.depthwise)
        self.stage4_norm2 = self._norm()
        self.classifier = Classifier(self.num_classes)

    def stem(self, images: Array, *, train: bool) -> Array:
        """Maps normalised images `[B, H, W, 3]` to what the first stage takes."""
        x = nn.relu(self.stem_norm1(self.stem_conv1(images), train=train))
        return nn.relu(self.stem_norm2(self.stem_conv2(x), train=train))

    def blocks(self, number: int, x: Array, places: range, *, train: bool) -> Array:
        """Returns the map after the residual blocks of stage `number` at these places, counted from 1."""
        for index in places:
            x = getattr(self, f"stage{number}_block{index}")(x, train=train)
        return x

    def last(self, x: Array, *, train: bool) -> Array:
        """Returns what the two convolutions after the last residual block make of its map."""
        x = nn.relu(self.stage4_norm1(self.stage4_sepconv1(x), train=train))
        return nn.relu(self.stage4_norm2(self.stage4_sepconv2(x), train=train))

    def stage(self, number: int, x: Array, *, train: bool, keys: Array | None = None) -> Array:
        """Returns the map of stage 1 to 4 from that of the one before it; nothing is drawn of `keys`."""
        del keys
        x = self.blocks(number, x, range(1, DEPTHS[number - 1] + 1), train=train)
        return self.last(x, train=train) if number == len(DEPTHS) else x

    def __call__(self, images: Array, train: bool = False) -> Outputs:
        """Maps normalised images `[B, H, W, 3]` to logits `[B, num_classes]` and features."""
        x = self.stem(images, train=train)
        features = {}
        for number in range(1, len(DEPTHS) + 1):
            features[f"stage{number}"] = x = self.stage(number, x, train=train)
        features["pooled"] = pool(x)
        return Outputs(self.classifier(features["pooled"]), features)

    def _norm(self) -> BatchNorm:
        return BatchNorm(self.axis_name, **NORMS[self.layout])

    def _block(self, widths: tuple[int, ...], **options: Any) -> Block:
        return Block(
            widths,
            layout=self.layout,
            dtype=self.dtype,
            depthwise=self.depthwise,
            axis_name=self.axis_name,
            **options,
        )


PLANS = {"xception": (32, 64, 128, 256, 728, 1024, 1536, 2048)}
"""The networks by name: their channels, as `Xception.channels` has them."""


def normalizations(name: str) -> Normalizations:
    """Returns the normalisations of the images by layout; both publications take them in [-1, 1]."""
    del name  # there is one
    return {"torch": UNIT, "keras": UNIT}


def scaled(channels: tuple[int, ...], width: float) -> tuple[int, ...]:
    """Returns channel counts multiplied by `width`, each at least 1."""
    return tuple(max(1, round(count * width)) for count in channels)


def build(name: str, *, width: float = 1.0, **options: Any) -> Xception:
    """Returns the network `name` of `PLANS`, every channel count multiplied by `width`."""
    return Xception(scaled(PLANS[name], width), **options)
