import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import fft

from kdjax import signal

SIZES = [(8, 6), (5, 7), (1, 6)]


def images(height=8, width=6, batch=2, channels=3):
    return np.random.default_rng(height + width).uniform(size=(batch, height, width, channels))


def cosines(x, inverse=False):
    return (fft.idctn if inverse else fft.dctn)(x, type=2, norm="ortho", axes=(1, 2))


def high_pass_reference(x, rho):
    spectrum = cosines(x)
    for u in range(x.shape[1]):
        for v in range(x.shape[2]):
            if u / x.shape[1] + v / x.shape[2] < rho:
                spectrum[:, u, v] = 0
    return cosines(spectrum, inverse=True)


@pytest.mark.parametrize("size", SIZES)
def test_the_transforms_are_those_of_scipy(size):
    x = images(*size)
    for ours, inverse in ((signal.dct2, False), (signal.idct2, True)):
        got = ours(jnp.float32(x))
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got, cosines(x, inverse), atol=1e-5)
        with jax.enable_x64(True):
            got = ours(jnp.asarray(x))
            assert got.dtype == jnp.float64
            np.testing.assert_allclose(got, cosines(x, inverse), atol=1e-12)


def test_a_large_image_comes_back_and_keeps_its_energy():
    x = jnp.float32(images(299, 128, batch=1))
    spectrum = signal.dct2(x)
    np.testing.assert_allclose(signal.idct2(spectrum), x, atol=1e-5)
    np.testing.assert_allclose(jnp.sum(spectrum**2), jnp.sum(x**2), rtol=1e-5)
    np.testing.assert_allclose(spectrum, cosines(np.float64(x)), atol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_high_pass_drops_the_triangle_of_low_frequencies(size):
    x = images(*size)
    for rho in (0.0, 0.33, 0.75, 1.0, 3.0):
        got = signal.high_pass(jnp.float32(x), rho=rho)
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got, high_pass_reference(x, rho), atol=1e-5)


def test_a_third_is_the_default_and_compiling_changes_nothing():
    x = images(40, 32)
    got = jax.jit(signal.high_pass)(jnp.float32(x))
    np.testing.assert_allclose(got, high_pass_reference(x, 0.33), atol=1e-5)


def test_an_edge_on_the_line_is_kept_and_rows_are_u():
    spectrum = np.zeros((1, 4, 8, 1), np.float32)
    spectrum[0, 2, 0, 0] = 1.0  # u / H = 0.5
    spectrum[0, 0, 2, 0] = 1.0  # v / W = 0.25
    left = signal.dct2(signal.high_pass(signal.idct2(spectrum), rho=0.5))
    expected = np.where(np.arange(8) == 0, spectrum[0, :, :, 0], 0)
    np.testing.assert_allclose(left[0, :, :, 0], expected, atol=1e-6)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize(("height", "width"), [(100, 100), (200, 200), (300, 300)])
def test_rounding_does_not_decide_what_lies_on_the_edge(height, width, traced):
    u, v = np.arange(height)[:, None], np.arange(width)[None]
    kept = 100 * (u * width + v * height) >= 33 * height * width
    image = signal.idct2(jnp.ones((1, height, width, 1)))
    rho = jnp.float32(0.33) if traced else 0.33
    spectrum = signal.dct2(signal.high_pass(image, rho=rho))[0, :, :, 0]
    np.testing.assert_array_equal(spectrum > 0.5, kept)


def test_a_constant_image_has_no_high_frequencies():
    np.testing.assert_allclose(signal.high_pass(jnp.full((1, 9, 7, 3), 0.7)), 0.0, atol=1e-6)


def test_rho_may_be_traced():
    x = jnp.float32(images())
    compiled = jax.jit(lambda x, rho: signal.high_pass(x, rho=rho))
    for rho in (0.33, 0.75):
        np.testing.assert_allclose(compiled(x, rho), high_pass_reference(x, rho), atol=1e-5)


def test_gradients_are_those_of_the_values():
    with jax.enable_x64(True):
        check_grads(jax.jit(signal.high_pass), (jnp.asarray(images(4, 3, 1, 2)),), 1)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.uint8])
def test_narrow_images_are_taken_in_float32(dtype):
    x = jnp.asarray(images() * 255, dtype)
    for transform in (signal.dct2, signal.idct2, signal.high_pass):
        got = transform(x)
        assert got.dtype == jnp.float32
        np.testing.assert_array_equal(got, transform(x.astype(jnp.float32)))


def test_wrong_arguments_are_refused():
    x = jnp.float32(images())
    for transform in (signal.dct2, signal.idct2, signal.high_pass):
        with pytest.raises(ValueError, match="4 axes"):
            transform(x[0])
    with pytest.raises(ValueError, match="rho"):
        signal.high_pass(x, rho=-0.1)
