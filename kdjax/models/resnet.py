"""Residual networks, with thin and tiny variants; ResNet-50 in torchvision's layout or Keras'.

torchvision's strides the 3 x 3 convolution; Keras' strides the first 1 x 1, has biases, an eps of 1.001e-5
and slower running statistics.

See "Deep Residual Learning for Image Recognition" by He et al., 2016 (https://arxiv.org/abs/1512.03385).
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from kdjax.models.convolution import max_pool
from kdjax.models.layers import BatchNorm, Classifier, Conv, pool
from kdjax.models.normalization import IMAGENET, Normalizations
from kdjax.types import Array, Outputs

EPSILONS = {"torch": 1e-5, "keras": 1.001e-5}
MOMENTUMS = {"torch": 0.9, "keras": 0.99}


def normalisation(layout: str, axis_name: str | None) -> Callable[..., BatchNorm]:
    """Returns what makes the batch normalisations of a layout."""
    return functools.partial(
        BatchNorm, axis_name, epsilon=EPSILONS[layout], momentum=MOMENTUMS[layout]
    )


class Block(nn.Module):
    """One residual block: two 3 x 3 convolutions, or 1 x 1, 3 x 3, 1 x 1 when `bottleneck`.

    Attributes:
      width: channels of the 3 x 3 convolutions.
      stride: step of the first 3 x 3 convolution and of the shortcut.
      bottleneck: whether the block reduces, convolves and expands by four.
      zero_init: whether the last normalisation starts with scale 0: the block starts as identity.
      layout: `torch` or `keras`.
      dtype: dtype it computes in.
      axis_name: device axis for the batch statistics.
    """

    width: int
    stride: int = 1
    bottleneck: bool = False
    zero_init: bool = False
    layout: str = "torch"
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[B, H, W, C]` to `[B, H/stride, W/stride, D]`, D = width or 4 * width."""
        width, stride = self.width, self.stride
        keras = self.layout == "keras"
        norm = normalisation(self.layout, self.axis_name)
        if self.bottleneck and keras:
            plan = [(width, 1, stride), (width, 3, 1), (4 * width, 1, 1)]
        elif self.bottleneck:
            plan = [(width, 1, 1), (width, 3, stride), (4 * width, 1, 1)]
        else:
            plan = [(width, 3, stride), (width, 3, 1)]
        y = x
        for index, (features, size, step) in enumerate(plan, start=1):
            last = index == len(plan)
            y = Conv(features, size, step, self.dtype, use_bias=keras, name=f"conv{index}")(y)
            scale = nn.initializers.zeros if last and self.zero_init else nn.initializers.ones
            y = norm(scale_init=scale, name=f"norm{index}")(y, train=train)
            y = y if last else nn.relu(y)
        if stride != 1 or x.shape[-1] != y.shape[-1]:
            x = Conv(y.shape[-1], 1, stride, self.dtype, use_bias=keras, name="shortcut_conv")(x)
            x = norm(name="shortcut_norm")(x, train=train)
        return nn.relu(y + x.astype(y.dtype))


class ResNet(nn.Module):
    """A residual network that returns logits and the maps of its four stages.

    Attributes:
      depths: number of blocks in each of the four stages.
      bottleneck: kind of block.
      num_classes: width of the classifier.
      base_width: channels of the stem and of the first stage's 3 x 3 convolutions.
      zero_init: whether every residual branch starts at zero.
      layout: `torch` or `keras`.
      dtype: dtype it computes in; parameters and statistics are float32 (float64 for float64).
      axis_name: device axis for the batch statistics.
    """

    depths: Sequence[int]
    bottleneck: bool = False
    num_classes: int = 2
    base_width: int = 64
    zero_init: bool = False
    layout: str = "torch"
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None

    draws = False
    """Whether it draws anything in training."""

    def setup(self) -> None:
        """Creates the layers, which `stem` and `stage` share between them."""
        keras = self.layout == "keras"
        self.stem_conv = Conv(self.base_width, 7, 2, self.dtype, use_bias=keras)
        self.stem_norm = normalisation(self.layout, self.axis_name)()
        for stage, depth in enumerate(self.depths, start=1):
            for index in range(1, depth + 1):
                block = Block(
                    width=self.base_width * 2 ** (stage - 1),
                    stride=2 if stage > 1 and index == 1 else 1,
                    bottleneck=self.bottleneck,
                    zero_init=self.zero_init,
                    layout=self.layout,
                    dtype=self.dtype,
                    axis_name=self.axis_name,
                )
                setattr(self, f"stage{stage}_block{index}", block)
        self.classifier = Classifier(self.num_classes)

    def stem(self, images: Array, *, train: bool) -> Array:
        """Maps normalised images `[B, H, W, 3]` to what the first stage takes."""
        return max_pool(nn.relu(self.stem_norm(self.stem_conv(images), train=train)))

    def stage(self, number: int, x: Array, *, train: bool, keys: Array | None = None) -> Array:
        """Returns the map of stage 1 to 4 from that of the one before it; nothing is drawn of `keys`."""
        del keys
        for index in range(1, self.depths[number - 1] + 1):
            x = getattr(self, f"stage{number}_block{index}")(x, train=train)
        return x

    def __call__(self, images: Array, train: bool = False) -> Outputs:
        """Maps normalised images `[B, H, W, 3]` to logits `[B, num_classes]` and features."""
        x = self.stem(images, train=train)
        features = {}
        for number in range(1, len(self.depths) + 1):
            features[f"stage{number}"] = x = self.stage(number, x, train=train)
        features["pooled"] = pool(x)
        return Outputs(self.classifier(features["pooled"]), features)


class Plan(NamedTuple):
    """What tells one residual network from another: blocks a stage, kind of block, first width."""

    depths: tuple[int, int, int, int]
    bottleneck: bool = False
    base_width: int = 64


PLANS = {
    "resnet18": Plan((2, 2, 2, 2)),
    "resnet34": Plan((3, 4, 6, 3)),
    "resnet50": Plan((3, 4, 6, 3), bottleneck=True),
    "resnet18_thin": Plan((2, 2, 2, 2), base_width=32),
    "resnet34_thin": Plan((3, 4, 6, 3), base_width=32),
    "resnet_tiny": Plan((1, 1, 1, 1), base_width=8),
}
"""The networks by name; `thin` has half the channels, `tiny` is for tests and first attempts."""


def normalizations(name: str) -> Normalizations:
    """Returns the normalisations of the images by layout; Keras publishes ResNet-50 alone."""
    if name != "resnet50":
        return {"torch": IMAGENET}
    # of Keras' weights: minus the mean of 8-bit images, in a network that took BGR
    mean, std = (123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255,) * 3
    return {"torch": IMAGENET, "keras": (mean, std)}


def build(name: str, *, width: float = 1.0, depthwise: str = "auto", **options: Any) -> ResNet:
    """Returns the network `name` of `PLANS`, every channel count multiplied by `width`."""
    del depthwise  # it has none
    plan = PLANS[name]
    base_width = max(1, round(plan.base_width * width))
    return ResNet(plan.depths, plan.bottleneck, base_width=base_width, **options)
