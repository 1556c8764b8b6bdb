"""A trained network explained: its heat maps and what else one look at a batch gives, compiled once."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from kdjax.data_pipeline import augment
from kdjax.evaluate.explain.cam import METHODS, enlarged, log_odds
from kdjax.evaluate.explain.findings import FEATURES
from kdjax.evaluate.explain.probing import map_and_gradient
from kdjax.evaluate.explain.similarity import gram
from kdjax.methods import Network
from kdjax.methods.base import normalize
from kdjax.types import Array, Outputs, PyTree


class Look(NamedTuple):
    """What a network makes of a batch.

    Attributes:
      score: float32 `[B]`, log-odds of fake.
      heat: by method, float32 `[B, S, S]`, of the crop's size.
      pooled: float32 `[B, D]`.
      map: `[B, h, w, C]` of the stage that is explained.
      grams: by feature, `[B, B]`.
    """

    score: Array
    heat: dict[str, Array]
    pooled: Array
    map: Array
    grams: dict[str, Array]


@functools.lru_cache(maxsize=8)
def compile_look(
    network: Network, image_size: int, stage: str, label: int = 1
) -> Callable[[PyTree, Any], Look]:
    """Returns `look(variables, images)` on images `[B, H, W, 3]`, uint8 or float in [0, 1], whose centre is taken.

    Args:
      network: whose; it is looked at in inference mode.
      image_size: side of the centre.
      stage: name of one of its maps.
      label: for which class the heat speaks; 1 is fake.

    Raises:
      ValueError: when it is called, for what `heat_maps` refuses.
    """

    def look(variables: PyTree, images: Array) -> Look:
        seen = augment.to_float(augment.center_crop(images, image_size))

        def apply(x: Array) -> Outputs:
            found: Outputs = network.module.apply(variables, x, train=False)
            return found

        maps, gradients, outputs = map_and_gradient(
            apply, normalize(network, seen), stage, lambda logits: log_odds(logits, label)
        )
        if maps.ndim != 4:
            raise ValueError(f"{stage!r} is no map [B, H, W, C]; it is {list(maps.shape)}")
        heat = {
            name: enlarged(method(maps, gradients), image_size) for name, method in METHODS.items()
        }
        compared = {name: outputs.features[name] for name in FEATURES}
        return Look(
            log_odds(outputs.logits),
            heat,
            outputs.features["pooled"],
            maps,
            {name: gram(value) for name, value in compared.items()},
        )

    return jax.jit(look)
