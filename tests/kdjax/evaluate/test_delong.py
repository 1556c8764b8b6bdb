"""DeLong's variance and test against his own example, a double loop over pairs, and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from kdjax.evaluate.delong import auc_covariance, delong_interval, delong_test

rng = np.random.default_rng(0)

PATIENTS = """
3.0 5.8 10 0, 3.2 6.3 5 1, 3.9 6.8 3 1, 2.8 4.8 6 0, 3.2 5.8 3 1, 0.9 4.0 5 0, 2.5 5.7 8 0, 1.6 5.6 5 1,
3.8 5.7 5 1, 3.7 6.7 6 1, 3.2 5.4 4 1, 3.8 6.6 6 1, 4.1 6.6 5 1, 3.6 5.7 5 1, 4.3 7.0 4 1, 3.6 6.7 4 0,
2.3 4.4 6 1, 4.2 7.6 4 0, 4.0 6.6 6 0, 3.5 5.8 6 1, 3.8 6.8 7 1, 3.0 4.7 8 0, 4.5 7.4 5 1, 3.7 7.4 5 1,
3.1 6.6 6 1, 4.1 8.2 6 1, 4.3 7.0 5 1, 4.3 6.5 4 1, 3.2 5.1 5 1, 2.6 4.7 6 1, 3.3 6.8 6 0, 1.7 4.0 7 0,
3.7 6.1 5 1, 3.3 6.3 7 1, 4.2 7.7 6 1, 3.5 6.2 5 1, 2.9 5.7 9 0, 2.1 4.8 7 1, 2.8 6.2 8 0, 4.0 7.0 7 1,
3.3 5.7 6 1, 3.7 6.9 5 1, 3.6 6.6 5 1
"""
"""Albumin, total protein, the Krebs-Goplerud score and whether surgery failed: the 43 complete patients of DeLong,
DeLong and Clarke-Pearson (1988), as in the SAS/STAT User's Guide, The LOGISTIC Procedure, 'Comparing Receiver Operating
Characteristic Curves', which gives the numbers below."""


def patients():
    table = np.array([row.split() for row in PATIENTS.split(",")], np.float64)
    return np.stack([table[:, 0], table[:, 1], 10 - table[:, 2]]), table[:, 3].astype(int)


def test_the_published_example():
    scores, labels = patients()
    assert (len(labels), labels.sum()) == (43, 31)
    areas, covariance = auc_covariance(scores, labels)
    np.testing.assert_allclose(areas, [0.7366, 0.6478, 0.7258], atol=5e-5)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), [0.0927, 0.1000, 0.1028], atol=5e-5)
    # all three at once: albumin and protein, each less the Krebs-Goplerud score
    contrast = np.array([[1, 0, -1], [0, 1, -1]])
    gaps = contrast @ areas
    statistic = gaps @ np.linalg.solve(contrast @ covariance @ contrast.T, gaps)
    assert statistic == pytest.approx(2.5340, abs=5e-5)
    assert stats.chi2.sf(statistic, 2) == pytest.approx(0.2817, abs=5e-5)
    albumin = delong_test(scores[0], scores[2], labels)
    assert albumin.difference.estimate == pytest.approx(0.0108, abs=5e-5)
    assert albumin.p_value == pytest.approx(0.9102, abs=5e-5)
    assert delong_test(scores[1], scores[2], labels).p_value == pytest.approx(0.4561, abs=5e-5)


def loop_covariance(scores, labels):
    """The definition: components of every fake and every real, from all pairs."""
    fakes, reals = scores[:, labels == 1], scores[:, labels == 0]
    gaps = fakes[:, :, None] - reals[:, None, :]
    pairs = (gaps > 0) + 0.5 * (gaps == 0)
    of_fakes, of_reals = pairs.mean(axis=2), pairs.mean(axis=1)
    return pairs.mean(axis=(1, 2)), (
        np.cov(of_fakes) / fakes.shape[1] + np.cov(of_reals) / reals.shape[1]
    )


