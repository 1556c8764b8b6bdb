"""Resampled metrics and their intervals against weighted metrics, SciPy's bootstrap and simulation."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from kdjax.evaluate import bootstrap, resampling
from kdjax.evaluate.bootstrap import bca_interval, draw_parts, left_out
from kdjax.evaluate.evaluator import summarize
from kdjax.evaluate.intervals import (
    evaluation_intervals,
    evaluation_parts,
    group_intervals,
    mean_intervals,
    metric_intervals,
)
from kdjax.evaluate.metrics import set_metrics
from kdjax.evaluate.parts import Part
from kdjax.evaluate.probabilities import calibration_error
from kdjax.evaluate.resampling import RESAMPLED, resampled_metrics
from kdjax.evaluate.statistics import Interval, video_draws
from kdjax.evaluate.videos import video_metrics

rng = np.random.default_rng(0)


def frames(videos=40, count=4, gap=1.2, shared=0.6, rng=rng):
    """Returns scores, labels and ids; frames of a video resemble each other."""
    ids = np.repeat(np.arange(videos), count)
    labels = ids % 2
    noise = math.sqrt(shared) * rng.standard_normal(videos)[ids]
    noise += math.sqrt(1 - shared) * rng.standard_normal(len(ids))
    return 1 / (1 + np.exp(gap - 2 * (gap * labels + noise))), labels, ids


@pytest.mark.parametrize("steps", [7, 10**6])
@pytest.mark.parametrize("pairs", [0, 10**9])
def test_a_resample_has_the_metrics_of_its_weights(steps, pairs, monkeypatch):
    monkeypatch.setattr(resampling, "_PAIRS", pairs)
    monkeypatch.setattr(resampling, "_CELLS", 700)
    scores, labels, ids = frames()
    scores = np.round(scores * steps) / steps
    draws = video_draws(40, resamples=25)
    found = resampled_metrics(scores, labels, ids, draws)
    assert set(found) == set(RESAMPLED)
    for row, drawn in enumerate(draws):
        kept = drawn[ids] > 0
        expected = set_metrics(scores[kept], labels[kept], weights=drawn[ids][kept].astype(float))
        got = {name: values[row] for name, values in found.items()}
        assert got == pytest.approx({name: expected[name] for name in got}, rel=1e-9)


def test_a_resample_of_logits_is_that_of_their_probabilities():
    scores, labels, ids = frames()
    logits = np.log(scores / (1 - scores))
    draws = video_draws(40, resamples=9)
    found = resampled_metrics(logits, labels, ids, draws, logits=True)
    expected = resampled_metrics(scores, labels, ids, draws)
    for name in RESAMPLED:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9)


def test_a_resample_without_a_class_has_its_accuracy_alone():
    found = resampled_metrics(
        np.array([0.1, 0.9]), np.array([0, 1]), np.array([3, 8]), np.array([[2, 0], [1, 1]], float)
    )
    for name, values in found.items():
        assert math.isnan(values[0]) == (name not in ("accuracy", "accuracy_real")), name
        assert math.isfinite(values[1])


def test_the_bounds_are_scipys():
    values = rng.exponential(size=60)
    both = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=4000, rng=rng)
    draws = both.bootstrap_distribution
    without = np.array([np.delete(values, each).mean() for each in range(60)])
    found = bca_interval(float(values.mean()), draws, without)
    np.testing.assert_allclose(found[1:], both.confidence_interval, rtol=2e-3)
    few = bca_interval(float(values.mean()), draws, without, sample=60)
    width = math.sqrt(60 / 59) * stats.t.ppf(0.975, 59) / stats.norm.ppf(0.975)
    assert (few.high - few.low) / (found.high - found.low) == pytest.approx(width, rel=0.02)
    # far from those of the plain quantiles
    assert abs(found.high - np.quantile(draws, 0.975)) > 0.01


def test_the_interval_is_that_of_a_plain_loop():
    scores, labels, ids = frames()
    found = metric_intervals(scores, labels, ids, ("auc",), resamples=3000)["auc"]
    loop = np.random.default_rng(5)
    draws = []
    for _ in range(3000):
        rows = np.concatenate([np.flatnonzero(ids == v) for v in loop.integers(0, 40, 40)])
        draws.append(roc_auc_score(labels[rows], scores[rows]))
    without = [roc_auc_score(labels[ids != v], scores[ids != v]) for v in range(40)]
    expected = bca_interval(
        roc_auc_score(labels, scores), np.array(draws), np.array(without), sample=40
    )
    assert found.estimate == pytest.approx(expected.estimate, rel=1e-12)
    # two draws of one distribution: its width is about 0.25
    np.testing.assert_allclose(found[1:], expected[1:], atol=0.02)


def test_videos_have_intervals_of_their_own():
    scores, labels, ids = frames()
    names = ("auc", "video_auc", "video_max_eer", "video_top_accuracy")
    found = metric_intervals(scores, labels, ids, names, resamples=200)
    assert list(found) == list(names)
    for name, pooling in (("auc", "mean"), ("eer", "max"), ("accuracy", "top")):
        expected = video_metrics(scores, labels, ids, pooling=pooling)[name]
        key = f"video_{name}" if pooling == "mean" else f"video_{pooling}_{name}"
        assert found[key].estimate == pytest.approx(expected)
        assert found[key].low < expected < found[key].high


def test_frames_of_a_video_are_no_news():
    scores, labels, ids = frames(shared=1.0, count=1)
    once = metric_intervals(scores, labels, ids, ("auc", "brier"))
    many = metric_intervals(*(np.repeat(each, 25) for each in (scores, labels, ids)), once)
    for name, interval in once.items():
        np.testing.assert_allclose(many[name], interval, rtol=1e-6)


def test_intervals_repeat_by_seed_and_do_not_depend_on_the_parts(monkeypatch):
    scores, labels, ids = frames()
    first = metric_intervals(scores, labels, ids, ("auc",), resamples=60, seed=3)
    assert first == metric_intervals(scores, labels, ids, ("auc",), resamples=60, seed=3)
    assert first != metric_intervals(scores, labels, ids, ("auc",), resamples=60, seed=4)
    monkeypatch.setattr(bootstrap, "_PART", 40 * 25)
    assert [len(part) for part in draw_parts(40, 60, 0)] == [25, 25, 10]
    drawn = np.concatenate(list(draw_parts(40, 60, 0)))
    assert len(np.unique(drawn, axis=0)) == 60


def test_an_image_in_two_qualities_is_one_cluster():
    scores, labels, ids = frames()
    once = metric_intervals(scores, labels, ids, ("auc", "video_auc"))
    twice = metric_intervals(
        np.tile(scores, 2),
        np.tile(labels, 2),
        np.concatenate([ids, ids + 1000]),
        ("auc", "video_auc"),
        clusters=np.tile(ids, 2),
    )
    for name, interval in once.items():
        np.testing.assert_allclose(twice[name], interval, rtol=1e-9)


def test_a_mean_over_qualities_draws_videos_once():
    evaluation = make_two()
    parts = evaluation_parts(evaluation, "overall")
    names = ("auc", "video_auc")
    found = mean_intervals(parts, names, resamples=300)
    each = [evaluation_intervals(evaluation, q, names, resamples=300) for q in ("raw", "c40")]
    for name in names:
        expected = np.mean([one[name].estimate for one in each])
        assert found[name].estimate == pytest.approx(expected)
        assert found[name].low < expected < found[name].high
    # of one part it is that of the part, and so it is of the same part twice
    once = mean_intervals(parts[:1], names, resamples=300)
    twice = mean_intervals(parts[:1] * 2, names, resamples=300)
    for name in names:
        assert once[name] == pytest.approx(each[0][name])
        assert twice[name] == pytest.approx(once[name])
    # draws of its own for each part would make it narrower by sqrt(2)
    width, wider = (i["auc"].high - i["auc"].low for i in (found, once))
    assert width == pytest.approx(wider, rel=0.25)
    with pytest.raises(ValueError, match="parts differ in labels"):
        mean_intervals([parts[0], parts[1].at(np.arange(100))], names)


def make_two():
    scores, labels, ids = frames()
    columns = {"labels": labels, "forgery": labels * (1 + ids // 2 % 2), "video": ids}
    columns |= {"identity": ids, "index": np.arange(len(ids))}
    noise = np.random.default_rng(8).normal(0, 0.03, len(ids))
    return summarize({"raw": scores, "c40": (scores + noise).clip(0, 1)}, columns)


def test_kinds_of_forgery_are_against_all_reals_and_groups_by_themselves():
    evaluation = make_two()
    (part,) = evaluation_parts(evaluation, "c40")
    found = group_intervals([part], "forgery", ("none", "swap", "mouth"), ("auc",), resamples=80)
    assert list(found) == ["swap", "mouth"]
    for kind, interval in zip((1, 2), found.values(), strict=True):
        rows = np.isin(part.columns["forgery"], (0, kind))
        expected = metric_intervals(
            part.scores[rows],
            part.columns["labels"][rows],
            part.columns["video"][rows],
            ("auc",),
            resamples=80,
        )
        assert interval == expected
    halves = Part(part.scores, {**part.columns, "dataset": part.columns["video"] // 20})
    both = group_intervals([halves], "dataset", ("one", "two"), ("auc",), resamples=80)
    for name, rows in (("one", slice(0, 80)), ("two", slice(80, 160))):
        labels, scores = part.columns["labels"][rows], part.scores[rows]
        assert both[name]["auc"].estimate == pytest.approx(roc_auc_score(labels, scores))


def test_few_videos_with_one_that_is_unlike_have_bounds_in_order():
    draws = np.linspace(0, 1, 1000)
    for sign in (1, -1):
        skewed = 0.5 + sign * np.array([0, 0, 0.4])
        found = bca_interval(0.5 + 0.45 * sign, draws, skewed, sample=2)
        assert 0 <= found.low < found.high <= 1


def test_every_video_is_left_out_once():
    for videos in (5, 1000):
        drawn = left_out(videos)
        assert drawn.shape == (min(videos, 200), videos)
        np.testing.assert_array_equal((drawn == 0).sum(axis=0), 1)


def test_a_stored_evaluation_has_intervals(make):
    evaluation = make.evaluation()
    for quality in ("c40", "overall"):
        found = evaluation_intervals(evaluation, quality, ("auc", "video_auc"), resamples=100)
        for name, interval in found.items():
            assert interval.estimate == pytest.approx(evaluation.metrics[quality][name])
            assert interval.low <= interval.estimate <= interval.high


def test_what_is_not_defined_has_no_bounds():
    found = metric_intervals([0.2, 0.7, 0.9], [1, 1, 1], [1, 2, 3], resamples=50)
    for name, interval in found.items():
        defined = name in ("accuracy", "accuracy_fake")
        assert all(math.isfinite(value) == defined for value in interval), name
    assert math.isnan(bca_interval(0.5, np.array([0.4, math.nan, math.nan]), np.ones(3)).low)
    # a single video says nothing of others
    single = metric_intervals([0.2, 0.7, 0.9], [0, 1, 1], [1, 1, 1], ("auc",), resamples=50)["auc"]
    assert single.estimate == 1.0
    assert math.isnan(single.low)


def test_a_rate_that_so_few_videos_cannot_show_has_no_bounds():
    names = ("tpr_at_fpr_0.01", "tpr_at_fpr_0.001", "video_tpr_at_fpr_0.01")
    for videos, bounded in ((1998, ()), (2000, (names[0], names[2]))):
        found = metric_intervals(*frames(videos, 1, 2.5), names, resamples=30)
        for name, interval in found.items():
            assert math.isfinite(interval.estimate)
            assert math.isfinite(interval.low) == (name in bounded), (videos, name)


def test_a_perfect_detector_has_an_interval_of_no_width():
    labels = np.arange(10) % 2
    found = metric_intervals(labels, labels, np.arange(10), ("auc", "eer"), resamples=50)
    assert found == {"auc": Interval(1.0, 1.0, 1.0), "eer": Interval(0.0, 0.0, 0.0)}


def test_the_calibration_error_of_a_resample_is_too_large():
    """Why it has no interval: of a calibrated detector the sample, and nearly all resamples, lie above the truth."""
    draw = np.random.default_rng(3)
    scores = draw.uniform(0.2, 0.8, 200)
    labels = (draw.uniform(size=200) < scores).astype(int)
    sample = calibration_error(scores, labels)
    rows = [draw.integers(0, 200, 200) for _ in range(200)]
    resampled = [calibration_error(scores[each], labels[each]) for each in rows]
    large = draw.uniform(0.2, 0.8, 10**6)
    truth = calibration_error(large, (draw.uniform(size=10**6) < large).astype(int))
    assert truth < 0.01 < sample < np.median(resampled)
    assert np.quantile(resampled, 0.025) > truth


def test_wrong_arguments_of_intervals_are_refused():
    scores, labels, ids = frames()
    with pytest.raises(ValueError, match="'aucs' is not resampled; known: accuracy"):
        metric_intervals(scores, labels, ids, ("aucs",))
    with pytest.raises(ValueError, match="leading axes"):
        metric_intervals(scores, labels, ids[1:])
    with pytest.raises(ValueError, match=r"draws has shape \(1, 3\) for 40 videos"):
        resampled_metrics(scores, labels, ids, np.ones((1, 3)))
    with pytest.raises(ValueError, match="1 of 160 scores are not finite"):
        metric_intervals(np.where(np.arange(160) == 3, np.nan, scores), labels, ids)


COVERED = ("auc", "accuracy", "balanced_accuracy", "eer", "brier", "log_loss", "video_auc")


@pytest.mark.parametrize(
    ("videos", "gap"),
    [
        pytest.param(100, 1.2, marks=pytest.mark.slow),
        pytest.param(100, 2.2, marks=pytest.mark.every),
        pytest.param(200, 1.2, marks=pytest.mark.every),
    ],
)
def test_intervals_hold_the_truth_as_often_as_they_say(videos, gap):
    count = 1000
    everyone = frames(100_000, 4, gap, rng=np.random.default_rng(99))
    truth = metric_intervals(*everyone, COVERED, resamples=1)
    held = dict.fromkeys(COVERED, 0)
    for seed in range(count):
        sample = frames(videos, 4, gap, rng=np.random.default_rng(seed))
        found = metric_intervals(*sample, COVERED, resamples=600, seed=seed)
        for name, interval in found.items():
            held[name] += interval.low <= truth[name].estimate <= interval.high
    shares = {name: hits / count for name, hits in held.items()}
    assert {name: share for name, share in shares.items() if not 0.93 <= share <= 0.97} == {}


def test_the_interval_of_the_auc_holds_the_truth_as_often_as_it_says():
    count, gap = 400, 1.2
    truth = stats.norm.cdf(gap / math.sqrt(2))
    held = 0
    for seed in range(count):
        sample = frames(80, 4, gap, rng=np.random.default_rng(seed))
        found = metric_intervals(*sample, ("auc",), resamples=400, seed=seed)["auc"]
        held += found.low <= truth <= found.high
    assert 0.93 <= held / count <= 0.97
