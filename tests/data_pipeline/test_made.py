"""Qualities that are made: JPEG beside libjpeg, drawn for each example and epoch."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.data_pipeline import augment, made
from kdjax.data_pipeline.prepared import open_dataset

KEY = jax.random.key(4)


def images(count=8, side=24):
    drawn = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
    return np.stack([cv2.GaussianBlur(each, (0, 0), 1.5) for each in drawn])


def libjpeg(image, quality):
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return cv2.imdecode(cv2.imencode(".jpg", image[..., ::-1], options)[1], cv2.IMREAD_COLOR)[
        ..., ::-1
    ]


def levels(found):
    return np.round(255 * np.asarray(found)).astype(int)


def quality_of(image, found):
    """Returns the one quality in which libjpeg makes `found` of an image."""
    (quality,) = [q for q in range(1, 101) if np.array_equal(libjpeg(image, q), found)]
    return quality


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("jpeg", True), ("jpeg1", True), ("jpeg50", True), ("jpeg100", True),
        ("jpeg0", False), ("jpeg101", False), ("jpeg07", False), ("jpegs", False), ("raw", False), ("", False),
    ],
)  # fmt: skip
def test_names(name, is_one):
    assert made.is_made(name, ("raw", "c40")) == is_one
    assert not made.is_made(name, ("raw", name))


def test_what_has_to_be_read():
    stored = ("raw", "c23", "c40")
    assert made.needed(("c40", "jpeg", "jpeg50"), stored) == ("c40", "raw")
    assert made.needed(("jpeg",), ("c40",)) == ("c40",)
    assert made.needed(("jpeg", "raw"), ("raw", "jpeg")) == ("jpeg", "raw")
    assert made.make_maker(("raw", "c40"), stored) is None


def test_a_fixed_quality_is_a_file_of_that_quality_cut_out_as_the_others_are():
    raw = images()
    files = np.stack([libjpeg(each, 40) for each in raw])
    make = made.make_maker(("jpeg40", "raw"), ("raw", "c40"))
    drawn = augment.make_augment(16, flip=True, random_crop=True, make=make)
    plain = augment.make_augment(16, flip=True, random_crop=True)
    given = {"raw": jnp.asarray(raw)}
    found = jax.jit(drawn)(KEY, given, jnp.arange(8), 3)
    assert list(found) == ["jpeg40", "raw"]
    expected = plain(KEY, {"raw": raw, "file": files}, jnp.arange(8), 3)
    np.testing.assert_array_equal(found["raw"], expected["raw"])
    np.testing.assert_array_equal(levels(found["jpeg40"]), levels(expected["file"]))


def test_the_best_is_read_for_it_and_not_seen():
    make = made.make_maker(("jpeg",), ("raw", "c40"))
    assert list(make(KEY, {"raw": images()}, jnp.arange(8), 0)) == ["jpeg"]


def test_the_draw_is_of_example_and_epoch_whatever_the_batch_and_the_devices():
    raw = images()
    make = jax.jit(made.make_maker(("jpeg",), ("raw",)))

    def qualities(chosen, epoch, key=KEY):
        found = make(key, {"raw": raw[chosen]}, jnp.asarray(chosen), epoch)["jpeg"]
        return [quality_of(raw[k], levels(each)) for k, each in zip(chosen, found, strict=True)]

    first = qualities(np.arange(8), 0)
    assert len(set(first)) > 3
    assert all(made.LOWEST <= quality <= made.HIGHEST for quality in first)
    assert qualities(np.array([5, 2]), 0) == [first[5], first[2]]
    assert qualities(np.arange(8), 1) != first
    assert qualities(np.arange(8), 0, jax.random.key(5)) != first
    whole = make(KEY, {"raw": raw}, jnp.arange(8), 0)["jpeg"]
    four = jax.pmap(make, in_axes=(None, 0, 0, None))(
        KEY, {"raw": raw.reshape(4, 2, *raw.shape[1:])}, jnp.arange(8).reshape(4, 2), 0
    )["jpeg"]
    np.testing.assert_array_equal(four.reshape(whole.shape), whole)


def test_an_augmented_batch_is_drawn_by_its_examples_and_epoch():
    raw, index = images(), np.array([9, 4, 31, 7, 2, 50, 11, 3])
    make = made.make_maker(("jpeg",), ("raw",))
    drawn = augment.make_augment(24, flip=False, random_crop=False, make=make)
    found = jax.jit(drawn)(KEY, {"raw": raw}, jnp.asarray(index), 6)["jpeg"]
    expected = jax.jit(make)(KEY, {"raw": raw}, jnp.asarray(index), 6)["jpeg"]
    np.testing.assert_array_equal(found, expected)


def test_all_qualities_are_drawn_alike():
    found = np.asarray(jax.jit(made._draw)(KEY, jnp.arange(7100), 0))
    values, counts = np.unique(found, return_counts=True)
    np.testing.assert_array_equal(values, np.arange(30, 101))
    # 100 of each expected; five standard deviations
    assert np.abs(counts - 100).max() < 50


def test_evaluation_sees_the_same_images_whatever_the_batch(tiny_dataset):
    dataset = open_dataset(tiny_dataset)

    def read(size):
        options = {"split": "test", "batch_size": size}
        batches = list(made.seen_batches(dataset, ("jpeg", "jpeg20", "c40"), **options))
        mask = np.concatenate([each["mask"] for each in batches]) > 0
        names = ("jpeg", "jpeg20", "c40", "raw")
        return {q: np.concatenate([each["image"][q] for each in batches])[mask] for q in names}

    by_eight, by_five = read(8), read(5)
    for quality, found in by_eight.items():
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, by_five[quality])
    for image, fixed, drawn in zip(*(by_eight[q] for q in ("raw", "jpeg20", "jpeg")), strict=True):
        np.testing.assert_array_equal(fixed, libjpeg(image, 20))
        assert made.LOWEST <= quality_of(image, drawn) <= made.HIGHEST
    (plain, *_) = made.seen_batches(dataset, ("c40",), split="test", batch_size=8)
    assert list(plain["image"]) == ["c40"]
