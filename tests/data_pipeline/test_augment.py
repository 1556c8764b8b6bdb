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
