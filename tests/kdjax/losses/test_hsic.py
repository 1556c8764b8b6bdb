import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from sklearn.gaussian_process.kernels import Matern
from sklearn.metrics.pairwise import rbf_kernel

from kdjax.losses.hsic import hsic

STATIC = ("scale_by_dim", "kernel", "bandwidth", "estimator", "features", "normalized")
compiled = jax.jit(hsic, static_argnames=STATIC)
compiled_gradient = jax.jit(jax.value_and_grad(hsic, (0, 1)), static_argnames=STATIC)
OPTIONS = [
    {"sigma": 2.0},
    {"sigma": 0.7, "kernel": "laplace", "scale_by_dim": True},
    {"bandwidth": "mean", "estimator": "unbiased"},
    {"bandwidth": "median", "kernel": "laplace"},
    {"sigma": 1.5, "kernel": "laplace", "estimator": "unbiased"},
    {"bandwidth": "median", "normalized": True},
    {"sigma": 2.0, "kernel": "laplace", "normalized": True},
]


def samples(n=6, seed=0, dependence=1.0):
    """Two batches of different width; the second depends on the first."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2, 2))
    return x, rng.normal(size=(n, 3)) + dependence * x.reshape(n, 4)[:, :3] ** 2


def kernel_matrix(
    x,
    sigma=6.0,
    kernel="gaussian",
    bandwidth="fixed",
    scale_by_dim=False,
    estimator=None,
    normalized=False,
):
    """K by its definition, one pair at a time."""
    x = x.reshape(len(x), -1)
    distances = np.array([[np.sqrt(((u - v) ** 2).sum()) for v in x] for u in x])
    pairs = distances[np.triu_indices(len(x), 1)]
    width = {"fixed": sigma, "mean": pairs.mean(), "median": np.median(pairs)}[bandwidth]
    width = width * np.sqrt(x.shape[1]) if scale_by_dim else width
    return np.exp(-(distances**2) / (2 * width**2) if kernel == "gaussian" else -distances / width)


def biased(left, right):
    """Eq. 8 as double sums, (n / (n - 1))^2 times Gretton's V-statistic."""
    n = len(left)
    total = (left * right).sum() / n**2 + left.sum() * right.sum() / n**4
    total -= 2 * (left.sum(axis=1) * right.sum(axis=1)).sum() / n**3
    return total * (n / (n - 1)) ** 2


def unbiased(left, right):
    """The closed form of Song et al."""
    n, one = len(left), np.ones(len(left))
    k, h = left - np.diag(np.diag(left)), right - np.diag(np.diag(right))
    total = np.trace(k @ h) + (one @ k @ one) * (one @ h @ one) / ((n - 1) * (n - 2))
    return (total - 2 / (n - 2) * one @ k @ h @ one) / (n * (n - 3))


def reference(x, y, **options):
    estimate = unbiased if options.get("estimator") == "unbiased" else biased
    left, right = kernel_matrix(x, **options), kernel_matrix(y, **options)
    if options.get("normalized"):
        return biased(left, right) / np.sqrt(biased(left, left) * biased(right, right))
    return estimate(left, right)


def test_normalized_it_is_one_for_what_says_the_same_and_does_not_grow_with_the_spread():
    x, y = map(jnp.float32, samples())
    options = {"bandwidth": "median", "normalized": True}
    np.testing.assert_allclose(compiled(x, x[:, ::-1], **options), 1.0, rtol=1e-5)
    np.testing.assert_allclose(
        compiled(1000 * x, y, **options), compiled(x, y, **options), rtol=1e-4
    )
    # a linear alignment by its definition: Kornblith et al., with a kernel that is nearly linear
    wide = {"sigma": 300.0, "normalized": True}
    flat = [np.asarray(v, np.float64).reshape(len(v), -1) for v in (x, y)]
    a, b = (v - v.mean(axis=0) for v in flat)
    linear = (np.sum((a.T @ b) ** 2) / np.linalg.norm(a.T @ a) / np.linalg.norm(b.T @ b)).item()
    np.testing.assert_allclose(compiled(x, y, **wide), linear, rtol=1e-2)


@pytest.mark.parametrize("options", OPTIONS)
def test_it_is_the_estimate_of_its_definition(options):
    x, y = samples()
    expected = reference(x, y, **options)
    got = compiled(jnp.float32(x), jnp.float32(y), **options)
    assert got.shape == ()
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_float64_stays_float64():
    x, y = samples()
    with jax.enable_x64(True):
        got = compiled(jnp.asarray(x), jnp.asarray(y), **OPTIONS[2])
        assert got.dtype == jnp.float64
        np.testing.assert_allclose(got, reference(x, y, **OPTIONS[2]), rtol=1e-10)


