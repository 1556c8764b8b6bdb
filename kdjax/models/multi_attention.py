"""MAT, the multi-attentional detector: several attention maps pool the textures of an EfficientNet.

See "Multi-attentional Deepfake Detection" by Zhao et al., 2021 (https://arxiv.org/abs/2103.02406). Where the
paper leaves a size open, it is that of the authors' code (yoctta/multiple-attention): the heads, the dropout,
the border. The losses that the paper adds in training (regional independence, augmentation by attention) are
not part of the network.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from kdjax.checks import check_choice
from kdjax.models import efficientnet
from kdjax.models.layers import BatchNorm, Classifier, Conv, parameter_dtype
from kdjax.models.normalization import Normalizations
from kdjax.models.stochastic import dropout, example_keys
from kdjax.types import Array, Outputs

PLANS = {"mat": "efficientnet_b4"}
"""The backbone by name."""

TINY = 1e-12
"""Sum of squares from which on a vector has a direction; shorter ones become 0, with gradient 0."""

WEIGHTLESS = 1e-8
"""Added to every attention before its sum divides: a map of zeros becomes the plain mean."""


def attention_pool(maps: Array, attention: Array) -> Array:
    """Bilinear attention pooling: sums a map once for each attention, weighted by it.

    `pooled[b, m] = sum over positions of attention[b, i, j, m] * maps[b, i, j]`, in float32 at least.
    An attention of another size is interpolated linearly between the centres of its pixels; the authors' code
    aligns the corners.

    Args:
      maps: float `[B, H, W, C]`.
      attention: float `[B, h, w, M]`.

    Returns:
      `[B, M, C]`.
    """
    weights = _resize(attention.astype(parameter_dtype(attention.dtype)), maps.shape[1:3])
    return jnp.einsum("bijm,bijc->bmc", weights, maps.astype(parameter_dtype(maps.dtype)))


def texture_vectors(maps: Array, attention: Array) -> Array:
    """Returns `attention_pool(maps, attention)` `[B, M, C]`, each vector divided by its L2 norm."""
    pooled = attention_pool(maps, attention)
    squares = jnp.sum(pooled**2, axis=-1, keepdims=True)
    directed = squares > TINY
    # the zeros of flat images would otherwise send huge gradients into the whole backbone
    factor = jnp.where(directed, jax.lax.rsqrt(jnp.where(directed, squares, 1.0)), 0.0)
    return pooled * factor


def weighted_mean(maps: Array, attention: Array) -> Array:
    """Returns the mean `[B, C]` of maps `[B, H, W, C]`, weighted by the sum of attentions `[B, h, w, M]`."""
    total = jnp.sum(attention, axis=-1, keepdims=True, dtype=parameter_dtype(attention.dtype))
    weights = _resize(total, maps.shape[1:3]) + WEIGHTLESS
    return attention_pool(maps, weights)[:, 0] / jnp.sum(weights, axis=(1, 2))


def remove_local_mean(x: Array, size: tuple[int, ...]) -> Array:
    """Returns a map minus its means over a grid of `size` cells: what is left is texture.

    Cell `k` of `n` over `L` positions spans `floor(k L / n)` to `ceil((k + 1) L / n)`; cells overlap by
    one position where `n` does not divide `L`. Position `i` takes the mean of cell `floor(i n / L)`.

    Args:
      x: float `[B, H, W, C]`.
      size: rows and columns of the grid.
    """
    dtype = parameter_dtype(x.dtype)
    means, places = x.astype(dtype), []
    for axis, (length, cells) in enumerate(zip(x.shape[1:3], size, strict=True), start=1):
        averaging = jnp.asarray(_averaging(length, cells), dtype)
        # whole precision: rounded means would leave a texture of their own
        means = jnp.tensordot(averaging, means, (1, axis), precision=jax.lax.Precision.HIGHEST)
        means = jnp.moveaxis(means, 0, axis)
        places.append(np.arange(length) * cells // length)
    means = means[:, places[0]][:, :, places[1]]
    return (x.astype(dtype) - means).astype(x.dtype)


def _averaging(length: int, cells: int) -> np.ndarray:
    """Returns the matrix `[cells, length]` that averages `length` positions in `cells` cells."""
    cell, place = np.arange(cells)[:, None], np.arange(length)[None]
    inside = (place >= cell * length // cells) & (place < -(-(cell + 1) * length // cells))
    return inside / inside.sum(1, keepdims=True)


def _resize(maps: Array, size: tuple[int, ...]) -> Array:
    """Returns maps `[B, h, w, C]` interpolated linearly to rows and columns of `size`."""
    shape = (maps.shape[0], *size, maps.shape[-1])
    return jax.image.resize(maps, shape, "linear", antialias=False)


class Attention(nn.Module):
    """Makes attention maps: convolve 3 x 3, normalise, ReLU, 1 x 1 to the maps, normalise, ELU + 1.

    The outermost twelfth of rows and columns on every side is 0 (2 of 24, as at 380 pixels), none
    of a map with fewer than 12.

    Attributes:
      maps: number of attention maps.
      dtype: dtype it computes in.
      axis_name: device axis for the batch statistics.
    """

    maps: int
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        """Maps `[B, h, w, C]` to `[B, h, w, maps]`, not negative."""
        y = Conv(x.shape[-1], 3, dtype=self.dtype, name="conv1")(x)
        y = nn.relu(BatchNorm(self.axis_name, name="norm1")(y, train=train))
        y = Conv(self.maps, 1, dtype=self.dtype, name="conv2")(y)
        y = BatchNorm(self.axis_name, name="norm2")(y, train=train)
        # 1 + exp(y) - 1 would lose all small attentions to rounding
        y = jnp.where(y > 0, y + 1, jnp.exp(jnp.minimum(y, 0)))
        rows, columns = (_inner(length) for length in y.shape[1:3])
        inner = rows[:, None] & columns[None]
        return y * jnp.asarray(inner, y.dtype)[None, :, :, None]


def _inner(length: int) -> np.ndarray:
    """Returns which of `length` positions are not in the border."""
    place, border = np.arange(length), length // 12
    return (place >= border) & (place < length - border)


class TextureEnhance(nn.Module):
    """Texture enhancement: what local averages leave of a shallow map, through a dense block.

    1 x 1, then three times (normalise, ReLU, 3 x 3, concatenate), normalise, ReLU, 1 x 1, normalise.

    Attributes:
      dtype: dtype it computes in.
      axis_name: device axis for the batch statistics.
    """

    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Array, size: tuple[int, ...], *, train: bool) -> Array:
        """Maps `[B, H, W, C]`, averaged over a grid of `size` cells, to `[B, H, W, 4 C]`."""
        channels = x.shape[-1]
        x = remove_local_mean(x, size)
        x = Conv(channels, 1, dtype=self.dtype, name="conv0")(x)
        for index in (1, 2, 3):
            y = nn.relu(BatchNorm(self.axis_name, name=f"norm{index}")(x, train=train))
            y = Conv(channels, 3, dtype=self.dtype, name=f"conv{index}")(y)
            x = jnp.concatenate([x, y], axis=-1)
        x = nn.relu(BatchNorm(self.axis_name, name="norm4")(x, train=train))
        x = Conv(4 * channels, 1, dtype=self.dtype, name="conv4")(x)
        return BatchNorm(self.axis_name, name="norm5")(x, train=train)


class MultiAttention(nn.Module):
    """MAT: attention from `stage3` pools the textures of `stage1` and the last map.

    `features` has the backbone's maps, `attention` `[B, h, w, maps]`, and `pooled`.

    Attributes:
      backbone: an EfficientNet.
      num_classes: width of the classifier.
      maps: number of attention maps.
      hidden: width of the heads' linear layers.
      attention_drop_rate: share of the attention maps dropped in training, of each example.
      drop_rate: dropout of the deep vector.
      dtype: dtype it computes in.
      axis_name: device axis for the batch statistics.
    """

    backbone: efficientnet.EfficientNet
    num_classes: int = 2
    maps: int = 4
    hidden: int = 256
    attention_drop_rate: float = 0.25
    drop_rate: float = 0.5
    dtype: jnp.dtype = jnp.float32
    axis_name: str | None = None

    @property
    def draws(self) -> bool:
        """Whether it draws anything in training."""
        rates = (self.attention_drop_rate, self.drop_rate, self.backbone.drop_path_rate)
        return max(rates) > 0

    @nn.compact
    def __call__(self, images: Array, train: bool = False) -> Outputs:
        """Maps normalised images `[B, H, W, 3]` to logits `[B, num_classes]` and features."""
        keys = example_keys(self, len(images)) if train and self.draws else None
        x = self.backbone.stem(images, train=train)
        features = {}
        for stage in range(1, 5):
            x = self.backbone.stage(stage, x, train=train, keys=keys)
            features[f"stage{stage}"] = x
        attend = Attention(self.maps, self.dtype, self.axis_name, name="attention")
        attention = attend(features["stage3"], train=train)
        features["attention"] = attention

        # the backbone draws with the numbers of its blocks
        number = len(self.backbone.blocks)
        ones = jnp.ones((images.shape[0], self.maps), parameter_dtype(x.dtype))
        kept = dropout(ones, self.attention_drop_rate, keys, number)

        enhance = TextureEnhance(self.dtype, self.axis_name, name="texture")
        textures = enhance(features["stage1"], attention.shape[1:3], train=train)
        local = texture_vectors(textures, attention) * kept[:, :, None]
        local = local.reshape(images.shape[0], -1)
        # like the classifier, the linear layers before it compute in float32
        linear = functools.partial(Classifier, self.hidden)
        for index in (1, 2):
            local = nn.hard_swish(linear(name=f"local_linear{index}")(local))

        deep = weighted_mean(x, attention * kept[:, None, None])
        deep = dropout(deep, self.drop_rate, keys, number + 1)
        deep = nn.hard_swish(linear(name="deep_linear")(deep))

        both = jnp.concatenate([local, deep], axis=-1)
        features["pooled"] = nn.hard_swish(linear(name="joint_linear")(both))
        logits = Classifier(self.num_classes, name="classifier")(features["pooled"])
        return Outputs(logits, features)


def normalizations(name: str) -> Normalizations:
    """Returns the normalisations of the images by layout, the backbone's."""
    return efficientnet.normalizations(PLANS[name])


