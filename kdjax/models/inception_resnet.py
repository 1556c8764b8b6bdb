"""Inception-ResNet-V1 with a 512-wide embedding, the network of facenet in facenet-pytorch's layout.

Branches of convolutions are joined, projected back by a 1 x 1 convolution and added to their input in a small
measure; a linear layer and a normalisation lie between pooling and classifier. The strided maps are not padded:
images need 75 pixels a side.

See "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning" by Szegedy et al., 2016
(https://arxiv.org/abs/1602.07261), and "FaceNet" by Schroff et al., 2015 (https://arxiv.org/abs/1503.03832).
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn

from kdjax.models.convolution import max_pool
from kdjax.models.inception_blocks import EPSILON, Block, Part, Parts, Reduction, Unit
from kdjax.models.layers import BatchNorm, Classifier, Conv, parameter_dtype, pool
from kdjax.models.normalization import Normalizations
from kdjax.models.stochastic import dropout, example_keys
from kdjax.types import Array, Outputs


class Stage(NamedTuple):
    """One stage: a reduction, then residual blocks of one kind.

    Attributes:
      reduction: branches that halve the map, beside a max-pool; none in the first and the last stage.
      branches: branches of every block.
      depth: number of blocks.
      scale: weight of what a block adds to its input.
      relu: whether a ReLU ends a block.
    """

    reduction: tuple[Parts, ...]
    branches: tuple[Parts, ...]
    depth: int
    scale: float
    relu: bool = True


class Plan(NamedTuple):
    """A whole network.

    Attributes:
      stem: convolutions before and after the max-pool.
      stages: what follows.
      embedding: features that the classifier takes.
    """

    stem: tuple[Parts, Parts]
    stages: tuple[Stage, ...]
    embedding: int


class InceptionResNet(nn.Module):
    """The network; `stage1` to `stage4` lie at strides of 8, 16, 32 and 32.

    Attributes:
      plan: its convolutions.
      num_classes: width of the classifier.
      drop_rate: share of the pooled map that is dropped in training, before the embedding.
      dtype: dtype it computes in; parameters and statistics are float32 (float64 for float64).
      axis_name: device axis for the batch statistics.
    """

    plan: Plan
    num_classes: int = 2
    drop_rate: float = 0.6
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None

    @property
    def draws(self) -> bool:
        """Whether it draws anything in training."""
        return self.drop_rate > 0

    def setup(self) -> None:
        """Creates the layers, which `stem` and `stage` share between them."""
        shared: dict[str, Any] = {"dtype": self.dtype, "axis_name": self.axis_name}
        for index, part in enumerate(sum(self.plan.stem, ()), start=1):
            setattr(self, f"stem_unit{index}", Unit(part, **shared))
        for number, stage in enumerate(self.plan.stages, start=1):
            if stage.reduction:
                setattr(self, f"stage{number}_reduction", Reduction(stage.reduction, **shared))
            for index in range(1, stage.depth + 1):
                block = Block(stage.branches, stage.scale, stage.relu, **shared)
                setattr(self, f"stage{number}_block{index}", block)
        self.embedding_conv = Conv(self.plan.embedding, 1, dtype=parameter_dtype(self.dtype))
        self.embedding_norm = BatchNorm(self.axis_name, epsilon=EPSILON)
        self.classifier = Classifier(self.num_classes)

    def stem(self, images: Array, *, train: bool) -> Array:
        """Maps normalised images `[B, H, W, 3]` to what the first stage takes, at a stride of 8."""
        x = images
        before = len(self.plan.stem[0])
        for index in range(1, before + len(self.plan.stem[1]) + 1):
            x = getattr(self, f"stem_unit{index}")(x, train=train)
            if index == before:
                x = max_pool(x, padding="valid")
        return x

    def stage(self, number: int, x: Array, *, train: bool, keys: Array | None = None) -> Array:
        """Returns the map of stage 1 to 4 from that of the one before it; nothing is drawn of `keys`."""
        del keys
        stage = self.plan.stages[number - 1]
        if stage.reduction:
            x = getattr(self, f"stage{number}_reduction")(x, train=train)
        for index in range(1, stage.depth + 1):
            x = getattr(self, f"stage{number}_block{index}")(x, train=train)
        return x

    def __call__(self, images: Array, train: bool = False) -> Outputs:
        """Maps normalised images `[B, H, W, 3]` to logits `[B, num_classes]` and features."""
        keys = example_keys(self, len(images)) if train and self.draws else None
        x = self.stem(images, train=train)
        features = {}
        for number in range(1, len(self.plan.stages) + 1):
            features[f"stage{number}"] = x = self.stage(number, x, train=train)
        means = dropout(pool(x), self.drop_rate, keys, 0)[:, None, None]
        embedded = self.embedding_norm(self.embedding_conv(means), train=train)
        features["pooled"] = jnp.squeeze(embedded, (1, 2))
        return Outputs(self.classifier(features["pooled"]), features)


_STEM = (
    (Part(32, 3, 2, "valid"), Part(32, 3, 1, "valid"), Part(64, 3)),
    (Part(80), Part(192, 3, 1, "valid"), Part(256, 3, 2, "valid")),
)

_LAST = ((Part(192),), (Part(192), Part(192, (1, 3)), Part(192, (3, 1))))

_STAGES = (
    Stage(
        (), ((Part(32),), (Part(32), Part(32, 3)), (Part(32), Part(32, 3), Part(32, 3))), 5, 0.17
    ),
    Stage(
        ((Part(384, 3, 2, "valid"),), (Part(192), Part(192, 3), Part(256, 3, 2, "valid"))),
        ((Part(128),), (Part(128), Part(128, (1, 7)), Part(128, (7, 1)))),
        10,
        0.10,
    ),
    Stage(
        (
            (Part(256), Part(384, 3, 2, "valid")),
            (Part(256), Part(256, 3, 2, "valid")),
            (Part(256), Part(256, 3), Part(256, 3, 2, "valid")),
        ),
        _LAST,
        5,
        0.20,
    ),
    Stage((), _LAST, 1, 1.0, relu=False),
)

PLANS = {"inception_resnet_v1": Plan(_STEM, _STAGES, 512)}
"""The networks by name."""


def normalizations(name: str) -> Normalizations:
    """Returns the normalisation of the images: 8-bit values minus 127.5, over 128."""
    del name  # there is one
    return {"torch": ((0.5,) * 3, (128 / 255,) * 3)}


def build(
    name: str, *, width: float = 1.0, layout: str = "torch", depthwise: str = "auto", **options: Any
) -> InceptionResNet:
    """Returns the network `name` of `PLANS`, every channel count multiplied by `width`.

    `options` are attributes of `InceptionResNet`.
    """
    del layout, depthwise  # it has one, and none
    plan = PLANS[name]

    def scaled(count: int) -> int:
        return max(1, round(count * width))

    def wide(branches: tuple[Parts, ...]) -> tuple[Parts, ...]:
        return tuple(
            tuple(part._replace(features=scaled(part.features)) for part in parts)
            for parts in branches
        )

    stages = tuple(
        stage._replace(reduction=wide(stage.reduction), branches=wide(stage.branches))
        for stage in plan.stages
    )
    before, after = wide(plan.stem)
    return InceptionResNet(Plan((before, after), stages, scaled(plan.embedding)), **options)
