"""Videos scored by their frames, against plain loops over videos."""

import numpy as np
import pytest
from sklearn.exceptions import UndefinedMetricWarning

from kdjax.evaluate.evaluator import summarize
from kdjax.evaluate.metrics import binary_metrics
from kdjax.evaluate.videos import POOLINGS, pool_videos, video_metrics

rng = np.random.default_rng(0)


def frames(count=300):
    """Returns scores, labels and ids of videos of one to many frames, in no order."""
    videos = rng.integers(0, 40, count) * 7
    return rng.random(count).round(2), videos // 7 % 2, videos


def pooled(values, pooling):
    values = np.sort(values)[::-1]
    return {"mean": values.mean(), "max": values[0], "top": values[:3].mean()}[pooling]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_video_is_pooled_of_its_own_frames(pooling):
    scores, labels, videos = frames()
    found, classes, ids = pool_videos(scores, labels, videos, pooling)
    assert ids.tolist() == sorted(set(videos.tolist()))
    np.testing.assert_array_equal(classes, ids // 7 % 2)
    expected = [pooled(scores[videos == video], pooling) for video in ids]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_metrics_of_videos_are_those_of_their_scores(pooling):
    scores, labels, videos = frames()
    ids = np.unique(videos)
    expected = binary_metrics(
        [pooled(scores[videos == video], pooling) for video in ids], ids // 7 % 2
    )
    assert video_metrics(scores, labels, videos, pooling=pooling) == pytest.approx(expected)


def test_a_video_of_both_classes_is_two():
    scores, labels, ids = pool_videos(
        np.array([0.2, 0.4, 0.9]), np.array([0, 0, 1]), np.array([5, 5, 5])
    )
    np.testing.assert_allclose(scores, [0.3, 0.9])
    assert (labels.tolist(), ids.tolist()) == ([0, 1], [5, 5])


def test_the_highest_of_few_frames_are_all_of_them():
    scores, labels, videos = (
        np.array([0.2, 0.4, 0.9, 0.1]),
        np.zeros(4, int),
        np.array([1, 1, 2, 1]),
    )
    np.testing.assert_allclose(pool_videos(scores, labels, videos, "top", top=2)[0], [0.3, 0.9])


def test_an_evaluation_keeps_every_pooling():
    scores, labels, videos = frames()
    zeros = np.zeros(len(scores), int)
    columns = {
        "labels": labels,
        "forgery": labels,
        "video": videos,
        "identity": zeros,
        "index": zeros,
    }
    found = summarize({"raw": scores}, columns).metrics["raw"]
    for pooling, prefix in (("mean", "video_"), ("max", "video_max_"), ("top", "video_top_")):
        expected = video_metrics(scores, labels, videos, pooling=pooling)
        for name in ("accuracy", "auc", "average_precision", "eer"):
            assert found[prefix + name] == pytest.approx(expected[name])


def test_wrong_use_of_videos_is_refused():
    scores, labels, videos = frames()
    with pytest.raises(ValueError, match="pooling='median' is not one of 'mean', 'max', 'top'"):
        video_metrics(scores, labels, videos, pooling="median")
    with pytest.raises(ValueError, match="leading axes"):
        video_metrics(scores, labels, videos[1:])
    with pytest.warns(UndefinedMetricWarning, match="all 2 videos are real"):
        assert np.isnan(video_metrics([0.1, 0.2], [0, 0], [1, 2])["auc"])
