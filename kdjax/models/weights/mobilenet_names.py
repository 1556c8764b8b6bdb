"""Names of the layers of the MobileNets in published weights: torchvision's, timm's and Keras'.

timm's own MobileNetV3 weights (not those ported from TensorFlow) are trained with an eps of `TIMM_EPSILON`:
build the network with it. Its last linear layers, and both of Keras', are 1 x 1 convolutions in the files.
"""

from kdjax.models.inverted_residual import Row
from kdjax.models.mobilenet import PLANS

TIMM_EPSILON = 1e-5
"""Of the normalisations in timm's `mobilenetv2_100` and `mobilenetv3_large_100`."""

NOTES = {
    (
        "mobilenet_v3_large",
        "timm",
    ): f"timm's own weights were trained with an eps of {TIMM_EPSILON:g}, "
    f"this network has torchvision's 0.001; models.create(..., epsilon={TIMM_EPSILON:g}) is timm's"
}
"""What whoever loads weights of a scheme into a network must know."""

Names = dict[str, str]


def schemes(name: str) -> dict[str, Names]:
    """Returns `{scheme: {path of our layer: name of theirs}}` of the network `name` of `PLANS`."""
    third = name == "mobilenet_v3_large"
    return {
        "torchvision": _torchvision(name, third),
        "timm": _timm(name, third),
        "keras": _keras(name, third),
    }


def _blocks(name: str) -> list[tuple[str, Row]]:
    """Returns path and row of all inverted residuals in order."""
    return [
        (f"stage{stage}_block{index}", row)
        for stage, rows in enumerate(PLANS[name].stages, start=1)
        for index, row in enumerate(rows, start=1)
    ]


def _parts(row: Row) -> list[str]:
    """Returns the parts of an inverted residual that have parameters."""
    expand = [] if row.expansion is None else ["expand"]
    return [*expand, "depthwise", *(["squeeze"] if row.squeeze else []), "project"]


def _torchvision(name: str, third: bool) -> Names:
    found = {"stem_conv": "features.0.0", "stem_norm": "features.0.1"}
    blocks = _blocks(name)
    for number, (path, row) in enumerate(blocks, start=1):
        inside = f"features.{number}.{'block' if third else 'conv'}"
        for place, part in enumerate(_parts(row)):
            theirs = f"{inside}.{place}"
            if part == "squeeze":
                found[f"{path}/squeeze/reduce"] = f"{theirs}.fc1"
                found[f"{path}/squeeze/expand"] = f"{theirs}.fc2"
            elif part == "project" and not third:
                # the second version does not wrap its last convolution and normalisation
                found[f"{path}/project_conv"] = theirs
                found[f"{path}/project_norm"] = f"{inside}.{place + 1}"
            else:
                found[f"{path}/{part}_conv"] = f"{theirs}.0"
                found[f"{path}/{part}_norm"] = f"{theirs}.1"
    last = len(blocks) + 1
    found |= {"last_conv": f"features.{last}.0", "last_norm": f"features.{last}.1"}
    if third:
        return found | {"hidden": "classifier.0", "classifier": "classifier.3"}
    return found | {"classifier": "classifier.1"}


def _timm(name: str, third: bool) -> Names:
    found = {"stem_conv": "conv_stem", "stem_norm": "bn1"}
    group, place, before = 0, -1, None
    for path, row in _blocks(name):
        # a group there ends where stride or width change
        changed = before is not None and (row.stride > 1 or row.features != before)
        group, place, before = (
            (group + 1, 0, row.features) if changed else (group, place + 1, row.features)
        )
        theirs = f"blocks.{group}.{place}"
        if row.expansion is None:
            convolutions = {"depthwise": "conv_dw", "project": "conv_pw"}
        else:
            convolutions = {"expand": "conv_pw", "depthwise": "conv_dw", "project": "conv_pwl"}
        for number, (part, convolution) in enumerate(convolutions.items(), start=1):
            found[f"{path}/{part}_conv"] = f"{theirs}.{convolution}"
            found[f"{path}/{part}_norm"] = f"{theirs}.bn{number}"
        if row.squeeze:
            found[f"{path}/squeeze/reduce"] = f"{theirs}.se.conv_reduce"
            found[f"{path}/squeeze/expand"] = f"{theirs}.se.conv_expand"
    if third:
        last = f"blocks.{group + 1}.0"
        found |= {"last_conv": f"{last}.conv", "last_norm": f"{last}.bn1", "hidden": "conv_head"}
    else:
        found |= {"last_conv": "conv_head", "last_norm": "bn2"}
    return found | {"classifier": "classifier"}


def _keras(name: str, third: bool) -> Names:
    norm = "bn" if third else "BN"
    found = {}
    for number, (path, row) in enumerate(_blocks(name)):
        numbered = f"expanded_conv_{number}" if third else f"block_{number}"
        theirs = "expanded_conv" if number == 0 else numbered
        for part in _parts(row):
            if part == "squeeze":
                found[f"{path}/squeeze/reduce"] = f"{theirs}_squeeze_excite_conv"
                found[f"{path}/squeeze/expand"] = f"{theirs}_squeeze_excite_conv_1"
            else:
                found[f"{path}/{part}_conv"] = f"{theirs}_{part}"
                found[f"{path}/{part}_norm"] = f"{theirs}_{part}_{norm}"
    ends = {
        True: ("conv", "conv_bn", "conv_1", "conv_1_bn"),
        False: ("Conv1", "bn_Conv1", "Conv_1", "Conv_1_bn"),
    }[third]
    found |= dict(zip(("stem_conv", "stem_norm", "last_conv", "last_norm"), ends, strict=True))
    if third:
        return found | {"hidden": "conv_2", "classifier": "logits"}
    return found | {"classifier": "predictions"}
