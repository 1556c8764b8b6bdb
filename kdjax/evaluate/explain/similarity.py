"""CKA: how alike two networks see the same images, whatever their widths and the order of their channels."""

from collections.abc import Iterable

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from kdjax.checks import check_rank, check_same_shape
from kdjax.types import Array

FEWEST = 4
"""Images from which on the unbiased estimate is defined."""


def gram(features: Array) -> Array:
    """Returns the inner products of all pairs of images, `[B, B]`, at least float32, of features `[B, ...]`.

    They are divided by the number of entries, which CKA does not see.
    """
    flat = features.reshape(len(features), -1)
    flat = flat.astype(jnp.promote_types(flat.dtype, jnp.float32))
    # centred first: of features far from 0, products would lose what tells images apart
    flat = flat - jnp.mean(flat, axis=0, keepdims=True)
    return jnp.matmul(flat, flat.T, precision="highest") / flat.shape[1]


def hsic(first: npt.ArrayLike, second: npt.ArrayLike, *, unbiased: bool = True) -> float:
    """Returns the Hilbert-Schmidt independence criterion of two Gram matrices.

    With K~ and L~ the two with zeros on the diagonal, n images,

        HSIC_1 = (tr(K~ L~) + 1'K~1 1'L~1 / ((n-1)(n-2)) - 2 / (n-2) 1'K~ L~1) / (n (n-3))

    is unbiased (Song et al., 2012); `HSIC_0 = tr(K H L H) / (n-1)^2`, H = 1 - 1/n, is not: of features with many
    more entries than there are images it is far from 0 whatever they are.

    Args:
      first: `[n, n]`, K.
      second: `[n, n]`, L.
      unbiased: which of the two; unbiased takes at least four images, and may be below 0.

    Raises:
      ValueError: for other shapes, or too few images.
    """
    k, m = (np.array(each, np.float64) for each in (first, second))
    check_rank("first", k, 2)
    check_same_shape(first=k, second=m)
    n = len(k)
    if n < (FEWEST if unbiased else 2) or k.shape[1] != n:
        raise ValueError(
            f"Gram matrices are [n, n] of {FEWEST} images or more, not {list(k.shape)}"
        )
    if not unbiased:
        centred = k - k.mean(0, keepdims=True) - k.mean(1, keepdims=True) + k.mean()
        return float((centred * m).sum() / (n - 1) ** 2)
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    traced = (k * m.T).sum() + k.sum() * m.sum() / ((n - 1) * (n - 2))
    return float((traced - 2 / (n - 2) * (k.sum(0) @ m.sum(1))) / (n * (n - 3)))


def cka(
    first: Iterable[npt.ArrayLike], second: Iterable[npt.ArrayLike], *, unbiased: bool = True
) -> float:
    """Returns the centred kernel alignment of two sets of features with linear kernels, batch by batch.

        CKA = sum_b n_b HSIC(K_b, L_b) / sqrt(sum_b n_b HSIC(K_b, K_b) sum_b n_b HSIC(L_b, L_b))

    1: the same up to rotation and scale; 0: nothing in common. Of one batch it is that of "Similarity of Neural Network
    Representations Revisited" by Kornblith et al., 2019 (https://arxiv.org/abs/1905.00414), of several that of "Do Wide
    and Deep Networks Learn the Same Things?" by Nguyen et al., 2021 (https://arxiv.org/abs/2010.15327).

    Args:
      first: Gram matrices (`gram`) of one network's features, a batch each.
      second: of the other's, of the same images.
      unbiased: estimator of `hsic`; batches are to be comparable only with the unbiased one.

    Returns:
      At most 1, and around 0 (below it too, unbiased) where nothing is in common. NaN where a network's features do
      not vary, and of no batch.

    Raises:
      ValueError: for matrices that do not go together.
    """
    sums = np.zeros(3)
    for k, m in zip(first, second, strict=True):
        pairs = ((k, m), (k, k), (m, m))
        sums += len(np.asarray(k)) * np.array([hsic(*pair, unbiased=unbiased) for pair in pairs])
    scale = sums[1] * sums[2]
    return float(sums[0] / np.sqrt(scale)) if sums[1] > 0 and scale > 0 else float("nan")
