"""What published files call the layers of the residual networks.

timm names them as torchvision does. Keras publishes ResNet-50 alone of those that kdjax has.
"""

from kdjax.models.resnet import PLANS

BGR = {"keras": ("stem_conv",), "keras_old": ("stem_conv",)}
"""Convolutions, by scheme, whose published kernels take blue, green, red: they are flipped on loading."""


def schemes(name: str) -> dict[str, dict[str, str]]:
    """Returns `{scheme: {our layer: the file's layer}}` of a residual network."""
    found = {"torchvision": _torchvision(name)}
    if name == "resnet50":
        found["keras"] = _keras(name, head="predictions")
        found["keras_old"] = _keras(name, head="probs")
    return found


def _blocks(name: str) -> list[tuple[int, int, list[int], bool]]:
    """Returns of each block: stage, number, numbers of its convolutions, whether its shortcut has one."""
    plan = PLANS[name]
    convolutions = [1, 2, 3] if plan.bottleneck else [1, 2]
    return [
        (stage, block, convolutions, block == 1 and (stage > 1 or plan.bottleneck))
        for stage, depth in enumerate(plan.depths, start=1)
        for block in range(1, depth + 1)
    ]


def _torchvision(name: str) -> dict[str, str]:
    layers = {"stem_conv": "conv1", "stem_norm": "bn1", "classifier": "fc"}
    for stage, block, convolutions, shortcut in _blocks(name):
        ours, theirs = f"stage{stage}_block{block}", f"layer{stage}.{block - 1}"
        for number in convolutions:
            layers[f"{ours}/conv{number}"] = f"{theirs}.conv{number}"
            layers[f"{ours}/norm{number}"] = f"{theirs}.bn{number}"
        if shortcut:
            layers[f"{ours}/shortcut_conv"] = f"{theirs}.downsample.0"
            layers[f"{ours}/shortcut_norm"] = f"{theirs}.downsample.1"
    return layers


def _keras(name: str, *, head: str) -> dict[str, str]:
    layers = {"stem_conv": "conv1_conv", "stem_norm": "conv1_bn", "classifier": head}
    for stage, block, convolutions, shortcut in _blocks(name):
        ours, theirs = f"stage{stage}_block{block}", f"conv{stage + 1}_block{block}"
        for number in convolutions:
            layers[f"{ours}/conv{number}"] = f"{theirs}_{number}_conv"
            layers[f"{ours}/norm{number}"] = f"{theirs}_{number}_bn"
        if shortcut:
            layers[f"{ours}/shortcut_conv"] = f"{theirs}_0_conv"
            layers[f"{ours}/shortcut_norm"] = f"{theirs}_0_bn"
    return layers
