"""A run of `kdjax train` as a detector."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.data_pipeline.augment import center_crop, check_images, to_float
from kdjax.extensions import NOTHING, Extensions
from kdjax.methods.base import Network, normalize
from kdjax.serve.spec import Heater, Scorer, Spec, spec_of_run
from kdjax.train import checkpoint
from kdjax.train.heat import compile_look
from kdjax.types import Array, PyTree

STAGE = "stage4"
"""The map that heat maps explain: the last one."""


def load_run(run: str | Path, extensions: Extensions = NOTHING) -> tuple[Spec, Scorer, Heater]:
    """Returns what a run's best weights need beside them, what scores faces with them, and what explains scores.

    Args:
      run: folder of a run.
      extensions: the user's own, for a run whose network is not shipped.

    Raises:
      UserError: when the folder is no run, or has no weights yet.
    """
    spec = spec_of_run(run)
    network, variables, _ = checkpoint.load_best(run, extensions=extensions)
    variables = jax.tree.map(jnp.asarray, variables)
    compiled = _compiled(network, spec.image_size)

    def scorer(images: np.ndarray) -> np.ndarray:
        return np.asarray(compiled(variables, check_images(images)))

    def heater(images: np.ndarray) -> np.ndarray | None:
        look = compile_look(network, spec.image_size, STAGE)
        try:
            return np.asarray(look(variables, check_images(images)).heat["gradcam"])
        except ValueError:
            # a network of the user's own may have no map there
            return None

    return spec, scorer, heater


@functools.lru_cache(maxsize=8)
def _compiled(network: Network, image_size: int) -> Callable[..., Any]:
    """Returns `log_odds(variables, images)`: `logits[:, 1] - logits[:, 0]`, which no probability rounds away."""

    def log_odds(variables: PyTree, images: Array) -> Array:
        seen = normalize(network, to_float(center_crop(images, image_size)))
        logits = network.module.apply(variables, seen, train=False).logits.astype(jnp.float32)
        return logits[:, 1] - logits[:, 0]

    return jax.jit(log_odds)
