"""Every metric on 200 random sets with ties, weights and masks, against scikit-learn and plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import calibration_curve

from kdjax.evaluate.metrics import binary_metrics
from kdjax.evaluate.neighbours import recall_at

CASES = settings(max_examples=200, deadline=None, derandomize=True)
TOLERANCE = 1e-12


@st.composite
def sets(draw):
    """Returns scores on a grid, so that many are equal, labels, weights and a mask, both classes left."""
    count = draw(st.integers(2, 40))
    steps = draw(st.sampled_from([2, 7, 30, 100]))
    scores = draw(st.lists(st.integers(0, steps), min_size=count, max_size=count))
    labels = draw(st.lists(st.integers(0, 1), min_size=count, max_size=count))
    weights = draw(
        st.one_of(
            st.none(),
            st.lists(st.integers(0, 4), min_size=count, max_size=count),
            st.lists(st.floats(0.01, 3), min_size=count, max_size=count),
        )
    )
    mask = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    # a real and a fake that count
    labels[:2], mask[:2] = [0, 1], [True, True]
    if weights is not None:
        weights[:2] = [1, 1]
        weights = np.array(weights, np.float64)
    return np.array(scores) / steps, np.array(labels), weights, np.array(mask)


def counted(scores, labels, weights, mask):
    """Returns the rows that count, padding and weights of 0 gone."""
    weights = np.ones(len(scores)) if weights is None else weights
    kept = mask & (weights > 0)
    return scores[kept], labels[kept], weights[kept]


def spoil(scores, labels, mask):
    """Returns scores and labels with nonsense where the mask is 0."""
    return np.where(mask, scores, np.nan), np.where(mask, labels, 7)


def measured(case):
    scores, labels, weights, mask = case
    broken_scores, broken_labels = spoil(scores, labels, mask)
    return binary_metrics(broken_scores, broken_labels, weights=weights, mask=mask), counted(*case)


@CASES
@given(sets())
def test_what_scikit_learn_has_is_scikit_learns(case):
    found, (scores, labels, weights) = measured(case)
    called = scores > 0.5
    expected = {
        "accuracy": sklearn_metrics.accuracy_score(labels, called, sample_weight=weights),
        "accuracy_fake": sklearn_metrics.recall_score(labels, called, sample_weight=weights),
        "accuracy_real": sklearn_metrics.recall_score(
            labels, called, sample_weight=weights, pos_label=0
        ),
        "balanced_accuracy": sklearn_metrics.balanced_accuracy_score(
            labels, called, sample_weight=weights
        ),
        "auc": sklearn_metrics.roc_auc_score(labels, scores, sample_weight=weights),
        "average_precision": sklearn_metrics.average_precision_score(
            labels, scores, sample_weight=weights
        ),
        "log_loss": sklearn_metrics.log_loss(labels, scores, sample_weight=weights),
        "brier": sklearn_metrics.brier_score_loss(labels, scores, sample_weight=weights),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=TOLERANCE)


@CASES
@given(sets())
def test_the_equal_error_rate_is_the_root_on_the_interpolated_curve(case):
    found, (scores, labels, weights) = measured(case)
    false_positive, true_positive, _ = sklearn_metrics.roc_curve(
        labels, scores, sample_weight=weights, drop_intermediate=False
    )
    # a point along the curve: both rates are linear in it between two corners
    along = np.arange(len(false_positive))
    root = optimize.brentq(
        lambda at: np.interp(at, along, false_positive + true_positive) - 1, 0, along[-1]
    )
    assert found["eer"] == pytest.approx(np.interp(root, along, false_positive), abs=1e-9)


@CASES
@given(sets())
def test_the_threshold_of_the_equal_error_rate_has_the_nearest_two_rates(case):
    found, (scores, labels, weights) = measured(case)

    def gap(threshold):
        wrong = (scores > threshold) != (labels == 1)
        alarms, misses = (
            weights[wrong & (labels == label)].sum() / weights[labels == label].sum()
            for label in (0, 1)
        )
        return abs(alarms - misses)

    best = min(gap(threshold) for threshold in (-1, *scores))
    assert gap(found["eer_threshold"]) == pytest.approx(best, abs=1e-9)


@CASES
@given(sets())
def test_detections_at_a_rate_of_false_alarms_are_the_best_of_all_thresholds(case):
    found, (scores, labels, weights) = measured(case)
    real, fake = (weights * (labels == label) for label in (0, 1))
    for rate, name in ((0.01, "tpr_at_fpr_0.01"), (0.001, "tpr_at_fpr_0.001")):
        rates = [
            fake[scores > threshold].sum() / fake.sum()
            for threshold in (-1, *scores)
            if real[scores > threshold].sum() / real.sum() <= rate
        ]
        assert found[name] == pytest.approx(max(rates), abs=TOLERANCE)


@CASES
@given(sets())
def test_the_calibration_error_is_a_sum_over_bins(case):
    found, (scores, labels, weights) = measured(case)
    total = 0.0
    for number in range(15):
        low, high = number / 15, (number + 1) / 15
        inside = (scores <= high) & ((scores > low) | (number == 0))
        if inside.any():
            gap = np.average(labels[inside], weights=weights[inside]) - np.average(
                scores[inside], weights=weights[inside]
            )
            total += weights[inside].sum() / weights.sum() * abs(gap)
    assert found["calibration_error"] == pytest.approx(total, abs=TOLERANCE)


def test_bins_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 31, 2000) / 30, rng.integers(0, 2, 2000)
    observed, predicted = calibration_curve(labels, scores, n_bins=15)
    edges = np.linspace(0, 1, 16)
    sizes = np.bincount(np.searchsorted(edges[1:-1], scores), minlength=15)
    expected = (np.abs(observed - predicted) * sizes[sizes > 0]).sum() / 2000
    found = binary_metrics(scores, labels)["calibration_error"]
    assert found == pytest.approx(expected, abs=TOLERANCE)


@CASES
@given(st.integers(0, 2**32 - 1))
def test_recall_is_that_of_sorted_distances(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 25))
    labels, groups = rng.integers(0, 2, count), rng.integers(0, 7, count)
    weights, points = rng.random(count) + 0.1, rng.standard_normal((count, 2))
    gaps = np.linalg.norm(points[:, None] - points[None], axis=-1)
    gaps[groups[:, None] == groups[None]] = np.inf
    found = recall_at(points, labels, (1, 5, 10), groups=groups, weights=weights)
    for k in (1, 5, 10):
        hits, mass = [], []
        for row, own, weight in zip(gaps, labels, weights, strict=True):
            nearest = [n for n in np.argsort(row)[:k] if math.isfinite(row[n])]
            if nearest:
                hits.append(any(labels[n] == own for n in nearest))
                mass.append(weight)
        expected = np.average(hits, weights=mass) if hits else math.nan
        assert found[k] == pytest.approx(expected, nan_ok=True)
