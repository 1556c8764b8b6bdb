import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import models
from kdjax.models import convolution, layers, resnet
from kdjax.models.cost import cost


def shapes(name, size=64, **options):
    network = models.create(name, **options)
    images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    variables = jax.eval_shape(network.init, jax.random.key(0), images)
    return variables, jax.eval_shape(network.apply, variables, images)


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


MILLIONS = {
    "resnet18": 11.18,
    "resnet34": 21.29,
    "resnet50": 23.51,
    "resnet18_thin": 2.80,
    "resnet34_thin": 5.33,
}


@pytest.mark.parametrize(("name", "millions"), MILLIONS.items())
def test_networks_have_the_published_number_of_parameters(name, millions):
    variables, _ = shapes(name)
    assert round(count(variables["params"]) / 1e6, 2) == millions


def test_resnet50_with_its_imagenet_head_has_torchvisions_count():
    variables, _ = shapes("resnet50", num_classes=1000)
    assert count(variables["params"]) == 25_557_032


@pytest.mark.parametrize(("name", "billions"), [("resnet18_thin", 0.91), ("resnet34_thin", 1.78)])
def test_thin_networks_cost_what_the_paper_prints_at_299_pixels(name, billions):
    assert cost(models.create(name), 299).multiply_adds / 1e9 == pytest.approx(billions, rel=0.02)


@pytest.mark.parametrize("name", resnet.PLANS)
def test_every_network_returns_the_common_features(name):
    variables, outputs = shapes(name, size=128)
    assert outputs.logits.shape == (2, 2)
    assert set(outputs.features) == {"stage1", "stage2", "stage3", "stage4", "pooled"}
    sides = [outputs.features[f"stage{i}"].shape[1] for i in range(1, 5)]
    widths = [outputs.features[f"stage{i}"].shape[3] for i in range(1, 5)]
    assert sides == [32, 16, 8, 4]
    assert widths == [widths[0] * factor for factor in (1, 2, 4, 8)]
    assert outputs.features["pooled"].shape == (2, widths[-1])
    assert set(variables) == {"params", "batch_stats"}


def test_width_multiplies_the_channels():
    _, outputs = shapes("resnet18", width=0.5)
    _, thin = shapes("resnet18_thin")
    assert outputs == thin


@pytest.fixture(scope="module")
def tiny():
    network = models.create("resnet_tiny")
    images = jnp.float32(np.random.default_rng(0).normal(size=(8, 32, 32, 3)))
    return network, jax.jit(network.init)(jax.random.key(0), images), images


def test_pooled_is_the_mean_of_the_last_stage_and_gives_the_logits(tiny):
    network, variables, images = tiny
    outputs = jax.jit(network.apply)(variables, images)
    pooled = outputs.features["stage4"].mean((1, 2))
    np.testing.assert_allclose(outputs.features["pooled"], pooled, rtol=1e-5, atol=1e-6)
    head = variables["params"]["classifier"]
    np.testing.assert_allclose(
        outputs.logits, pooled @ head["kernel"] + head["bias"][None], rtol=1e-4
    )


def test_evaluation_changes_nothing_and_examples_do_not_mix(tiny):
    network, variables, images = tiny
    apply = jax.jit(network.apply)
    whole, part = (apply(variables, x).logits for x in (images, images.at[2:].set(0.0)))
    np.testing.assert_allclose(part[:2], whole[:2], rtol=1e-4, atol=1e-5)


def test_training_moves_every_batch_statistic(tiny):
    network, variables, images = tiny
    apply = lambda v, x: network.apply(v, x, train=True, mutable=["batch_stats"])  # noqa: E731
    _, state = jax.jit(apply)(variables, images)
    moved = jax.tree.map(
        lambda old, new: bool((old != new).any()), variables["batch_stats"], state["batch_stats"]
    )
    assert all(jax.tree.leaves(moved))


