"""Runs that accumulate: what is refused, what is the run of the whole batch, and going on."""

import jax
import numpy as np
import pytest

import kdjax
from kdjax import configs
from kdjax.checks import UserError
from kdjax.train import saving
from kdjax.train.loop import train
from kdjax.train.setup import make_plan

SETTINGS = {
    "data.batch_size": "8",
    "train.steps": "4",
    "train.validation_interval": "2",
    "train.devices": "1",
    "optimizer.learning_rate": "5e-3",
    "student.qualities": "raw",
    "evaluation.batch_size": "8",
    "accumulation.steps": "2",
}


def config_for(data, **changed):
    own = {key.replace("__", "."): str(value) for key, value in changed.items()}
    return configs.load("supervised:resnet_tiny", {**SETTINGS, "data.path": str(data), **own})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, "student's .*norm.* normalises by it; set accumulation.batch_norm=micro"),
        (
            {"accumulation__steps": 3},
            "data.batch_size=8 is not divisible by accumulation.steps=3 on 1 device; choose a multiple of 3",
        ),
        (
            {"train__devices": 4, "accumulation__steps": 4},
            "data.batch_size=8 is not divisible by accumulation.steps=4 on 4 devices; .* of 16",
        ),
        (
            {"train__freeze_statistics": "frozen", "optimizer__freeze": "stem"},
            "student's stage1_block1/norm1 normalises by it",
        ),
    ],
)
def test_what_does_not_add_up_is_refused_before_anything_is_written(tiny_dataset, changed, message):
    with pytest.raises(UserError, match=message):
        make_plan(config_for(tiny_dataset, **changed))


def test_values_out_of_range_are_named(tiny_dataset):
    with pytest.raises(UserError, match=r"accumulation.steps=0 must be greater than 0"):
        config_for(tiny_dataset, accumulation__steps=0)
    with pytest.raises(
        UserError, match=r"accumulation.batch_norm='none' must be one of: exact, micro"
    ):
        config_for(tiny_dataset, accumulation__batch_norm="none")


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 4])
def test_with_statistics_at_rest_a_run_is_that_of_the_whole_batch(tiny_dataset, tmp_path, devices):
    rests = {"train__freeze_statistics": "all", "optimizer__name": "sgd"}
    train(config_for(tiny_dataset, accumulation__steps=1, **rests), tmp_path / "whole")
    train(config_for(tiny_dataset, train__devices=devices, **rests), tmp_path / "parts")
    whole, parts = (kdjax.Run(tmp_path / name) for name in ("whole", "parts"))
    for found, expected in zip(
        jax.tree.leaves(parts.variables(step=4)),
        jax.tree.leaves(whole.variables(step=4)),
        strict=True,
    ):
        difference = np.linalg.norm(found - expected)
        assert difference <= 1e-4 * max(np.linalg.norm(expected), 1e-2)
    for name in ("loss", "accuracy"):
        np.testing.assert_allclose(
            parts.metrics["train"][name], whole.metrics["train"][name], rtol=1e-4
        )


@pytest.mark.slow
def test_a_run_that_accumulates_goes_on_bit_for_bit(tiny_dataset, tmp_path, monkeypatch):
    config = config_for(tiny_dataset, accumulation__batch_norm="micro", ema__decay=0.5)
    train(config, tmp_path / "whole")
    saved = saving.Checkpoints.save_latest

    def stop(self, state, *rest):
        saved(self, state, *rest)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(saving.Checkpoints, "save_latest", stop)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "broken")
    train(config, tmp_path / "broken")
    whole, broken = (kdjax.Run(tmp_path / name) for name in ("whole", "broken"))
    for kind in ("trained", "averaged"):
        jax.tree.map(
            np.testing.assert_array_equal,
            whole.variables(step=4, kind=kind),
            broken.variables(step=4, kind=kind),
        )
