"""Networks run otherwise: stages computed again, normalisations at rest; the same variables, the same mathematics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from kdjax import models
from kdjax.models.running import Running, has_stages, normalizations
from kdjax.models.stochastic import EXAMPLES

SIZE = 64
KINDS = (
    ("resnet_tiny", {}),
    pytest.param("dual_resnet_tiny", {}, marks=pytest.mark.slow),
    *(
        pytest.param(name, {"width": 0.25}, marks=pytest.mark.every)
        for name in (
            *("efficientnet_b0", "mobilenet_v3_large", "mobilenet_v2"),
            *("xception", "f3net", "mat", "inception_resnet_v1"),
        )
    ),
)


def network(name, dtype=jnp.float32, **options):
    module = models.create(name, dtype=dtype, **options)
    size = 96 if "inception" in name else SIZE
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, size, size, 3)), dtype)
    variables = jax.jit(lambda key: module.init(key, x[:1], train=False))(jax.random.key(0))
    return module, variables, x


def trained(module, variables, x):
    """Returns loss, gradient and new statistics of a training step's loss."""

    def loss(params):
        outputs, new = module.apply(
            {**variables, "params": params, EXAMPLES: {"id": jnp.arange(len(x))}},
            x,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(1)},
        )
        maps = [jnp.mean(outputs.features[f"stage{number}"] ** 2) for number in range(1, 5)]
        return jnp.mean(outputs.logits**2) + sum(maps), new

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])


@pytest.mark.parametrize(("name", "options"), KINDS)
def test_computed_again_a_stage_has_the_same_gradient(name, options):
    # in float64, where a gradient that is 0 is not made of rounding
    with jax.enable_x64(True):
        module, variables, x = network(name, jnp.float64, **options)
        again = Running(module, remat=True)
        shapes = jax.eval_shape(lambda: again.init(jax.random.key(0), x[:1], train=False))
        assert jax.tree.map(jnp.shape, variables) == jax.tree.map(lambda leaf: leaf.shape, shapes)
        expected = trained(module, variables, x)
        found = trained(again, variables, x)
        for (path, value), other in zip(
            jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(found), strict=True
        ):
            assert value.dtype == jnp.float64
            difference = np.linalg.norm(other - value)
            assert difference <= 1e-9 * max(np.linalg.norm(value), 1e-3), jax.tree_util.keystr(path)


def kept(module, variables, x):
    """Returns how many numbers the backward pass keeps of the forward pass, beside the parameters."""

    def loss(params):
        outputs, _ = module.apply(
            {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
        )
        return jnp.mean(outputs.logits**2)

    back = jax.eval_shape(lambda params: jax.vjp(loss, params)[1], variables["params"])
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    return sum(leaf.size for leaf in jax.tree.leaves(back)) - parameters


def test_less_is_kept_for_the_backward_pass():
    module, variables, x = network("resnet18_thin")
    assert kept(Running(module, remat=True), variables, x) < 0.5 * kept(module, variables, x)


def test_a_network_without_stages_is_known():
    assert has_stages(models.create("f3net"))
    assert not has_stages(models.create("meso4"))


class Flax(nn.Module):
    """Two of flax's own normalisations, one that takes its flag from the call."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(not train, name="first")(x)
        return nn.BatchNorm(name="second")(x, use_running_average=not train)


def test_normalisations_at_rest_use_what_they_have_and_leave_it():
    module, variables, x = network("resnet_tiny")
    found = normalizations(variables)
    assert found["stage1_block1/norm1"] == (
        "stage1_block1/norm1/bias",
        "stage1_block1/norm1/scale",
    )
    options = {"train": True, "mutable": ["batch_stats"]}
    everything = Running(module, frozenset(found))
    outputs, stats = everything.apply(variables, x, **options)
    expected = module.apply(variables, x, train=False)
    jax.tree.map(np.testing.assert_array_equal, stats["batch_stats"], variables["batch_stats"])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), outputs, expected
    )
    some = frozenset({"stem_norm", "stage1_block1/norm1"})
    _, stats = Running(module, some).apply(variables, x, **options)
    for path in found:
        old, new = variables["batch_stats"], stats["batch_stats"]
        for key in path.split("/"):
            old, new = old[key], new[key]
        assert np.array_equal(old["mean"], new["mean"]) == (path in some), path


@pytest.mark.parametrize("resting", ["first", "second"])
def test_normalisations_of_flax_rest_too(resting):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 2, 2, 3)), jnp.float32)
    module = Flax()
    variables = module.init(jax.random.key(0), x)
    _, stats = Running(module, frozenset({resting})).apply(
        variables, x, train=True, mutable=["batch_stats"]
    )
    for name in ("first", "second"):
        same = np.array_equal(
            stats["batch_stats"][name]["mean"], variables["batch_stats"][name]["mean"]
        )
        assert same == (name == resting)
