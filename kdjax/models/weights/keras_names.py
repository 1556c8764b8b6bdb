"""What Keras calls the variables of a layer, as `layer/role`.

The old files keep names (`block1_conv1/kernel:0`). The files of Keras 3 number the variables of a layer instead; which
is which follows from the layer's class, that the group is called by (`batch_normalization_3`), and from their count:

| class | variables |
|---|---|
| dense, conv, transposed conv | `kernel`, `bias` |
| depthwise conv | `depthwise_kernel`, `bias` |
| separable conv | `depthwise_kernel`, `pointwise_kernel`, `bias` |
| batch normalization | `gamma`, `beta`, `moving_mean`, `moving_variance` |
| ... without a scale | `beta`, `moving_mean`, `moving_variance` |
| ... without both | `moving_mean`, `moving_variance` |
| normalization (of the input) | `mean`, `variance`, `count` |

A batch normalization with a scale and no offset has three variables too; no published network has it, and the file does
not tell. Variables of other classes keep their numbers: `layer/0`.
"""

import re

_LINEAR = ("kernel", "bias")
_STATISTICS = ("moving_mean", "moving_variance")
_ROLES: dict[str, tuple[tuple[str, ...], ...]] = {
    **dict.fromkeys(
        [
            "dense",
            *(f"conv{axes}d{kind}" for axes in (1, 2, 3) for kind in ("", "_transpose")),
        ],
        (_LINEAR, _LINEAR[:1]),
    ),
    **dict.fromkeys(
        ["depthwise_conv1d", "depthwise_conv2d"],
        (("depthwise_kernel", "bias"), ("depthwise_kernel",)),
    ),
    **dict.fromkeys(
        ["separable_conv1d", "separable_conv2d"],
        (
            ("depthwise_kernel", "pointwise_kernel", "bias"),
            ("depthwise_kernel", "pointwise_kernel"),
        ),
    ),
    "batch_normalization": (
        ("gamma", "beta", *_STATISTICS),
        ("beta", *_STATISTICS),
        _STATISTICS,
    ),
    "normalization": (("mean", "variance", "count"),),
}


def variable_names(group: str, given: str | None, count: int) -> list[str]:
    """Returns `layer/role` of the numbered variables of a layer, in their order.

    Args:
      group: last part of the layer's path in the file, as `conv2d_3`; of a model of a class of its own, the
        attribute that holds the layer.
      given: the layer's own name, where the file has it.
      count: how many variables it has.
    """
    layer = given or group
    for name in (group, layer):
        for roles in _ROLES.get(base(name), ()):
            if len(roles) == count:
                return [f"{layer}/{role}" for role in roles]
    return [f"{layer}/{number}" for number in range(count)]


def legacy_name(layer: str, weight: str) -> str:
    """Returns `layer/role` of a weight of the old files.

    Args:
      layer: name of the layer, or of the inner model, whose group holds it.
      weight: its name: `conv1/kernel:0`, after scopes of outer models maybe. TensorFlow numbered what was built
        twice in one session, `conv1_1/kernel_1:0`; such numbers belong to no name.
    """
    *scopes, role = weight.split(":")[0].split("/")
    inner = scopes[-1] if scopes else layer
    if inner.startswith(f"{layer}_") and base(inner) == layer:
        inner = layer
    return f"{inner}/{base(role)}"


def base(name: str) -> str:
    """Returns a name without the number that Keras appended: `conv2d` of `conv2d_3`."""
    return re.sub(r"_\d{1,9}$", "", name)
