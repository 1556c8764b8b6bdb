"""Settings that were changed though nothing reads them: said when a run begins, never refused."""

from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from kdjax import configs
from kdjax.defaults import PARTS
from kdjax.extensions import NOTHING, Extensions
from kdjax.methods import defaults

Condition = tuple[str, tuple[Any, ...]]
"""An option, and its values at which another one is read."""

_HSIC: Condition = ("collaboration", ("hsic",))
_SOFT_LABEL: Condition = ("collaboration", ("soft_label",))
_ROTATES: Condition = ("rotation", ("channel", "flat"))

READ_WITH: Mapping[str, Mapping[str, tuple[Condition, ...]]] = {
    "qad": {
        **dict.fromkeys(("layers", "representation", "kernel", "bandwidth", "estimator"), (_HSIC,)),
        **dict.fromkeys(("normalized", "random_features", "pairs"), (_HSIC,)),
        "sigma": (_HSIC, ("bandwidth", ("fixed",))),
        **dict.fromkeys(("soft_temperature", "soft_mix"), (_SOFT_LABEL,)),
        "center_rate": (("collaboration", ("center",)),),
        "gamma": (("perturbation", ("classification", "kl")),),
    },
    "tokd": {
        **dict.fromkeys(("teacher_projectors", "width"), (("projectors", (True,)),)),
        **{f"rotation_{name}": (_ROTATES,) for name in ("size", "method", "target", "form")},
    },
    "baselines": {
        "negatives": (("loss", ("crd",)),),
        "sam_radius": (("loss", ("sam",)),),
    },
}
"""Of each method: options that are read only beside certain values of others."""


BESIDE = (
    ("optimizer.decay_mask", "", "optimizer.weight_decay", 0.0),
    ("ema.evaluate", True, "ema.decay", 0.0),
    ("accumulation.batch_norm", "exact", "accumulation.steps", 1),
)
"""Settings of training, their defaults, and the setting and value beside which they are not read."""


def idle_settings(config: ConfigDict, extensions: Extensions = NOTHING) -> list[str]:
    """Returns a line for each setting that is not its default and changes nothing, naming what would make it count."""
    block = config.method.to_dict()
    own = extensions.method_options()
    default = {"name": config.method.name, **defaults(config.method.name, own)}
    flat = dict(configs.flatten(config))
    return [
        *(
            f"{key}={_shown(flat[key])} changes nothing while {other}={_shown(value)}"
            for key, usual, other, value in BESIDE
            if flat[key] != usual and flat[other] == value
        ),
        *_balanced(config.train.balance, block, default, own, "method"),
        *_unread(block["name"], block, default, "method"),
        *(
            f"method.{key}={_shown(value)} changes nothing while {key.partition('.')[0]} is not in "
            f"method.parts={_shown(block['parts'])}"
            for key, value in configs.flatten(ConfigDict(block))
            if _is_foreign(key, block, own) and value != _at(default, key)
        ),
    ]


def _balanced(
    balance: str,
    block: Mapping[str, Any],
    default: Mapping[str, Any],
    own: Mapping[str, Any],
    prefix: str,
) -> Iterator[str]:
    """Yields weights that a balance makes up for, and shares that no balance asks for.

    A weight of 0 still takes its term out, and the cross-entropy is what the others are measured against.
    """
    for key, value in configs.flatten(ConfigDict(block)):
        if _is_foreign(key, block, own):
            continue
        changed = value != _at(default, key)
        name = key.rpartition(".")[2]
        if balance == "none" and ".shares." in f".{key}" and changed:
            yield (
                f"{prefix}.{key}={value} changes nothing while train.balance=none; "
                "set the term's weight, or train.balance=start"
            )
        weighs = name.endswith("weight") and name != "cross_entropy_weight"
        if balance != "none" and weighs and value and changed:
            yield (
                f"{prefix}.{key}={value} changes nothing while train.balance={balance} sets the terms' sizes; "
                "set their method.shares, or train.balance=none"
            )


def _unread(
    method: str, block: Mapping[str, Any], default: Mapping[str, Any], prefix: str
) -> Iterator[str]:
    """Yields options that are not read beside the others' values, of a method and of a combination's parts."""
    for name, conditions in READ_WITH.get(method, {}).items():
        if block[name] == default[name]:
            continue
        for other, values in conditions:
            if block[other] not in values:
                shown = " or ".join(map(_shown, values))
                yield (
                    f"{prefix}.{name}={_shown(block[name])} changes nothing while "
                    f"{prefix}.{other}={_shown(block[other])}; it is read with {prefix}.{other}={shown}"
                )
                break
    for part in block.get("parts", ()):
        yield from _unread(part, block[part], default[part], f"{prefix}.{part}")


def _is_foreign(key: str, block: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    """Returns whether a key is an option of a method that a combination is not of."""
    part = key.partition(".")[0]
    return "parts" in block and part in (*PARTS, *own) and part not in block["parts"]


def _shown(value: Any) -> str:
    """Returns a value as the command line takes it."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _at(tree: Mapping[str, Any], key: str) -> Any:
    for name in key.split("."):
        tree = tree[name]
    return tree
