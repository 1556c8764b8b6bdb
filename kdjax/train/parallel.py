"""One step function, compiled for one device or mapped over several."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.types import PyTree

AXIS = "batch"


def axis_name(devices: int) -> str | None:
    """Returns the name of the device axis, or None on a single device."""
    return AXIS if devices > 1 else None


def check_batch_size(batch_size: int, devices: int, processes: int = 1) -> None:
    """Raises ValueError unless the devices of all processes divide the global batch."""
    if batch_size % (devices * processes):
        raise ValueError(
            f"data.batch_size={batch_size} is not divisible by {devices * processes} devices; "
            f"choose a multiple, or set train.devices"
        )


def compile_step(
    function: Callable[..., Any], devices: int, *, donate: bool = False
) -> Callable[..., Any]:
    """Compiles `function(state, ...)` under `jax.jit`, or `jax.pmap` on several devices.

    Args:
      function: takes the state (or whatever is donated) first; uses the axis `AXIS` on several devices.
      devices: local devices to use.
      donate: whether the first argument's buffers may be reused for the result.
    """
    donated = (0,) if donate else ()
    if devices == 1:
        return jax.jit(function, donate_argnums=donated)
    return jax.pmap(
        function,
        axis_name=AXIS,
        donate_argnums=donated,
        devices=jax.local_devices()[:devices],
    )


def replicate(tree: PyTree, devices: int) -> PyTree:
    """Returns a copy of the tree, safe to donate; on several devices one a device on a new leading axis."""
    if devices == 1:
        return jax.tree.map(jnp.array, tree)
    if not jax.tree.leaves(tree):
        return tree
    copies = jax.tree.map(lambda x: np.broadcast_to(x, (devices, *np.shape(x))), tree)
    return jax.pmap(lambda x: x, devices=jax.local_devices()[:devices])(copies)


def unreplicate(tree: PyTree, devices: int) -> PyTree:
    """Returns the first device's copy: the inverse of `replicate`."""
    return tree if devices == 1 else jax.tree.map(lambda x: x[0], tree)


def shard(batch: PyTree, devices: int) -> PyTree:
    """Returns `[B, ...]` arrays as `[devices, B / devices, ...]`; unchanged on one device."""
    if devices == 1:
        return batch
    return jax.tree.map(lambda x: x.reshape((devices, -1, *x.shape[1:])), batch)


def sender(devices: int) -> Callable[[PyTree], PyTree]:
    """Returns a function that sends a batch `[B, ...]` to the devices, as `shard` lays it out, without waiting."""
    local = jax.local_devices()[:devices]
    if devices == 1:
        return lambda batch: jax.device_put(batch, local[0])
    spread = jax.pmap(lambda batch: batch, devices=local)
    return lambda batch: spread(shard(batch, devices))
