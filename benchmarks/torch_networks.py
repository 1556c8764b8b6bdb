"""Five networks as PyTorch modules, the same functions as kdjax's: what networks_torch.py times beside them."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import max_pool2d, relu, relu6, silu

Activation = Callable[..., torch.Tensor]


class ConvNorm(nn.Module):
    """Convolution without bias, normalisation, activation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int = 1,
        stride: int = 1,
        activation: Activation | None = relu,
        *,
        groups: int = 1,
        padding: int | None = None,
    ) -> None:
        super().__init__()
        padding = size // 2 if padding is None else padding
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `[B, C, H, W]` to `[B, D, H', W']`."""
        y = self.norm(self.conv(x))
        return y if self.activation is None else self.activation(y, inplace=True)


class Residual(nn.Module):
    """A ResNet's block."""

    def __init__(self, inputs: int, width: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        outputs = 4 * width if bottleneck else width
        if bottleneck:
            parts = [ConvNorm(inputs, width), ConvNorm(width, width, 3, stride)]
            parts.append(ConvNorm(width, outputs, activation=None))
        else:
            parts = [ConvNorm(inputs, width, 3, stride), ConvNorm(width, width, 3, activation=None)]
        self.branch = nn.Sequential(*parts)
        same = stride == 1 and inputs == outputs
        self.shortcut = (
            nn.Identity() if same else ConvNorm(inputs, outputs, 1, stride, activation=None)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `[B, C, H, W]` to `[B, D, H', W']`."""
        return relu(self.branch(x).add_(self.shortcut(x)), inplace=True)


class Separable(nn.Module):
    """Depthwise 3 x 3, then 1 x 1, normalised; a ReLU before or after on demand."""

    def __init__(self, inputs: int, outputs: int, *, before: bool, after: bool = False) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = ConvNorm(inputs, outputs, activation=relu if after else None)
        self.before = before

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `[B, C, H, W]` to `[B, D, H', W']`."""
        return self.pointwise(self.depthwise(relu(x) if self.before else x))


class XceptionBlock(nn.Module):
    """Separable convolutions with a shortcut; with a stride, a max-pool and a convolved shortcut."""

    def __init__(self, inputs: int, widths: list[int], stride: int = 2, first: bool = True) -> None:
        super().__init__()
        ends = zip([inputs, *widths], widths, strict=False)
        self.branch = nn.Sequential(
            *(Separable(a, b, before=first or index > 0) for index, (a, b) in enumerate(ends))
        )
        self.stride = stride
        self.shortcut = (
            nn.Identity() if stride == 1 else ConvNorm(inputs, widths[-1], 1, 2, activation=None)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `[B, C, H, W]` to `[B, D, H', W']`."""
        y = self.branch(x)
        y = y if self.stride == 1 else max_pool2d(y, 3, self.stride, 1)
        return y + self.shortcut(x)


class SqueezeExcite(nn.Module):
    """A gate a channel from all channels' means."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.reduce, self.expand = (
            nn.Conv2d(channels, squeezed, 1),
            nn.Conv2d(squeezed, channels, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `[B, C, H, W]` to `[B, D, H', W']`."""
        y = silu(self.reduce(x.mean((2, 3), keepdim=True)), inplace=True)
        return x * torch.sigmoid(self.expand(y))


class Inverted(nn.Module):
    """An inverted residual, with squeeze-and-excitation for EfficientNet."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        expansion: int,
        size: int,
        stride: int,
        activation: Activation,
        excite: bool,
    ) -> None:
        super().__init__()
        middle = inputs * expansion
        parts: list[nn.Module] = []
        if expansion > 1:
            parts.append(ConvNorm(inputs, middle, activation=activation))
        parts.append(ConvNorm(middle, middle, size, stride, activation, groups=middle))
        if excite:
            parts.append(SqueezeExcite(middle, inputs // 4))
        parts.append(ConvNorm(middle, outputs, activation=None))
        self.branch = nn.Sequential(*parts)
        self.adds = stride == 1 and inputs == outputs
        self.drop_rate = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `[B, C, H, W]` to `[B, D, H', W']`; in training the branch is left out at `drop_rate`."""
        y = self.branch(x)
        if not self.adds:
            return y
        if self.training and self.drop_rate:
            kept = torch.empty_like(y[:, :1, :1, :1]).bernoulli_(1 - self.drop_rate)
            y = y * kept.div_(1 - self.drop_rate)
        return x + y


def _classified(features: int, *parts: nn.Module) -> nn.Module:
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, 2))


def resnet(depths: tuple[int, ...], bottleneck: bool, base: int = 64) -> nn.Module:
    """Returns a ResNet with so many blocks a stage, and `base` channels in its first."""
    parts: list[nn.Module] = [ConvNorm(3, base, 7, 2), nn.MaxPool2d(3, 2, 1)]
    inputs = base
    for stage, depth in enumerate(depths):
        for index in range(depth):
            width = base * 2**stage
            parts.append(Residual(inputs, width, 1 if stage == 0 or index else 2, bottleneck))
            inputs = 4 * width if bottleneck else width
    return _classified(inputs, *parts)


def xception() -> nn.Module:
    """Returns Xception."""
    return _classified(
        2048,
        ConvNorm(3, 32, 3, 2, padding=0),
        ConvNorm(32, 64, 3, padding=0),
        XceptionBlock(64, [128, 128], first=False),
        XceptionBlock(128, [256, 256]),
        XceptionBlock(256, [728, 728]),
        *(XceptionBlock(728, [728] * 3, 1) for _ in range(8)),
        XceptionBlock(728, [728, 1024]),
        Separable(1024, 1536, before=False, after=True),
        Separable(1536, 2048, before=False, after=True),
    )


def inverted(
    rows: tuple[tuple[int, ...], ...], last: int, activation: Activation, excite: bool
) -> nn.Module:
    """Returns a chain of inverted residuals; rows are expansion, channels, repeats, stride, size."""
    parts: list[nn.Module] = [ConvNorm(3, 32, 3, 2, activation)]
    inputs = 32
    for expansion, channels, repeats, stride, size in rows:
        for index in range(repeats):
            step = 1 if index else stride
            parts.append(Inverted(inputs, channels, expansion, size, step, activation, excite))
            inputs = channels
    return _classified(last, *parts, ConvNorm(inputs, last, activation=activation))


B0 = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
V2 = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 32, 3, 2, 3),
    (6, 64, 4, 2, 3),
    (6, 96, 3, 1, 3),
    (6, 160, 3, 2, 3),
    (6, 320, 1, 1, 3),
)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet18": lambda: resnet((2, 2, 2, 2), False),
    "resnet50": lambda: resnet((3, 4, 6, 3), True),
    "xception": xception,
    "efficientnet_b0": lambda: inverted(B0, 1280, silu, True),
    "mobilenet_v2": lambda: inverted(V2, 1280, relu6, False),
}
"""The networks by kdjax's names."""
