import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from kdjax import losses

OFFICIAL = np.load(Path(__file__).with_name("official_add.npz"), allow_pickle=False)
SHAPE = (2, 3, 5, 8)


STATIC = ("bins", "coordinates", "spatial", "mode")
view_density = jax.jit(losses.view_density, static_argnames=STATIC)
view_densities = jax.jit(losses.view_densities, static_argnames=STATIC)
sliced_wasserstein = jax.jit(losses.sliced_wasserstein, static_argnames="cost")


def maps(shape=SHAPE, scale=1.0, seed=0):
    return np.random.default_rng(seed).normal(size=shape) * scale


def random_directions(count=6, seed=1):
    drawn = np.float32(np.random.default_rng(seed).normal(size=(count, 3)))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def density_reference(features, directions, bins, normalized=False):
    """The definition of the views, entry by entry, in float64."""
    batch, height, width, channels = features.shape
    units = [max(n - 1, 1) if normalized else 1 for n in (channels, width, height)]
    result = np.zeros((batch, len(directions), bins))
    for v, theta in enumerate(np.float64(directions)):
        projection = np.zeros((height, width, channels))
        for y, x, c in np.ndindex(projection.shape):
            projection[y, x, c] = theta @ [c / units[0], x / units[1], y / units[2]]
        low, high = projection.min(), projection.max()
        for b in range(batch):
            density = features[b] ** 2 / (features[b] ** 2).sum()
            for place in np.ndindex(projection.shape):
                j = int((projection[place] - low) * bins / (high - low))
                result[b, v, min(j, bins - 1)] += density[place]
    return result


@pytest.mark.parametrize(("coordinates", "bins"), [("index", 4), ("index", 7), ("normalized", 5)])
def test_each_view_is_the_binned_projection(coordinates, bins):
    features, directions = maps(), random_directions()
    expected = density_reference(features, directions, bins, coordinates == "normalized")
    got = view_density(jnp.float32(features), directions, bins=bins, coordinates=coordinates)
    assert got.shape == (2, 6, bins)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-8)
    with jax.enable_x64(True):
        got = view_density(jnp.asarray(features), directions, bins=bins, coordinates=coordinates)
        assert got.dtype == jnp.float64
        np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-15)


def test_no_entry_of_a_large_map_falls_into_a_wrong_bin():
    shape = (1, 8, 8, 128)
    features, directions = maps(shape), random_directions(12)
    y, x, c = np.indices(shape[1:]).astype(np.float64)
    got = view_density(jnp.float32(features), directions, bins=64)
    density = (features**2 / (features**2).sum()).reshape(-1)
    for view, theta in zip(got[0], np.float64(directions), strict=True):
        projection = (theta[0] * c + theta[1] * x + theta[2] * y).reshape(-1)
        expected, _ = np.histogram(projection, bins=64, weights=density)
        np.testing.assert_allclose(view, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("direction", "axis", "sign"),
    [(0, 3, 1), (1, 2, 1), (2, 1, 1), (0, 3, -1), (1, 2, -1), (2, 1, -1)],
)
def test_a_direction_along_an_axis_gives_that_axis_attention(direction, axis, sign):
    features = jnp.float32(maps())
    theta = sign * np.eye(3, dtype=np.float32)[direction][None]
    length = features.shape[axis]
    others = tuple({1, 2, 3} - {axis})
    attention = (features**2).sum(others) / (features**2).sum((1, 2, 3))[:, None]
    got = view_density(features, theta, bins=length)[:, 0]
    np.testing.assert_allclose(got, attention[:, ::sign], rtol=1e-5)


