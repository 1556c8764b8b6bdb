"""Configurations that are refused before anything is written."""

import pytest

import configs
from kdjax.train.config_checks import rotation_power

SLOWER = [
    {"optimizer.schedule": "constant"},
    {"optimizer.rotation_power": "1"},
    {"optimizer.schedule": "step", "optimizer.decay_factor": "1"},
    {"optimizer.schedule": "step", "optimizer.decay_factor": "0"},
]


@pytest.mark.parametrize("changed", [{}, {"optimizer.schedule": "step"}])
def test_rotations_have_the_power_of_the_configuration(changed):
    assert rotation_power(configs.load("tokd:resnet_tiny", changed)) == 2


@pytest.mark.parametrize("changed", SLOWER)
def test_rotations_that_would_not_decay_faster_are_refused(changed):
    combined = {"method.parts": "qad,tokd", **changed}
    for config in (configs.load("tokd", changed), configs.load("combine", combined)):
        with pytest.raises(
            ValueError, match=r"optimizer\.rotation_power=.* decay faster"
        ) as caught:
            rotation_power(config)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("changed", SLOWER)
def test_without_rotations_any_schedule_will_do(changed):
    rotation_power(configs.load("tokd", {"method.rotation": "none", **changed}))
    rotation_power(configs.load("kd", changed))
