"""Self-blended forgeries: what changes, where, and that a seed decides it all."""

import cv2
import numpy as np
import pytest

from kdjax.data_pipeline import forge
from kdjax.data_pipeline.faces import Box

BOX = Box(20, 10, 70, 60)
SEEDS = range(30)


@pytest.fixture(scope="module")
def frames(make):
    return make.moving_frames(3, 80, 96)


def changed(before, after):
    return (before != after).any(axis=-1)


def test_a_seed_decides_everything(frames):
    first, mask = forge.self_blend(frames, BOX, seed=3)
    again, mask_again = forge.self_blend(frames, BOX, seed=3)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(mask, mask_again)
    assert (first != forge.self_blend(frames, BOX, seed=4)[0]).any()


def test_shapes_types_and_mask_values(frames):
    forged, mask = forge.self_blend(frames, BOX, seed=0)
    assert forged.shape == frames.shape
    assert forged.dtype == mask.dtype == np.uint8
    assert mask.shape == (80, 96)
    assert set(np.unique(mask)) == {0, 255}


def test_the_given_frames_are_left_alone(frames):
    before = frames.copy()
    forge.self_blend(frames, BOX, seed=0)
    np.testing.assert_array_equal(frames, before)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_region_lies_on_the_face_and_its_pixels_change(frames, seed):
    forged, mask = forge.self_blend(frames, BOX, seed=seed)
    rows, columns = np.nonzero(mask)
    assert abs(columns.mean() - 45) < 12
    assert 10 < rows.mean() < 62
    assert 0.05 < len(rows) / BOX.area < 1.2
    inside = changed(frames, forged)[:, mask == 255]
    assert inside.mean() > 0.5


def test_in_some_the_surroundings_stay_and_in_some_they_are_what_is_altered(frames):
    far = np.ones((80, 96), bool)
    far[0:76, 4:90] = False
    kept = [
        not changed(frames, forge.self_blend(frames, BOX, seed=seed)[0])[:, far].any()
        for seed in SEEDS
    ]
    assert 8 <= sum(kept) <= 22


def test_every_frame_of_a_clip_is_forged_alike(frames):
    forged, mask = forge.self_blend(frames, BOX, seed=1)
    for index in range(3):
        alone, mask_alone = forge.self_blend(frames[index : index + 1], BOX, seed=1)
        np.testing.assert_array_equal(alone[0], forged[index])
        np.testing.assert_array_equal(mask_alone, mask)


def test_colours_change_as_the_alteration_says():
    grey = np.full((20, 20, 3), 100, np.uint8)
    alteration = forge.Alteration(np.array([10, 0, -5], np.float32), 1.5, 1.0, 0.5)
    # 128 + 1.5 * (100 - 128) = 86; a flat picture has nothing to sharpen or desaturate.
    np.testing.assert_array_equal(forge.alter(grey, alteration)[5, 5], [96, 86, 81])


@pytest.mark.parametrize(("sharpness", "direction"), [(-2.0, -1), (1.5, 1)])
def test_sharpness_rises_and_falls(frames, sharpness, direction):
    alteration = forge.Alteration(np.zeros(3, np.float32), 1.0, 1.0, sharpness)

    def detail(image):
        return np.abs(np.diff(image.astype(float), 2, axis=1)).mean()

    noise = np.random.default_rng(0).integers(60, 190, (64, 64, 3)).astype(np.uint8)
    assert direction * (detail(forge.alter(noise, alteration)) - detail(noise)) > 5


def test_no_saturation_is_grey(frames):
    alteration = forge.Alteration(np.zeros(3, np.float32), 1.0, 0.0, 0.001)
    altered = forge.alter(frames[0], alteration).astype(int)
    assert np.ptp(altered, axis=-1).max() <= 1


def test_a_face_at_the_border_is_forged_too(frames):
    forged, mask = forge.self_blend(frames, Box(-20, 50, 30, 100), seed=2)
    assert mask.any()
    assert changed(frames, forged).any()


def test_one_frame_without_its_axis_is_refused(frames):
    with pytest.raises(ValueError, match="4 axes"):
        forge.self_blend(frames[0], BOX, seed=0)


def test_sharpness_is_multiplied_and_once_is_as_before(frames):
    before, mask = forge.self_blend(frames, BOX, seed=3)
    same, same_mask = forge.self_blend(frames, BOX, seed=3, sharpness=1.0, grid=0.0)
    more, more_mask = forge.self_blend(frames, BOX, seed=3, sharpness=3.0)
    np.testing.assert_array_equal(same, before)
    np.testing.assert_array_equal(same_mask, mask)
    np.testing.assert_array_equal(more_mask, mask)
    assert (more != before).any()


def test_a_grid_lies_on_the_region_alone_and_alternates(frames):
    differences = []
    for seed in SEEDS:
        plain, mask = forge.self_blend(frames, BOX, seed=seed)
        traced, _ = forge.self_blend(frames, BOX, seed=seed, grid=20.0)
        difference = traced.astype(int) - plain
        assert not difference[:, cv2.dilate(mask, np.ones((41, 41))) == 0].any()
        inside = difference[0, 20:50, 30:60]
        assert (inside[1:] * inside[:-1]).mean() <= 0
        differences.append(np.abs(inside).mean())
    assert np.ptp(differences) > 5