@pytest.mark.parametrize("channels", [4, 7, 16, 64])
def test_channel_attention_in_half_as_many_bins_adds_up_neighbours(channels):
    features = jnp.float32(maps((2, 3, 3, channels)))
    attention = np.asarray((features**2).sum((1, 2)) / (features**2).sum((1, 2, 3))[:, None])
    bins = max(2, channels // 2)
    expected = np.zeros((2, bins))
    for c in range(channels):
        expected[:, min(c * bins // (channels - 1), bins - 1)] += attention[:, c]
    got = view_density(features, np.float32([[1, 0, 0]]))[:, 0]
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_each_view_sums_to_one_whatever_the_scale():
    directions = random_directions()
    expected = view_density(jnp.float32(maps()), directions)
    for scale in (1e-10, 1e10, 1e30):
        got = view_density(jnp.float32(maps(scale=scale)), directions)
        np.testing.assert_allclose(got.sum(-1), np.ones((2, 6)), rtol=1e-5)
        np.testing.assert_allclose(got, expected, rtol=1e-4)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
def test_values_and_gradients_are_finite_at_any_size(scale):
    def loss(features):
        density = view_density(features, random_directions())
        return sliced_wasserstein(density, jnp.full_like(density, 0.25)).sum()

    value, grad = jax.jit(jax.value_and_grad(loss))(jnp.float32(maps(scale=scale)))
    assert jnp.isfinite(value)
    assert jnp.isfinite(grad).all()
    if scale == 0:
        np.testing.assert_array_equal(grad, np.zeros(SHAPE))


@pytest.mark.parametrize(
    "options", [{}, {"coordinates": "normalized"}, {"spatial": (2, 3)}, {"mode": "official"}]
)
def test_gradients_are_those_of_the_values(options):
    with jax.enable_x64(True):
        view = jax.jit(functools.partial(losses.view_density, **options))
        check_grads(lambda x: view(x, random_directions(3)), (jnp.asarray(maps()),), 1)


def test_directions_take_no_gradient():
    def loss(d):
        return view_density(jnp.float32(maps()), d)[0, 0, 0]

    np.testing.assert_array_equal(jax.grad(loss)(random_directions()), np.zeros((6, 3)))


def test_bfloat16_maps_are_taken_in_float32():
    features = jnp.bfloat16(maps())
    got = view_density(features, random_directions())
    assert got.dtype == jnp.float32
    wide = view_density(features.astype(jnp.float32), random_directions())
    np.testing.assert_array_equal(got, wide)


def test_a_map_of_one_position_lies_in_the_first_bin():
    got = view_density(jnp.ones((1, 1, 1, 1)), random_directions(2), bins=3)
    np.testing.assert_array_equal(got, [[[1, 0, 0]] * 2])


def test_maps_of_other_size_are_summed_to_the_smaller_grid():
    student, teacher = jnp.float32(maps((2, 6, 4, 8))), jnp.float32(maps((2, 3, 8, 8), seed=2))
    directions = random_directions()
    got = view_densities(student, teacher, directions)
    energy = np.sqrt((student**2).reshape(2, 3, 2, 4, 8).sum(2))
    np.testing.assert_allclose(got[0], view_density(energy, directions), rtol=1e-5)
    energy = np.sqrt((teacher**2).reshape(2, 3, 4, 2, 8).sum(3))
    np.testing.assert_allclose(got[1], view_density(energy, directions), rtol=1e-5)


def test_compiling_changes_nothing():
    features, directions = jnp.float32(maps((2, 8, 8, 32))), random_directions()
    plain = losses.view_density(features, directions)
    np.testing.assert_allclose(view_density(features, directions), plain, rtol=1e-5)


def test_distances_are_averaged_over_the_views():
    student, teacher = np.random.default_rng(3).uniform(size=(2, 4, 3, 5))
    squared = ((student - teacher) ** 2).sum(-1).mean(-1)
    transport = np.abs(np.cumsum(student - teacher, axis=-1)).sum(-1).mean(-1)
    got = sliced_wasserstein(jnp.float32(student), jnp.float32(teacher))
    np.testing.assert_allclose(got, squared, rtol=1e-5)
    got = sliced_wasserstein(jnp.float32(student), jnp.float32(teacher), cost="transport")
    np.testing.assert_allclose(got, transport, rtol=1e-5)


def test_transport_is_the_wasserstein_distance_in_bin_widths():
    from scipy.stats import wasserstein_distance

    student, teacher = np.random.default_rng(3).dirichlet(np.ones(6), size=2)
    got = sliced_wasserstein(
        jnp.float32(student)[None, None], jnp.float32(teacher)[None, None], cost="transport"
    )
    places = np.arange(6)
    np.testing.assert_allclose(
        got, [wasserstein_distance(places, places, student, teacher)], rtol=1e-5
    )


@pytest.mark.parametrize("cost", ["squared", "transport"])
def test_equal_densities_have_no_distance_and_no_gradient(cost):
    density = view_density(jnp.float32(maps()), random_directions())

    def loss(d):
        return sliced_wasserstein(d, density, cost=cost).sum()

    value, grad = jax.jit(jax.value_and_grad(loss))(density)
    assert value == 0
    np.testing.assert_array_equal(grad, np.zeros(density.shape))


@pytest.mark.parametrize("cost", ["squared", "transport"])
def test_gradients_of_the_distance_are_those_of_its_values(cost):
    with jax.enable_x64(True):
        student, teacher = jnp.asarray(np.random.default_rng(4).uniform(size=(2, 2, 3, 4)))

        distance = functools.partial(losses.sliced_wasserstein, cost=cost)
        check_grads(jax.jit(distance), (student, teacher), 1)


def test_directions_are_uniform_on_the_sphere():
    drawn = np.asarray(losses.directions(jax.random.key(0), 20000))
    assert drawn.shape == (20000, 3)
    np.testing.assert_allclose((drawn**2).sum(1), np.ones(20000), rtol=1e-5)
    np.testing.assert_allclose(drawn.mean(0), np.zeros(3), atol=0.02)
    # Archimedes: every coordinate of a uniform point on the sphere is uniform on [-1, 1].
    for axis in range(3):
        np.testing.assert_allclose(
            np.quantile(drawn[:, axis], [0.1, 0.25, 0.5, 0.9]), [-0.8, -0.5, 0, 0.8], atol=0.03
        )


def official_reference(features, directions, bins):
    """What the published code does: positions of the sorted projection used on unsorted sums."""
    batch, height, width, channels = features.shape
    places = np.indices((channels, height, width)).reshape(3, -1)
    result = np.zeros((batch, len(directions), bins - 1))
    for v, theta in enumerate(directions):
        projection = np.sort(theta @ places)
        low, high = projection[0], projection[-1]
        for b in range(batch):
            energy = features[b].transpose(2, 0, 1).reshape(-1) ** 2
            sums = np.cumsum(energy / energy.sum())
            before = 0.0
            for j in range(1, bins):
                after = sums[np.searchsorted(projection, low + (high - low) * j / bins)]
                result[b, v, j - 1] = after - before
                before = after
    return result


@pytest.mark.parametrize("channels", [8, 10])
def test_official_mode_reads_unsorted_sums_and_loses_the_last_bin(channels):
    features, directions = OFFICIAL[f"student_{channels}"], OFFICIAL[f"directions_{channels}"]
    bins = channels // 2
    got = view_density(features, directions, bins=bins, mode="official")
    expected = official_reference(np.float64(features), np.float64(directions), bins)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)


def test_wrong_arguments_are_refused():
    features, directions = jnp.float32(maps()), random_directions()
    for match, call in {
        "features": lambda: losses.view_density(features[0], directions),
        r"\[V, 3\]": lambda: losses.view_density(features, directions[:, :2]),
        "bins": lambda: losses.view_density(features, directions, bins=0),
        "coordinates": lambda: losses.view_density(features, directions, coordinates="pixels"),
        "mode": lambda: losses.view_density(features, directions, mode="sorted"),
        "adapter": lambda: losses.view_densities(features, features[..., :4], directions),
        "count": lambda: losses.directions(jax.random.key(0), 0),
        "shapes": lambda: losses.sliced_wasserstein(features[0], features[0][:, :2]),
        "cost": lambda: losses.sliced_wasserstein(features[0], features[0], cost="l1"),
    }.items():
        with pytest.raises(ValueError, match=match):
            call()