def build(
    name: str,
    *,
    backbone: str | None = None,
    drop_path_rate: float = 0.2,
    width: float = 1.0,
    layout: str = "torch",
    dtype: Any = jnp.float32,
    depthwise: str = "auto",
    axis_name: str | None = None,
    **options: Any,
) -> MultiAttention:
    """Returns the network `name` of `PLANS`.

    Args:
      name: one of `PLANS`.
      backbone: one of `efficientnet.PLANS`, by default the one of `PLANS`.
      drop_path_rate: stochastic depth of the backbone.
      width: factor on the channels of the backbone and on the heads.
      layout: the backbone's, `torch` or `keras`.
      dtype: dtype it computes in.
      depthwise: form of the depthwise convolutions.
      axis_name: device axis for the batch statistics.
      **options: further attributes of `MultiAttention`, such as `num_classes` and `drop_rate`.

    Raises:
      ValueError: for a backbone that is none of `efficientnet.PLANS`.
    """
    body_name = PLANS[name] if backbone is None else backbone
    check_choice("backbone", body_name, tuple(efficientnet.PLANS))
    body = efficientnet.build(
        body_name,
        drop_path_rate=drop_path_rate,
        width=width,
        layout=layout,
        dtype=dtype,
        depthwise=depthwise,
        axis_name=axis_name,
    )
    hidden = max(1, round(256 * width))
    return MultiAttention(body, hidden=hidden, dtype=dtype, axis_name=axis_name, **options)
