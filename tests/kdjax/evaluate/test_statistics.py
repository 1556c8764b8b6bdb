"""Intervals, bootstrap and correction against SciPy, scikit-learn and plain loops."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from kdjax.evaluate import statistics
from kdjax.evaluate.statistics import (
    Comparison,
    Interval,
    compare,
    holm,
    mean_interval,
    paired_bootstrap,
    resampled_auc,
    video_draws,
    weighted_auc,
)

rng = np.random.default_rng(0)


def images(videos=12, frames=3, seeds=4, gain=1.0):
    """Returns scores [seeds, N] of a detector of some gain, labels and videos; with ties."""
    video = np.repeat(np.arange(videos), frames)
    labels = video % 2
    scores = rng.normal(size=(seeds, len(video))) + gain * labels
    return scores.round(1), labels, video


def test_mean_interval_is_scipys():
    values = rng.normal(size=7)
    low, high = stats.t.interval(0.95, 6, loc=values.mean(), scale=stats.sem(values))
    np.testing.assert_allclose(mean_interval(values), (values.mean(), low, high), rtol=1e-12)


def test_bounds_are_cut_where_the_mean_cannot_be():
    low, high = mean_interval([0.9, 0.99, 1.0])[1:]
    assert 0 < low < 0.9 < 1 < high
    assert mean_interval([0.9, 0.99, 1.0], limits=(0.0, 1.0))[1:] == (low, 1.0)


def test_mean_interval_of_one_value_has_no_width():
    assert mean_interval([0.7]).estimate == 0.7
    assert all(math.isnan(bound) for bound in mean_interval([0.7])[1:])


@pytest.mark.parametrize("values", [[], [0.5, math.nan]])
def test_mean_interval_of_nothing_or_nan_is_nan(values):
    assert all(map(math.isnan, mean_interval(values)))


def test_equal_values_have_an_interval_of_no_width():
    assert mean_interval([0.25] * 4) == (0.25, 0.25, 0.25)


def test_weighted_auc_is_scikit_learns():
    scores, labels, _ = images(videos=40)
    weights = rng.integers(0, 4, labels.size)
    expected = roc_auc_score(labels, scores[0], sample_weight=weights)
    np.testing.assert_allclose(weighted_auc(scores[0], labels, weights), expected, rtol=1e-12)
    np.testing.assert_allclose(weighted_auc(scores[0], labels), roc_auc_score(labels, scores[0]))


def test_weighted_auc_of_one_class_is_nan():
    assert math.isnan(weighted_auc([0.1, 0.9], [1, 1]))
    assert math.isnan(weighted_auc([0.1, 0.9], [0, 1], [0, 1]))


def test_resampled_auc_is_scikit_learns_on_each_resample():
    scores, labels, video = images()
    # a video of both classes, as a real one and its forged version under one id
    video = np.where(video == 5, 4, video)
    ids = np.unique(video)
    draws = video_draws(len(ids), resamples=20)
    found = resampled_auc(scores[0], labels, video, draws)
    for auc, drawn in zip(found, draws, strict=True):
        rows = np.concatenate(
            [np.tile(np.flatnonzero(video == v), int(n)) for v, n in zip(ids, drawn, strict=True)]
        )
        np.testing.assert_allclose(auc, roc_auc_score(labels[rows], scores[0][rows]), rtol=1e-12)


def test_resample_without_a_class_has_no_auc():
    draws = np.array([[2, 0], [1, 1]], np.float32)
    found = resampled_auc([0.1, 0.9], [0, 1], [3, 8], draws)
    np.testing.assert_array_equal(found, [math.nan, 1.0])


def test_draws_resample_as_many_videos_as_there_are_and_repeat_by_seed():
    draws = video_draws(30, resamples=50, seed=1)
    assert (draws.sum(axis=1) == 30).all()
    np.testing.assert_array_equal(draws, video_draws(30, resamples=50, seed=1))
    assert (draws != video_draws(30, resamples=50, seed=2)).any()


def test_bootstrap_interval_is_that_of_a_plain_loop():
    method, labels, video = images(gain=1.5)
    baseline, _, _ = images(gain=1.0)
    found = paired_bootstrap(method, baseline, labels, video, resamples=400)
    loop = np.random.default_rng(7)
    differences = []
    for _ in range(1000):
        seeds = loop.integers(0, 4, 4)
        chosen = loop.integers(0, 12, 12)
        rows = np.concatenate([np.flatnonzero(video == v) for v in chosen])
        if len(set(labels[rows])) == 2:
            each = [
                roc_auc_score(labels[rows], method[s][rows])
                - roc_auc_score(labels[rows], baseline[s][rows])
                for s in seeds
            ]
            differences.append(np.mean(each))
    low, high = np.quantile(differences, (0.025, 0.975))
    expected = np.mean(
        [
            roc_auc_score(labels, m) - roc_auc_score(labels, b)
            for m, b in zip(method, baseline, strict=True)
        ]
    )
    np.testing.assert_allclose(found.bootstrap.estimate, expected, rtol=1e-12)
    # two draws of one distribution: its width is about 0.4
    np.testing.assert_allclose(found.bootstrap[1:], (low, high), atol=0.05)


def test_bootstrap_repeats_by_seed():
    method, labels, video = images()
    baseline, _, _ = images()
    first = paired_bootstrap(method, baseline, labels, video, resamples=50, seed=3)
    assert first == paired_bootstrap(method, baseline, labels, video, resamples=50, seed=3)
    assert first != paired_bootstrap(method, baseline, labels, video, resamples=50, seed=4)


def test_better_method_is_shown_and_a_worse_one_too():
    method, labels, video = images(videos=60, gain=3.0)
    baseline, _, _ = images(videos=60, gain=0.0)
    better = paired_bootstrap(method, baseline, labels, video, resamples=200)
    assert (better.sign, better.p_value) == (1, 2 / 201)
    assert paired_bootstrap(baseline, method, labels, video, resamples=200).sign == -1


def test_identical_methods_differ_by_nothing_for_sure():
    scores, labels, video = images()
    found = paired_bootstrap(scores, scores, labels, video, resamples=50)
    assert found == Comparison(4, Interval(0.0, 0.0, 0.0), Interval(0.0, 0.0, 0.0), 1.0)
    assert found.sign == 0


def test_one_seed_has_a_bootstrap_over_videos_and_shows_nothing():
    method, labels, video = images(seeds=1, videos=60, gain=3.0)
    baseline, _, _ = images(seeds=1, videos=60, gain=0.0)
    found = paired_bootstrap(method, baseline, labels, video, resamples=200)
    assert found.bootstrap.low > 0
    assert math.isnan(found.over_seeds.low)
    assert found.sign == 0


def test_one_class_alone_has_neither_interval_nor_p():
    scores, _, video = images()
    found = paired_bootstrap(scores, scores, np.ones(len(video), int), video, resamples=20)
    assert math.isnan(found.bootstrap.estimate)
    assert math.isnan(found.bootstrap.low)
    assert math.isnan(found.p_value)


def test_resamples_without_an_auc_are_left_out_until_they_are_most():
    whole = np.array([[0.1, 0.2, 0.3, np.nan]])
    found = compare([0.9], [0.7], whole, np.zeros((1, 4)))
    assert 0.1 <= found.bootstrap.low <= found.bootstrap.high <= 0.3
    half_gone = np.array([[0.1, np.nan, np.nan, np.nan]])
    assert math.isnan(compare([0.9], [0.7], half_gone, np.zeros((1, 4))).p_value)


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="1 of 2 scores are not finite"):
        weighted_auc([0.1, math.nan], [0, 1])
    with pytest.raises(ValueError, match="not finite"):
        resampled_auc([0.1, math.inf], [0, 1], [0, 1], np.ones((1, 2), np.float32))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"draws has shape \(1, 3\) for 2 videos"):
        resampled_auc([0.1, 0.2], [0, 1], [0, 1], np.ones((1, 3), np.float32))
    with pytest.raises(ValueError, match="2 seeds"):
        compare([0.9, 0.8], [0.7, 0.7], np.zeros((1, 4)), np.zeros((1, 4)))
    with pytest.raises(ValueError, match="number of seeds"):
        compare([], [], np.zeros((0, 4)), np.zeros((0, 4)))


def test_holm_is_computed_by_hand():
    # sorted .01, .02, .03, .04: times 4, 3, 2, 1 is .04, .06, .06, .04, and none below the one before
    np.testing.assert_allclose(holm([0.03, 0.01, 0.04, 0.02]), [0.06, 0.04, 0.06, 0.06])


def test_holm_ends_at_one_and_does_not_count_what_was_not_compared():
    assert holm([]) == []
    np.testing.assert_allclose(holm([0.6, 0.7]), [1.0, 1.0])
    np.testing.assert_array_equal(holm([math.nan, 0.02, 0.03]), [math.nan, 0.04, 0.04])


def test_counts_are_exact_in_either_precision(monkeypatch):
    scores, labels, video = images(videos=30)
    draws = video_draws(30, resamples=40)
    single = resampled_auc(scores[0], labels, video, draws)
    # all at once or in pieces, single or double: the same bits
    monkeypatch.setattr(statistics, "_CHUNK", 7)
    np.testing.assert_array_equal(resampled_auc(scores[0], labels, video, draws * 1.0), single)
    double = resampled_auc(scores[0], labels, video, draws.astype(np.float64))
    np.testing.assert_array_equal(double, single)
