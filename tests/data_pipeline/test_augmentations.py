"""Augmentations on the device beside OpenCV and NumPy; their draws are of the key alone."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from kdjax.data_pipeline import augment, augmentations
from kdjax.data_pipeline import jpeg as codec

STEP = jnp.int32(0)
FACTORIES = augmentations.SHIPPED


def picture(side=32, seed=0):
    drawn = np.random.default_rng(seed).uniform(0, 1, (side, side, 3))
    return np.clip(0.5 + 4 * (cv2.GaussianBlur(drawn, (0, 0), 2) - 0.5), 0, 1).astype(np.float32)


@pytest.mark.parametrize("name", FACTORIES)
def test_one_draw_an_example_whatever_its_quality_and_batch(name):
    own = FACTORIES[name](chance=1.0)
    apply = jax.jit(augment.make_augment(32, flip=False, random_crop=False, own=own))
    images = jnp.stack([picture(seed=k) for k in range(4)])
    index, key = jnp.arange(4), jax.random.key(1)
    found = apply(key, {"raw": images, "again": images}, index, 3)
    np.testing.assert_array_equal(found["raw"], found["again"])
    alone = apply(key, {"raw": images[2:3]}, index[2:3], 3)
    np.testing.assert_allclose(alone["raw"][0], found["raw"][2], atol=2e-6)
    assert found["raw"].dtype == jnp.float32
    assert found["raw"].min() >= 0
    assert found["raw"].max() <= 1
    assert not np.allclose(found["raw"], images, atol=1e-3)
    later = apply(key, {"raw": images, "again": images}, index, 40)
    # of two factors the same may come again
    assert name == "downscale" or not np.array_equal(later["raw"], found["raw"])


@pytest.mark.parametrize("name", FACTORIES)
def test_four_devices_draw_as_one(name):
    apply = augment.make_augment(32, flip=True, random_crop=False, own=FACTORIES[name](chance=0.7))
    images = jnp.stack([picture(seed=k) for k in range(8)])
    index, key = jnp.arange(8) + 30, jax.random.key(1)
    one = jax.jit(apply)(key, {"raw": images}, index, 2, 5)["raw"]
    four = jax.pmap(apply, in_axes=(None, 0, 0, None, None))(
        key, {"raw": images.reshape(4, 2, 32, 32, 3)}, index.reshape(4, 2), 2, 5
    )["raw"]
    np.testing.assert_allclose(four.reshape(images.shape), one, atol=2e-6)


@pytest.mark.parametrize("name", [*FACTORIES, "turned"])
def test_gradients_are_finite_where_colours_are_grey_and_ends_are_met(name):
    own = (
        augmentations.colour(hue=0.5, chance=1.0)
        if name == "turned"
        else FACTORIES[name](chance=1.0)
    )
    ends = jnp.stack([jnp.zeros((8, 8)), jnp.ones((8, 8)), jnp.full((8, 8), 0.5)]).repeat(8, 1)
    image = jnp.broadcast_to(ends[..., None], (3, 64, 8, 3)).reshape(24, 64, 3)
    weights = jax.random.normal(jax.random.key(1), image.shape)
    slope = jax.jit(jax.grad(lambda x: jnp.sum(weights * own(x, jax.random.key(0), STEP))))(image)
    assert np.isfinite(slope).all()
    assert (slope != 0).any()


@pytest.mark.parametrize("name", FACTORIES)
def test_at_no_chance_nothing_happens_and_at_a_half_to_some(name):
    image, keys = jnp.asarray(picture()), jax.random.split(jax.random.key(0), 64)
    never = jax.jit(FACTORIES[name](chance=0.0))
    np.testing.assert_array_equal(never(image, keys[0], STEP), image)
    sometimes = FACTORIES[name](chance=0.5)
    changed = jax.jit(jax.vmap(lambda key: jnp.any(sometimes(image, key, STEP) != image)))(keys)
    assert 16 <= int(changed.sum()) <= 48
    with pytest.raises(ValueError, match=r"chance=1\.5"):
        FACTORIES[name](chance=1.5)


def test_jpeg_draws_its_quality_evenly_with_both_ends():
    image, keys = jnp.asarray(picture(16)), jax.random.split(jax.random.key(0), 24)
    own = jax.jit(jax.vmap(augmentations.jpeg(50, 52, chance=1.0), in_axes=(None, 0, None)))
    known = jax.jit(codec.jpeg)(jnp.stack([image] * 3), jnp.array([50, 51, 52]))
    found = np.asarray(own(image, keys, STEP))
    which = [int(np.argmin([np.abs(each - one).max() for one in known])) for each in found]
    assert all(np.abs(each - known[k]).max() < 1e-6 for each, k in zip(found, which, strict=True))
    assert set(which) == {0, 1, 2}
    for low, high in ((0, 50), (60, 50), (1, 101)):
        with pytest.raises(ValueError, match="1 <= low <= high <= 100"):
            augmentations.jpeg(low, high)


def test_blur_is_opencvs():
    image, key = picture(), jax.random.key(5)
    found = augmentations.blur(largest=2.0, chance=1.0)(jnp.asarray(image), key, STEP)
    sigma = 2.0 * float(jax.random.uniform(jax.random.split(key)[1]))
    expected = cv2.GaussianBlur(image, (13, 13), sigma, borderType=cv2.BORDER_REFLECT_101)
    assert np.abs(found - expected).max() < 1 / 255


def test_downscaling_is_opencvs():
    image = picture()
    for factor in (2, 4):
        own = augmentations.downscale(factors=(factor,), chance=1.0)
        found = own(jnp.asarray(image), jax.random.key(0), STEP)
        small = cv2.resize(image, (32 // factor,) * 2, interpolation=cv2.INTER_AREA)
        expected = cv2.resize(small, (32, 32), interpolation=cv2.INTER_LINEAR)
        assert np.abs(found - expected).max() < 1 / 255
    for factors in ((), (2, 0)):
        with pytest.raises(ValueError, match="whole numbers of at least 1"):
            augmentations.downscale(factors=factors)


def test_edges_are_repeated_where_a_factor_does_not_divide_the_side():
    image = picture(30)
    padded = cv2.copyMakeBorder(image, 0, 2, 0, 2, cv2.BORDER_REPLICATE)
    own = augmentations.downscale(factors=(4,), chance=1.0)
    found = own(jnp.asarray(image), jax.random.key(0), STEP)
    expected = own(jnp.asarray(padded), jax.random.key(0), STEP)[:30, :30]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_part_is_enlarged_as_scipy_interpolates_it():
    image, keys = picture(), jax.random.split(jax.random.key(0), 8)
    own = jax.jit(augmentations.resized_crop(smallest=0.3, ratio=2.0, chance=1.0))
    for key in keys:
        found = own(jnp.asarray(image), key, STEP)
        area, shape, *places = np.asarray(jax.random.uniform(jax.random.split(key)[1], (4,)))
        area, ratio = 0.3 + 0.7 * area, 2 ** (2 * shape - 1)
        sides = np.minimum(32, 32 * np.sqrt([area * ratio, area / ratio]))
        starts = (32 - sides) * places
        grid = np.meshgrid(
            *[
                start + side * (np.arange(32) + 0.5) / 32 - 0.5
                for start, side in zip(starts, sides, strict=True)
            ],
            indexing="ij",
        )
        for channel in range(3):
            expected = scipy.ndimage.map_coordinates(
                image[..., channel].astype(float), grid, order=1, mode="nearest"
            )
            np.testing.assert_allclose(found[..., channel], expected, atol=1e-4)
    for smallest, ratio in ((0.0, 1.0), (1.1, 1.0), (0.5, 0.9)):
        with pytest.raises(ValueError, match="0 < smallest <= 1 <= ratio"):
            augmentations.resized_crop(smallest, ratio)


def test_colours_are_changed_as_written():
    image, key = picture(), jax.random.key(2)
    found = augmentations.colour(0.1, 0.2, 0.3, 0.0, chance=1.0)(jnp.asarray(image), key, STEP)
    drawn = np.asarray(jax.random.uniform(jax.random.split(key)[1], (4,), minval=-1, maxval=1))
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    mixed = grey + (1 + 0.3 * drawn[2]) * (image - grey)
    expected = np.clip(0.1 * drawn[0] + (1 + 0.2 * drawn[1]) * (mixed - 0.5) + 0.5, 0, 1)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    own = augmentations.colour(0.0, 0.0, 0.0, 0.3, chance=1.0)
    np.testing.assert_allclose(
        own(jnp.asarray(image), key, STEP), opencvs_hue(image, 0.3 * drawn[3]), atol=1 / 255
    )


def opencvs_hue(image, turn):
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + 360 * turn) % 360
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


@pytest.mark.parametrize("turn", [-0.5, -0.2, 0.0, 0.1, 1 / 3, 0.5])
def test_hue_is_turned_as_by_opencv_and_greys_stay(turn):
    image = np.random.default_rng(0).uniform(0, 1, (16, 16, 3)).astype(np.float32)
    found = augmentations.turn_hue(jnp.asarray(image), turn)
    np.testing.assert_allclose(found, opencvs_hue(image, turn), atol=2e-3)
    grey = jnp.full((2, 2, 3), 0.4)
    np.testing.assert_allclose(augmentations.turn_hue(grey, turn), grey, atol=1e-6)
    # red becomes green a third of the circle on
    red = jnp.zeros((1, 1, 3)).at[..., 0].set(1.0)
    np.testing.assert_allclose(augmentations.turn_hue(red, 1 / 3)[0, 0], [0, 1, 0], atol=1e-5)


def test_noise_has_its_strength():
    image = jnp.full((64, 64, 3), 0.5)
    key = jax.random.key(3)
    found = augmentations.noise(largest=0.05, chance=1.0)(image, key, STEP)
    strength = jax.random.split(jax.random.split(key)[1])[0]
    sigma = 0.05 * float(jax.random.uniform(strength))
    assert float(jnp.std(found)) == pytest.approx(sigma, rel=0.05)
    assert float(jnp.mean(found)) == pytest.approx(0.5, abs=4 * sigma / 110)


def test_what_is_cut_out_is_a_grey_square():
    image, keys = jnp.zeros((32, 32, 3)), jax.random.split(jax.random.key(0), 40)
    own = augmentations.cutout(largest=0.5, chance=1.0)
    found = np.asarray(jax.vmap(lambda key: own(image, key, STEP))(keys))
    for each in found:
        rows, columns = np.nonzero(each[..., 0])
        assert set(np.unique(each)) <= {0.0, 0.5}
        if len(rows):
            assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
            assert max(np.ptp(rows), np.ptp(columns)) + 1 <= 17
    areas = (found[..., 0] > 0).sum((1, 2))
    assert areas.min() < 40 < 120 < areas.max()


def test_a_chain_gives_each_its_own_key():
    image, key = jnp.asarray(picture()), jax.random.key(7)
    one = augmentations.noise(chance=1.0)
    both = augmentations.chain(one, one)(image, key, STEP)
    expected = one(one(image, jax.random.fold_in(key, 0), STEP), jax.random.fold_in(key, 1), STEP)
    np.testing.assert_array_equal(both, expected)
