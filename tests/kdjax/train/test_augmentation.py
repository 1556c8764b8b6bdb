"""Which augmentation `data.augmentation` names: shipped ones with options, the user's own, several in turn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import configs
from kdjax.checks import UserError
from kdjax.data_pipeline import augmentations
from kdjax.extensions import NOTHING, Extensions
from kdjax.train.augmentation import moves_pixels, named_augmentation
from kdjax.train.loop import train

KEY, STEP = jax.random.key(3), jnp.int32(0)
IMAGE = jax.random.uniform(jax.random.key(0), (16, 16, 3))


def named(text, own=NOTHING):
    config = configs.base.get_config("supervised", "resnet_tiny", extensions=own)
    configs.override(config, "data.augmentation", text)
    return named_augmentation(config, own)


def test_none_is_the_default():
    assert named("") is None
    assert configs.load("qad").data.augmentation == ""


def test_a_shipped_one_is_made_with_its_options():
    found = named("noise:largest=0.2:chance=1")(IMAGE, KEY, STEP)
    expected = augmentations.noise(largest=0.2, chance=1.0)(IMAGE, KEY, STEP)
    np.testing.assert_array_equal(found, expected)
    assert not np.array_equal(named("noise:chance=1")(IMAGE, KEY, STEP), expected)
    found = named("downscale:factors=8,:chance=1")(IMAGE, KEY, STEP)
    expected = augmentations.downscale(factors=(8,), chance=1.0)(IMAGE, KEY, STEP)
    np.testing.assert_array_equal(found, expected)


def test_several_come_in_turn_the_users_own_among_them():
    own = Extensions(augmentations={"darker": lambda by=0.5: lambda image, key, step: by * image})
    found = named("darker+noise:chance=1", own)(IMAGE, KEY, STEP)
    noise = augmentations.noise(chance=1.0)
    expected = noise(0.5 * IMAGE, jax.random.fold_in(KEY, 1), STEP)
    np.testing.assert_array_equal(found, expected)


def test_the_users_own_of_a_shipped_name_is_the_users():
    own = Extensions(augmentations={"noise": lambda: lambda image, key, step: 1 - image})
    np.testing.assert_array_equal(named("noise", own)(IMAGE, KEY, STEP), 1 - IMAGE)


def test_one_of_several_that_returns_something_else_is_named():
    own = Extensions(augmentations={"half": lambda: lambda image, key, step: image[:8]})
    with pytest.raises(UserError, match=r"'half' fails: ValueError: .* \[16, 16, 3\]; it returns"):
        named("half+noise", own)(IMAGE, KEY, STEP)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("blu", "no augmentation is called 'blu'; did you mean 'blur'"),
        ("blur+", "no augmentation is called ''"),
        ("blur:larger=1", "blur has no option 'larger'; did you mean 'largest'"),
        ("blur:1", "blur:1 must be blur:OPTION=VALUE"),
        ("blur:largest=1:largest=2", "blur: largest is given twice"),
        ("blur:largest=wide", "blur:largest='wide' must be of type float"),
        ("blur:largest=0", "largest=0.0 must be greater than 0"),
        ("jpeg:low=90:high=20", "low=90 and high=20 must be 1 <= low <= high <= 100"),
        ("jpeg:subsampling=4;2;2", "subsampling='4;2;2' must be one of"),
        ("mine:by=2", r"options of mine, one of your own, are at own\.mine\.\*"),
    ],
)
def test_what_is_none_is_refused_by_its_key(text, message):
    own = Extensions(augmentations={"mine": lambda by=1: lambda image, key, step: by * image})
    with pytest.raises(ValueError, match=f"data.augmentation=.*: {message}"):
        named(text, own)


@pytest.mark.parametrize(
    ("text", "moves"), [("", False), ("blur+noise", False), ("blur+resized_crop:smallest=1", True)]
)
def test_those_that_move_pixels_are_known(text, moves):
    config = configs.load("kd:resnet_tiny", {"data.augmentation": text})
    assert moves_pixels(config) == moves


def test_a_run_trains_with_them_and_its_configuration_remembers(tiny_dataset, tmp_path):
    text = "resized_crop+colour+jpeg:low=50:chance=1"
    settings = {"data.path": str(tiny_dataset), "data.augmentation": text, "train.steps": "2"}
    settings |= {"data.batch_size": "8", "train.devices": "1"}
    config = configs.load("supervised:resnet_tiny", settings)
    assert train(config, tmp_path / "run")["step"] == 2
    assert text in (tmp_path / "run" / "config.json").read_text()
