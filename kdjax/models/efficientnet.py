"""EfficientNet B0, B1 and B4, in the layout of torchvision and timm or in Keras' (and TensorFlow's).

The layouts differ in padding (`symmetric`, `same`), in the eps of the normalisations and in their momentum.

See "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" by Tan and Le, 2019
(https://arxiv.org/abs/1905.11946).
"""

import functools
import math
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from kdjax.models.inverted_residual import divisible
from kdjax.models.layers import BatchNorm, Classifier, Conv, DepthwiseConv, SqueezeExcite, pool
from kdjax.models.normalization import IMAGENET, Normalizations
from kdjax.models.stochastic import drop_path, dropout, example_keys
from kdjax.types import Array, Outputs

PADDING = {"torch": "symmetric", "keras": "same"}
"""Of the convolutions, by layout."""

EPSILON = {"torch": 1e-5, "keras": 1e-3}
"""Of the normalisations, by layout."""

MOMENTUM = {"torch": 0.9, "keras": 0.99}
"""Weight of the normalisations' old statistics, by layout."""

DIVISOR = 8
"""Every channel count is a multiple of it."""


class Group(NamedTuple):
    """Blocks of one kind: the first one strides, the others keep the map's shape.

    `stage` is the one they belong to; `channels` and `repeats` are those before scaling.
    """

    stage: int
    channels: int
    repeats: int
    expansion: int
    size: int
    stride: int


class Plan(NamedTuple):
    """What tells one network from another: its scaling, its dropout, and what is scaled."""

    width: float
    depth: float
    drop_rate: float
    groups: tuple[Group, ...]
    stem: int = 32
    head: int = 1280


class BlockPlan(NamedTuple):
    """One block: its name here, its place (from 0) in its group, and the group with scaled channels."""

    name: str
    group: int
    place: int
    settings: Group


GROUPS = (
    Group(1, 16, 1, 1, 3, 1),
    Group(1, 24, 2, 6, 3, 2),
    Group(2, 40, 2, 6, 5, 2),
    Group(3, 80, 3, 6, 3, 2),
    Group(3, 112, 3, 6, 5, 1),
    Group(4, 192, 4, 6, 5, 2),
    Group(4, 320, 1, 6, 3, 1),
)
"""The blocks of B0."""

TINY_GROUPS = (
    Group(1, 8, 1, 1, 3, 1),
    Group(1, 8, 1, 2, 3, 2),
    Group(2, 16, 1, 2, 5, 2),
    Group(3, 16, 2, 2, 3, 2),
    Group(4, 24, 1, 2, 5, 2),
)

PLANS = {
    "efficientnet_b0": Plan(1.0, 1.0, 0.2, GROUPS),
    "efficientnet_b1": Plan(1.0, 1.1, 0.2, GROUPS),
    "efficientnet_b4": Plan(1.4, 1.8, 0.4, GROUPS),
    "efficientnet_tiny": Plan(1.0, 1.0, 0.2, TINY_GROUPS, stem=8, head=32),
}
"""The networks by name; `tiny` is for tests and first attempts."""


def block_plans(plan: Plan, width: float = 1.0) -> tuple[BlockPlan, ...]:
    """Returns the blocks of a network in order, scaled; `width` multiplies its channels once more."""
    found: list[BlockPlan] = []
    count = dict.fromkeys(range(1, 5), 0)
    for number, group in enumerate(plan.groups):
        channels = divisible(group.channels * plan.width * width)
        for place in range(math.ceil(group.repeats * plan.depth)):
            count[group.stage] += 1
            name = f"stage{group.stage}_block{count[group.stage]}"
            stride = 1 if place else group.stride
            settings = group._replace(channels=channels, stride=stride)
            found.append(BlockPlan(name, number, place, settings))
    return tuple(found)


def _normalise(layout: str, axis_name: str | None, name: str | None = None) -> BatchNorm:
    return BatchNorm(axis_name, epsilon=EPSILON[layout], momentum=MOMENTUM[layout], name=name)


