"""Features of many images as points in a plane."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from kdjax.checks import check_rank

PERPLEXITY = 30
"""Neighbours that t-SNE has in mind, as scikit-learn's default; of few images a third of them."""

COMPONENTS = 50
"""Principal components that t-SNE sees."""


class Embedding(NamedTuple):
    """Points of images.

    Attributes:
      pca: float `[N, 2]`, the first two principal components.
      explained: share of the variance that each of them has, float `[2]`.
      tsne: float `[N, 2]`; neighbours stay neighbours, while distances between groups, and their sizes, say nothing.
    """

    pca: np.ndarray
    explained: np.ndarray
    tsne: np.ndarray


def embed(features: npt.ArrayLike, *, seed: int = 0) -> Embedding:
    """Returns features as points, by scikit-learn's PCA and t-SNE; equal seeds give equal points on one machine.

    Args:
      features: float `[N, D]`, N at least 4.
      seed: of t-SNE.

    Raises:
      ValueError: too few images, or features that are not finite.
    """
    features = np.asarray(features, np.float64)
    check_rank("features", features, 2)
    count = len(features)
    if count < 4:
        raise ValueError(f"{count} images; points take at least 4")
    if not np.isfinite(features).all():
        raise ValueError("features are not finite")
    centred = features - features.mean(axis=0)
    if not centred.any():
        nothing = np.zeros((count, 2))
        return Embedding(nothing, np.zeros(2), nothing)
    known = min(COMPONENTS, *features.shape)
    model = PCA(known, svd_solver="full").fit(centred)
    components = model.transform(centred)
    width = max(0, 2 - known)
    pca = np.pad(components[:, :2], ((0, 0), (0, width)))
    explained = np.pad(model.explained_variance_ratio_[:2], (0, width))
    method = TSNE(perplexity=min(PERPLEXITY, (count - 1) / 3), init=_start(pca), random_state=seed)
    # few points: on a busy machine threads that wait for each other take a minute for a second's work
    with threadpool_limits(1, "openmp"):
        tsne = method.fit_transform(components.astype(np.float32))
    return Embedding(pca, explained, np.asarray(tsne, np.float64))


def _start(pca: np.ndarray) -> np.ndarray:
    """Returns where t-SNE begins, as its `init="pca"` has it: of a spread of 1e-4."""
    return (pca / max(float(pca[:, 0].std()), 1e-300) * 1e-4).astype(np.float32)
