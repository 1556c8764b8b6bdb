"""EfficientNet B0, B1 and B4 and Lite0 to Lite2, in the layout of torchvision and timm or in Keras' (and TensorFlow's).

The layouts differ in padding (`symmetric`, `same`), in the eps of the normalisations and in their momentum.

See "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" by Tan and Le, 2019
(https://arxiv.org/abs/1905.11946). Which blocks there are stands in `efficientnet_plans`.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from kdjax.models.efficientnet_plans import PLANS, BlockPlan, Group, block_plans, end_widths
from kdjax.models.layers import BatchNorm, Classifier, Conv, DepthwiseConv, SqueezeExcite, pool
from kdjax.models.normalization import IMAGENET, LITE, Normalizations
from kdjax.models.stochastic import drop_path, dropout, example_keys
from kdjax.types import Array, Outputs

PADDING = {"torch": "symmetric", "keras": "same"}
"""Of the convolutions, by layout."""

EPSILON = {"torch": 1e-5, "keras": 1e-3}
"""Of the normalisations, by layout."""

MOMENTUM = {"torch": 0.9, "keras": 0.99}
"""Weight of the normalisations' old statistics, by layout."""


def _activation(lite: bool) -> Callable[[Array], Array]:
    return nn.relu6 if lite else nn.silu


def _normalise(layout: str, axis_name: str | None, name: str | None = None) -> BatchNorm:
    return BatchNorm(axis_name, epsilon=EPSILON[layout], momentum=MOMENTUM[layout], name=name)


class Block(nn.Module):
    """An inverted residual block: widen, convolve each channel, squeeze and excite, narrow.

    The middle has `expansion` times the channels of the input, the squeezed vector a quarter as
    many as the input. A block that keeps the map's shape adds its input. A lite one does not squeeze.

    Attributes:
      settings: channels, expansion, kernel and stride.
      number: place in the network, which tells its draws from the others'.
      drop_rate: share of the examples whose residual branch is dropped in training.
      layout: `torch` or `keras`.
      dtype: dtype it computes in.
      depthwise: form of the depthwise convolution.
      axis_name: device axis for the batch statistics.
      lite: whether it does without squeeze-and-excitation and has ReLU6 for swish.
    """

    settings: Group
    number: int
    drop_rate: float = 0.0
    layout: str = "torch"
    dtype: jnp.dtype = jnp.float32
    depthwise: str = "auto"
    axis_name: str | None = None
    lite: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool, keys: Array | None = None) -> Array:
        """Maps `[B, H, W, C]` to `[B, ceil(H / stride), ceil(W / stride), channels]`."""
        channels, stride = self.settings.channels, self.settings.stride
        inputs, middle = x.shape[-1], x.shape[-1] * self.settings.expansion
        norm = functools.partial(_normalise, self.layout, self.axis_name)
        activation = _activation(self.lite)
        y = x
        if middle != inputs:
            y = Conv(middle, 1, dtype=self.dtype, name="expand_conv")(y)
            y = activation(norm("expand_norm")(y, train=train))
        y = DepthwiseConv(
            self.settings.size,
            stride,
            self.dtype,
            PADDING[self.layout],
            self.depthwise,
            name="depthwise_conv",
        )(y)
        y = activation(norm("depthwise_norm")(y, train=train))
        if not self.lite:
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
      lite: whether its blocks do without squeeze-and-excitation, and ReLU6 takes swish's place everywhere.
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
    lite: bool = False

    @property
    def draws(self) -> bool:
        """Whether it draws anything in training."""
        return self.drop_rate > 0 or self.drop_path_rate > 0

    def setup(self) -> None:
        """Creates the layers, which `stem` and `stage` share between them."""
        self.activation = _activation(self.lite)
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
                self.lite,
            )
            setattr(self, block.name, layer)
        self.head_conv = Conv(self.head_width, 1, dtype=self.dtype)
        self.head_norm = _normalise(self.layout, self.axis_name)
        self.classifier = Classifier(self.num_classes)

    def stem(self, images: Array, *, train: bool) -> Array:
        """Maps normalised images `[B, H, W, 3]` to what the first stage takes."""
        return self.activation(self.stem_norm(self.stem_conv(images), train=train))

    def stage(self, number: int, x: Array, *, train: bool, keys: Array | None = None) -> Array:
        """Returns the map of stage 1 to 4 from that of the one before it; `keys` drop residual branches."""
        for block in self.blocks:
            if block.settings.stage == number:
                x = getattr(self, block.name)(x, train=train, keys=keys)
        if number != 4:
            return x
        return self.activation(self.head_norm(self.head_conv(x), train=train))

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
    """Returns the normalisations of the images by layout: ImageNet's, but for TensorFlow's lite networks.

    Keras' networks normalise inside, to the same numbers.
    """
    if PLANS[name].lite:
        return {"keras": LITE, "torch": IMAGENET}
    return {"torch": IMAGENET, "keras": IMAGENET}


def build(
    name: str,
    *,
    width: float = 1.0,
    drop_rate: float | None = None,
    layout: str = "",
    **options: Any,
) -> EfficientNet:
    """Returns the network `name` of `PLANS`, its width coefficient multiplied by `width`.

    Args:
      name: one of `PLANS`.
      width: factor on all channel counts, which stay multiples of 8.
      drop_rate: dropout before the classifier, by default the published one.
      layout: `torch` or `keras`; empty: the first of `normalizations`.
      **options: further attributes of `EfficientNet`, such as `drop_path_rate`.
    """
    plan = PLANS[name]
    return EfficientNet(
        block_plans(plan, width),
        *end_widths(plan, width),
        drop_rate=plan.drop_rate if drop_rate is None else drop_rate,
        layout=layout or next(iter(normalizations(name))),
        lite=plan.lite,
        **options,
    )
