"""A run's temperature and threshold by its validation split, and an evaluation of several data sets as one."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from scipy import stats

from kdjax import configs
from kdjax.checks import UserError
from kdjax.cli import main
from kdjax.data_pipeline.prepared import open_dataset
from kdjax.evaluate.calibration import calibrated, read_calibration
from kdjax.evaluate.evaluation import Evaluation
from kdjax.evaluate.evaluator import summarize
from kdjax.evaluate.metrics import binary_metrics
from kdjax.folder import RunFolder
from kdjax.train.calibration import calibrate, calibrate_run, calibration_lines
from kdjax.train.evaluation import evaluate_run
from kdjax.train.loop import train

CHEAP = {
    "data.batch_size": "8", "train.steps": "2", "train.devices": "1", "train.balance": "none",
    "train.gradient_ratio_every": "0", "student.qualities": "c40",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tiny_dataset, tmp_path_factory):
    """A run of two steps on one quality."""
    folder = tmp_path_factory.mktemp("calibration") / "run"
    config = {**CHEAP, "data.path": str(tiny_dataset)}
    train(configs.load("supervised:resnet_tiny", config), folder)
    return folder


def made_up(count=400, temperature=3.0, seed=0):
    """Returns an evaluation in two qualities, the second with all reals scored higher."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) // 4 % 2
    true = 2.0 * (labels - 0.5) + rng.standard_normal(count)
    columns = {
        "labels": labels,
        "forgery": labels,
        "video": np.arange(count) // 4,
        "identity": np.arange(count) // 8,
        "index": np.arange(count),
    }
    scores = {
        "raw": 1 / (1 + np.exp(-temperature * true)),
        "c40": 1 / (1 + np.exp(-temperature * (true + (labels == 0)))),
    }
    return summarize(scores, columns, step=7)


def test_the_command_keeps_a_calibration_of_the_validation_split(run, capsys):
    assert main(["evaluate", str(run), "--calibrate", "--false_alarms=0.25"]) == 0
    shown = capsys.readouterr().out
    assert shown.rstrip().endswith("calibration.json")
    found = read_calibration(RunFolder(run))
    stored = Evaluation.load(RunFolder(run).evaluation, "validation-in-c40")
    assert (found.images, found.videos, found.qualities) == (16, 8, ("c40",))
    assert found.step == stored.step == 2
    assert found.of_images.wanted == 0.25
    after = calibrated(stored.scores["c40"], found.temperature)
    reals = after[stored.columns["labels"] == 0]
    assert np.mean(reals > found.of_images.value) == found.of_images.reached <= 0.25
    assert len(found.data) == 64
    assert str(run) not in json.dumps(json.loads(RunFolder(run).calibration.read_text()))


def test_all_qualities_share_one_threshold():
    evaluation = made_up()
    found = calibrate(evaluation, false_alarms=0.05)
    threshold = found.calibration.of_images
    assert threshold.reached <= 0.05
    assert found.reached["raw"] < threshold.reached < found.reached["c40"]
    assert np.mean(list(found.reached.values())) == pytest.approx(threshold.reached)
    assert (threshold.reals, found.calibration.of_videos.reals) == (400, 100)
    assert (threshold.videos, found.calibration.of_videos.videos) == (50, 50)
    of_videos = found.calibration.of_videos
    expected = stats.beta.ppf(0.975, 50 * of_videos.reached + 1, 50 - 50 * of_videos.reached)
    assert of_videos.high == pytest.approx(expected)
    assert (found.calibration.images, found.calibration.videos) == (800, 100)
    assert any("on raw" in line and "on c40" in line for line in calibration_lines("x", found))


def test_the_detector_is_less_sure_and_as_good_after():
    found = calibrate(made_up(), false_alarms=0.05)
    assert found.calibration.temperature > 1.5
    assert found.after["log_loss"] < found.before["log_loss"]
    assert found.after["auc"] == pytest.approx(found.before["auc"], abs=1e-6)
    assert found.after["accuracy_real"] == pytest.approx(1 - found.calibration.of_images.reached)


def test_a_video_is_the_mean_of_its_calibrated_images():
    evaluation = made_up()
    found = calibrate(evaluation, false_alarms=0.05).calibration
    alarms = 0
    for values in evaluation.scores.values():
        after = calibrated(values, found.temperature)
        reals = [v for v in range(100) if v % 2 == 0]
        alarms += sum(after[4 * v : 4 * v + 4].mean() > found.of_videos.value for v in reals)
    assert found.of_videos.reached == alarms / 100


