"""JPEG on the device beside libjpeg, and its gradients."""

import os
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft

from kdjax.data_pipeline import jpeg as codec
from kdjax.data_pipeline.jpeg_dct import dequantized, fixed_matrix, quantized

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
@pytest.mark.parametrize("quality", [1, 49, 50, 100, *QUALITIES])
def test_it_is_what_libjpeg_makes_to_the_last_bit(quality, subsampling):
    noise = np.random.default_rng(1).integers(0, 256, (61, 83, 3), np.uint8)
    for image in (natural(), noise, 255 * (noise > 127).astype(np.uint8)):
        expected, found = libjpeg(image, quality, subsampling), ours(image, quality, subsampling)
        np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("subsampling", FACTORS)
@pytest.mark.parametrize("quality", QUALITIES)
def test_it_is_what_libjpeg_makes_of_real_photographs(quality, subsampling):
    """As they are, JPEG files themselves, on whose grid halves are common, and shrunk."""
    folder = os.environ.get("KDJAX_FACES")
    if not folder:
        pytest.skip("KDJAX_FACES names no folder of photographs")
    for path in sorted((Path(folder) / "real").iterdir())[:8]:
        whole = cv2.imread(str(path))
        small = cv2.resize(whole, None, fx=0.71, fy=0.71, interpolation=cv2.INTER_AREA)
        for pixels in (whole, small):
            image = np.ascontiguousarray(pixels[..., ::-1])
            expected = libjpeg(image, quality, subsampling)
            found = ours(image, quality, subsampling)
            assert np.abs(found - expected).mean() <= 1e-3
            assert abs(decibels(found, image) - decibels(expected, image)) <= 1e-3


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (9, 4), (3, 5), (16, 16), (17, 15), (18, 22)])
@pytest.mark.parametrize("subsampling", FACTORS)
def test_any_size(size, subsampling):
    image = natural(64, 64)[: size[0], : size[1]]
    found = ours(image, 90, subsampling)
    np.testing.assert_allclose(found, libjpeg(image, 90, subsampling), atol=1e-3)


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


def test_each_image_has_its_quality_and_transformations_change_nothing():
    images = jnp.stack([natural(32, 32, seed) for seed in range(3)]) / 255.0
    qualities = jnp.array([10, 50, 95])
    together = compiled(images, qualities)
    assert not np.array_equal(together[0], compiled(images, jnp.array([50, 50, 95]))[0])
    np.testing.assert_allclose(codec.jpeg(images[1], qualities[1]), together[1], atol=1e-7)
    mapped = jax.jit(jax.vmap(codec.jpeg))(images, qualities)
    np.testing.assert_allclose(mapped, together, atol=1e-7)


def test_dtypes():
    image = jnp.asarray(natural(16, 16) / 255.0, jnp.bfloat16)
    found = compiled(image, 50)
    assert found.dtype == jnp.bfloat16
    wide = compiled(image.astype(jnp.float32), 50)
    np.testing.assert_array_equal(found, wide.astype(jnp.bfloat16))
    whole = 255 * np.asarray(wide, np.float64)
    np.testing.assert_allclose(whole, np.round(whole), atol=1e-4)


def test_quantized_blocks_are_the_nearest_multiples_by_scipy():
    samples = np.random.default_rng(0).integers(-128, 128, (24, 16, 2))
    table = np.random.default_rng(1).integers(1, 60, (8, 8))
    found = np.asarray(quantized(jnp.asarray(samples, jnp.int32), jnp.asarray(table, jnp.int32)))
    blocks = samples.reshape(3, 8, 2, 8, 2)
    expected = scipy.fft.dctn(blocks.astype(float), axes=(1, 3), norm="ortho")
    expected = expected / table[:, None, :, None]
    # 2 bits are kept between the passes and 3 at the end: an eighth of a step of 1, besides the rounding
    gap = np.abs(found.reshape(blocks.shape) - expected)
    assert (gap <= 0.5 + 0.25 / table[:, None, :, None]).all()
    back = dequantized(jnp.asarray(found), jnp.asarray(table, jnp.int32))
    exact = found.reshape(blocks.shape) * table[:, None, :, None]
    inverse = scipy.fft.idctn(exact.astype(float), axes=(1, 3), norm="ortho")
    assert np.abs(np.asarray(back).reshape(blocks.shape) - inverse).max() < 0.6


def test_the_matrix_of_the_transform_is_scipys_in_13_bits():
    expected = 8192 * np.sqrt(8) * scipy.fft.dct(np.eye(8), axis=0, norm="ortho")
    assert np.abs(fixed_matrix() - expected).max() < 1.5


def smooth_map(size):
    """Returns JPEG without its rounding as a matrix: colours, chroma averaged by twos and interpolated, colours."""
    to_ycc = np.array(
        [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
    )
    places = (np.arange(size) + 0.5) / 2 - 0.5
    halves = np.kron(np.eye(size // 2), [[0.5, 0.5]])
    doubles = np.stack([np.interp(places, np.arange(size // 2), row) for row in np.eye(size // 2)])
    there_and_back = doubles.T @ halves
    chroma = np.kron(there_and_back, there_and_back)
    each = [np.eye(size * size), chroma, chroma]
    by_channel = sum(np.kron(part, np.diag(np.eye(3)[k])) for k, part in enumerate(each))
    pixels = np.eye(size * size)
    return np.kron(pixels, np.linalg.inv(to_ycc)) @ by_channel @ np.kron(pixels, to_ycc)


@pytest.mark.parametrize("subsampling", FACTORS)
def test_the_gradient_is_that_of_the_linear_map_without_rounding(subsampling):
    image = jnp.asarray(0.3 + 0.4 * natural(16, 16) / 255.0, jnp.float32)
    weights = jax.random.normal(jax.random.key(0), image.shape)

    def loss(x, quality):
        return jnp.sum(weights * codec.jpeg(x, quality, subsampling=subsampling))

    found, by_quality = jax.jit(jax.grad(loss, argnums=(0, 1)))(image, 90.0)
    assert by_quality == 0
    assert (np.abs(found) > 0).all()
    matrix = smooth_map(16) if subsampling == "4:2:0" else np.eye(image.size)
    expected = np.asarray(weights, np.float64).ravel() @ matrix
    np.testing.assert_allclose(np.ravel(found), expected, atol=2e-4)
    direction = jax.random.normal(jax.random.key(1), image.shape)
    _, along = jax.jvp(lambda x: loss(x, 90.0), (image,), (direction,))
    assert along == pytest.approx(expected @ np.ravel(direction), rel=1e-3)


def test_clipped_samples_have_no_gradient_and_the_ends_have():
    slope = jax.jit(jax.grad(lambda x: codec.jpeg(x, 100, subsampling="4:4:4").sum()))
    image = jnp.full((8, 8, 3), 0.5)
    assert (slope(image.at[:4].set(1.5))[:4] == 0).all()
    np.testing.assert_allclose(slope(jnp.ones((8, 8, 3))), 1.0, atol=1e-3)
    np.testing.assert_allclose(slope(jnp.zeros((8, 8, 3))), 1.0, atol=1e-3)


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
