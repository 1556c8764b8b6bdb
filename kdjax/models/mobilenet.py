"""MobileNetV2 and MobileNetV3 (large), in torchvision's layout or Keras'.

Both are chains of inverted residuals: expand 1 x 1, convolve depthwise, project 1 x 1 without activation. The
third version adds squeeze-and-excitation, the hard swish, and a linear layer after the pooling. The layouts
differ in padding, and in eps and momentum of the normalisations.

See "MobileNetV2: Inverted Residuals and Linear Bottlenecks" by Sandler et al., 2018
(https://arxiv.org/abs/1801.04381) and "Searching for MobileNetV3" by Howard et al., 2019
(https://arxiv.org/abs/1905.02244).
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from kdjax.models.inverted_residual import Activation, InvertedResidual, Row, divisible
from kdjax.models.layers import BatchNorm, Classifier, Conv, pool
from kdjax.models.normalization import IMAGENET, UNIT, Normalizations
from kdjax.models.stochastic import dropout, example_keys
from kdjax.types import Array, Outputs

HEAD_WIDTH = 1280
"""Features that the classifier takes; a `width` below 1 leaves them as they are."""

PADDINGS = {"torch": "symmetric", "keras": "same"}
"""Of the convolutions, by layout."""


Stages = tuple[tuple[Row, ...], ...]
"""The inverted residuals up to a stride of 4, 8, 16 and 32."""


class MobileNet(nn.Module):
    """A chain of inverted residuals that returns logits and the maps of its four stages.

    Attributes:
      stages: its inverted residuals.
      stem_width: channels of the first convolution.
      last_width: channels of the last convolution, whose map is `stage4`.
      hidden_width: features of the linear layer after the pooling; None for no such layer.
      activation: of stem, last convolution and hidden layer.
      num_classes: width of the classifier.
      drop_rate: share of `pooled` that is dropped in training.
      padding: see `convolution.PADDINGS`.
      epsilon: of the normalisations.
      momentum: of the normalisations.
      dtype: dtype it computes in; parameters and statistics are float32 (float64 for float64).
      depthwise: form of the depthwise convolutions.
      axis_name: device axis for the batch statistics.
    """

    stages: Stages
    stem_width: int
    last_width: int
    hidden_width: int | None
    activation: Activation
    num_classes: int = 2
    drop_rate: float = 0.2
    padding: str = "symmetric"
    epsilon: float = 1e-5
    momentum: float = 0.9
    dtype: jnp.dtype = jnp.float32
    depthwise: str = "auto"
    axis_name: str | None = None

    @property
    def draws(self) -> bool:
        """Whether it draws anything in training."""
        return self.drop_rate > 0

    def setup(self) -> None:
        """Creates the layers, which `stem` and `stage` share between them."""
        norm: dict[str, Any] = {"epsilon": self.epsilon, "momentum": self.momentum}
        self.stem_conv = Conv(self.stem_width, 3, 2, self.dtype, self.padding)
        self.stem_norm = BatchNorm(self.axis_name, **norm)
        for stage, rows in enumerate(self.stages, start=1):
            for index, row in enumerate(rows, start=1):
                block = InvertedResidual(
                    row,
                    self.padding,
                    dtype=self.dtype,
                    depthwise=self.depthwise,
                    axis_name=self.axis_name,
                    **norm,
                )
                setattr(self, f"stage{stage}_block{index}", block)
        self.last_conv = Conv(self.last_width, 1, dtype=self.dtype)
        self.last_norm = BatchNorm(self.axis_name, **norm)
        if self.hidden_width is not None:
            self.hidden = Classifier(self.hidden_width)
        self.classifier = Classifier(self.num_classes)

    def stem(self, images: Array, *, train: bool) -> Array:
        """Maps normalised images `[B, H, W, 3]` to what the first stage takes."""
        return self.activation(self.stem_norm(self.stem_conv(images), train=train))

    def stage(self, number: int, x: Array, *, train: bool, keys: Array | None = None) -> Array:
        """Returns the map of stage 1 to 4 from that of the one before it; nothing is drawn of `keys`."""
        del keys
        for index in range(1, len(self.stages[number - 1]) + 1):
            x = getattr(self, f"stage{number}_block{index}")(x, train=train)
        if number == len(self.stages):
            x = self.activation(self.last_norm(self.last_conv(x), train=train))
        return x

    def __call__(self, images: Array, train: bool = False) -> Outputs:
        """Maps normalised images `[B, H, W, 3]` to logits `[B, num_classes]` and features."""
        keys = example_keys(self, len(images)) if train and self.draws else None
        x = self.stem(images, train=train)
        features = {}
        for number in range(1, len(self.stages) + 1):
            features[f"stage{number}"] = x = self.stage(number, x, train=train)
        pooled = pool(x)
        if self.hidden_width is not None:
            pooled = self.activation(self.hidden(pooled))
        features["pooled"] = dropout(pooled, self.drop_rate, keys, 0)
        return Outputs(self.classifier(features["pooled"]), features)


class Plan(NamedTuple):
    """What tells one network from another, and in what its layouts differ.

    Attributes:
      stages: its inverted residuals.
      stem_width: channels of the first convolution.
      last_width: channels of the last one; None for as many as the classifier takes.
      hidden: whether a linear layer lies between pooling and classifier.
      activation: of stem, last convolution and hidden layer.
      norms: eps and momentum of the normalisations, by layout.
    """

    stages: Stages
    stem_width: int
    last_width: int | None
    hidden: bool
    activation: Activation
    norms: dict[str, tuple[float, float]]


_V2 = (
    (Row(16, None), Row(24, 6, 2), Row(24, 6)),
    (Row(32, 6, 2), *(Row(32, 6),) * 2),
    (Row(64, 6, 2), *(Row(64, 6),) * 3, *(Row(96, 6),) * 3),
    (Row(160, 6, 2), *(Row(160, 6),) * 2, Row(320, 6)),
)

_V3_LARGE = (
    (
        Row(16, None, 1, 3, False, nn.relu),
        *(Row(24, e, s, 3, False, nn.relu) for e, s in ((4, 2), (3, 1))),
    ),
    tuple(Row(40, 3, stride, 5, True, nn.relu) for stride in (2, 1, 1)),
    (
        *(
            Row(80, e, s, 3, False, nn.hard_swish)
            for e, s in ((6, 2), (2.5, 1), (2.3, 1), (2.3, 1))
        ),
        *(Row(112, 6, 1, 3, True, nn.hard_swish),) * 2,
    ),
    tuple(Row(160, 6, stride, 5, True, nn.hard_swish) for stride in (2, 1, 1)),
)

PLANS = {
    "mobilenet_v2": Plan(
        _V2, 32, None, False, nn.relu6, {"torch": (1e-5, 0.9), "keras": (1e-3, 0.999)}
    ),
    "mobilenet_v3_large": Plan(
        _V3_LARGE, 16, 960, True, nn.hard_swish, {"torch": (1e-3, 0.99), "keras": (1e-3, 0.999)}
    ),
}
"""The networks by name."""


def normalizations(name: str) -> Normalizations:
    """Returns the normalisations of the images by layout."""
    del name  # both have the same
    return {"torch": IMAGENET, "keras": UNIT}


def build(
    name: str,
    *,
    width: float = 1.0,
    layout: str = "torch",
    epsilon: float | None = None,
    **options: Any,
) -> MobileNet:
    """Returns the network `name` of `PLANS`.

    Args:
      name: one of `PLANS`.
      width: factor on all channel counts, which are then rounded by `divisible`, as in the papers and
        in Keras' published widths; a factor below 1 leaves the last `HEAD_WIDTH` features.
      layout: `torch` or `keras`.
      epsilon: of the normalisations, instead of the layout's.
      **options: attributes of `MobileNet`.
    """
    plan = PLANS[name]
    usual, momentum = plan.norms[layout]
    head = divisible(HEAD_WIDTH * max(1.0, width))
    return MobileNet(
        tuple(
            tuple(row._replace(features=divisible(row.features * width)) for row in rows)
            for rows in plan.stages
        ),
        stem_width=divisible(plan.stem_width * width),
        last_width=head if plan.last_width is None else divisible(plan.last_width * width),
        hidden_width=head if plan.hidden else None,
        activation=plan.activation,
        padding=PADDINGS[layout],
        epsilon=usual if epsilon is None else epsilon,
        momentum=momentum,
        **options,
    )
