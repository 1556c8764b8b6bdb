"""What every method must do, whatever it computes: a check of one's own, on tiny networks and a drawn batch."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import models
from kdjax.methods.base import Inputs, Method, Network
from kdjax.types import Array, Batch, PyTree

AXIS = "devices"
SIZE = 32
BATCH = 8
QUALITIES = ("raw", "c23", "c40")


def check(
    factory: Callable[..., Any] | str,
    *,
    qualities: Sequence[str] = ("raw",),
    teacher_quality: str = "raw",
    teachers: int = 1,
    network: str | Callable[..., Any] = "resnet_tiny",
    teacher_network: str | Callable[..., Any] = "resnet_tiny",
    moves_weights: bool = False,
    several_devices: bool = True,
    tolerance: float = 1e-3,
    **options: Any,
) -> None:
    """Checks a method of one's own, as the shipped ones are checked.

    - it builds, and its terms have the announced names and sum to the loss;
    - gradients have the parameters' structure, are finite, and none is all zero;
    - compiled it does what it does uncompiled;
    - examples whose `mask` is 0 do not count;
    - no gradient reaches the teachers;
    - its own state keeps structure, shapes and dtypes;
    - on two devices, where there are two, it does what it does on one;
    - in bfloat16 gradients are finite.

    Args:
      factory: as in `Extensions.methods`; or a shipped method's name.
      qualities: the qualities the student sees.
      teacher_quality: the quality the teachers see.
      teachers: how many there are.
      network: the student's, a small one; or a function of `dtype` and `axis_name` that makes one.
      teacher_network: the teachers'.
      moves_weights: whether it takes its gradient at other weights than the student's, where its loss is another.
      several_devices: whether one and two devices are compared.
      tolerance: of comparisons, relative to each array's norm.
      **options: of the method, where not at their defaults.

    Raises:
      ValueError: naming what does not hold.
    """
    # methods.create, imported where it is used: this module is one of that package's names
    from kdjax.methods import create

    name = factory if isinstance(factory, str) else "checked"
    factories = {} if isinstance(factory, str) else {name: factory}

    def build(dtype: Any = jnp.float32, axis_name: str | None = None) -> "_Bench":
        own = _network(network, dtype, axis_name)
        others = tuple(_network(teacher_network, dtype, None) for _ in range(teachers))
        method = create(
            name,
            own,
            others,
            qualities=qualities,
            teacher_quality=teacher_quality,
            dataset_size=BATCH,
            own=factories,
            **options,
        )
        return _Bench(method, own, others, axis_name)

    bench = build()
    batch = _batch()
    grads, aux, metrics = jax.jit(bench.grads)(bench.params, bench.teachers, batch)
    _check_gradients(bench, grads)
    _check_terms(bench, batch, {} if moves_weights else metrics)
    _same("its own state", jax.tree.map(_form, bench.aux), jax.tree.map(_form, aux))
    with jax.disable_jit():
        plain, _, _ = bench.grads(bench.params, bench.teachers, batch)
    _close("the gradients uncompiled are not those compiled", grads, plain, tolerance)
    _check_mask(bench, batch, tolerance)
    _check_teachers(bench, batch)
    half, _, _ = jax.jit(build(jnp.bfloat16).grads)(bench.params, bench.teachers, batch)
    _require(_finite(half), "in bfloat16 a gradient is not finite")
    if several_devices and jax.local_device_count() > 1:
        spread = build(axis_name=AXIS).over_devices(bench, batch)
        _close("the gradients on two devices are not those on one", grads, spread, tolerance)


def _network(network: str | Callable[..., Any], dtype: Any, axis_name: str | None) -> Network:
    make = partial(models.create, network) if isinstance(network, str) else network
    return Network(make(dtype=dtype, axis_name=axis_name), (0.5,) * 3, (0.25,) * 3)


class _Bench:
    """A method with everything that its functions take."""

    def __init__(
        self, method: Method, student: Network, teachers: tuple[Network, ...], axis: str | None
    ) -> None:
        self.method, self.axis = method, axis
        images = jnp.zeros((2, SIZE, SIZE, 3))
        example = {
            "image": dict.fromkeys(QUALITIES, images),
            "label": jnp.array([0, 1]),
            "mask": jnp.ones(2),
        }
        seeds = jax.random.split(jax.random.key(0), 2 + len(teachers))
        # statistics are averaged over devices where there are some: shapes and values are those of one
        module = student.module.clone(axis_name=None)
        variables = jax.jit(lambda key: module.init(key, images, train=False))(seeds[0])
        heads, self.aux = jax.jit(method.init)(seeds[1], example)
        self.params = {"student": variables["params"], **heads}
        self.batch_stats = variables.get("batch_stats", {})
        self.teachers = tuple(
            jax.jit(lambda key, teacher=teacher: teacher.module.init(key, images, train=False))(key)
            for teacher, key in zip(teachers, seeds[2:], strict=True)
        )

    def inputs(self, teachers: PyTree, batch: Batch) -> Inputs:
        hyper = {name: jnp.asarray(value, jnp.float32) for name, value in self.method.hyper.items()}
        hyper |= {"backbone_trains": jnp.ones(()), "step": jnp.zeros((), jnp.int32)}
        targets = self.method.targets(teachers, batch)
        return Inputs(
            self.batch_stats, self.aux, targets, batch, hyper, jax.random.key(1), self.axis
        )

    def grads(
        self, params: PyTree, teachers: PyTree, batch: Batch
    ) -> tuple[PyTree, PyTree, dict[str, Array]]:
        found, _, aux, metrics = self.method.grads(params, *self.inputs(teachers, batch))
        return found, aux, metrics

    def over_devices(self, one: "_Bench", batch: Batch) -> PyTree:
        """Returns the gradients of the batch in two halves, each on a device of its own."""

        def half(params: PyTree, teachers: PyTree, part: Batch) -> PyTree:
            return jax.lax.pmean(self.grads(params, teachers, part)[0], AXIS)

        parts = jax.tree.map(lambda x: x.reshape(2, -1, *x.shape[1:]), batch)
        copies = jax.tree.map(lambda x: jnp.stack([x, x]), (one.params, one.teachers))
        devices = jax.local_devices()[:2]
        found = jax.pmap(half, axis_name=AXIS, devices=devices)(*copies, parts)
        return jax.tree.map(lambda x: x[0], found)


def _batch() -> Batch:
    rng = np.random.default_rng(0)
    raw = rng.random((BATCH, SIZE, SIZE, 3), np.float32)
    ids = np.arange(BATCH, dtype=np.int32)
    images = {
        name: np.round(raw * levels) / levels
        for name, levels in zip(QUALITIES, (255, 15, 3), strict=True)
    }
    return {
        "image": {name: image.astype(np.float32) for name, image in images.items()},
        "label": ids % 2,
        **dict.fromkeys(("forgery", "video", "identity", "frame", "index"), ids),
        "mask": np.ones(BATCH, np.float32),
    }


def _check_gradients(bench: _Bench, grads: PyTree) -> None:
    _same("its gradients", jax.tree.map(_form, bench.params), jax.tree.map(_form, grads))
    _require(_finite(grads), "a gradient is not finite")
    empty = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(grads)
        if not np.any(np.asarray(leaf))
    ]
    _require(not empty, f"the gradient of {', '.join(empty[:3])} is zero everywhere")


def _check_terms(bench: _Bench, batch: Batch, metrics: Mapping[str, Array]) -> None:
    inputs = bench.inputs(bench.teachers, batch)
    terms, _ = jax.jit(bench.method.terms)(bench.params, inputs._replace(axis_name=None))
    names = bench.method.term_names
    _require(
        set(terms) == set(names),
        f"its terms are {', '.join(sorted(terms))}; it announces {', '.join(names)}",
    )
    total = float(sum(terms.values(), start=jnp.zeros(())))
    loss = float(metrics["loss"]) if "loss" in metrics else total
    _require(
        bool(np.isclose(total, loss, rtol=1e-4)),
        f"its terms sum to {total:g}, its loss is {loss:g}",
    )
    for name, value in metrics.items():
        _require(np.ndim(value) == 0, f"its metric {name} is no scalar, but {_form(value)}")


def _check_mask(bench: _Bench, batch: Batch, tolerance: float) -> None:
    """Compares two batches that differ in what stands at masked places alone.

    Batch statistics see every row: images stay, what the losses read of them changes.
    """
    mask = batch["mask"].copy()
    mask[-2:] = 0
    first = {**batch, "mask": mask}
    second = {**first, "label": batch["label"].copy()}
    second["label"][-2:] = 1 - second["label"][-2:]
    found = [
        jax.jit(bench.grads)(bench.params, bench.teachers, each)[0] for each in (first, second)
    ]
    _close("an example whose mask is 0 counts", found[0], found[1], tolerance)


def _check_teachers(bench: _Bench, batch: Batch) -> None:
    def total(teachers: PyTree) -> Array:
        terms, _ = bench.method.terms(bench.params, bench.inputs(teachers, batch))
        return sum(terms.values(), start=jnp.zeros(()))

    if bench.teachers:
        found = jax.jit(jax.grad(total))(bench.teachers)
        _require(
            not any(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(found)),
            "a gradient reaches the teachers: targets() must stop it",
        )


def _form(value: Any) -> str:
    return f"{jnp.result_type(value)}{list(jnp.shape(value))}"


def _finite(tree: PyTree) -> bool:
    return all(np.isfinite(np.asarray(leaf, np.float64)).all() for leaf in jax.tree.leaves(tree))


def _same(what: str, expected: PyTree, found: PyTree) -> None:
    structures: list[Any] = [jax.tree.structure(tree) for tree in (expected, found)]
    if structures[0] != structures[1]:
        raise ValueError(f"{what} has not the structure that it should have")
    for (path, old), new in zip(
        jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(found), strict=True
    ):
        _require(old == new, f"{what}: {jax.tree_util.keystr(path)} is {new}, not {old}")


def _close(line: str, one: PyTree, other: PyTree, tolerance: float) -> None:
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(other), strict=True
    ):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        size = max(float(np.linalg.norm(a)), float(np.linalg.norm(b)), 1e-30)
        gap = float(np.linalg.norm(a - b)) / size
        _require(
            gap <= tolerance,
            f"{line}: {jax.tree_util.keystr(path)} differs by {gap:.2g} of its norm",
        )


def _require(condition: bool, line: str) -> None:
    if not condition:
        raise ValueError(line)