class Block(nn.Module):
    """An inverted residual block: widen, convolve each channel, squeeze and excite, narrow.

    The middle has `expansion` times the channels of the input, the squeezed vector a quarter as
    many as the input. A block that keeps the map's shape adds its input.

    Attributes:
      settings: channels, expansion, kernel and stride.
      number: place in the network, which tells its draws from the others'.
      drop_rate: share of the examples whose residual branch is dropped in training.
      layout: `torch` or `keras`.
      dtype: dtype it computes in.
      depthwise: form of the depthwise convolution.
      axis_name: device axis for the batch statistics.
    """

    settings: Group
    number: int
    drop_rate: float = 0.0
    layout: str = "torch"
    dtype: jnp.dtype = jnp.float32
    depthwise: str = "auto"
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool, keys: Array | None = None) -> Array:
        """Maps `[B, H, W, C]` to `[B, ceil(H / stride), ceil(W / stride), channels]`."""
        channels, stride = self.settings.channels, self.settings.stride
        inputs, middle = x.shape[-1], x.shape[-1] * self.settings.expansion
        norm = functools.partial(_normalise, self.layout, self.axis_name)
        y = x
        if middle != inputs:
            y = Conv(middle, 1, dtype=self.dtype, name="expand_conv")(y)
            y = nn.silu(norm("expand_norm")(y, train=train))
        y = DepthwiseConv(
            self.settings.size,
            stride,
            self.dtype,
            PADDING[self.layout],
            self.depthwise,
            name="depthwise_conv",
        )(y)
        y = nn.silu(norm("depthwise_norm")(y, train=train))
        squeezed = max(1, inputs // 4)
        y = SqueezeExcite(squeezed, nn.silu, dtype=self.dtype, name="squeeze")(y)
        y = Conv(channels, 1, dtype=self.dtype, name="project_conv")(y)
        y = norm("project_norm")(y, train=train)
        if stride != 1 or inputs != channels:
            return y
        return x.astype(y.dtype) + drop_path(y, self.drop_rate, keys, self.number)


class EfficientNet(nn.Module):
    """An EfficientNet that returns logits and maps at strides 4, 8, 16 and 32.

    `stage4` is the map of the last 1 x 1 convolution, which is pooled.

    Attributes:
      blocks: the blocks in order.
      stem_width: channels of the first convolution.
      head_width: channels of the last one.
      num_classes: width of the classifier.
      drop_rate: dropout before the classifier.
      drop_path_rate: stochastic depth, which rises from 0 at the first block to this after the last.
      layout: `torch` or `keras`.
      dtype: dtype it computes in; parameters and statistics are float32 (float64 for float64).
      depthwise: form of the depthwise convolutions.
      axis_name: device axis for the batch statistics.
    """

    blocks: tuple[BlockPlan, ...]
    stem_width: int
    head_width: int
    num_classes: int = 2
    drop_rate: float = 0.2
    drop_path_rate: float = 0.2
    layout: str = "torch"
    dtype: jnp.dtype = jnp.float32
    depthwise: str = "auto"
    axis_name: str | None = None

    @property
    def draws(self) -> bool:
        """Whether it draws anything in training."""
        return self.drop_rate > 0 or self.drop_path_rate > 0

    def setup(self) -> None:
        """Creates the layers, which `stem` and `stage` share between them."""
        self.stem_conv = Conv(self.stem_width, 3, 2, self.dtype, PADDING[self.layout])
        self.stem_norm = _normalise(self.layout, self.axis_name)
        for number, block in enumerate(self.blocks):
            layer = Block(
                block.settings,
                number,
                self.drop_path_rate * number / len(self.blocks),
                self.layout,
                self.dtype,
                self.depthwise,
                self.axis_name,
            )
            setattr(self, block.name, layer)
        self.head_conv = Conv(self.head_width, 1, dtype=self.dtype)
        self.head_norm = _normalise(self.layout, self.axis_name)
        self.classifier = Classifier(self.num_classes)

    def stem(self, images: Array, *, train: bool) -> Array:
        """Maps normalised images `[B, H, W, 3]` to what the first stage takes."""
        return nn.silu(self.stem_norm(self.stem_conv(images), train=train))

    def stage(self, number: int, x: Array, *, train: bool, keys: Array | None = None) -> Array:
        """Returns the map of stage 1 to 4 from that of the one before it; `keys` drop residual branches."""
        for block in self.blocks:
            if block.settings.stage == number:
                x = getattr(self, block.name)(x, train=train, keys=keys)
        return nn.silu(self.head_norm(self.head_conv(x), train=train)) if number == 4 else x

    def __call__(self, images: Array, train: bool = False) -> Outputs:
        """Maps normalised images `[B, H, W, 3]` to logits `[B, num_classes]` and features."""
        keys = example_keys(self, len(images)) if train and self.draws else None
        x = self.stem(images, train=train)
        features = {}
        for number in range(1, 5):
            features[f"stage{number}"] = x = self.stage(number, x, train=train, keys=keys)
        features["pooled"] = dropout(pool(x), self.drop_rate, keys, len(self.blocks))
        return Outputs(self.classifier(features["pooled"]), features)


def normalizations(name: str) -> Normalizations:
    """Returns the normalisations of the images by layout, ImageNet's of them all.

    Keras' networks normalise inside, to the same numbers.
    """
    del name
    return {"torch": IMAGENET, "keras": IMAGENET}


def build(
    name: str, *, width: float = 1.0, drop_rate: float | None = None, **options: Any
) -> EfficientNet:
    """Returns the network `name` of `PLANS`, its width coefficient multiplied by `width`.

    Args:
      name: one of `PLANS`.
      width: factor on all channel counts, which stay multiples of 8.
      drop_rate: dropout before the classifier, by default the published one.
      **options: further attributes of `EfficientNet`, such as `drop_path_rate`.
    """
    plan = PLANS[name]
    stem, head = (divisible(count * plan.width * width) for count in (plan.stem, plan.head))
    rate = plan.drop_rate if drop_rate is None else drop_rate
    return EfficientNet(block_plans(plan, width), stem, head, drop_rate=rate, **options)
