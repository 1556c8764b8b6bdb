"""Metrics of one's own and data that fail: named, before training where that can be, and nothing trained is lost."""

import json

import numpy as np
import pytest

from kdjax import configs
from kdjax.checks import UserError
from kdjax.extensions import NOTHING, Extensions
from kdjax.train import checkpoint
from kdjax.train.loop import train
from kdjax.train.validation import check_own_metrics, check_selection, reading

SETTINGS = {
    "data.batch_size": "8",
    "train.steps": "4",
    "train.validation_interval": "2",
    "train.devices": "1",
    "train.gradient_ratio_every": "0",
    "student.qualities": "raw",
    "evaluation.batch_size": "8",
}


def wrong(scores, labels):
    raise KeyError("area")


def leaves(scores, labels):
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("metric", "line"),
    [
        (wrong, "metric 'mine' fails: KeyError: 'area'"),
        (leaves, "metric 'mine' fails: SystemExit: 3"),
        (lambda scores, labels: scores, "must return a number; it returned a ndarray"),
        (lambda scores, labels: "much", "must return a number; it returned a str"),
        (lambda scores, labels: None, "must return a number; it returned None"),
    ],
)
def test_a_metric_that_fails_is_named_before_anything_is_trained(metric, line):
    with pytest.raises(UserError) as caught:
        check_own_metrics(Extensions(metrics={"mine": metric}))
    assert str(caught.value).startswith("metric 'mine' ")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_selection_that_is_not_finite_is_blamed_on_what_it_comes_from(value):
    check_selection("auc", 0.5, {}, "data")
    with pytest.raises(UserError, match=r"validation split of data has one class"):
        check_selection("auc", value, {}, "data")
    with pytest.raises(UserError, match=r"metric 'mine' of your own is .*must be finite"):
        check_selection("mine", value, {"mine": wrong}, "data")


@pytest.mark.parametrize(
    "error", [OSError(5, "Input/output error"), KeyError("image"), SystemExit(1)]
)
def test_what_fails_while_data_are_read_names_data_and_split(error):
    def items():
        yield 1
        raise error

    found = reading(items(), "own:mine", "train", NOTHING)
    assert next(found) == 1
    with pytest.raises(
        UserError, match=r"reading split 'train' of data set 'own:mine' fails: "
    ) as caught:
        next(found)
    assert type(error).__name__ in str(caught.value)
    assert list(reading(iter([1, 2]), "own:mine", "train", NOTHING)) == [1, 2]


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_metric_that_fails_late_costs_no_step_and_goes_on_when_mended(tiny_dataset, tmp_path):
    def config():
        found = configs.load("supervised:resnet_tiny", {**SETTINGS, "data.path": str(tiny_dataset)})
        found.train.selection = "mine"
        return found

    def sound(scores, labels):
        return float(np.mean(scores))

    def broken(scores, labels):
        # the trial before training has 64 scores, this validation fewer
        return float(np.mean(scores)) if len(scores) == 64 else np.nan

    train(config(), tmp_path / "whole", Extensions(metrics={"mine": sound}))
    with pytest.raises(UserError, match=r"metric 'mine' of your own is nan"):
        train(config(), tmp_path / "broken", Extensions(metrics={"mine": broken}))
    assert checkpoint.latest_step(tmp_path / "broken") == 2
    train(config(), tmp_path / "broken", Extensions(metrics={"mine": sound}))
    assert rows(tmp_path / "broken") == rows(tmp_path / "whole")
    assert checkpoint.best_step(tmp_path / "broken") == checkpoint.best_step(tmp_path / "whole")