def test_the_unbiased_reference_is_a_mean_over_all_four_different_examples():
    k, h = (kernel_matrix(z, sigma=2.0) for z in samples())
    four = list(itertools.permutations(range(6), 4))
    expected = np.mean([k[i, j] * (h[i, j] + h[q, r] - 2 * h[i, q]) for i, j, q, r in four])
    np.testing.assert_allclose(unbiased(k, h), expected, rtol=1e-10)


def test_the_kernels_are_those_of_scikit_learn():
    x, y = samples()
    h = np.eye(6) - 1 / 6
    for options, kernel in (
        (OPTIONS[0], lambda z: rbf_kernel(z, gamma=1 / (2 * 2.0**2))),
        (OPTIONS[4], Matern(length_scale=1.5, nu=0.5)),
    ):
        k, l_ = kernel(x.reshape(6, 4)), kernel(y)
        expected = np.trace(k @ h @ l_ @ h) / 25
        if options.get("estimator") == "unbiased":
            expected = unbiased(k, l_)
        np.testing.assert_allclose(
            compiled(jnp.float32(x), jnp.float32(y), **options), expected, rtol=1e-5
        )


def test_over_all_pairings_one_has_mean_zero_and_the_other_its_bias():
    x, y = samples(5)
    pairings = y[np.array(list(itertools.permutations(range(5))))]
    off = ~np.eye(5, dtype=bool)
    k, h = (kernel_matrix(z, sigma=2.0)[off].mean() for z in (x, y))
    for estimator, expected in (("biased", (1 - k) * (1 - h) / 4), ("unbiased", 0.0)):
        with jax.enable_x64(True):
            measure = functools.partial(hsic, sigma=2.0, estimator=estimator)
            values = np.asarray(jax.jit(jax.vmap(measure, (None, 0)))(x, pairings))
        np.testing.assert_allclose(values.mean(), expected, rtol=1e-10, atol=1e-15)
        assert values.std() > 1e-3


def test_on_independent_samples_the_bias_is_as_predicted():
    n, rounds, sigma = 8, 4000, 1.5
    x, y = np.random.default_rng(0).normal(size=(2, rounds, n, 1)).astype(np.float32)
    # x - x' is normal with variance 2, so E k = 1 / sqrt(1 + 2 / sigma^2)
    bias = (1 - (1 + 2 / sigma**2) ** -0.5) ** 2 / (n - 1)
    for estimator, expected in (("biased", bias), ("unbiased", 0.0)):
        measure = functools.partial(hsic, sigma=sigma, estimator=estimator)
        values = np.asarray(jax.jit(jax.vmap(measure))(x, y))
        error = values.std() / np.sqrt(rounds)
        assert error < bias / 50
        assert abs(values.mean() - expected) < 4 * error


def test_flattened_maps_under_the_literal_kernel_have_no_gradient_but_pooled_ones_do():
    rng = np.random.default_rng(0)
    x = np.float32(rng.normal(size=(8, 6, 6, 256)) + rng.normal(size=(8, 1, 1, 256)) / 3)
    y = np.float32(x + rng.normal(size=x.shape) / 2)
    value, (grad, _) = compiled_gradient(x, y)
    assert value == pytest.approx(1 / 7)  # of two identity matrices
    np.testing.assert_array_equal(grad, np.zeros(x.shape))
    x, y = x.mean(axis=(1, 2)), y.mean(axis=(1, 2))
    value, (grad, _) = compiled_gradient(x, y)
    assert value < 1 / 7
    assert np.linalg.norm(grad) > 1e-3


def test_wide_kernels_and_far_points_keep_their_digits_in_float32():
    x, y = samples()
    expected = reference(x, y, sigma=300.0, estimator="unbiased")
    got = compiled(jnp.float32(x), jnp.float32(y), sigma=300.0, estimator="unbiased")
    np.testing.assert_allclose(got, expected, rtol=1e-4)
    far = np.float32(x + 1000)
    got = compiled(far, jnp.float32(y), sigma=300.0, estimator="unbiased")
    expected = reference(np.float64(far), y, sigma=300.0, estimator="unbiased")
    np.testing.assert_allclose(got, expected, rtol=1e-4)


@pytest.mark.parametrize(
    "options", [{"sigma": 3.0}, {"kernel": "laplace", "bandwidth": "median"}, OPTIONS[5]]
)
def test_random_features_are_within_five_per_cent_at_4096(options):
    x, y = (jnp.float32(z) for z in samples(40))
    exact = compiled(x, y, **options)
    for seed in range(5):
        got = compiled(x, y, features=4096, rng=jax.random.key(seed), **options)
        np.testing.assert_allclose(got, exact, rtol=0.05)


