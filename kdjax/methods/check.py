"""What every method must do, whatever it computes: a check of one's own, on tiny networks and a drawn batch."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdjax.methods.bench import AXIS, QUALITIES, SIZE, Bench, jit, network_of
from kdjax.types import Array, Batch, PyTree

BATCH = 8


def check(
    factory: Callable[..., Any] | str,
    *,
    qualities: Sequence[str] = ("raw",),
    teacher_quality: str = "raw",
    teachers: int = 1,
    network: str | Callable[..., Any] = "resnet_tiny",
    teacher_network: str | Callable[..., Any] = "resnet_tiny",
    moves_weights: bool = False,
    own_statistics: bool = False,
    several_devices: bool = True,
    tolerance: float = 1e-3,
    **options: Any,
) -> tuple[str, ...]:
    """Checks a method of one's own, as the shipped ones are checked; on stderr it says what it is at.

    - it builds, and its terms have the announced names and sum to the loss;
    - gradients have the parameters' structure, are finite, and none is all zero;
    - compiled it does what it does uncompiled;
    - examples whose `mask` is 0 do not count, whatever the student, the teachers and the labels say of them;
    - no gradient reaches the teachers;
    - its own state keeps structure, shapes and dtypes;
    - on two devices, where there are two, it does what it does on one;
    - in bfloat16 gradients are finite.

    A CPU is two devices with `XLA_FLAGS=--xla_force_host_platform_device_count=2` in the environment before JAX starts.

    Args:
      factory: as in `Extensions.methods`; or a shipped method's name.
      qualities: the qualities the student sees.
      teacher_quality: the quality the teachers see.
      teachers: how many there are.
      network: the student's, a small one; or a function of `dtype` and `axis_name` that makes one.
      teacher_network: the teachers'.
      moves_weights: whether it takes its gradient at other weights than the student's, where its loss is another.
      own_statistics: whether it has batch statistics of its own, as TOKD's projectors: they see every row, so at
        masked places labels alone are changed.
      several_devices: whether one and two devices are compared.
      tolerance: of comparisons, relative to each array's norm.
      **options: of the method, where not at their defaults.

    Returns:
      What was checked; with `two devices` as the last where they were compared.

    Raises:
      ValueError: naming what does not hold.
    """
    # methods.create, imported where it is used: this module is one of that package's names
    from kdjax.methods import create

    name = factory if isinstance(factory, str) else "checked"
    factories = {} if isinstance(factory, str) else {name: factory}

    def build(dtype: Any = jnp.float32, axis_name: str | None = None) -> Bench:
        own = network_of(network, dtype, axis_name)
        others = tuple(network_of(teacher_network, dtype, None) for _ in range(teachers))
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
        return Bench(method, own, others, axis_name)

    at = _Progress()
    at("gradients")
    bench = build()
    batch = _batch()
    compiled = jit(bench.grads)
    grads, aux, metrics = compiled(bench.params, bench.teachers, batch, np.ones(BATCH, np.float32))
    _check_gradients(bench, grads)
    at("terms")
    _check_terms(bench, batch, {} if moves_weights else metrics)
    at("state")
    _same("its own state", jax.tree.map(_form, bench.aux), jax.tree.map(_form, aux))
    at("uncompiled")
    with jax.disable_jit():
        plain, _, _ = bench.grads(bench.params, bench.teachers, batch)
    _close("the gradients uncompiled are not those compiled", grads, plain, tolerance)
    at("mask")
    _check_mask(bench, compiled, batch, tolerance, outputs=not own_statistics)
    if bench.teachers:
        at("teachers")
        _check_teachers(bench, batch)
    at("bfloat16")
    half, _, _ = jit(build(jnp.bfloat16).grads)(bench.params, bench.teachers, batch)
    _require(_finite(half), "in bfloat16 a gradient is not finite")
    if several_devices and jax.local_device_count() > 1:
        at("two devices")
        spread = build(axis_name=AXIS).over_devices(bench, batch)
        _close("the gradients on two devices are not those on one", grads, spread, tolerance)
    elif several_devices:
        print(
            "check: two devices left out, since JAX sees one: give XLA_FLAGS=--xla_force_host_platform_device_count=2",
            file=sys.stderr,
            flush=True,
        )
    return tuple(at.names)


class _Progress:
    """Says on stderr what is being checked, and remembers it."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, name: str) -> None:
        self.names.append(name)
        print(f"check: {name} ...", file=sys.stderr, flush=True)


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


def _check_gradients(bench: Bench, grads: PyTree) -> None:
    _same("its gradients", jax.tree.map(_form, bench.params), jax.tree.map(_form, grads))
    _require(_finite(grads), "a gradient is not finite")
    empty = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(grads)
        if not np.any(np.asarray(leaf))
    ]
    _require(not empty, f"the gradient of {', '.join(empty[:3])} is zero everywhere")


def _check_terms(bench: Bench, batch: Batch, metrics: Mapping[str, Array]) -> None:
    inputs = bench.inputs(bench.teachers, batch)
    terms, _ = jit(bench.method.terms)(bench.params, inputs._replace(axis_name=None))
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


def _check_mask(
    bench: Bench, compiled: Callable[..., Any], batch: Batch, tolerance: float, *, outputs: bool
) -> None:
    """Compares two batches that differ at masked places alone: in labels, and where `outputs` in what networks say.

    The student's batch statistics see every row: images stay, what the losses read of them changes.
    """
    mask, scale = batch["mask"].copy(), np.ones(BATCH, np.float32)
    mask[-2:] = 0
    first = {**batch, "mask": mask}
    second = {**first, "label": batch["label"].copy()}
    second["label"][-2:] = 1 - second["label"][-2:]
    other = np.where(mask > 0, scale, 2 * scale) if outputs else scale
    found = [
        compiled(bench.params, bench.teachers, each, rows)[0]
        for each, rows in ((first, scale), (second, other))
    ]
    hint = " (in batch statistics of its own it may: own_statistics=True)" if outputs else ""
    _close(f"an example whose mask is 0 counts{hint}", found[0], found[1], tolerance)


def _check_teachers(bench: Bench, batch: Batch) -> None:
    def total(teachers: PyTree) -> Array:
        terms, _ = bench.method.terms(bench.params, bench.inputs(teachers, batch))
        return sum(terms.values(), start=jnp.zeros(()))

    found = jit(jax.grad(total))(bench.teachers)
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
