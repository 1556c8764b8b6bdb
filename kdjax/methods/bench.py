"""A method on tiny networks with all that its functions take: what `check` looks at."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from kdjax import models
from kdjax.methods.base import Inputs, Method, Network
from kdjax.types import Array, Batch, PyTree

AXIS = "devices"
SIZE = 32
QUALITIES = ("raw", "c23", "c40")


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function compiled, on a CPU with less care: it runs once or twice."""
    fast = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else {}
    return jax.jit(function, compiler_options=fast)


class _Watched:
    """A module whose outputs can be changed by row: what stands at masked places must not count."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.scale: Array | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)

    def apply(self, variables: PyTree, images: Array, *arguments: Any, **named: Any) -> Any:
        found = self.module.apply(variables, images, *arguments, **named)
        scale = self.scale
        if scale is None or len(images) % len(scale):
            return found
        rows = jnp.tile(scale, len(images) // len(scale))

        def changed(values: Array) -> Array:
            if values.shape[:1] != rows.shape:
                return values
            factor = rows.reshape(-1, *(1,) * (values.ndim - 1)).astype(values.dtype)
            # a scale alone would leave zeros, a shift alone the gradient of what is linear
            return factor * values + (factor - 1)

        if named.get("mutable"):
            return jax.tree.map(changed, found[0]), found[1]
        return jax.tree.map(changed, found)


def network_of(network: str | Callable[..., Any], dtype: Any, axis_name: str | None) -> Network:
    """Returns a small network by name, or of a function of `dtype` and `axis_name`."""
    make = partial(models.create, network) if isinstance(network, str) else network
    module = make(dtype=dtype, axis_name=axis_name)
    return Network(_Watched(module), (0.5,) * 3, (0.25,) * 3)


class Bench:
    """A method with everything that its functions take."""

    def __init__(
        self, method: Method, student: Network, teachers: tuple[Network, ...], axis: str | None
    ) -> None:
        self.method, self.axis = method, axis
        self.watched = [each.module for each in (student, *teachers)]
        images = jnp.zeros((2, SIZE, SIZE, 3))
        example = {
            "image": dict.fromkeys(QUALITIES, images),
            "label": jnp.array([0, 1]),
            "mask": jnp.ones(2),
        }
        seeds = jax.random.split(jax.random.key(0), 2 + len(teachers))
        # statistics are averaged over devices where there are some: shapes and values are those of one
        module = student.module.clone(axis_name=None)
        variables = jit(lambda key: module.init(key, images, train=False))(seeds[0])
        heads, self.aux = jit(method.init)(seeds[1], example)
        self.params = {"student": variables["params"], **heads}
        self.batch_stats = variables.get("batch_stats", {})
        self.teachers = tuple(
            jit(lambda key, teacher=teacher: teacher.module.init(key, images, train=False))(key)
            for teacher, key in zip(teachers, seeds[2:], strict=True)
        )

    def inputs(self, teachers: PyTree, batch: Batch) -> Inputs:
        """Returns what the method's terms take of a batch."""
        hyper = {name: jnp.asarray(value, jnp.float32) for name, value in self.method.hyper.items()}
        hyper |= {"backbone_trains": jnp.ones(()), "step": jnp.zeros((), jnp.int32)}
        targets = self.method.targets(teachers, batch)
        return Inputs(
            self.batch_stats, self.aux, targets, batch, hyper, jax.random.key(1), self.axis
        )

    def grads(
        self, params: PyTree, teachers: PyTree, batch: Batch, scale: Array | None = None
    ) -> tuple[PyTree, PyTree, dict[str, Array]]:
        """Returns gradients, auxiliary state and metrics; `scale` `[B]` changes all networks' outputs by row."""
        for module in self.watched:
            module.scale = scale
        try:
            found, _, aux, metrics = self.method.grads(params, *self.inputs(teachers, batch))
        finally:
            for module in self.watched:
                module.scale = None
        return found, aux, metrics

    def over_devices(self, one: "Bench", batch: Batch) -> PyTree:
        """Returns the gradients of the batch in two halves, each on a device of its own."""

        def half(params: PyTree, teachers: PyTree, part: Batch) -> PyTree:
            return jax.lax.pmean(self.grads(params, teachers, part)[0], AXIS)

        parts = jax.tree.map(lambda x: x.reshape(2, -1, *x.shape[1:]), batch)
        copies = jax.tree.map(lambda x: jnp.stack([x, x]), (one.params, one.teachers))
        devices = jax.local_devices()[:2]
        found = jax.pmap(half, axis_name=AXIS, devices=devices)(*copies, parts)
        return jax.tree.map(lambda x: x[0], found)
