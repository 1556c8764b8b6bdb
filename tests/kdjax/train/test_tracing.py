"""Traces of steps, and what is said of devices that wait for data."""

import gzip
import json

import pytest

from kdjax import configs
from kdjax.checks import UserError
from kdjax.cli import main
from kdjax.train import tracing
from kdjax.train.loop import train


def settings(data, **own):
    return {
        "data.path": str(data),
        "data.batch_size": "8",
        "train.steps": "6",
        "train.validation_interval": "3",
        "train.devices": "1",
        "train.log_every": "1",
        "train.gradient_ratio_every": "0",
        "student.qualities": "raw",
        **own,
    }


def config_for(data, **own):
    return configs.load("supervised:resnet_tiny", settings(data, **own))


@pytest.mark.slow
def test_some_steps_are_traced_and_the_weights_are_as_without(tiny_dataset, tmp_path, capsys):
    words = [f"--config.{key}={value}" for key, value in settings(tiny_dataset).items()]
    command = ["train", "--config=supervised:resnet_tiny", *words]
    assert main([*command, f"--workdir={tmp_path / 'a'}"]) == 0
    assert main([*command, f"--workdir={tmp_path / 'b'}", "--profile=2:3"]) == 0
    assert "trace of the steps to 3" in capsys.readouterr().err
    assert not (tmp_path / "a" / "profile").exists()
    assert list((tmp_path / "b" / "profile").rglob("*.xplane.pb"))
    (perfetto,) = (tmp_path / "b" / "profile").rglob("perfetto_trace.json.gz")
    events = json.loads(gzip.decompress(perfetto.read_bytes()))["traceEvents"]
    assert any("student_step" in str(event.get("name")) for event in events)
    metrics = [(tmp_path / run / "metrics.jsonl").read_bytes() for run in "ab"]
    assert metrics[0] == metrics[1]


@pytest.mark.every
def test_a_trace_that_training_ends_in_is_written(tiny_dataset, tmp_path):
    train(config_for(tiny_dataset), tmp_path / "run", profile="5:600")
    assert list((tmp_path / "run" / "profile").rglob("*.xplane.pb"))


@pytest.mark.parametrize("steps", ["3", "3:", ":3", "4:3", "0:3", "a:b", "-1:3", "1:2:3"])
def test_steps_that_are_none_are_refused_before_the_run_begins(tiny_dataset, tmp_path, steps):
    with pytest.raises(UserError, match="must be START:STOP"):
        train(config_for(tiny_dataset), tmp_path / "run", profile=steps)
    assert not (tmp_path / "run").exists()


def test_steps_that_never_come_are_refused(tiny_dataset, tmp_path):
    with pytest.raises(UserError, match="begins at step 7, and the run has 6"):
        train(config_for(tiny_dataset), tmp_path / "run", profile="7:9")
    assert not (tmp_path / "run").exists()


def test_devices_that_wait_are_told_of_once():
    watch = tracing.Starvation()
    shares = [0.95, 0.95, 0.2, 0.95, 0.95, 0.95, 0.99]
    said = [watch.watch(2.0, 2.0 * share) for share in shares]
    assert [bool(each) for each in said] == [False] * 5 + [True, False]
    assert "reading takes 95% of the time" in said[5]
