"""Temperature and threshold against SciPy's logistic regression, exact counts, and files that are damaged."""

import json
import math

import numpy as np
import pytest
from scipy import special, stats
from sklearn.linear_model import LogisticRegression

from kdjax.checks import UserError
from kdjax.evaluate.calibration import (
    Calibration,
    NotFittedError,
    Threshold,
    alarm_interval,
    calibrated,
    choose_threshold,
    fit_temperature,
    logits_of,
    read_calibration,
    write_calibration,
)
from kdjax.evaluate.metrics import binary_metrics
from kdjax.folder import RunFolder

rng = np.random.default_rng(0)


def overconfident(count=4000, temperature=3.0):
    """Returns probabilities whose log-odds are so many times too large, and labels that follow the true ones."""
    true = rng.standard_normal(count) * 1.5
    labels = (rng.random(count) < special.expit(true)).astype(int)
    return special.expit(true * temperature), labels


def test_the_temperature_is_that_of_a_regression_without_intercept():
    scores, labels = overconfident()
    found = fit_temperature(scores, labels)
    model = LogisticRegression(C=math.inf, fit_intercept=False, tol=1e-12, max_iter=1000)
    model.fit(logits_of(scores)[:, None], labels)
    assert found == pytest.approx(1 / model.coef_[0, 0], rel=1e-4)
    assert found == pytest.approx(3.0, rel=0.1)


def test_a_detector_that_was_too_sure_is_better_calibrated_after():
    scores, labels = overconfident()
    fresh_scores, fresh_labels = overconfident()
    temperature = fit_temperature(scores, labels)
    before = binary_metrics(fresh_scores, fresh_labels)
    after = binary_metrics(calibrated(fresh_scores, temperature), fresh_labels)
    assert after["log_loss"] < 0.8 * before["log_loss"]
    assert after["calibration_error"] < 0.3 * before["calibration_error"]
    assert after["auc"] == pytest.approx(before["auc"], abs=1e-12)


def test_scores_and_logits_have_one_temperature():
    scores, labels = overconfident()
    expected = fit_temperature(scores, labels)
    assert fit_temperature(logits_of(scores), labels, logits=True) == pytest.approx(expected)
    np.testing.assert_allclose(
        calibrated(logits_of(scores), 2.0, logits=True), calibrated(scores, 2.0)
    )


def test_saturated_scores_stay_finite():
    found = calibrated(np.array([0, 1, 0.5], np.float32), 2.0)
    assert 0 < found[0] < 0.001
    assert 0.999 < found[1] < 1
    assert found[2] == 0.5


def test_no_temperature_fits_what_is_perfectly_separated():
    with pytest.raises(NotFittedError, match=r"are on the right side of 0\.5"):
        fit_temperature([0.1, 0.2, 0.8, 0.5], [0, 0, 1, 1])
    # one image on the wrong side by nothing: the minimum lies beyond what is looked for
    scores = np.r_[np.full(999, 0.45), 0.5 + 1e-12, 0.55]
    with pytest.raises(NotFittedError, match=r"are on the right side of 0\.5"):
        fit_temperature(scores, np.r_[np.zeros(1000, int), 1])


@pytest.mark.parametrize("scores", [[0.8, 0.2], [0.5, 0.5], [0.3, 0.3]])
def test_no_temperature_fits_what_says_nothing(scores):
    with pytest.raises(NotFittedError, match="say nothing of the class"):
        fit_temperature(scores, [0, 1])


@pytest.mark.parametrize(("label", "missing"), [(0, "fake"), (1, "real")])
def test_one_class_is_named(label, missing):
    for make in (fit_temperature, choose_threshold):
        with pytest.raises(UserError, match=f"no {missing} image among the 2 .*--data=FOLDER") as e:
            make([0.2, 0.7], [label, label])
        assert not isinstance(e.value, NotFittedError)


def test_the_threshold_allows_as_many_false_alarms_as_were_wanted():
    labels = np.r_[np.zeros(100, int), np.ones(50, int)]
    scores = np.r_[np.arange(100) / 100, np.arange(50) / 50 + 0.005]
    found = choose_threshold(scores, labels, 0.05)
    # five of 100 reals, 0.95 to 0.99, lie above; the next score above 0.94 is a fake's 0.945
    assert found.value == pytest.approx((0.94 + 0.945) / 2)
    assert (found.reached, found.reals, found.wanted) == (0.05, 100, 0.05)
    assert found.detections == pytest.approx(np.mean(scores[100:] > found.value))
    bounds = stats.beta.ppf([0.025, 0.975], [5, 6], [96, 95])
    assert (found.low, found.high) == pytest.approx(tuple(bounds))


@pytest.mark.parametrize("rate", [0.01, 0.07, 0.29, 0.5, 0.99])
def test_no_lower_threshold_keeps_the_rate(rate):
    labels = np.r_[np.zeros(100, int), np.ones(30, int)]
    # many equal scores
    scores = rng.integers(0, 25, 130) / 25
    found = choose_threshold(scores, labels, rate)
    reals = scores[:100]
    assert found.reached == np.mean(reals > found.value) <= rate
    lower = reals[reals <= found.value].max()
    assert np.mean(reals >= lower) > rate


