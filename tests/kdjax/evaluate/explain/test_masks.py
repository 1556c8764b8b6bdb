"""Heat inside masks against what is counted by hand, and the interval of a mean against scikit-learn-free formulas."""

import itertools

import numpy as np
import pytest

from kdjax.evaluate.explain.masks import clustered_mean, heat_inside

rng = np.random.default_rng(0)


def test_counted_by_hand():
    heat = np.array([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 5.0], [0.0, 0.0]]])
    masks = np.array([[[0, 255], [0, 255]], [[255, 0], [0, 0]]], np.uint8)
    found = heat_inside(heat, masks)
    np.testing.assert_allclose(found.share, [0.6, 0.5])
    # two pixels are equally hot, one of them inside
    np.testing.assert_allclose(found.pointing, [1.0, 0.5])
    np.testing.assert_allclose(found.area, [0.5, 0.25])
    # of the first's heat 0.1 lies in the second's mask; of the second's the half at the top right in the first's
    np.testing.assert_allclose(found.elsewhere, [0.1, 0.5])


def test_even_heat_has_the_masks_area():
    masks = rng.uniform(size=(5, 8, 8)) > 0.7
    found = heat_inside(np.ones((5, 8, 8)), masks)
    np.testing.assert_allclose(found.share, masks.mean((1, 2)))
    np.testing.assert_allclose(found.pointing, masks.mean((1, 2)))


def test_heat_that_knows_nothing_of_the_image_follows_no_mask():
    heat = np.broadcast_to(rng.uniform(size=(8, 8)), (40, 8, 8))
    masks = rng.uniform(size=(40, 8, 8)) > rng.uniform(size=(8, 8))
    same, own = heat_inside(heat, masks), heat_inside(heat * masks, masks)
    assert same.share.mean() == pytest.approx(same.elsewhere.mean())
    assert (own.share - own.elsewhere).min() > 0.1
    # masks of reals, which are empty, are no masks of others
    with_reals = heat_inside(np.concatenate([heat, heat]), np.concatenate([masks, masks & False]))
    np.testing.assert_allclose(with_reals.elsewhere[:40], same.elsewhere)
    assert np.isnan(heat_inside(heat[:1], masks[:1]).elsewhere).all()


def test_masks_of_the_same_video_are_no_measure_of_what_lies_elsewhere():
    """Heat that is its mask follows it as much in videos of four frames as in single images."""
    masks = rng.uniform(size=(10, 8, 8)) > 0.5
    alone = heat_inside(masks.astype(float), masks)
    frames = np.repeat(masks, 4, axis=0)
    order = rng.permutation(40)
    videos = (3 * np.repeat(np.arange(10), 4))[order]
    found = heat_inside(frames[order].astype(float), frames[order], videos)
    np.testing.assert_allclose(found.elsewhere, np.repeat(alone.elsewhere, 4)[order])
    # an image of another video has no part in it when it has no mask
    more = np.concatenate([frames, frames & False])
    owners = np.concatenate([np.sort(videos), np.sort(videos) + 1])
    again = heat_inside(more.astype(float), more, owners)
    np.testing.assert_allclose(again.elsewhere[:40], np.repeat(alone.elsewhere, 4))
    assert np.isnan(heat_inside(frames[:4].astype(float), frames[:4], [7] * 4).elsewhere).all()
    with pytest.raises(ValueError, match="videos"):
        heat_inside(frames.astype(float), frames, [7])


def test_scale_does_not_matter():
    heat, masks = rng.uniform(size=(4, 6, 6)), rng.uniform(size=(4, 6, 6)) > 0.5
    for scale in (1e-300, 1e300):
        np.testing.assert_allclose(heat_inside(scale * heat, masks), heat_inside(heat, masks))


def test_without_heat_or_mask_there_is_no_number():
    heat = np.array([np.zeros((3, 3)), np.ones((3, 3))])
    masks = np.array([np.ones((3, 3)), np.zeros((3, 3))]).astype(bool)
    found = heat_inside(heat, masks)
    assert np.isnan(found.share).all()
    assert np.isnan(found.pointing).all()
    np.testing.assert_array_equal(found.area, [1.0, np.nan])
    assert [len(each) for each in heat_inside(np.zeros((0, 3, 3)), masks[:0])] == [0] * 4


def test_what_is_no_heat_is_refused():
    masks = np.ones((1, 2, 2), bool)
    with pytest.raises(ValueError, match="finite and at least 0"):
        heat_inside(-np.ones((1, 2, 2)), masks)
    with pytest.raises(ValueError, match="finite and at least 0"):
        heat_inside(np.full((1, 2, 2), np.nan), masks)
    with pytest.raises(ValueError, match="bool, or uint8 up to 255, not float64"):
        heat_inside(np.ones((1, 2, 2)), np.ones((1, 2, 2)))
    with pytest.raises(ValueError, match="shapes must be equal"):
        heat_inside(np.ones((1, 2, 3)), masks)


def test_the_mean_is_of_images_and_the_draws_are_of_videos():
    """Of two videos every resample can be written down."""
    values, videos = np.array([0.0, 0.2, 1.0]), np.array([7, 7, 3])
    found = clustered_mean(values, videos, resamples=4000)
    assert found.estimate == pytest.approx(0.4)
    means = {
        values[np.concatenate([np.flatnonzero(videos == each) for each in draw])].mean()
        for draw in itertools.product((3, 7), repeat=2)
    }
    assert found.low == pytest.approx(min(means))
    assert found.high == pytest.approx(max(means))


def test_of_single_images_it_is_near_students_interval():
    values = rng.normal(size=400)
    found = clustered_mean(values, np.arange(400))
    half = 1.966 * values.std(ddof=1) / 20
    np.testing.assert_allclose(
        (found.low, found.high), values.mean() + half * np.array([-1, 1]), atol=0.01
    )


def test_images_of_one_video_are_no_more_than_one():
    values = rng.normal(size=60)
    alone = clustered_mean(values, np.arange(60))
    repeated = clustered_mean(np.repeat(values, 5), np.repeat(np.arange(60), 5))
    np.testing.assert_allclose(repeated, alone)


def test_what_is_not_known_is_left_out():
    values = np.array([1.0, np.nan, 3.0, 2.0])
    assert clustered_mean(values, np.arange(4)).estimate == 2.0
    np.testing.assert_array_equal(
        clustered_mean(values, np.arange(4)), clustered_mean(values[[0, 2, 3]], np.arange(3))
    )
    assert np.isnan(clustered_mean([np.nan], [1])).all()
    one = clustered_mean([0.3, 0.5], [4, 4])
    assert one.estimate == pytest.approx(0.4)
    assert np.isnan(one[1:]).all()


@pytest.mark.slow
def test_intervals_hold_the_truth():
    """800 sets of 60 videos of one to six images each, alike within a video: 95 % of intervals hold the mean of all."""
    held = 0
    for seed in range(800):
        draws = np.random.default_rng(seed)
        videos = np.repeat(np.arange(60), draws.integers(1, 7, 60))
        values = draws.beta(0.4, 0.6, 60)[videos] * draws.uniform(0.8, 1.0, len(videos))
        found = clustered_mean(values, videos, resamples=500, seed=seed)
        held += found.low <= 0.4 * 0.9 <= found.high
    assert 0.93 <= held / 800 <= 0.97
