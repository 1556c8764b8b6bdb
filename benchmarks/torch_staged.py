"""The networks of torch_networks.py as methods see them, with maps by name, and TOKD's two branches."""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import torch
from torch import nn
from torch.nn.functional import dropout
from torch_networks import NETWORKS, ConvNorm, Inverted, resnet

Outputs = tuple[torch.Tensor, dict[str, torch.Tensor]]
"""Logits `[B, 2]` and the features that were asked for."""

DROP_RATE = 0.2
"""EfficientNet-B0's dropout, and its stochastic depth at the last block."""

JOINED = (2, 3, 4)
"""Stages after which TOKD's branches look at each other."""

NORMALISATION = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""ImageNet's mean and deviation."""


class Staged(nn.Module):
    """A stem, four stages, a linear head.

    Attributes:
      drop_rate: dropout before the head, in training.
    """

    def __init__(
        self, stem: nn.Module, stages: Sequence[nn.Module], width: int, drop_rate: float
    ) -> None:
        super().__init__()
        self.stem, self.stages = stem, nn.ModuleList(stages)
        self.classifier = nn.Linear(width, 2)
        self.drop_rate = drop_rate

    def forward(self, images: torch.Tensor, names: tuple[str, ...] = ()) -> Outputs:
        """Maps normalised images `[B, 3, H, W]` to logits and the features of those names."""
        x = self.stem(images)
        features = {}
        for number, stage in enumerate(self.stages, start=1):
            features[f"stage{number}"] = x = stage(x)
        pooled = x.mean((2, 3), dtype=torch.float32)
        features["pooled"] = pooled = dropout(pooled, self.drop_rate, self.training)
        return self.classifier(pooled).float(), {name: features[name] for name in names}


class Fusion(nn.Module):
    """TOKD's RFAM: a spatial attention map for each branch, made from both."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = ConvNorm(2 * channels, 2 * channels)
        self.attention = nn.Conv2d(2 * channels, 2, 3, padding=1, bias=False)

    def forward(
        self, rgb: torch.Tensor, frequency: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps two maps `[B, C, H, W]` to two of the same shape."""
        attention = torch.sigmoid(self.attention(self.mix(torch.cat((rgb, frequency), 1))))
        return rgb * attention[:, :1], frequency * attention[:, 1:]


class DualBranch(nn.Module):
    """Two networks of one kind, the second on the images without their low frequencies (rho 0.33)."""

    def __init__(self, name: str, size: int) -> None:
        super().__init__()
        self.rgb, self.frequency = staged(name), staged(name)
        width = self.rgb.classifier.in_features
        for branch in (self.rgb, self.frequency):
            branch.classifier = nn.Identity()
        self.fusions = nn.ModuleList(Fusion(WIDTHS[name][stage - 1]) for stage in JOINED)
        self.classifier = nn.Linear(2 * width, 2)
        place = torch.arange(size, dtype=torch.float64)
        transform = torch.cos(torch.pi * (2 * place + 1) * place[:, None] / (2 * size))
        transform = transform * (2 / size) ** 0.5
        transform[0] /= 2**0.5
        kept = (place[:, None] + place).div(size) >= 0.33 * (1 - 1e-6)
        self.register_buffer("transform", transform.float())
        self.register_buffer("kept", kept.float())
        for key, values in zip(("mean", "deviation"), NORMALISATION, strict=True):
            self.register_buffer(key, torch.tensor(values)[:, None, None])

    def forward(self, images: torch.Tensor, names: tuple[str, ...] = ()) -> Outputs:
        """Maps normalised images `[B, 3, H, W]` to logits and `rgb`, `frequency` or `pooled`."""
        maps = (self.rgb.stem(images), self.frequency.stem(self.high_frequencies(images)))
        stages = zip(self.rgb.stages, self.frequency.stages, strict=True)
        for number, (own, other) in enumerate(stages, start=1):
            maps = own(maps[0]), other(maps[1])
            if number in JOINED:
                maps = self.fusions[JOINED.index(number)](*maps)
        pooled = torch.cat(maps, 1).mean((2, 3), dtype=torch.float32)
        features = {"rgb": maps[0], "frequency": maps[1], "pooled": pooled}
        return self.classifier(pooled).float(), {name: features[name] for name in names}

    def high_frequencies(self, images: torch.Tensor) -> torch.Tensor:
        """Returns `IDCT(kept * DCT(x))` of the images in [0, 1], normalised as they are."""
        with torch.autocast(images.device.type, enabled=False):
            seen = images.float() * self.deviation + self.mean
            spectrum = self.kept * (self.transform @ seen @ self.transform.T)
            seen = self.transform.T @ spectrum @ self.transform
        high = (seen - self.mean) / self.deviation
        return high.contiguous(memory_format=torch.channels_last)


BUILDERS: dict[str, Callable[[], nn.Module]] = {
    **NETWORKS,
    "resnet18_thin": lambda: resnet((2, 2, 2, 2), False, 32),
    "resnet_tiny": lambda: resnet((1, 1, 1, 1), False, 8),
}

CUTS: dict[str, tuple[int, tuple[int, ...]]] = {
    "resnet_tiny": (2, (1, 1, 1, 1)),
    "resnet18_thin": (2, (2, 2, 2, 2)),
    "resnet18": (2, (2, 2, 2, 2)),
    "resnet50": (2, (3, 4, 6, 3)),
    # its fourth stage ends with the last 1 x 1 convolution
    "efficientnet_b0": (1, (3, 2, 6, 6)),
}
"""Of each network, how many of its parts are the stem, and how many each stage."""

WIDTHS: dict[str, tuple[int, ...]] = {
    "resnet_tiny": (8, 16, 32, 64),
    "resnet18_thin": (32, 64, 128, 256),
    "resnet18": (64, 128, 256, 512),
    "resnet50": (256, 512, 1024, 2048),
    "efficientnet_b0": (24, 40, 112, 1280),
}
"""Channels of the stages."""


def staged(name: str, *, drops: bool = True) -> Staged:
    """Returns a network of `CUTS`, initialised as kdjax's are; `drops` whether it drops anything in training."""
    parts = list(BUILDERS[name]().children())
    first, depths = CUTS[name]
    stages = [nn.Sequential(*parts[a:b]) for a, b in pairwise(accumulate(depths, initial=first))]
    blocks = [part for part in parts if isinstance(part, Inverted)]
    rate = DROP_RATE if drops and blocks else 0.0
    for number, block in enumerate(blocks):
        block.drop_rate = rate * number / len(blocks)
    network = Staged(nn.Sequential(*parts[:first]), stages, WIDTHS[name][-1], rate)
    network.apply(_initialise)
    return network


def _initialise(module: nn.Module) -> None:
    """He's normal initialisation over the outputs; of a depthwise kernel, over itself."""
    if isinstance(module, nn.Conv2d):
        fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=(2 / fan_out) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