def loss_and_grads(network, variables, images):
    def loss(params):
        outputs, _ = network.apply(
            {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
        )
        return jnp.mean(jnp.sin(outputs.logits)) + sum(
            jnp.mean(x.astype(outputs.logits.dtype) ** 2) for x in outputs.features.values()
        )

    return jax.value_and_grad(loss)(variables["params"])


@pytest.fixture(scope="module")
def exact(tiny):
    """Images, variables and the gradients of one device, all in float64."""
    network, variables, images = tiny
    with jax.enable_x64(True):
        variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), variables)
        images = jnp.asarray(images, jnp.float64)
        grads = jax.jit(lambda x: loss_and_grads(network, variables, x))(images)
    return variables, images, grads


@pytest.mark.slow
def test_four_devices_equal_one(exact):
    variables, images, one = exact
    network = models.create("resnet_tiny", axis_name="batch")

    def local(images):
        return jax.lax.pmean(loss_and_grads(network, variables, images), "batch")

    with jax.enable_x64(True):
        four = jax.pmap(local, axis_name="batch")(images.reshape(4, 2, 32, 32, 3))
    for left, right in zip(jax.tree.leaves(four), jax.tree.leaves(one), strict=True):
        assert left.dtype == right.dtype == np.float64
        np.testing.assert_allclose(left[0], right, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_the_forms_for_the_cpu_change_no_gradient_of_the_network(exact, monkeypatch):
    variables, images, special = exact
    network = models.create("resnet_tiny")
    plain = lambda f: lambda *a, **k: f(*a, **k, form="lax")  # noqa: E731
    with jax.enable_x64(True), monkeypatch.context() as patch:
        patch.setattr(layers, "convolve", plain(convolution.convolve))
        patch.setattr(resnet, "max_pool", plain(convolution.max_pool))
        usual = jax.jit(lambda x: loss_and_grads(network, variables, x))(images)
    for left, right in zip(jax.tree.leaves(special), jax.tree.leaves(usual), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-12)


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_where_it_matters(tiny):
    _, variables, images = tiny
    network = models.create("resnet_tiny", dtype=jnp.bfloat16)
    apply = lambda v, x: network.apply(v, x, train=True, mutable=["batch_stats"])  # noqa: E731
    outputs, state = jax.jit(apply)(variables, images)
    assert outputs.logits.dtype == outputs.features["pooled"].dtype == jnp.float32
    assert outputs.features["stage1"].dtype == jnp.bfloat16
    assert {x.dtype for x in jax.tree.leaves(state)} == {jnp.dtype(jnp.float32)}


def test_float64_stays_float64():
    with jax.enable_x64(True):
        network = models.create("resnet_tiny", dtype=jnp.float64)
        images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float64)
        variables = jax.eval_shape(network.init, jax.random.key(0), images)
        outputs = jax.eval_shape(network.apply, variables, images)
    assert {x.dtype for x in jax.tree.leaves((variables, outputs))} == {jnp.dtype(jnp.float64)}


def test_zero_init_starts_every_block_as_identity():
    network = models.create("resnet_tiny", zero_init=True)
    params = jax.jit(network.init)(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    for stage in range(1, 5):
        block = params[f"stage{stage}_block1"]
        np.testing.assert_array_equal(block["norm2"]["scale"], np.zeros(8 * 2 ** (stage - 1)))
        np.testing.assert_array_equal(block["norm1"]["scale"], np.ones(8 * 2 ** (stage - 1)))


def test_normalization_is_imagenets():
    mean, deviation = models.normalization("resnet18")
    assert mean.shape == deviation.shape == (3,)
    np.testing.assert_allclose(mean[0], 0.485)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'resnet18_thin'"):
        models.create("resnet18thin")
    with pytest.raises(ValueError, match="resnet99"):
        models.normalization("resnet99")
    with pytest.raises(ValueError, match="num_classes"):
        models.create("resnet18", num_classes=0)
