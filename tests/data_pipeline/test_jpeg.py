"""JPEG on the device beside libjpeg, and its gradients."""

import os
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kdjax.data_pipeline import jpeg as codec

FACTORS = {
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
}
QUALITIES = (10, 30, 50, 75, 90, 95)


def libjpeg(image, quality, subsampling):
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, FACTORS[subsampling]]
    done, encoded = cv2.imencode(".jpg", image[..., ::-1], options)
    assert done
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]


compiled = jax.jit(codec.jpeg, static_argnames="subsampling")


def ours(image, quality, subsampling):
    found = compiled(jnp.asarray(image, jnp.float32) / 255, quality, subsampling=subsampling)
    return 255 * np.asarray(found, np.float64)


def decibels(one, other):
    return 10 * np.log10(255**2 / np.mean((one.astype(np.float64) - other) ** 2))


def natural(height=61, width=83, seed=0):
    """Returns a picture with edges, slopes and texture, uint8 `[H, W, 3]`."""
    generator = np.random.default_rng(seed)
    image = np.zeros((height, width, 3))
    for scale, strength in ((20, 90), (5, 50), (1, 12)):
        drawn = generator.normal(0, 1, (height, width, 3))
        smooth = cv2.GaussianBlur(drawn, (0, 0), scale)
        image += strength * smooth / smooth.std()
    image[height // 3 :, width // 2 :] += (60, -40, 20)
    return np.clip(128 + image, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("subsampling", FACTORS)
@pytest.mark.parametrize("quality", QUALITIES)
def test_it_is_what_libjpeg_makes(quality, subsampling):
    image = natural()
    expected, found = libjpeg(image, quality, subsampling), ours(image, quality, subsampling)
    assert np.abs(found - expected).mean() < 1.0
    assert abs(decibels(found, image) - decibels(expected, image)) < 0.3
    # both lose the same: where they differ is far less than what is lost, or a rounding of libjpeg's integers
    lost = np.abs(expected - image.astype(float)).mean()
    assert np.abs(found - expected).mean() < max(0.2 * lost, 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("subsampling", FACTORS)
@pytest.mark.parametrize("quality", QUALITIES)
def test_it_is_what_libjpeg_makes_of_real_photographs(quality, subsampling):
    """Shrunk, so that their own JPEG's grid is gone: on that grid halves are common, and fall either way."""
    folder = os.environ.get("KDJAX_FACES")
    if not folder:
        pytest.skip("KDJAX_FACES names no folder of photographs")
    for path in sorted((Path(folder) / "real").iterdir())[:8]:
        whole = cv2.imread(str(path))
        small = cv2.resize(whole, None, fx=0.71, fy=0.71, interpolation=cv2.INTER_AREA)
        image = np.ascontiguousarray(small[..., ::-1])
        expected, found = libjpeg(image, quality, subsampling), ours(image, quality, subsampling)
        assert np.abs(found - expected).mean() <= 1.0
        assert abs(decibels(found, image) - decibels(expected, image)) <= 0.3


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (16, 16), (17, 15)])
@pytest.mark.parametrize("subsampling", FACTORS)
def test_any_size(size, subsampling):
    image = natural(64, 64)[: size[0], : size[1]]
    found = ours(image, 90, subsampling)
    assert found.shape == image.shape
    assert np.abs(found - libjpeg(image, 90, subsampling)).mean() < 1.0


@pytest.mark.parametrize("level", [0, 1, 100, 255])
def test_grey_areas_stay(level):
    image = np.full((24, 24, 3), level, np.uint8)
    np.testing.assert_allclose(ours(image, 95, "4:2:0"), libjpeg(image, 95, "4:2:0"), atol=1e-3)


def test_tables_are_scaled_as_ijg_scales_them():
    found = codec.quality_table(codec.LUMINANCE, np.array([1, 25, 50, 75, 100]))
    assert found.shape == (5, 8, 8)
    # by hand: s = 5000, 200, 100, 50, 0 of 16, 11 and 99
    np.testing.assert_array_equal(found[:, 0, 0], [255, 32, 16, 8, 1])
    np.testing.assert_array_equal(found[:, 0, 1], [255, 22, 11, 6, 1])
    np.testing.assert_array_equal(found[:, 7, 7], [255, 198, 99, 50, 1])


def test_each_image_has_its_quality_and_jit_changes_nothing():
    images = jnp.stack([natural(32, 32, seed) for seed in range(3)]) / 255.0
    qualities = jnp.array([10, 50, 95])
    together = jax.jit(codec.jpeg)(images, qualities)
    np.testing.assert_allclose(codec.jpeg(images[1], qualities[1]), together[1], atol=1e-6)
    mapped = jax.jit(jax.vmap(codec.jpeg))(images, qualities)
    np.testing.assert_allclose(mapped, together, atol=1e-6)


def test_dtypes():
    image = jnp.asarray(natural(16, 16) / 255.0, jnp.bfloat16)
    assert jax.eval_shape(codec.jpeg, image, 50).dtype == jnp.bfloat16
    whole = 255 * np.asarray(compiled(image.astype(jnp.float32), 50), np.float64)
    np.testing.assert_allclose(whole, np.round(whole), atol=1e-4)


@pytest.mark.slow
def test_the_gradient_is_that_of_the_parts_that_do_not_round(monkeypatch):
    """Without rounding and clipping JPEG is linear, and the gradient is exactly that linear map's."""
    image = jnp.asarray(0.3 + 0.4 * natural(16, 24) / 255.0, jnp.float32)
    weights = jax.random.normal(jax.random.key(0), image.shape)

    def loss(x):
        return jnp.sum(weights * codec.jpeg(x, 90))

    found = jax.grad(loss)(image)
    assert np.isfinite(found).all()
    assert (np.abs(found) > 0).mean() > 0.99
    monkeypatch.setattr(codec, "_round", lambda x: x)
    monkeypatch.setattr(jnp, "floor", lambda x: x)
    monkeypatch.setattr(jax.lax, "stop_gradient", lambda x: 0 * x)
    smooth = jax.grad(loss)(image)
    np.testing.assert_allclose(found, smooth, atol=1e-4)
    check_grads(loss, (image,), order=1, modes=["rev"], eps=1e-2, rtol=2e-2)


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((8, 8), {}, r"must be \[..., H, W, 3\]"),
        ((8, 8, 4), {}, "must be"),
        ((0, 8, 3), {}, "must be"),
        ((8, 8, 3), {"subsampling": "4:1:1"}, "must be one of: 4:2:0, 4:4:4"),
    ],
)
def test_what_is_no_image_is_refused(shape, options, words):
    with pytest.raises(ValueError, match=words):
        codec.jpeg(jnp.zeros(shape), 50, **options)
