"""QAD's measure of dependence: the Hilbert-Schmidt independence criterion.

See "Measuring Statistical Dependence with Hilbert-Schmidt Norms" by Gretton et al., 2005.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision

from kdjax.checks import check_choice, check_positive, check_rank, check_same_batch
from kdjax.losses.reductions import FLOOR, at_least_float32
from kdjax.types import Array

KERNELS = ("gaussian", "laplace")
BANDWIDTHS = ("fixed", "mean", "median")
ESTIMATORS = ("biased", "unbiased")


def hsic(
    x: Array,
    y: Array,
    *,
    sigma: float | Array = 6.0,
    scale_by_dim: bool = False,
    kernel: str = "gaussian",
    bandwidth: str = "fixed",
    estimator: str = "biased",
    features: int = 0,
    rng: Array | None = None,
    mask: Array | None = None,
    normalized: bool = False,
) -> Array:
    """Returns how strongly `x` and `y` depend on each other; 0 if they do not.

        k(u, v) = exp(-||u - v||^2 / (2 s^2))  or  exp(-||u - v|| / s)
        biased:    tr(K H L H) / (n - 1)^2,  H = I - 1/n                              (QAD, Eq. 8)
        unbiased:  (tr(K'L') + 1'K'1 1'L'1 / ((n-1)(n-2)) - 2/(n-2) 1'K'L'1) / (n(n-3))
                   with K', L' = K, L of zero diagonal                             (Song et al.)

    `K` is `x`'s kernel matrix, `L` is `y`'s. Eq. 8 is computed as `sum(HKH * HLH) / (n - 1)^2`; for
    independent samples its mean is `(1 - E k)(1 - E l) / (n - 1)`, over pairs of different examples.

    QAD gives s = 6 for flattened maps: there all distances are so large that `K` is the identity
    and has no gradient. Pass globally average-pooled maps.

    Args:
      x: float `[B, ...]`, flattened.
      y: float `[B, ...]`, flattened; its width may be another.
      sigma: the bandwidth `s`, if `bandwidth` is "fixed".
      scale_by_dim: whether `sigma` is multiplied with the square root of the flattened width.
      kernel: "gaussian" or "laplace"; both of the Euclidean distance.
      bandwidth: "fixed", or the "mean" or "median" distance of two different examples, of `x` and of
        `y` each its own, through which the gradient flows too.
      estimator: "biased" or "unbiased"; the latter needs 4 examples and may be negative.
      features: 0 for the kernel itself, else the even number of random Fourier features that stand
        for it (Rahimi & Recht). `n * features * min(n, features)` products instead of `n^2 * width`, and
        the kernel within a few per cent at 4096.
      rng: key of the random features, needed if there are any.
      mask: float or bool `[B]`: what is 0 is as if it were not in the batch, be it NaN.
      normalized: whether to divide by `sqrt(HSIC(x, x) HSIC(y, y))`: the kernel alignment CKA, in [0, 1], which
        does not grow with the spread of the points. For the biased estimator alone.

    Returns:
      A scalar of at least float32; 0 for fewer examples than the estimator needs, and normalized where all of
      `x` or all of `y` are one point.

    Raises:
      ValueError: for shapes or options that are not allowed.

    See "Quality-Agnostic Deepfake Detection with Intra-model Collaborative Learning" by Le & Woo, 2023
    (https://arxiv.org/abs/2309.05911), "Similarity of Neural Network Representations Revisited" by Kornblith et
    al., 2019 (https://arxiv.org/abs/1905.00414), "Feature Selection via Dependence Maximization" by Song et
    al., 2012, and "Random Features for Large-Scale Kernel Machines" by Rahimi & Recht, 2007.
    """
    check_choice("kernel", kernel, KERNELS)
    check_choice("bandwidth", bandwidth, BANDWIDTHS)
    check_choice("estimator", estimator, ESTIMATORS)
    if isinstance(sigma, int | float):
        check_positive("sigma", sigma)
    if scale_by_dim and bandwidth != "fixed":
        raise ValueError(f"scale_by_dim=True needs bandwidth='fixed', got {bandwidth!r}")
    if normalized and estimator != "biased":
        raise ValueError(f"normalized=True needs estimator='biased', got {estimator!r}")
    if features < 0 or features % 2:
        raise ValueError(f"features={features} must be 0 or a positive even number")
    if features and rng is None:
        raise ValueError(f"features={features} are drawn at random and need rng")
    check_same_batch(x=x, y=y)
    valid = jnp.ones(x.shape[0], bool)
    if mask is not None:
        check_rank("mask", mask, 1)
        check_same_batch(x=x, mask=mask)
        valid = jnp.asarray(mask) > 0

    def width(points: Array) -> float | Array:
        if bandwidth != "fixed":
            return _typical_distance(points, valid, bandwidth)
        return sigma * points.shape[1] ** 0.5 if scale_by_dim else sigma

    points = [_points(name, values, valid) for name, values in (("x", x), ("y", y))]
    points = [values / width(values) for values in points]
    if features and rng is not None:
        keys = (jax.random.fold_in(rng, turn) for turn in range(2))
        images = [
            _random_features(values, key, features, kernel)
            for values, key in zip(points, keys, strict=True)
        ]
        left, right = (_center(image, valid, (0,)) for image in images)
        cross = _cross_covariance(left, right)
        if normalized:
            return _cosine(cross, _cross_covariance(left, left), _cross_covariance(right, right))
        own = jnp.sum(left**2, axis=1), jnp.sum(right**2, axis=1)
    else:
        grams = [_kernel_minus_one(values, kernel) for values in points]
        left, right = (_center(gram, valid, (0, 1)) for gram in grams)
        cross = jnp.sum(left * right)
        if normalized:
            return _cosine(cross, jnp.sum(left**2), jnp.sum(right**2))
        own = jnp.diagonal(left), jnp.diagonal(right)
    return _estimate(cross, *own, jnp.sum(valid), estimator)


def _cosine(cross: Array, left: Array, right: Array) -> Array:
    """Returns `cross / sqrt(left right)`, 0 with no gradient where one of the squared norms is 0."""
    present = (left > FLOOR**2) & (right > FLOOR**2)
    norms = [jnp.sqrt(jnp.where(present, square, 1.0)) for square in (left, right)]
    return jnp.where(present, cross / norms[0] / norms[1], 0.0)


def _estimate(cross: Array, left: Array, right: Array, count: Array, estimator: str) -> Array:
    """Returns the estimate from `tr(HKH HLH)` and the diagonals of `HKH` and `HLH`.

    The unbiased one does not change when a number is added to each row and its column, so that it
    may start from centred matrices; their rows then sum to minus what the diagonal had.
    """
    n = count.astype(cross.dtype)
    if estimator == "biased":
        return cross / jnp.where(n > 1, n - 1, 1.0) ** 2
    n = jnp.where(count > 3, n, 4.0)
    total = cross - jnp.sum(left * right) * n / (n - 2)
    total = total + jnp.sum(left) * jnp.sum(right) / ((n - 1) * (n - 2))
    return jnp.where(count > 3, total / (n * (n - 3)), 0.0)


def _cross_covariance(left: Array, right: Array) -> Array:
    """Returns the sum of squares of `left' right`, in the cheaper of two orders."""
    examples, width = left.shape
    if examples < width:
        grams = [jnp.matmul(z, z.T, precision=Precision.HIGHEST) for z in (left, right)]
        return jnp.sum(grams[0] * grams[1])
    return jnp.sum(jnp.matmul(left.T, right, precision=Precision.HIGHEST) ** 2)


def _points(name: str, values: Array, valid: Array) -> Array:
    """Returns `[B, width]` with zero mean, 0 where not valid."""
    if values.ndim < 2:
        raise ValueError(f"{name} has shape {tuple(values.shape)}; at least 2 axes are expected")
    values = at_least_float32(values).reshape(values.shape[0], -1)
    # Distances and phases do not know the mean, but they round by it.
    return _center(values, valid, (0,))


def _center(values: Array, valid: Array, axes: tuple[int, ...]) -> Array:
    """Returns `values` less its means along each of `axes`, over what is valid; 0 elsewhere."""
    count = jnp.maximum(jnp.sum(valid), 1).astype(values.dtype)
    inside = valid[:, None] & (valid[None] if len(axes) > 1 else True)
    for axis in axes:
        values = jnp.where(inside, values, 0.0)
        values = values - jnp.sum(values, axis=axis, keepdims=True) / count
    return jnp.where(inside, values, 0.0)


def _squared_distances(points: Array) -> Array:
    """Returns `||x_i - x_j||^2`, `[B, B]`, exactly 0 on the diagonal."""
    gram = jnp.matmul(points, points.T, precision=Precision.HIGHEST)
    norms = jnp.diagonal(gram)
    squared = norms[:, None] + norms[None] - 2 * gram
    return jnp.where(np.eye(len(norms), dtype=bool) | (squared <= 0), 0.0, squared)


def _distances(points: Array) -> Array:
    """Returns `||x_i - x_j||`, `[B, B]`, without a gradient where it is 0."""
    squared = _squared_distances(points)
    apart = squared > FLOOR**2
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1.0)), 0.0)


def _kernel_minus_one(points: Array, kernel: str) -> Array:
    """Returns `K - 1`: a constant is centred away, and without it wide kernels keep their digits."""
    if kernel == "gaussian":
        return jnp.expm1(-0.5 * _squared_distances(points))
    return jnp.expm1(-_distances(points))


def _typical_distance(points: Array, valid: Array, bandwidth: str) -> Array:
    """Returns the mean or median distance of two different valid points, 1 if it is 0."""
    first, second = np.triu_indices(points.shape[0], 1)
    used = valid[first] & valid[second]
    distances = _distances(points)[first, second]
    count = jnp.sum(used)
    if bandwidth == "mean" or not first.size:
        typical = jnp.sum(jnp.where(used, distances, 0.0)) / jnp.maximum(count, 1)
    else:
        ordered = jnp.sort(jnp.where(used, distances, jnp.inf))
        typical = jnp.mean(ordered[jnp.stack([jnp.maximum(count - 1, 0), count]) // 2])
    usable = (count > 0) & (typical > FLOOR)
    return jnp.where(usable, typical, 1.0)


def _random_features(points: Array, rng: Array, count: int, kernel: str) -> Array:
    """Returns `z`, `[B, count]`, with `E <z(u), z(v)>` the kernel of bandwidth 1 and `<z, z> = 1`."""
    shape = points.shape[1], count // 2
    frequencies = jax.random.normal(rng, shape, points.dtype)
    if kernel == "laplace":
        # The spectrum of exp(-distance) is Cauchy's: a normal vector over one more normal number.
        divisor = jax.random.normal(jax.random.fold_in(rng, 1), shape[1:], points.dtype)
        frequencies = frequencies / jnp.maximum(jnp.abs(divisor), FLOOR)[None]
    phases = jnp.matmul(points, frequencies, precision=Precision.HIGHEST)
    waves = jnp.concatenate([jnp.cos(phases), jnp.sin(phases)], axis=1)
    return waves / (count // 2) ** 0.5