def test_where_no_temperature_fits_the_threshold_stays():
    evaluation = made_up()
    labels = evaluation.columns["labels"]
    perfect = summarize({"raw": 0.1 + 0.8 * labels}, evaluation.columns)
    found = calibrate(perfect)
    assert found.calibration.temperature == 1.0
    assert found.calibration.of_images.value == pytest.approx(0.5, abs=1e-6)
    lines = calibration_lines("x", found)
    assert lines[0].startswith("x: no temperature fits: all validation images")
    assert any("50 real videos cannot show a rate of 0.01" in line for line in lines)


def test_a_run_without_validation_data_of_both_classes_is_one_line(run, labelled_dataset, capsys):
    of_fakes = labelled_dataset(lambda number: 1 if 48 <= number < 64 else number % 2)
    with pytest.raises(UserError, match="has no real among its 16 validation images, and a thresh"):
        calibrate_run(run, data=of_fakes)
    capsys.readouterr()
    assert main(["evaluate", str(run), "--calibrate", f"--data={of_fakes}"]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    for rate in (0.0, 1.0, float("nan")):
        with pytest.raises(UserError, match=r"must lie between 0 and 1, as 0\.01 for 1 %"):
            calibrate_run(run, false_alarms=rate)


def test_what_was_left_out_of_training_is_left_out_of_calibration(forged_dataset, tmp_path):
    config = {**CHEAP, "data.path": str(forged_dataset), "data.leave_out": "mouth"}
    train(configs.load("supervised:resnet_tiny", config), tmp_path / "run")
    found = calibrate_run(tmp_path / "run", false_alarms=0.25)
    ids = open_dataset(forged_dataset).labels("validation")
    mouths = (ids["forgery"] == open_dataset(forged_dataset).forgeries.index("mouth")).sum()
    assert mouths
    assert found.calibration.images == 16 - mouths
    assert found.calibration.of_images.reals == 8


def test_a_data_set_without_a_validation_split_is_named(run, tiny_dataset):
    dataset = dataclasses.replace(open_dataset(tiny_dataset), sizes={"train": 48, "test": 20})
    with pytest.raises(
        UserError, match="has no validation images, which temperature and threshold"
    ):
        calibrate_run(run, data=dataset)


def test_one_class_is_a_line_and_no_number(run, labelled_dataset, capsys):
    of_fakes = labelled_dataset(lambda number: 1)
    assert main(["evaluate", str(run), f"--data={of_fakes}"]) == 0
    shown = capsys.readouterr()
    assert [line for line in shown.err.splitlines() if line.startswith("note: ")] == [
        "note: all 20 examples are fake: what takes both classes, as the AUC, is not defined (nan); "
        "evaluate on a set that has both"
    ]
    assert "95 % intervals over videos:" in shown.out


def test_each_of_several_data_sets_has_metrics_of_its_own(tiny_dataset, tmp_path, capsys):
    other = tmp_path / "other" / "1.0.0"
    shutil.copytree(tiny_dataset, other)
    config = {**CHEAP, "data.path": str(tiny_dataset), "data.more": str(other)}
    train(configs.load("supervised:resnet_tiny", config), tmp_path / "run")
    found = evaluate_run(tmp_path / "run", qualities=("raw", "c40"))
    assert found.counts == {"real": 20, "fake": 20}
    assert set(found.per_dataset) == {"raw", "c40", "overall"}
    both = found.per_dataset["c40"]
    assert [name.split(":")[0] for name in both] == ["1", "2"]
    for start, values in zip((0, 20), both.values(), strict=True):
        rows = np.argsort(found.columns["index"])[start : start + 20]
        expected = binary_metrics(found.scores["c40"][rows], found.columns["labels"][rows])
        assert values["auc"] == pytest.approx(expected["auc"])
        assert values["count"] == 20
    again = Evaluation.load(tmp_path / "run" / "evaluation", "test-in-raw-c40")
    assert again.per_dataset == found.per_dataset
    assert main(["evaluate", str(tmp_path / "run"), "--qualities=c40"]) == 0
    shown = capsys.readouterr().out
    assert "by data set:" in shown
    assert "video AUC" in shown
