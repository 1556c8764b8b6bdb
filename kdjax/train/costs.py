"""What a run's network costs: parameters and multiply-adds of its shapes, and how long an image takes."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import configs, models
from kdjax.checks import UserError
from kdjax.data_pipeline import augment
from kdjax.evaluate.page.costs import Cost
from kdjax.extensions import NOTHING, Extensions
from kdjax.methods.base import normalize
from kdjax.models.cost import cost
from kdjax.train.run import Run

WARM, TIMES = 3, 30
"""Images before the clock runs; images whose median time counts."""


def network_costs(
    runs: Sequence[Path], extensions: Extensions = NOTHING, *, measure: bool = False
) -> dict[int, Cost]:
    """Returns the costs of runs' networks by their number; a run whose network cannot be made is left out.

    Multiply-adds of networks of the user's own are not known: their layers may be others than those that are counted.

    Args:
      runs: folders of runs.
      extensions: the user's own.
      measure: time an image through each network on this machine; equal networks are timed once.
    """
    known: dict[str, Cost] = {}
    found = {}
    for number, folder in enumerate(runs):
        try:
            run = Run(folder, extensions)
            student = configs.to_json(run.config)["student"]
            key = json.dumps([student, run.image_size], sort_keys=True, default=str)
            if key not in known:
                known[key] = _cost(run, measure=measure)
        except (UserError, ValueError):
            continue
        found[number] = known[key]
    return found


def _cost(run: Run, *, measure: bool) -> Cost:
    counted = cost(run.network.module, run.image_size)
    latency, device = None, ""
    if measure:
        latency, device = image_seconds(run), jax.devices()[0].device_kind
    is_shipped = run.config.student.network in models.names()
    return Cost(
        counted.parameters,
        counted.multiply_adds if is_shipped else None,
        run.image_size,
        latency,
        device,
    )


def image_seconds(run: Run) -> float:
    """Returns how long one image takes from the host to its score, the median of several, on the first device."""
    network, size = run.network, run.image_size
    variables = jax.tree.map(jnp.asarray, run.variables())

    @jax.jit
    def score(variables: object, images: jax.Array) -> jax.Array:
        seen = normalize(network, augment.to_float(images))
        return network.module.apply(variables, seen, train=False).logits

    image = np.random.default_rng(0).integers(0, 256, (1, size, size, 3)).astype(np.uint8)
    seconds = []
    for _ in range(WARM + TIMES):
        start = time.perf_counter()
        jax.device_get(score(variables, image))
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds[WARM:]))
