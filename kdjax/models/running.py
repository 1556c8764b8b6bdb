"""A network run in another way: some normalisations at rest, stages computed again in the backward pass."""

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import jax
from flax import linen as nn

from kdjax.models.layers import BatchNorm
from kdjax.models.mesonet import MesoNet
from kdjax.types import Array

STAGES = ("stage", "blocks", "last")
"""Methods of the networks that compute a stage's map, or a part of one."""

_AGAIN: ContextVar[bool] = ContextVar("again", default=False)


@dataclass(frozen=True)
class Running:
    """A linen module with the same variables, outputs and attributes, that `apply` runs otherwise.

    Attributes:
      module: the network.
      resting: paths of the batch normalisations, `stage1_block1/norm1`, that use their running statistics in training
        too, and do not move them.
      remat: whether the maps within a stage are not kept for the backward pass but computed again.
    """

    module: Any
    resting: frozenset[str] = frozenset()
    remat: bool = False

    def __getattr__(self, name: str) -> Any:
        # copies and pickles ask for attributes before there is a module
        if name.startswith("__") or name == "module":
            raise AttributeError(name)
        return getattr(self.module, name)

    def apply(self, *arguments: Any, **keywords: Any) -> Any:
        """Runs the module, as its own `apply`."""
        with nn.intercept_methods(self._intercept):
            return self.module.apply(*arguments, **keywords)

    def _intercept(
        self, call: Any, arguments: Sequence[Any], keywords: dict[str, Any], context: Any
    ) -> Any:
        module, name = context.module, context.method_name
        if name == "__call__" and "/".join(module.path) in self.resting:
            return call(*arguments, **at_rest(module, keywords))
        if name in STAGES and self.remat and keywords.get("train") and not _AGAIN.get():
            return again(name, module, arguments, keywords)
        return call(*arguments, **keywords)


def at_rest(module: nn.Module, keywords: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments with which a normalisation uses its running statistics."""
    if isinstance(module, BatchNorm):
        return {**keywords, "train": False}
    # flax takes the flag from either the module or the call
    object.__setattr__(module, "use_running_average", None)
    return {**keywords, "use_running_average": True}


def again(
    method: str, module: nn.Module, arguments: Sequence[Any], keywords: dict[str, Any]
) -> Any:
    """Returns what a method returns; of what is computed in it only the arrays that it takes and gives are kept."""
    leaves, structure = jax.tree.flatten((tuple(arguments), keywords))
    arrays = [leaf for leaf in leaves if isinstance(leaf, jax.Array)]

    def compute(own: Any, *given: Array) -> Any:
        rest = iter(given)
        filled = [next(rest) if isinstance(leaf, jax.Array) else leaf for leaf in leaves]
        positional, named = jax.tree.unflatten(structure, filled)
        token = _AGAIN.set(True)
        try:
            return getattr(own, method)(*positional, **named)
        finally:
            _AGAIN.reset(token)

    return nn.remat(compute)(module, *arrays)


def has_stages(module: nn.Module) -> bool:
    """Returns whether a network, or a part that it is made of, has the method `stage`."""
    return not isinstance(module, MesoNet)


def normalizations(variables: Any) -> dict[str, tuple[str, ...]]:
    """Returns the paths of all normalisations with statistics, each with the paths of its parameters."""
    found: dict[str, tuple[str, ...]] = {}
    for keys, _ in jax.tree_util.tree_leaves_with_path(variables.get("batch_stats", {})):
        *parents, _leaf = keys
        path = jax.tree_util.keystr(tuple(parents), simple=True, separator="/")
        own = variables["params"]
        for key in parents:
            own = own.get(key.key, {}) if isinstance(own, dict) else {}
        names = own if isinstance(own, dict) else {}
        found[path] = tuple(f"{path}/{name}" for name in names)
    return found
