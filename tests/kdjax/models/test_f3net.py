"""F3Net: its spectra against SciPy's, its attention by hand, its figures, what it refuses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft

from kdjax.models import f3net, xception
from kdjax.models.cost import cost
from kdjax.models.f3net_frequency import FrequencyDecomposition, FrequencyStatistics


def sigma(x):
    return (1 - np.exp(-x)) / (1 + np.exp(-x))


def initialised(module, images):
    variables = jax.jit(module.init)(jax.random.key(1), images)
    return variables, np.asarray(variables["params"]["learned"])


def test_the_image_is_taken_apart_as_by_scipy():
    size = 20
    images = np.random.default_rng(0).normal(size=(2, size, size, 3))
    with jax.enable_x64(True):
        module = FrequencyDecomposition(jnp.float64)
        variables, learned = initialised(module, images)
        found = np.asarray(jax.jit(module.apply)(variables, images))
    assert found.shape == (2, size, size, 12)
    assert found.dtype == np.float64
    edges = [(0, size / 8**0.5), (size / 8**0.5, size / 2), (size / 2, 2 * size), (0, 2 * size)]
    spectrum = scipy.fft.dctn(images, axes=(1, 2), norm="ortho")
    for band, (start, end) in enumerate(edges):
        base = np.array([[start <= u + v < end for v in range(size)] for u in range(size)])
        filtered = spectrum * (base + sigma(learned[..., band]))[None, :, :, None]
        expected = scipy.fft.idctn(filtered, axes=(1, 2), norm="ortho")
        np.testing.assert_allclose(found[..., 3 * band : 3 * band + 3], expected, atol=1e-10)


def test_low_and_middle_bands_are_a_sixteenth_and_an_eighth_of_the_spectrum():
    from kdjax.models.f3net_frequency import image_bands

    low, middle, high, whole = np.moveaxis(image_bands(299), -1, 0)
    assert low.mean() == pytest.approx(1 / 16, rel=0.02)
    assert (low | middle).mean() == pytest.approx(1 / 8, rel=0.02)
    np.testing.assert_array_equal(low.astype(int) + middle + high, whole)


@pytest.mark.parametrize("size", [15, 16])
def test_the_statistics_are_those_of_each_windows_spectrum(size):
    images = np.random.default_rng(0).uniform(-1, 1, size=(1, size, size, 3))
    with jax.enable_x64(True):
        module = FrequencyStatistics(jnp.float64)
        variables, learned = initialised(module, images)
        found = np.asarray(jax.jit(module.apply)(variables, images))
    gray = 127.5 * (images[0] + 1) @ np.array([0.299, 0.587, 0.114])
    padded = np.pad(gray, 4)
    count = 7  # of 15 pixels as of 16
    assert found.shape == (1, count, count, 6)
    for row, column in np.ndindex(count, count):
        window = padded[2 * row : 2 * row + 10, 2 * column : 2 * column + 10]
        spectrum = scipy.fft.dctn(window, norm="ortho")
        for band in range(6):
            base = np.zeros((10, 10))
            for u, v in np.ndindex(10, 10):
                base[u, v] = band * 20 / 6 <= u + v + 1e-9 and u + v + 1e-9 < (band + 1) * 20 / 6
            amount = np.abs(spectrum * (base + sigma(learned[..., band]))).sum() / base.sum()
            assert found[0, row, column, band] == pytest.approx(np.log10(amount + 1e-15), rel=1e-9)


def test_a_constant_image_has_finite_statistics_and_gradients():
    module = FrequencyStatistics()
    images = jnp.zeros((1, 20, 20, 3))
    variables, _ = initialised(module, images)

    def total(variables, images):
        return jnp.sum(module.apply(variables, images))

    step = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))
    for value in (-1, 0, 0.25):
        found = step(variables, images + value)
        assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(found))


@pytest.fixture(scope="module")
def mix():
    """A mix as a compiled function, its first variables and two maps."""
    draw = np.random.default_rng(2)
    block = f3net.MixBlock()
    maps = draw.normal(size=(2, 1, 3, 3, 2)).astype(np.float32)
    variables = jax.jit(functools.partial(block.init, train=False))(jax.random.key(0), *maps)
    return jax.jit(functools.partial(block.apply, train=False)), variables, maps


def test_the_mix_is_attention_between_rows_laid_over_the_map(mix):
    apply, variables, maps = mix
    gammas = {"rgb_gamma": jnp.float32(0.7), "frequency_gamma": jnp.float32(-1)}
    variables = {**variables, "params": variables["params"] | gammas}
    found = apply(variables, *maps)
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), variables["params"])

    def one_by_one(x, name):
        return x @ params[name]["kernel"][0, 0] + params[name]["bias"]

    rgb, frequency = (np.float64(x[0]) for x in maps)
    energy = np.zeros((3, 3, 2))
    for x, name in ((rgb, "rgb"), (frequency, "frequency")):
        query, key = (one_by_one(x, f"{name}_{part}") for part in ("query", "key"))
        for row, other, channel in np.ndindex(3, 3, 2):
            energy[row, other, channel] += query[row, :, channel] @ key[other, :, channel]
    attention = np.exp(energy) / np.exp(energy).sum(1, keepdims=True)
    for place, x, other, name in ((0, rgb, frequency, "frequency"), (1, frequency, rgb, "rgb")):
        share = other * attention * sigma(params[f"{name}_gamma"])
        share = share * params[f"{name}_conv"]["kernel"][0, 0] / np.sqrt(1 + 1e-5)
        np.testing.assert_allclose(found[place][0], x + share, rtol=1e-4, atol=1e-5)


def test_the_mix_starts_as_identity(mix):
    apply, variables, maps = mix
    np.testing.assert_array_equal(np.stack(apply(variables, *maps)), maps)


@pytest.fixture(scope="module")
def published():
    return cost(f3net.build("f3net"), 299)


def test_its_parameters_are_two_xceptions_two_mixes_the_filters_and_a_classifier(published):
    head = 2048 * 1000 + 1000
    first_convolutions = 9 * 32 * (12 - 3) + 9 * 32 * (6 - 3)
    # of a mix with C channels: four convolutions with bias, two of one weight a channel, two norms, two gammas
    mixes = sum(4 * (c * c + c) + 2 * c + 2 * 2 * c + 2 for c in (728, 1024))
    filters = 4 * 299**2 + 6 * 10**2
    expected = 2 * (22_855_952 - head) + first_convolutions + mixes + filters + 4096 * 2 + 2
    assert published.parameters == expected
    assert round(published.parameters / 1e6, 1) == 48.3


def test_its_features_are_those_of_two_xceptions(published):
    shapes = {name: x.shape[1:] for name, x in published.outputs.features.items()}
    assert shapes == {
        "stage1": (74, 74, 128),
        "stage2": (19, 19, 728),
        "stage3": (19, 19, 728),
        "stage4": (10, 10, 2048),
        "rgb": (10, 10, 2048),
        "frequency": (10, 10, 2048),
        "pooled": (4096,),
    }
    assert published.outputs.logits.shape == (1, 2)


def test_the_branches_meet_at_every_size_of_images():
    for size in (15, 16, 40, 299):
        images = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
        statistics, _ = jax.eval_shape(
            FrequencyStatistics().init_with_output, jax.random.key(0), images
        )
        sides = []
        for stride, x in ((2, images), (1, statistics)):
            stem = xception.build("xception", width=0.1, stem_stride=stride)
            method = functools.partial(stem.init_with_output, method="stem", train=False)
            sides.append(jax.eval_shape(method, jax.random.key(0), x)[0].shape)
        assert sides[0] == sides[1]


def small(**options):
    return f3net.build("f3net", width=0.02, **options)


def test_another_size_of_images_than_it_was_made_for_is_refused():
    images = [jnp.zeros((1, size, size, 3)) for size in (32, 40)]
    module = FrequencyDecomposition()
    variables = jax.eval_shape(module.init, jax.random.key(0), images[0])
    with pytest.raises(ValueError, match="made for images of 32 x 32 pixels, got 40 x 40"):
        jax.eval_shape(module.apply, variables, images[1])
    # the network asks the same before anything else
    with pytest.raises(ValueError, match="square images, got 32 x 40 pixels"):
        jax.eval_shape(small().init, jax.random.key(0), jnp.zeros((1, 32, 40, 3)))


@pytest.mark.slow
def test_dtypes_are_kept():
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    half = small(dtype=jnp.bfloat16)
    outputs, variables = jax.eval_shape(half.init_with_output, jax.random.key(0), images)
    dtypes = {name: x.dtype for name, x in outputs.features.items()}
    assert dtypes.pop("pooled") == outputs.logits.dtype == jnp.float32
    assert set(dtypes.values()) == {jnp.dtype(jnp.bfloat16)}
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    with jax.enable_x64(True):
        images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float64)
        outputs, _ = jax.eval_shape(small().init_with_output, jax.random.key(0), images)
    assert {x.dtype for x in jax.tree.leaves(outputs)} == {jnp.dtype(jnp.float64)}


@pytest.mark.slow
def test_a_training_step_is_finite_also_on_a_constant_image():
    network = small()
    noise = np.random.default_rng(0).uniform(-1, 1, size=(4, 64, 64, 3)).astype(np.float32)
    variables = jax.jit(network.init)(jax.random.key(0), noise)

    @jax.jit
    def step(images, key):
        def loss(params):
            outputs, state = network.apply(
                {**variables, "params": params},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": key},
            )
            return jnp.mean(jnp.sin(outputs.logits)), (outputs, state)

        return jax.value_and_grad(loss, has_aux=True)(variables["params"])

    for images in (noise, np.full_like(noise, 0.25), np.full_like(noise, -1)):
        found = step(images, jax.random.key(1))
        assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(found))
    (_, (outputs, state)), grads = step(noise, jax.random.key(1))
    for name in ("rgb_branch", "frequency_branch"):
        moved = jnp.abs(grads[name]["stem_conv1"]["kernel"]).max()
        assert moved > 0, name
    for name in ("fad", "lfs"):
        assert jnp.abs(grads[name]["learned"]).max() > 0, name
    before = variables["batch_stats"]["rgb_branch"]
    after = state["batch_stats"]["rgb_branch"]
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), before, after)))
    # what the classifier takes, after dropout
    pooled, head = outputs.features["pooled"], variables["params"]["classifier"]
    np.testing.assert_allclose(
        outputs.logits, pooled @ head["kernel"] + head["bias"][None], rtol=1e-4, atol=1e-5
    )
    (_, (other, _)), _ = step(noise, jax.random.key(2))
    assert (np.asarray(other.features["pooled"]) != np.asarray(pooled)).any()
    stages = jnp.concatenate([outputs.features[name] for name in ("rgb", "frequency")], axis=-1)
    kept = np.asarray(pooled) != 0
    np.testing.assert_allclose(pooled[kept], stages.mean((1, 2))[kept] / 0.8, rtol=1e-4, atol=1e-6)
