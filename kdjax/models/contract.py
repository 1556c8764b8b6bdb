"""What every network keeps to, and a check of it for networks of the user's own."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from kdjax.checks import kind_and_line
from kdjax.types import STAGES, Outputs


def check(module: Any, *, image_size: int = 64, num_classes: int = 2, name: str = "") -> Outputs:
    """Checks that a module is a network as the methods take them, computing nothing.

    It is called as `module.apply(variables, images [B, H, W, 3], train=False)`, in training with `train=True`,
    `mutable=["batch_stats"]` and `rngs={"dropout": key}`, and returns `Outputs(logits [B, K], features)` with the
    maps `stage1` to `stage4` `[B, H', W', C]` and the vector `pooled` `[B, D]`.

    Args:
      module: a linen module.
      image_size: side of the images in pixels.
      num_classes: `K`.
      name: what errors call it; its class when empty.

    Returns:
      Shapes and dtypes of what it returns for two images.

    Raises:
      ValueError: when it does not, saying what is missing or wrong.
    """
    what = f"network {name or type(module).__name__}"
    if not (hasattr(module, "init") and hasattr(module, "apply")):
        raise ValueError(f"{what} must be a linen module; it is a {type(module).__name__}")
    images = jax.ShapeDtypeStruct((2, image_size, image_size, 3), jnp.float32)
    seeds = {"params": jax.random.key(0), "dropout": jax.random.key(1)}

    def evaluate(x: Any) -> Any:
        return module.init_with_output(seeds, x, train=False)

    def train(x: Any) -> Any:
        variables = module.init(seeds, x, train=False)
        return module.apply(
            variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": seeds["dropout"]}
        )[0]

    outputs, variables = _trace(what, evaluate, images)
    _check_outputs(what, outputs, num_classes)
    if "params" not in variables:
        raise ValueError(f"{what} has no parameters")
    foreign = sorted(set(variables) - {"params", "batch_stats"})
    if foreign:
        raise ValueError(
            f"{what} has variables in {', '.join(foreign)}; a run keeps params and batch_stats alone"
        )
    in_training = f"{what}, in training,"
    _check_outputs(in_training, _trace(in_training, train, images), num_classes)
    return outputs


def _trace(what: str, function: Callable[[Any], Any], images: Any) -> Any:
    """Returns what a function returns, in shapes; ValueError when it fails or returns something else than arrays."""
    try:
        return jax.eval_shape(function, images)
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"{what} fails on images {list(images.shape)}: {kind_and_line(error)}"
        ) from error


def _check_outputs(what: str, outputs: Any, num_classes: int) -> None:
    if not isinstance(outputs, Outputs):
        raise ValueError(
            f"{what} must return kdjax.types.Outputs(logits, features); it returns a {type(outputs).__name__}"
        )
    if not isinstance(outputs.features, dict):
        raise ValueError(
            f"{what} must return its features as a dict; they are a {type(outputs.features).__name__}"
        )
    for feature, value in {**outputs.features, "logits": outputs.logits}.items():
        if not hasattr(value, "shape"):
            raise ValueError(f"{what}: {feature} must be an array; it is a {type(value).__name__}")
    wanted = {"logits": 2, **dict.fromkeys(STAGES, 4), "pooled": 2}
    found = {**outputs.features, "logits": outputs.logits}
    for feature, rank in wanted.items():
        if feature not in found:
            raise ValueError(
                f"{what} has no feature {feature!r}; it has {', '.join(sorted(outputs.features)) or 'none'}"
            )
        shape = tuple(found[feature].shape)
        if len(shape) != rank or shape[0] != 2:
            form = {2: "[B, D]", 4: "[B, H, W, C]"}[rank]
            raise ValueError(f"{what}: {feature} must be {form}; of two images it is {shape}")
    if outputs.logits.shape[1] != num_classes:
        raise ValueError(
            f"{what} must have logits for {num_classes} classes; it has {outputs.logits.shape[1]}"
        )
