"""Settings that change nothing are said."""

import pytest

from kdjax import configs
from kdjax.defaults import PARTS
from kdjax.train.idle import READ_WITH, idle_settings


def lines(name, balance="start", **overrides):
    changed = {f"method.{key}".replace("__", "."): value for key, value in overrides.items()}
    return idle_settings(configs.load(name, {"train.balance": balance, **changed}))


@pytest.mark.parametrize("name", configs.NAMES)
@pytest.mark.parametrize("balance", ["none", "start", "running"])
def test_nothing_is_said_of_defaults(name, balance):
    assert not lines(name, balance)


def test_every_option_of_the_table_is_one():
    for method, options in READ_WITH.items():
        for name, conditions in options.items():
            assert {name, *(other for other, _ in conditions)} <= PARTS[method].keys()


def test_a_weight_that_the_balance_makes_up_for_is_named():
    (line,) = lines("add", frequency_weight="0.01", view_weight="0")
    assert "method.frequency_weight=0.01 changes nothing" in line
    assert "method.shares" in line
    assert "train.balance=none" in line
    assert not lines("add", "none", frequency_weight="0.01", view_weight="0")
    assert not lines("kd", cross_entropy_weight="0.5")
    (line,) = lines("combine", parts="kd,add", kd__kd_weight="0.5")
    assert "method.kd.kd_weight=0.5" in line


def test_a_share_that_no_balance_asks_for_is_named():
    (line,) = lines("kd", "none", shares__kd="0.5")
    assert line.startswith("method.shares.kd=0.5 changes nothing while train.balance=none")
    (line,) = lines("combine", "none", parts="kd,add", add__shares__multi_view="0.5")
    assert line.startswith("method.add.shares.multi_view=0.5 changes nothing")
    assert not lines("kd", "running", shares__kd="0.5")


def test_an_option_that_is_not_read_is_named_with_what_would_read_it():
    (line,) = lines("qad", sigma="3")
    assert line == (
        "method.sigma=3.0 changes nothing while method.bandwidth=mean; "
        "it is read with method.bandwidth=fixed"
    )
    assert not lines("qad", sigma="3", bandwidth="fixed")
    (line,) = lines("qad", sigma="3", bandwidth="fixed", collaboration="pairwise")[:1]
    assert "it is read with method.collaboration=hsic" in line
    (line,) = lines("tokd", projectors="false", teacher_projectors="joint")
    assert "while method.projectors=false; it is read with method.projectors=true" in line
    (line,) = lines("combine", parts="kd,qad", qad__perturbation="none", qad__gamma="0.1")
    assert line.startswith(
        "method.qad.gamma=0.1 changes nothing while method.qad.perturbation=none"
    )


def test_an_option_of_a_method_that_is_no_part_is_named():
    (line,) = lines("combine", parts="kd,ckd", add__views="6")
    assert line == "method.add.views=6 changes nothing while add is not in method.parts=kd,ckd"
    assert not lines("combine", parts="kd,add", add__views="6")


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (
            {"optimizer.decay_mask": "kernel"},
            "optimizer.decay_mask=kernel changes nothing while optimizer.weight_decay=0.0",
        ),
        ({"ema.evaluate": "false"}, "ema.evaluate=false changes nothing while ema.decay=0.0"),
        (
            {"accumulation.batch_norm": "micro"},
            "accumulation.batch_norm=micro changes nothing while accumulation.steps=1",
        ),
        ({"ema.evaluate": "false", "ema.decay": "0.9"}, ""),
    ],
)
def test_settings_of_training_that_nothing_reads_are_said(changed, line):
    found = idle_settings(configs.load("supervised", changed))
    assert found == ([line] if line else [])
