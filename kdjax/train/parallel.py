"""One step function, compiled for one device or mapped over several, of one host or several.

With several hosts a step is mapped over the devices of all; what it takes and gives are a host's own parts.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.train.recompiling import Mapped
from kdjax.types import PyTree

AXIS = "batch"


def is_mapped(devices: int, *, alone: bool = False) -> bool:
    """Returns whether there are several devices: of this host, or, unless it works alone, of others."""
    return devices > 1 or (not alone and jax.process_count() > 1)


def axis_name(devices: int) -> str | None:
    """Returns the name of the device axis, or None on a single device."""
    return AXIS if is_mapped(devices) else None


def check_batch_size(batch_size: int, devices: int, processes: int = 1) -> None:
    """Raises ValueError unless the devices of all processes divide the global batch."""
    if batch_size % (devices * processes):
        raise ValueError(
            f"data.batch_size={batch_size} is not divisible by {devices * processes} devices; "
            f"choose a multiple, or set train.devices"
        )


def compile_step(
    function: Callable[..., Any], devices: int, *, donate: bool = False, alone: bool = False
) -> Callable[..., Any]:
    """Compiles `function(state, ...)` under `jax.jit`, or `jax.pmap` on several devices.

    Args:
      function: takes the state (or whatever is donated) first; uses the axis `AXIS` on several devices.
      devices: local devices to use.
      donate: whether the first argument's buffers may be reused for the result.
      alone: on this host's devices, whatever other hosts do.
    """
    donated = (0,) if donate else ()
    if not is_mapped(devices, alone=alone):
        return jax.jit(function, donate_argnums=donated)
    mapped = jax.pmap(
        function,
        axis_name=AXIS,
        donate_argnums=donated,
        devices=_local(devices) if alone or jax.process_count() == 1 else jax.devices(),
    )
    return Mapped(getattr(function, "__name__", ""), mapped)


def _local(devices: int) -> list[jax.Device]:
    return jax.local_devices()[:devices]


def replicate(tree: PyTree, devices: int, *, alone: bool = False) -> PyTree:
    """Returns a copy of the tree, safe to donate; on several devices one a device on a new leading axis."""
    if not is_mapped(devices, alone=alone):
        # bound to the device as batches and what a step returns are: a program is compiled anew for what is not
        return jax.device_put(jax.tree.map(jnp.array, tree), _local(devices)[0])
    if not jax.tree.leaves(tree):
        return tree
    copies = jax.tree.map(lambda x: np.broadcast_to(x, (devices, *np.shape(x))), tree)
    # on an axis of that very name: a program is compiled anew for what lies on another
    return jax.pmap(lambda x: x, axis_name=AXIS, devices=_local(devices))(copies)


def unreplicate(tree: PyTree, devices: int) -> PyTree:
    """Returns the first device's copy, of several devices on the host: the inverse of `replicate`."""
    if not is_mapped(devices):
        return tree
    # x[0] would be a program over all devices, and hosts whose devices run many such in other orders wait for ever
    first = jax.tree.map(
        lambda x: x.addressable_data(0) if isinstance(x, jax.Array) else x[:1], tree
    )
    return jax.tree.map(lambda x: x[0], jax.device_get(first))


def shard(batch: PyTree, devices: int, *, alone: bool = False) -> PyTree:
    """Returns `[B, ...]` arrays as `[devices, B / devices, ...]`; unchanged on one device."""
    if not is_mapped(devices, alone=alone):
        return batch
    return jax.tree.map(lambda x: x.reshape((devices, -1, *x.shape[1:])), batch)


def sender(devices: int) -> Callable[[PyTree], PyTree]:
    """Returns a function that sends a batch `[B, ...]` to the devices, as `shard` lays it out, without waiting."""
    local = _local(devices)
    if not is_mapped(devices):
        return lambda batch: jax.device_put(batch, local[0])
    spread = jax.pmap(lambda batch: batch, devices=local)
    return lambda batch: spread(shard(batch, devices))