def test_products_that_round_down_lose_no_image():
    labels, scores = np.r_[np.zeros(100, int), 1], np.r_[np.arange(100) / 100, 1.0]
    assert 0.29 * 100 < 29
    assert choose_threshold(scores, labels, 0.29).reached == 0.29


def test_few_reals_allow_none_and_show_little():
    found = choose_threshold([0.1, 0.4, 0.3, 0.9], [0, 0, 1, 1], 0.01)
    assert found.value == pytest.approx(0.65)
    assert (found.reached, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(1 - 0.025**0.5)


def test_a_video_in_several_qualities_counts_once():
    labels, scores = np.r_[np.zeros(100, int), 1], np.r_[np.arange(100) / 100, 1.0]
    once = choose_threshold(scores, labels, 0.05)
    thrice = choose_threshold(
        np.tile(scores, 3), np.tile(labels, 3), 0.05, videos=np.tile(np.arange(101), 3)
    )
    assert (thrice.reals, thrice.videos) == (300, 100)
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))
    # 99 videos of one image beside one of 901 are little more than one video
    long = alarm_interval(np.arange(1000) < 50, np.minimum(np.arange(1000), 99))
    trials = 1000**2 / (99 + 901**2)
    bounds = stats.beta.ppf(
        [0.025, 0.975], [0.05 * trials, 1 + 0.05 * trials], [0.95 * trials + 1, 0.95 * trials]
    )
    assert long == pytest.approx((0.05, *bounds))
    assert long.high > 0.9
    with pytest.raises(ValueError, match="videos"):
        choose_threshold(scores, labels, 0.05, videos=[1, 2])


@pytest.mark.parametrize("rate", [0.01, 0.05])
@pytest.mark.parametrize("alike", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("lengths", ["one", "several"])
def test_the_interval_holds_the_rate_in_95_of_100_cases_however_alike_frames_are(
    rate, alike, lengths
):
    draw = np.random.default_rng(5)
    rounds, count, held, alone = 400, 100, 0, 0
    for _ in range(rounds):
        sizes = np.full(count, 8) if lengths == "one" else draw.geometric(1 / 8, count)
        videos = np.repeat(np.arange(count), sizes)
        frames = draw.standard_normal(len(videos))
        reals = (
            math.sqrt(alike) * draw.standard_normal(count)[videos] + math.sqrt(1 - alike) * frames
        )
        # the fake lies above all: the threshold is by reals alone, and its true rate is the normal distribution's
        scores, labels = np.r_[reals, 50.0], np.r_[np.zeros(len(reals), int), 1]
        found = choose_threshold(scores, labels, rate, videos=np.r_[videos, count])
        true = stats.norm.sf(found.value)
        held += found.low <= true <= found.high
        naive = choose_threshold(scores, labels, rate)
        alone += naive.low <= true <= naive.high
    assert held >= 0.95 * rounds
    if alike > 0.9:
        # what would be claimed of images that each stand alone
        assert alone < 0.8 * rounds


@pytest.mark.parametrize("rate", [0, 1, -0.1, math.nan])
def test_a_rate_beyond_is_refused(rate):
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        choose_threshold([0.1, 0.9], [0, 1], rate)


def an_example(**changes):
    threshold = Threshold(0.25, 0.01, 0.005, 0.001, 0.02, 200, 40, 0.5)
    found = Calibration(
        1.5, "", threshold, threshold._replace(value=0.3), 400, 50, ("raw", "c40"), 7, "ab"
    )
    return found._replace(**changes)


def test_what_is_written_is_read(tmp_path):
    folder = RunFolder(tmp_path)
    assert read_calibration(folder) is None
    for example in (an_example(), an_example(step=None, problem="none fits", temperature=1.0)):
        write_calibration(folder, example)
        assert read_calibration(folder) == example
    assert [path.name for path in tmp_path.iterdir()] == ["calibration.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("temperature"), r"damaged \(KeyError\)"),
        (lambda d: d.update(temperature=0), r"damaged \(ValueError\)"),
        (lambda d: d.update(temperature=None), r"damaged \(TypeError\)"),
        (lambda d: d["of_images"].update(value="x"), r"damaged \(ValueError\)"),
        (lambda d: d.update(of_videos=3), r"damaged \(TypeError\)"),
        (lambda d: d.update(format=3), "of a newer version"),
        (
            lambda d: d.update(format=1),
            "of an older version of kdjax, which took images of a video",
        ),
        (lambda d: d["of_videos"].pop("videos"), r"damaged \(KeyError\)"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, change, message):
    folder = RunFolder(tmp_path)
    write_calibration(folder, an_example())
    document = json.loads(folder.calibration.read_text())
    change(document)
    folder.calibration.write_text(json.dumps(document))
    with pytest.raises(UserError, match=message) as error:
        read_calibration(folder)
    assert "--calibrate` again" in str(error.value)
    folder.calibration.write_text("[")
    with pytest.raises(UserError, match="cannot be read as JSON"):
        read_calibration(folder)
    folder.calibration.write_text("[]")
    with pytest.raises(UserError, match="damaged"):
        read_calibration(folder)
