"""Names of the layers of Inception-ResNet-V1 in facenet-pytorch's files.

Their `last_linear` is a matrix, our `embedding_conv` a 1 x 1 kernel. The heads tell 8631 (VGGFace2) or 10575
(CASIA-WebFace) people apart, and may be missing.
"""

from kdjax.models.inception_blocks import Parts
from kdjax.models.inception_resnet import PLANS

STEM = ("conv2d_1a", "conv2d_2a", "conv2d_2b", "conv2d_3b", "conv2d_4a", "conv2d_4b")
"""Their names of the stem's convolutions."""

STAGES = (("", "repeat_1"), ("mixed_6a", "repeat_2"), ("mixed_7a", "repeat_3"), ("", "block8"))
"""Their names of each stage's reduction and blocks."""


def schemes(name: str) -> dict[str, dict[str, str]]:
    """Returns `{scheme: {path of our layer: name of theirs}}` of the network `name` of `PLANS`."""
    found = {
        "embedding_conv": "last_linear",
        "embedding_norm": "last_bn",
        "classifier": "logits",
    }
    for index, theirs in enumerate(STEM, start=1):
        found |= _unit(f"stem_unit{index}", theirs)
    stages = zip(PLANS[name].stages, STAGES, strict=True)
    for number, (stage, (reduction, blocks)) in enumerate(stages, start=1):
        if stage.reduction:
            found |= _branches(f"stage{number}_reduction", reduction, stage.reduction)
        for index in range(stage.depth):
            ours = f"stage{number}_block{index + 1}"
            theirs = blocks if stage.depth == 1 else f"{blocks}.{index}"
            found |= _branches(ours, theirs, stage.branches)
            found[f"{ours}/project_conv"] = f"{theirs}.conv2d"
    return {"facenet": found}


def _unit(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}/conv": f"{theirs}.conv", f"{ours}/norm": f"{theirs}.bn"}


def _branches(ours: str, theirs: str, branches: tuple[Parts, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for branch, parts in enumerate(branches):
        for index in range(len(parts)):
            # a branch of one convolution has no places
            place = f"branch{branch}" if len(parts) == 1 else f"branch{branch}.{index}"
            found |= _unit(f"{ours}/branch{branch + 1}_unit{index + 1}", f"{theirs}.{place}")
    return found
