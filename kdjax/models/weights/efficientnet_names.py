"""What published files call the layers of an EfficientNet.

timm's files of the `tf_` networks have the names of its others, but TensorFlow's padding and eps: they
belong to the layout `keras`.
"""

import re
from collections.abc import Mapping

import numpy as np

from kdjax.models.efficientnet_plans import PLANS, BlockPlan, block_plans
from kdjax.models.normalization import IMAGENET

LAYOUT_OF = {"lukemelas": "keras"}
"""Layout of the schemes whose weights were trained in another one than `torch`, Keras' own aside.

`lukemelas` is the package efficientnet_pytorch, whose weights came from TensorFlow, and its offspring
efficientnet_lite_pytorch.
"""

NORMALISATION = re.compile(r"normalization(_\d+)?/(mean|variance)")

IGNORED: dict[str, tuple[str, ...]] = {"keras": ("normalization", "rescaling")}
"""What files hold that the networks here do not: Keras normalises the images inside the network."""

Names = dict[str, str]
"""`{layer here: layer there}`."""


def schemes(name: str) -> dict[str, Names]:
    """Returns the names of every layer with parameters, by naming scheme; a lite network is not in all."""
    plan = PLANS[name]
    blocks = block_plans(plan)
    if plan.lite:
        found = {"timm": _timm(blocks), "lukemelas": _lukemelas(blocks)}
        return {scheme: _unsqueezed(names) for scheme, names in found.items()}
    return {
        "torchvision": _torchvision(blocks),
        "timm": _timm(blocks),
        "lukemelas": _lukemelas(blocks),
        "keras": _keras(blocks),
    }


def _unsqueezed(names: Names) -> Names:
    return {here: there for here, there in names.items() if "/squeeze/" not in here}


def _torchvision(blocks: tuple[BlockPlan, ...]) -> Names:
    names = _ends("features.0.0", "features.0.1")
    for block in blocks:
        there = f"features.{block.group + 1}.{block.place}.block"
        parts: Names = {}
        expands = int(_expands(block))
        if expands:
            parts |= {"expand_conv": "0.0", "expand_norm": "0.1"}
        parts |= {
            "depthwise_conv": f"{expands}.0",
            "depthwise_norm": f"{expands}.1",
            "squeeze/reduce": f"{expands + 1}.fc1",
            "squeeze/expand": f"{expands + 1}.fc2",
            "project_conv": f"{expands + 2}.0",
            "project_norm": f"{expands + 2}.1",
        }
        names |= _block(block, f"{there}.", parts)
    head = f"features.{blocks[-1].group + 2}"
    return names | _ends(f"{head}.0", f"{head}.1", "classifier.1")


def _timm(blocks: tuple[BlockPlan, ...]) -> Names:
    names = _ends("conv_stem", "bn1")
    for block in blocks:
        parts = {"squeeze/reduce": "se.conv_reduce", "squeeze/expand": "se.conv_expand"}
        if _expands(block):
            parts |= {"expand_conv": "conv_pw", "expand_norm": "bn1"}
            parts |= {"depthwise_conv": "conv_dw", "depthwise_norm": "bn2"}
            parts |= {"project_conv": "conv_pwl", "project_norm": "bn3"}
        else:
            parts |= {"depthwise_conv": "conv_dw", "depthwise_norm": "bn1"}
            parts |= {"project_conv": "conv_pw", "project_norm": "bn2"}
        names |= _block(block, f"blocks.{block.group}.{block.place}.", parts)
    return names | _ends("conv_head", "bn2", "classifier")


def _lukemelas(blocks: tuple[BlockPlan, ...]) -> Names:
    names = _ends("_conv_stem", "_bn0")
    for number, block in enumerate(blocks):
        parts = {
            "depthwise_conv": "_depthwise_conv",
            "depthwise_norm": "_bn1",
            "squeeze/reduce": "_se_reduce",
            "squeeze/expand": "_se_expand",
            "project_conv": "_project_conv",
            "project_norm": "_bn2",
        }
        if _expands(block):
            parts |= {"expand_conv": "_expand_conv", "expand_norm": "_bn0"}
        names |= _block(block, f"_blocks.{number}.", parts)
    return names | _ends("_conv_head", "_bn1", "_fc")


def _keras(blocks: tuple[BlockPlan, ...]) -> Names:
    names = _ends("stem_conv", "stem_bn")
    for block in blocks:
        parts = {
            "depthwise_conv": "dwconv",
            "depthwise_norm": "bn",
            "squeeze/reduce": "se_reduce",
            "squeeze/expand": "se_expand",
            "project_conv": "project_conv",
            "project_norm": "project_bn",
        }
        if _expands(block):
            parts |= {"expand_conv": "expand_conv", "expand_norm": "expand_bn"}
        letter = chr(ord("a") + block.place)
        names |= _block(block, f"block{block.group + 1}{letter}_", parts)
    return names | _ends("top_conv", "top_bn", "predictions")


def _expands(block: BlockPlan) -> bool:
    return block.settings.expansion != 1


def _block(block: BlockPlan, there: str, parts: Names) -> Names:
    return {f"{block.name}/{here}": f"{there}{part}" for here, part in parts.items()}


def _ends(conv: str, norm: str, classifier: str | None = None) -> Names:
    """Returns the names at the network's start, or at its end, where the classifier is."""
    if classifier is None:
        return {"stem_conv": conv, "stem_norm": norm}
    return {"head_conv": conv, "head_norm": norm, "classifier": classifier}


def remark(arrays: Mapping[str, np.ndarray]) -> str:
    """Returns what is to be said of a Keras file whose network normalises images otherwise than ours."""
    found = {
        match[2]: array
        for name, array in arrays.items()
        if (match := NORMALISATION.fullmatch(name))
    }
    if set(found) != {"mean", "variance"}:
        return ""
    mean, deviation = map(np.array, IMAGENET)
    # the published files hold the deviation for the variance, and their network divides by its root twice
    alike = [
        np.allclose(np.ravel(found["mean"]), mean, atol=1e-3),
        any(np.allclose(np.ravel(found["variance"]), deviation**p, atol=1e-3) for p in (1, 2)),
    ]
    if all(alike):
        return ""
    shown = {name: np.round(np.ravel(array)[:3], 3).tolist() for name, array in found.items()}
    return (
        f"its network normalises images by a mean of {shown['mean']} and a variance of {shown['variance']}, "
        "not by ImageNet's, which this network is given"
    )
