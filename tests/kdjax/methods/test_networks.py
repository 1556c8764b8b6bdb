"""Every method takes every network (shapes alone), and every network trains, on one device and on four.

The slow suite takes small networks of most kinds; `make test-every` the others, narrowed where that is offered.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import methods, models
from kdjax.data_pipeline.augment import make_augment
from kdjax.methods import Network
from kdjax.train import optim, parallel
from kdjax.train.state import create_state
from kdjax.train.step import StepParts, make_train_step

PARTS = ("kd", "ckd", "add", "tokd", "qad", "baselines")

KINDS = {
    "resnet_tiny": 1.0,
    "xception": 0.1,
    "efficientnet_tiny": 1.0,
    "mobilenet_v2": 0.2,
    "mobilenet_v3_large": 0.2,
    "mesoinception4": 1.0,
    "inception_resnet_v1": 0.1,
    "f3net": 0.1,
    "mat": 0.2,
    "dual_efficientnet_tiny": 1.0,
}
"""One network of each kind, and the width it is tested at."""

TRAINED = (
    "resnet_tiny",
    "efficientnet_tiny",
    "mobilenet_v2",
    "mesoinception4",
    "dual_efficientnet_tiny",
)
IN_ALL_METHODS = ("resnet_tiny", "mesoinception4", "dual_efficientnet_tiny")
IN_BFLOAT16 = ("efficientnet_tiny",)
ON_FOUR_DEVICES = ("efficientnet_tiny", "mesoinception4")
"""What the slow suite takes of them; the larger ones are of `every`, and have slow tests of their own."""


def every_network(in_slow_suite):
    """Returns all names as parameters for pytest: those named for the slow suite, the others for `every`."""
    return [
        pytest.param(name, marks=pytest.mark.slow if name in in_slow_suite else pytest.mark.every)
        for name in models.names()
    ]


def network(name, **options):
    module = models.create(name, width=KINDS.get(name, 1.0), **options)
    mean, std = models.normalization(name)
    return Network(module, tuple(map(float, mean)), tuple(map(float, std)))


def example(size=64):
    image = jax.ShapeDtypeStruct((4, size, size, 3), jnp.float32)
    numbers = {name: jax.ShapeDtypeStruct((4,), jnp.int32) for name in ("label", "index")}
    mask = jax.ShapeDtypeStruct((4,), jnp.float32)
    return {"image": {"raw": image, "c40": image}, **numbers, "mask": mask}


def smallest(name):
    """Returns the side of images that a network can be tried on."""
    return 96 if "inception_resnet" in name else 64


@pytest.mark.parametrize("name", every_network(IN_ALL_METHODS))
def test_every_network_learns_by_all_methods_at_once(name):
    dual = name if name.startswith("dual_") else f"dual_{name}"
    student = network(name)
    # a detector comes in no two branches; what a dual-branch teacher is made of is nothing to it
    teacher = network(dual if dual in models.names() else "dual_resnet_tiny")
    method = methods.create(
        "combine",
        student,
        (teacher,),
        qualities=("raw", "c40"),
        dataset_size=16,
        parts=PARTS,
        add={"adapter": "conv1x1"},
    )

    def step(batch):
        rng, images = jax.random.key(0), batch["image"]["raw"]
        variables, taught = (
            net.module.init(rng, images, train=False) for net in (student, teacher)
        )
        groups, aux = method.init(rng, batch)
        hyper = {key: jnp.float32(value) for key, value in method.hyper.items()}
        hyper |= {"step": jnp.int32(0), "backbone_trains": jnp.float32(1)}
        params = {"student": variables["params"], **groups}
        targets = method.targets((taught,), batch)
        found = method.grads(params, variables["batch_stats"], aux, targets, batch, hyper, rng)
        return params, variables["batch_stats"], aux, found

    params, statistics, aux, found = jax.eval_shape(step, example(smallest(name)))
    grads, new_statistics, new_aux, metrics = found
    for before, after in ((params, grads), (statistics, new_statistics), (aux, new_aux)):
        assert before == after
    for part in PARTS:
        assert any(term.startswith(f"{part}.") for term in method.term_names)
    assert set(method.term_names) <= set(metrics)
    assert all(metric.shape == () for metric in metrics.values())


def train_once(name, *, dtype=jnp.float32, devices=1, qualities=("c40",)):
    """Returns the state before and after one supervised step, and its metrics."""
    size = smallest(name)
    student = network(name, dtype=dtype, axis_name=parallel.axis_name(devices))
    method = methods.create("supervised", student, (), qualities=qualities)
    options = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "momentum": 0.9}
    parts = StepParts(
        method=method,
        optimizer=optim.make_optimizer(
            "sgd", groups=optim.GROUPS, weight_decay=0.0, clip_norm=0.0, **options
        ),
        schedule=optim.make_schedule(
            "constant", total_steps=2, warmup_fraction=0.0, decay_steps=1, decay_factor=1.0
        ),
        augment=make_augment(size, flip=True, random_crop=False),
        steps_per_epoch=2,
    )
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (len(qualities), 8, size, size, 3)).astype(np.uint8)
    batch = {
        "image": dict(zip(qualities, images, strict=True)),
        "label": np.arange(8, dtype=np.int32) % 2,
        "index": np.arange(8, dtype=np.int32),
        "mask": np.ones(8, np.float32),
    }
    double = jnp.promote_types(dtype, jnp.float32)
    blank = {**batch, "image": {q: jnp.zeros((2, size, size, 3), double) for q in qualities}}
    hyper = {"learning_rate": 0.01, "rotation_learning_rate": 0.0}
    before = create_state(
        jax.random.key(1), jax.random.key(0), student, method, parts.optimizer, blank, hyper
    )
    step = parallel.compile_step(make_train_step(parts, parallel.axis_name(devices)), devices)
    after, metrics = step(parallel.replicate(before, devices), (), parallel.shard(batch, devices))
    after, metrics = (parallel.unreplicate(tree, devices) for tree in (after, metrics))
    return jax.device_get((before, after, metrics))


@pytest.mark.parametrize("name", every_network(TRAINED))
def test_every_network_trains_one_step(name):
    check_step(*train_once(name))


@pytest.mark.parametrize("name", every_network(IN_BFLOAT16))
def test_every_network_trains_one_step_in_bfloat16(name):
    check_step(*train_once(name, dtype=jnp.bfloat16))


def check_step(before, after, metrics):
    assert np.isfinite(metrics["loss"])
    for old, new in ((before.params, after.params), (before.batch_stats, after.batch_stats)):
        for path, leaf in jax.tree_util.tree_leaves_with_path(new):
            assert leaf.dtype == np.float32, path
            assert np.isfinite(leaf).all(), path
        moved = [
            (a != b).any() for a, b in zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
        ]
        # a bias before a normalisation has no gradient but rounding
        assert np.mean(moved) > 0.9


@pytest.mark.parametrize("name", every_network(ON_FOUR_DEVICES))
def test_four_devices_train_as_one_in_float64(name):
    qualities = ("raw", "c40") if "efficientnet" in name else ("c40",)
    with jax.enable_x64(True):
        _, one, _ = train_once(name, dtype=jnp.float64, qualities=qualities)
        _, four, _ = train_once(name, dtype=jnp.float64, devices=4, qualities=qualities)
    trees = ((one.params, four.params), (one.batch_stats, four.batch_stats))
    for expected, found in trees:
        leaves = jax.tree_util.tree_leaves_with_path(expected)
        for (path, wanted), got in zip(leaves, jax.tree.leaves(found), strict=True):
            assert wanted.dtype == np.float64, path
            assert np.abs(got - wanted).max() <= 1e-9 * max(np.abs(wanted).max(), 1e-3), path
