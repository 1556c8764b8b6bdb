"""Names of Xception's layers in published files."""

from kdjax.models.xception import DEPTHS


def schemes(name: str) -> dict[str, dict[str, str]]:
    """Returns `{scheme: {our layer: their layer}}` of the network `name`.

    `pretrainedmodels` and `timm` differ in the classifier alone: `last_linear` is what the former's model
    calls it, `fc` what timm does and what the former's own file has. The shortcuts' layers have no name in
    Keras, which numbers them as they are made; here they are numbered from the first.

    F3Net has no scheme: its public reimplementation publishes no file with both branches.
    """
    if name != "xception":
        return {}
    torch = {"stem_conv1": "conv1", "stem_norm1": "bn1", "stem_conv2": "conv2", "stem_norm2": "bn2"}
    keras = {
        "stem_conv1": "block1_conv1",
        "stem_norm1": "block1_conv1_bn",
        "stem_conv2": "block1_conv2",
        "stem_norm2": "block1_conv2_bn",
    }
    shortcuts = 0
    places = [
        (stage, block) for stage, depth in enumerate(DEPTHS, 1) for block in range(1, depth + 1)
    ]
    for number, (stage, block) in enumerate(places, start=1):
        ours = f"stage{stage}_block{block}"
        # the first block has no ReLU before its first convolution: all of it is one place earlier
        first = 0 if number == 1 else 1
        for index in range(3 if stage == 3 else 2):
            place = first + 3 * index
            torch |= _separable(f"{ours}/sepconv{index + 1}", f"block{number}.rep.{place}")
            torch[f"{ours}/norm{index + 1}"] = f"block{number}.rep.{place + 1}"
            theirs = f"block{number + 1}_sepconv{index + 1}"
            keras |= _shared(f"{ours}/sepconv{index + 1}", theirs)
            keras[f"{ours}/norm{index + 1}"] = f"{theirs}_bn"
        if stage != 3:
            torch[f"{ours}/shortcut_conv"] = f"block{number}.skip"
            torch[f"{ours}/shortcut_norm"] = f"block{number}.skipbn"
            suffix = f"_{shortcuts}" if shortcuts else ""
            keras[f"{ours}/shortcut_conv"] = f"conv2d{suffix}"
            keras[f"{ours}/shortcut_norm"] = f"batch_normalization{suffix}"
            shortcuts += 1
    for index in (1, 2):
        torch |= _separable(f"stage4_sepconv{index}", f"conv{index + 2}")
        torch[f"stage4_norm{index}"] = f"bn{index + 2}"
        theirs = f"block{len(places) + 2}_sepconv{index}"
        keras |= _shared(f"stage4_sepconv{index}", theirs)
        keras[f"stage4_norm{index}"] = f"{theirs}_bn"
    return {
        "pretrainedmodels": torch | {"classifier": "last_linear"},
        "timm": torch | {"classifier": "fc"},
        "keras": keras | {"classifier": "predictions"},
    }


def _separable(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}/depthwise": f"{theirs}.conv1", f"{ours}/pointwise": f"{theirs}.pointwise"}


def _shared(ours: str, theirs: str) -> dict[str, str]:
    """Returns the names of the two convolutions that Keras keeps in one layer."""
    return {f"{ours}/{part}": f"{theirs}/{part}" for part in ("depthwise", "pointwise")}
