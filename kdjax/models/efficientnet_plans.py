"""Which blocks the EfficientNets have, and how their channels and repeats are scaled.

The lite ones are those of https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
"""

import math
from typing import NamedTuple

from kdjax.models.inverted_residual import divisible


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
    """What tells one network from another.

    Attributes:
      width: coefficient of the channels.
      depth: coefficient of the repeats.
      drop_rate: dropout before the classifier.
      groups: what is scaled.
      stem: channels of the first convolution before scaling.
      head: those of the last one.
      lite: whether it is made for small devices: no squeeze-and-excitation, ReLU6 for swish, stem and head of
        a fixed width, and the first and the last group of a fixed depth.
    """

    width: float
    depth: float
    drop_rate: float
    groups: tuple[Group, ...]
    stem: int = 32
    head: int = 1280
    lite: bool = False


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
    "efficientnet_lite0": Plan(1.0, 1.0, 0.2, GROUPS, lite=True),
    "efficientnet_lite1": Plan(1.0, 1.1, 0.2, GROUPS, lite=True),
    "efficientnet_lite2": Plan(1.1, 1.2, 0.3, GROUPS, lite=True),
    "efficientnet_tiny": Plan(1.0, 1.0, 0.2, TINY_GROUPS, stem=8, head=32),
}
"""The networks by name; `tiny` is for tests and first attempts."""


def end_widths(plan: Plan, width: float = 1.0) -> tuple[int, int]:
    """Returns the channels of stem and head; `width` multiplies them, a lite network's coefficient does not."""
    factor = width if plan.lite else plan.width * width
    return divisible(plan.stem * factor), divisible(plan.head * factor)


def block_plans(plan: Plan, width: float = 1.0) -> tuple[BlockPlan, ...]:
    """Returns the blocks of a network in order, scaled; `width` multiplies its channels once more."""
    found: list[BlockPlan] = []
    count = dict.fromkeys(range(1, 5), 0)
    last = len(plan.groups) - 1
    for number, group in enumerate(plan.groups):
        channels = divisible(group.channels * plan.width * width)
        fixed = plan.lite and number in (0, last)
        repeats = group.repeats if fixed else math.ceil(group.repeats * plan.depth)
        for place in range(repeats):
            count[group.stage] += 1
            name = f"stage{group.stage}_block{count[group.stage]}"
            stride = 1 if place else group.stride
            settings = group._replace(channels=channels, stride=stride)
            found.append(BlockPlan(name, number, place, settings))
    return tuple(found)
