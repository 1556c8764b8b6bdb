import math

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics
from sklearn.exceptions import UndefinedMetricWarning

from kdjax.checks import UserError
from kdjax.evaluate.curves import equal_error, equal_error_rate
from kdjax.evaluate.metrics import binary_metrics, roc_points
from kdjax.evaluate.neighbours import recall_at_1
from kdjax.evaluate.videos import video_auc


def random_set(count=60, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    scores = np.clip(0.5 + 0.2 * (labels - 0.5) + 0.3 * rng.standard_normal(count), 0, 1)
    return scores.round(2), labels, rng.standard_normal((count, 3)) + labels[:, None]


def test_values_by_hand():
    # Of the 2 x 3 pairs (real, fake), 0.6 > 0.3 alone is in the wrong order: AUC 5/6.
    found = binary_metrics([0.1, 0.6, 0.3, 0.7, 0.9], [0, 0, 1, 1, 1])
    assert found["accuracy"] == pytest.approx(3 / 5)
    assert found["accuracy_real"] == pytest.approx(1 / 2)
    assert found["accuracy_fake"] == pytest.approx(2 / 3)
    assert found["auc"] == pytest.approx(5 / 6)


def test_a_score_of_one_half_is_real_as_argmax_says():
    assert binary_metrics([0.5, 0.5], [0, 1])["accuracy_real"] == 1.0


def test_eer_crosses_inside_a_step_of_the_curve():
    # Corners (false positive, false negative): (0, 1) (0, 2/3) (0, 1/3) (1/2, 1/3) (1/2, 0) (1, 0).
    # From (0, 1/3) to (1/2, 1/3) the rates are equal at 1/3.
    scores, labels = np.array([0.1, 0.6, 0.3, 0.7, 0.9]), np.array([0, 0, 1, 1, 1])
    assert equal_error_rate(scores, labels) == pytest.approx(1 / 3)


def test_eer_of_a_tie_lies_on_the_diagonal_step():
    # One threshold moves (0, 1/2) to (1/3, 0): 1/3 t = 1/2 - 1/2 t at t = 3/5, rate 1/5.
    scores, labels = np.array([0.1, 0.2, 0.5, 0.5, 0.9]), np.array([0, 0, 0, 1, 1])
    assert equal_error_rate(scores, labels) == pytest.approx(1 / 5)


@pytest.mark.parametrize(
    ("scores", "rate"), [([0.1, 0.9], 0.0), ([0.9, 0.1], 1.0), ([0.4, 0.4], 0.5)]
)
def test_eer_of_perfect_inverted_and_constant_scores(scores, rate):
    assert equal_error_rate(np.array(scores), np.array([0, 1])) == pytest.approx(rate)


def test_auc_counts_ordered_pairs():
    scores, labels, _ = random_set()
    gaps = scores[labels == 1][:, None] - scores[labels == 0][None, :]
    assert binary_metrics(scores, labels)["auc"] == pytest.approx(
        np.mean((gaps > 0) + 0.5 * (gaps == 0))
    )


def test_recall_equals_brute_force():
    _, labels, points = random_set()
    gaps = np.linalg.norm(points[:, None] - points[None], axis=-1)
    np.fill_diagonal(gaps, np.inf)
    expected = np.mean(labels[gaps.argmin(axis=1)] == labels)
    assert 0 < expected < 1
    assert recall_at_1(points, labels) == pytest.approx(expected)


def test_recall_passes_over_the_own_group():
    _, labels, points = random_set()
    labels, points = np.tile(labels, 3), np.concatenate([points, points + 1e-3, points - 1e-3])
    groups = np.tile(np.arange(60), 3)
    gaps = np.linalg.norm(points[:, None] - points[None], axis=-1)
    gaps[groups[:, None] == groups[None]] = np.inf
    expected = np.mean(labels[gaps.argmin(axis=1)] == labels)
    assert recall_at_1(points, labels) == 1.0
    assert recall_at_1(points, labels, groups=groups) == pytest.approx(expected)


def test_recall_of_duplicates_never_counts_the_example_itself():
    points = np.zeros((4, 2))
    points[3] = 5.0
    assert recall_at_1(points, np.array([1, 1, 1, 0])) == pytest.approx(3 / 4)


def test_recall_is_undefined_without_a_neighbour():
    assert math.isnan(recall_at_1(np.zeros((1, 2)), np.array([1])))
    assert math.isnan(recall_at_1(np.zeros((2, 2)), np.array([0, 1]), groups=np.array([7, 7])))


def test_an_example_of_weight_two_is_two_examples():
    scores, labels, _ = random_set()
    weights = np.random.default_rng(2).integers(0, 3, 60)
    twice = binary_metrics(np.repeat(scores, weights), np.repeat(labels, weights))
    assert binary_metrics(scores, labels, weights=weights) == pytest.approx(twice)


@pytest.mark.parametrize("weights", [[1.0, -1.0], [1.0, np.inf]])
def test_weights_that_mean_nothing_are_refused(weights):
    with pytest.raises(ValueError, match="weights must be finite and at least 0"):
        binary_metrics([0.1, 0.9], [0, 1], weights=weights)


def test_logits_keep_their_order_where_probabilities_are_all_one():
    logits, labels = np.array([90.0, 100.0, 110.0, 120.0]), np.array([0, 1, 0, 1])
    found = binary_metrics(logits, labels, logits=True)
    assert found["auc"] == pytest.approx(3 / 4)
    assert found["accuracy_fake"] == 1.0
    assert found["brier"] == pytest.approx(1 / 2)
    assert 90 < found["eer_threshold"] < 120
    with pytest.raises(
        ValueError, match=r"\[90, 120\]; probabilities in \[0, 1\] are expected, or"
    ):
        binary_metrics(logits, labels)


def test_fakes_found_at_a_rate_of_false_alarms_by_hand():
    # of 100 reals one alone scores above 0.9: at 1 % it may, at 0.1 % none may
    scores = np.concatenate([np.linspace(0, 0.5, 99), [0.95], [0.4, 0.92, 0.96, 0.97]])
    labels = np.concatenate([np.zeros(100, int), np.ones(4, int)])
    found = binary_metrics(scores, labels)
    assert found["tpr_at_fpr_0.01"] == pytest.approx(3 / 4)
    assert found["tpr_at_fpr_0.001"] == pytest.approx(2 / 4)


def test_the_threshold_of_the_equal_error_rate_decides_as_the_rate_says():
    scores, labels = np.array([0.1, 0.6, 0.3, 0.7, 0.9]), np.array([0, 0, 1, 1, 1])
    # nearest: one of two reals above, one of three fakes below
    threshold = equal_error(scores, labels).threshold
    assert threshold == pytest.approx((0.3 + 0.6) / 2)
    assert equal_error(np.array([0.5, 0.5]), np.array([0, 1])).threshold == 0.5


def test_padding_counts_nowhere():
    scores, labels, points = random_set()
    padded = binary_metrics(
        np.concatenate([scores, [np.nan, 7.0]]),
        np.concatenate([labels, [-1, 9]]),
        mask=np.concatenate([np.ones(60), np.zeros(2)]),
        embeddings=np.concatenate([points, np.full((2, 3), np.nan)]),
    )
    assert padded == binary_metrics(scores, labels, embeddings=points)


def test_one_class_alone_has_no_auc_and_no_eer():
    with pytest.warns(UndefinedMetricWarning, match="all 2 examples are fake") as told:
        found = binary_metrics([0.2, 0.7], [1, 1], embeddings=[[0.0], [1.0]])
    assert len(told) == 1
    assert found["accuracy"] == found["accuracy_fake"] == 0.5
    defined = ("accuracy", "accuracy_fake")
    assert all(math.isnan(value) for name, value in found.items() if name not in defined)
    assert {"log_loss", "tpr_at_fpr_0.01", "recall_at_10", "eer_threshold"} <= set(found)
    assert [points.size for points in roc_points([0.2, 0.7], [1, 1])] == [0, 0]


@pytest.mark.parametrize("mask", [None, np.zeros(0)])
def test_nothing_to_evaluate_is_an_error(mask):
    with pytest.raises(UserError, match="no example to evaluate"):
        binary_metrics([], [], mask=mask)
    with pytest.raises(UserError, match="no example to evaluate"):
        binary_metrics([0.5], [1], mask=[0])


def test_values_of_a_diverged_network_are_an_error():
    with pytest.raises(UserError, match=r"1 of 2.*not finite"):
        binary_metrics([0.5, np.nan], [0, 1])
    with pytest.raises(UserError, match=r"pooled features.*not finite"):
        binary_metrics([0.5, 0.5], [0, 1], embeddings=[[0.0], [np.inf]])


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.5, 3.0], [0, 1], "probabilities"),
        ([0.5, 0.5], [0, 2], r"labels hold \[2\]"),
        ([0.5, 0.5], [0], "leading axes"),
        ([[0.5, 0.5]], [0], "axes are expected"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused(scores, labels, message):
    with pytest.raises(ValueError, match=message):
        binary_metrics(scores, labels)


def test_video_score_is_the_mean_of_its_frames():
    scores = np.array([0.9, 0.0, 0.4, 0.6, 0.2])
    labels = np.array([0, 0, 1, 1, 0])
    videos = np.array([5, 5, 8, 8, 2])
    # Means: real 0.45 and 0.2, fake 0.5.
    assert video_auc(scores, labels, videos) == 1.0
    assert binary_metrics(scores, labels)["auc"] == pytest.approx(4 / 6)


def test_thinned_curve_keeps_its_ends_and_its_area():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 4000)
    scores = 1 / (1 + np.exp(-(labels + rng.standard_normal(4000))))
    false_positive, true_positive = roc_points(scores, labels, max_points=200)
    assert len(false_positive) <= 200
    assert (false_positive[0], true_positive[0]) == (0, 0)
    assert (false_positive[-1], true_positive[-1]) == (1, 1)
    assert sklearn_metrics.auc(false_positive, true_positive) == pytest.approx(
        sklearn_metrics.roc_auc_score(labels, scores), abs=2e-3
    )
