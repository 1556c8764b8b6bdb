"""Every method takes every network: shapes alone, nothing is computed."""

import jax
import jax.numpy as jnp
import pytest

from kdjax import methods, models
from kdjax.methods import Network

PARTS = ("kd", "ckd", "add", "tokd", "qad", "baselines")


def network(name):
    return Network(models.create(name), *models.normalization(name))


def example():
    image = jax.ShapeDtypeStruct((4, 64, 64, 3), jnp.float32)
    numbers = {name: jax.ShapeDtypeStruct((4,), jnp.int32) for name in ("label", "index")}
    mask = jax.ShapeDtypeStruct((4,), jnp.float32)
    return {"image": {"raw": image, "c40": image}, **numbers, "mask": mask}


@pytest.mark.slow
@pytest.mark.parametrize("name", models.names())
def test_every_network_learns_by_all_methods_at_once(name):
    dual = name if name.startswith("dual_") else f"dual_{name}"
    student, teacher = network(name), network(dual)
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

    params, statistics, aux, found = jax.eval_shape(step, example())
    grads, new_statistics, new_aux, metrics = found
    for before, after in ((params, grads), (statistics, new_statistics), (aux, new_aux)):
        assert before == after
    for part in PARTS:
        assert any(term.startswith(f"{part}.") for term in method.term_names)
    assert set(method.term_names) <= set(metrics)
    assert all(metric.shape == () for metric in metrics.values())
