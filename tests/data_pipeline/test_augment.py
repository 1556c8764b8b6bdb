"""Augmentation: one draw an example, whatever the quality, the batch or the number of devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.data_pipeline import augment

KEY = jax.random.key(0)


def images(count=6, size=12):
    raw = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)
    return {"raw": raw, "c40": raw}


def candidates(image, size):
    """Returns every crop of an image, plain and mirrored, as float."""
    room = image.shape[0] - size
    for y in range(room + 1):
        for x in range(room + 1):
            crop = image[y : y + size, x : x + size] / np.float32(255)
            yield crop
            yield crop[:, ::-1]


def test_draw_is_a_crop_or_its_mirror_image():
    draw = augment.make_augment(9, flip=True, random_crop=True)
    given = images()
    out = draw(KEY, given, jnp.arange(6), jnp.int32(0))
    for source, result in zip(given["raw"], np.asarray(out["raw"]), strict=True):
        assert any(np.allclose(result, option, atol=1e-6) for option in candidates(source, 9))


def test_all_qualities_get_the_same_draw():
    out = augment.make_augment(9, flip=True, random_crop=True)(KEY, images(), jnp.arange(6), 3)
    np.testing.assert_array_equal(out["raw"], out["c40"])


def test_draw_depends_on_seed_epoch_and_index_alone():
    def run(seed=0, epoch=0, index=None):
        draw = augment.make_augment(9, flip=True, random_crop=True)
        index = jnp.arange(6) if index is None else index
        return np.asarray(draw(jax.random.key(seed), images(), index, jnp.int32(epoch))["raw"])

    np.testing.assert_array_equal(run(), run())
    assert not np.array_equal(run(), run(seed=1))
    assert not np.array_equal(run(), run(epoch=1))
    order = np.array([3, 1, 5, 0, 2, 4])
    draw = augment.make_augment(9, flip=True, random_crop=True)
    shuffled = {"raw": images()["raw"][order]}
    np.testing.assert_array_equal(draw(KEY, shuffled, order, jnp.int32(0))["raw"], run()[order])


def test_half_of_the_draws_are_mirrored():
    ramp = np.broadcast_to(np.arange(8, dtype=np.uint8)[None, None, :, None], (400, 8, 8, 3))
    draw = augment.make_augment(8, flip=True, random_crop=False)
    out = np.asarray(draw(jax.random.key(5), {"raw": ramp}, jnp.arange(400), jnp.int32(0))["raw"])
    mirrored = (out[:, 0, 0, 0] > out[:, 0, -1, 0]).mean()
    assert 0.4 < mirrored < 0.6


def test_without_augmentation_the_centre_is_taken():
    draw = augment.make_augment(8, flip=False, random_crop=False)
    given = images()
    out = draw(KEY, given, jnp.arange(6), jnp.int32(0))["raw"]
    np.testing.assert_allclose(out, given["raw"][:, 2:10, 2:10] / np.float32(255), atol=1e-6)


def test_compiled_draw_is_the_plain_one():
    draw = augment.make_augment(9, flip=True, random_crop=True)
    plain = draw(KEY, images(), jnp.arange(6), jnp.int32(0))
    compiled = jax.jit(draw)(KEY, images(), jnp.arange(6), jnp.int32(0))
    np.testing.assert_allclose(plain["raw"], compiled["raw"], atol=1e-6)


def test_crop_larger_than_the_images_is_refused():
    draw = augment.make_augment(16, flip=True, random_crop=True)
    with pytest.raises(ValueError, match=r"data\.image_size=16 is larger than the 12 px"):
        draw(KEY, images(), jnp.arange(6), 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_images_are_told_by_their_dtype(dtype):
    grey = np.full((1, 2, 2, 3), 128, np.uint8)
    np.testing.assert_array_equal(augment.to_float(jnp.asarray(grey)), np.float32(128) / 255)
    half = np.full((1, 2, 2, 3), 0.5, dtype)
    np.testing.assert_array_equal(augment.to_float(jnp.asarray(half)), np.float32(0.5))
    assert augment.check_images(half) is half
    assert augment.check_images(half.astype(np.float64)).dtype == np.float64
    assert augment.check_images(grey) is grey


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.full((1, 2, 2, 3), 128.0), r"must lie in \[0, 1\]; these lie in \[128, 128\]"),
        (np.full((1, 2, 2, 3), -0.5), r"these lie in \[-0\.5, -0\.5\]"),
        (np.full((1, 2, 2, 3), np.nan), r"these lie in \[nan, nan\]"),
        (np.full((1, 2, 2, 3), 1), "must be uint8 or floating point numbers"),
        (np.full((2, 2, 3), 0.5), r"must be square, \[N, S, S, 3\]; they are \[2, 2, 3\]"),
        (np.full((1, 3, 2, 2), 0.5), r"must be square, \[N, S, S, 3\]"),
        (np.full((1, 3, 2, 3), 0.5), r"must be square, .* they are \[1, 3, 2, 3\]"),
    ],
)
def test_images_that_are_neither_are_refused(images, message):
    with pytest.raises((TypeError, ValueError), match=message):
        augment.check_images(images)


@pytest.mark.parametrize("shape", [(1, 12, 10, 3), (1, 10, 12, 3)])
def test_images_that_are_not_square_are_not_cropped(shape):
    oblong = np.zeros(shape, np.uint8)
    with pytest.raises(ValueError, match="must be square"):
        augment.center_crop(oblong, 8)
    draw = augment.make_augment(8, flip=True, random_crop=True)
    with pytest.raises(ValueError, match="must be square"):
        draw(KEY, {"raw": oblong}, jnp.arange(1), 0)


def test_images_smaller_than_the_crop_are_refused_without_a_data_set():
    with pytest.raises(ValueError, match="the images are 12 px, smaller than the 16 px") as caught:
        augment.center_crop(images()["raw"], 16)
    assert "prepare" not in str(caught.value)


def test_integers_that_are_no_bytes_are_refused_in_a_compiled_function():
    with pytest.raises(TypeError, match="not int32"):
        jax.jit(augment.to_float)(jnp.zeros((1, 2, 2, 3), jnp.int32))


def test_an_augmentation_of_ones_own_sees_each_example_with_a_key_of_its_own():
    def own(image, key, step):
        return image * 0 + jax.random.uniform(key) + step

    draw = augment.make_augment(9, flip=False, random_crop=False, own=own)
    given = {"raw": images()["raw"], "c40": images()["raw"]}
    out = draw(KEY, given, jnp.arange(6), 3, 10)
    values = np.asarray(out["raw"])[:, 0, 0, 0]
    assert len(set(values.tolist())) == 6
    assert (values >= 10).all()
    np.testing.assert_array_equal(out["raw"], out["c40"])
    # by index and epoch, whatever the batch
    alone = draw(KEY, {"raw": given["raw"][4:5]}, jnp.array([4]), 3, 10)
    np.testing.assert_array_equal(alone["raw"][0], out["raw"][4])
    assert not np.array_equal(draw(KEY, given, jnp.arange(6), 4, 10)["raw"], out["raw"])


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (lambda image, key, step: image[:-1], r"as it was given, float32 \[9, 9, 3\]; it returns"),
        (lambda image, key, step: image.astype(jnp.int32), "it returns int32"),
        (lambda image, key, step: (image, key), "it returns a tuple"),
    ],
)
def test_an_augmentation_that_returns_something_else_is_refused(own, message):
    draw = augment.make_augment(9, flip=False, random_crop=False, own=own)
    with pytest.raises(ValueError, match=message):
        draw(KEY, images(), jnp.arange(6), 3)