def test_few_random_features_are_right_on_average():
    x, y = (jnp.float32(z) for z in samples(40))
    options = {"sigma": 3.0, "estimator": "unbiased"}
    keys = jax.random.split(jax.random.key(0), 400)
    few = jax.jit(jax.vmap(lambda key: hsic(x, y, features=16, rng=key, **options)))(keys)
    error = few.std() / 20
    assert error < 2e-4
    assert abs(few.mean() - reference(*samples(40), **options)) < 4 * error


HARDEST = [OPTIONS[3], OPTIONS[5], {**OPTIONS[2], "features": 6, "rng": jax.random.key(0)}]


@pytest.mark.parametrize("options", HARDEST)
def test_what_is_masked_is_as_if_it_were_not_there(options):
    x, y = (np.float32(z) for z in samples(9))
    mask = np.array([1, 1, 0, 1, 0, 1, 1, 0, 1], np.float32)
    keep = mask > 0
    value, grads = compiled_gradient(x[keep], y[keep], **options)
    x[~keep], y[~keep] = np.nan, np.inf
    got, by = compiled_gradient(x, y, **options, mask=mask)
    np.testing.assert_allclose(got, value, rtol=1e-5, atol=1e-8)
    for ours, expected in zip(by, grads, strict=True):
        np.testing.assert_allclose(ours[keep], expected, rtol=1e-4, atol=1e-7)
        np.testing.assert_array_equal(ours[~keep], np.zeros_like(ours[~keep]))
    nothing, by = compiled_gradient(x, y, **options, mask=np.zeros(9, np.float32))
    assert nothing == 0
    np.testing.assert_array_equal(by[0], np.zeros(x.shape))


@pytest.mark.parametrize("options", HARDEST)
def test_equal_examples_give_finite_values_and_gradients(options):
    x, y = (np.float32(z) for z in samples(5))
    pair = np.where(np.arange(5)[:, None, None] == 0, x[-1:], x)
    for case in (0 * x, 0 * x + 0.3, pair, np.float32(1e12) * x, np.float32(1e-12) * x):
        value, grads = compiled_gradient(case, y, **options)
        assert jnp.isfinite(value)
        assert all(jnp.isfinite(grad).all() for grad in grads)


@pytest.mark.parametrize(("n", "options"), [(1, OPTIONS[0]), (1, OPTIONS[3]), (3, OPTIONS[2])])
def test_a_batch_that_is_too_small_gives_zero(n, options):
    x, y = (jnp.float32(z) for z in samples(n))
    value, (grad, _) = compiled_gradient(x, y, **options)
    assert value == 0
    np.testing.assert_array_equal(grad, np.zeros(x.shape))


@pytest.mark.parametrize("options", HARDEST)
def test_gradients_are_those_of_the_values(options):
    with jax.enable_x64(True):
        x, y = (jnp.asarray(z) for z in samples(5))
        check_grads(jax.jit(functools.partial(hsic, **options)), (x, y), 1)


def test_bfloat16_is_taken_in_float32_and_compiling_changes_nothing():
    x, y = (jnp.bfloat16(z) for z in samples())
    got = hsic(x, y, mask=np.ones(6, bool), **OPTIONS[0])
    assert got.dtype == jnp.float32
    wide = compiled(x.astype(jnp.float32), y.astype(jnp.float32), **OPTIONS[0])
    np.testing.assert_allclose(got, wide, rtol=1e-5)


def test_wrong_arguments_are_refused():
    x, y = (jnp.float32(z) for z in samples())
    for match, call in {
        "leading axes": lambda: hsic(x, y[:3]),
        "y has shape": lambda: hsic(x, y[:, 0]),
        "mask": lambda: hsic(x, y, mask=np.ones((6, 1))),
        "x 6, mask 5": lambda: hsic(x, y, mask=np.ones(5)),
        "sigma": lambda: hsic(x, y, sigma=0.0),
        "kernel": lambda: hsic(x, y, kernel="linear"),
        "bandwidth=": lambda: hsic(x, y, bandwidth="max"),
        "scale_by_dim": lambda: hsic(x, y, bandwidth="mean", scale_by_dim=True),
        "estimator": lambda: hsic(x, y, estimator="plain"),
        "normalized=True": lambda: hsic(x, y, estimator="unbiased", normalized=True),
        "even": lambda: hsic(x, y, features=7, rng=jax.random.key(0)),
        "need rng": lambda: hsic(x, y, features=8),
    }.items():
        with pytest.raises(ValueError, match=match):
            call()