@pytest.mark.parametrize("steps", [3, 1000])
def test_midranks_give_what_all_pairs_give(steps):
    labels = rng.integers(0, 2, 90)
    scores = np.floor(rng.random((4, 90)) * steps) + labels * steps / 4
    for found, expected in zip(
        auc_covariance(scores, labels), loop_covariance(scores, labels), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


def test_the_test_is_normal_in_the_difference():
    labels = rng.integers(0, 2, 200)
    first, second = rng.standard_normal((2, 200)) + labels
    found = delong_test(first, second, labels)
    areas, covariance = loop_covariance(np.stack([first, second]), labels)
    error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert (found.first, found.second) == pytest.approx(tuple(areas))
    assert found.z == pytest.approx((areas[0] - areas[1]) / error)
    assert found.p_value == pytest.approx(2 * stats.norm.cdf(-abs(found.z)))
    assert found.difference.high - found.difference.low == pytest.approx(2 * 1.959964 * error)


def test_detectors_that_order_alike_do_not_differ():
    labels, scores = np.arange(20) % 2, rng.standard_normal(20)
    found = delong_test(scores, 3 * scores + 1, labels)
    assert (found.difference, found.p_value) == ((0.0, 0.0, 0.0), 1.0)
    assert math.isnan(found.z)


def test_frames_of_one_video_are_taken_for_news():
    """Where rows stand for nothing new p falls all the same, which is why videos have a bootstrap of their own."""
    draw = np.random.default_rng(2)
    labels = np.arange(80) % 2
    first = labels + 1.5 * draw.standard_normal(80)
    second = labels + draw.standard_normal(80)
    once = delong_test(first, second, labels).p_value
    often = delong_test(*(np.repeat(each, 9) for each in (first, second, labels))).p_value
    assert often < once / 3


def test_what_has_no_variance_is_not_called_sure():
    labels = np.arange(20) % 2
    assert delong_interval(labels, labels).estimate == 1.0
    assert all(map(math.isnan, delong_interval(labels, labels)[1:]))
    opposite = delong_test(labels, -labels, labels)
    assert opposite.difference.estimate == 1.0
    assert math.isnan(opposite.p_value)


@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 0, 0]])
def test_one_class_has_neither_auc_nor_variance(labels):
    assert all(map(math.isnan, delong_interval([0.1, 0.2, 0.3], labels)))
    assert math.isnan(delong_test([0.1, 0.2, 0.3], [0.3, 0.2, 0.1], labels).p_value)


def test_a_single_real_has_an_auc_and_no_variance():
    found = delong_interval([0.1, 0.2, 0.3], [1, 0, 1])
    assert found.estimate == 0.5
    assert math.isnan(found.low)


def test_wrong_arguments_of_delong_are_refused():
    with pytest.raises(ValueError, match=r"labels have shape \(2,\) for scores \(1, 3\)"):
        delong_interval([0.1, 0.2, 0.3], [0, 1])
    with pytest.raises(ValueError, match="1 of 3 scores are not finite"):
        delong_interval([0.1, 0.2, math.nan], [0, 1, 1])


def test_intervals_hold_the_true_auc_as_often_as_they_say():
    gap = 1.8
    truth, held, count = stats.norm.cdf(gap / math.sqrt(2)), 0, 2000
    labels = np.arange(120) % 2
    for _ in range(count):
        found = delong_interval(rng.standard_normal(120) + gap * labels, labels)
        held += found.low <= truth <= found.high
    assert 0.93 <= held / count <= 0.97


def test_of_equal_detectors_as_many_differ_as_the_level_says():
    labels, count = np.arange(120) % 2, 2000
    common = rng.standard_normal((count, 120)) + labels[None]
    noise = rng.standard_normal((2, count, 120))
    p_values = [
        delong_test(shared + one, shared + other, labels).p_value
        for shared, one, other in zip(common, *noise, strict=True)
    ]
    assert 0.03 <= np.mean(np.array(p_values) < 0.05) <= 0.07
