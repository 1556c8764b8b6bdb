"""What F3Net's two branches see: bands of the whole image's spectrum, and statistics of local spectra.

See "Thinking in Frequency: Face Forgery Detection by Mining Frequency-aware Clues" by Qian et al., 2020
(https://arxiv.org/abs/2007.09355).
"""

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from kdjax.models.layers import parameter_dtype
from kdjax.signal import dct2, idct2
from kdjax.types import Array

BANDS = 4
"""Of the image's spectrum: low, middle, high and all."""

WINDOW, STEP, STATISTICS = 10, 2, 6
"""Side of the sliding windows, distance between them, bands of their spectra."""

MARGINS = ((4, 3), (4, 3))
"""Zeros around the image, with which `S` pixels have `ceil(S / 2) - 1` windows in a row."""

FLOOR = 1e-15
"""Added to what the logarithm is taken of."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the gray image."""

filter_init = nn.initializers.normal(0.1)
"""Initialisation of what is learned of the filters."""


def image_bands(size: int) -> np.ndarray:
    """Returns the bands low, middle, high, all of a spectrum: bool `[size, size, 4]`.

        low: u + v < S / sqrt(8)    middle: S / sqrt(8) <= u + v < S / 2    high: u + v >= S / 2

    The paper's low band is the first 1/16 of the spectrum and its middle one goes on to 1/8: of the
    spectrum's area, as the public reimplementation has it, which also added the band of all.
    """
    diagonal = np.arange(size)[:, None] + np.arange(size)[None]
    low, not_high = 8 * diagonal**2 < size**2, 2 * diagonal < size
    return np.stack([low, ~low & not_high, ~not_high, np.ones_like(low)], axis=-1)


def window_bands() -> np.ndarray:
    """Returns the six bands of a window's spectrum, equally wide in u + v: bool `[10, 10, 6]`."""
    diagonal = np.arange(WINDOW)[:, None] + np.arange(WINDOW)[None]
    band = diagonal * STATISTICS // (2 * WINDOW)
    return band[..., None] == np.arange(STATISTICS)


def signed_sigmoid(x: Array) -> Array:
    """Returns `2 sigmoid(x) - 1`, which is between -1 and 1 and 0 at 0."""
    return jnp.tanh(x / 2)


class FrequencyDecomposition(nn.Module):
    """FAD: the image in four bands of its spectrum, each a filter that is partly learned.

        y_i = idct2(dct2(x) * (base_i + 2 sigmoid(learned_i) - 1))

    The filters are as large as the image, so that a network is made for one size of images.

    Attributes:
      dtype: the filters are stored as `parameter_dtype(dtype)`.
    """

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Maps `[B, S, S, 3]` to `[B, S, S, 12]`, at least float32: three colours a band.

        Raises:
          ValueError: for images that are not square, or not of the size the network was made for.
        """
        batch, size, across, colours = images.shape
        if size != across:
            raise ValueError(f"F3Net takes square images, got {size} x {across} pixels")
        if self.has_variable("params", "learned"):
            made: int = self.get_variable("params", "learned").shape[0]
            if made != size:
                raise ValueError(
                    f"this F3Net was made for images of {made} x {made} pixels, got {size} x {size}"
                )
        shape = (size, size, BANDS)
        learned = self.param("learned", filter_init, shape, parameter_dtype(self.dtype))
        filters = jnp.asarray(image_bands(size), learned.dtype) + signed_sigmoid(learned)
        filtered = dct2(images)[:, :, :, None] * filters[None, ..., None]
        return idct2(filtered.reshape(batch, size, size, BANDS * colours))


class FrequencyStatistics(nn.Module):
    """LFS: how much of six bands each sliding window of the gray image has, on a logarithmic scale.

        q_i = log10(sum |dct2(window) * (base_i + 2 sigmoid(learned_i) - 1)| / n_i + 1e-15)

    `n_i` is the number of entries of `base_i`. The gray values are in [0, 255]. The public
    reimplementation sums the logarithms of single entries, the paper takes that of the sum, as here.

    Attributes:
      dtype: the filters are stored as `parameter_dtype(dtype)`.
    """

    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Maps images in [-1, 1] `[B, S, S, 3]` to `[B, G, G, 6]`, G = ceil(S / 2) - 1, at least float32."""
        bands = window_bands()
        stored = parameter_dtype(self.dtype)
        learned = self.param("learned", filter_init, bands.shape, stored)
        filters = jnp.asarray(bands, stored) + signed_sigmoid(learned)
        weights = jnp.abs(filters) / bands.sum((0, 1)).astype(stored)[None, None]
        dtype = parameter_dtype(images.dtype)
        shares = jnp.asarray(LUMA, dtype)[None, None, None]
        gray = jnp.sum((images.astype(dtype) + 1) * 127.5 * shares, axis=-1, keepdims=True)
        # the absolute value of a product is the product of the absolute values
        spectra = jnp.abs(window_spectra(gray))
        weights = weights.reshape(-1, STATISTICS)
        return jnp.log10(jnp.dot(spectra, weights, precision=lax.Precision.HIGHEST) + FLOOR)


def window_spectra(gray: Array) -> Array:
    """Returns the orthonormal DCT-II of each window of `[B, S, S, 1]`: `[B, G, G, 100]`, row by row."""
    # one convolution: its kernels are what the transform makes of each entry of a window
    entries = jnp.eye(WINDOW**2, dtype=gray.dtype).reshape(-1, WINDOW, WINDOW, 1)
    kernel = dct2(entries).reshape(WINDOW, WINDOW, 1, -1)
    return lax.conv_general_dilated(
        gray,
        kernel,
        (STEP, STEP),
        MARGINS,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=lax.Precision.HIGHEST,
    )
