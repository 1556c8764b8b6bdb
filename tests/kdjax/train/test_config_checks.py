"""Configurations that are refused before anything is written."""

import pytest

from kdjax import configs
from kdjax.checks import UserError
from kdjax.data_pipeline import manifest
from kdjax.data_pipeline.prepared import open_dataset
from kdjax.train.config_checks import check_classes, rotation_power
from kdjax.train.loop import train

SLOWER = [
    {"optimizer.schedule": "constant"},
    {"optimizer.rotation_power": "1"},
    {"optimizer.schedule": "step", "optimizer.decay_factor": "1"},
]


def power(config, *, decay_steps=5, total_steps=15):
    return rotation_power(
        config, decay_steps=decay_steps, total_steps=total_steps, steps_per_epoch=3
    )


@pytest.mark.parametrize("changed", [{}, {"optimizer.schedule": "one_cycle"}])
def test_rotations_have_the_power_of_the_configuration(changed):
    assert power(configs.load("tokd:resnet_tiny", changed)) == 2


@pytest.mark.parametrize("changed", SLOWER)
def test_rotations_that_would_not_decay_faster_are_refused(changed):
    combined = {"method.parts": "qad,tokd", **changed}
    for config in (configs.load("tokd", changed), configs.load("combine", combined)):
        with pytest.raises(
            ValueError, match=r"optimizer\.rotation_power=.* decay faster"
        ) as caught:
            power(config)
        assert "\n" not in str(caught.value)


def test_a_decay_beyond_the_run_is_none():
    config = configs.load("tokd")
    assert power(config, decay_steps=14) == 2
    with pytest.raises(ValueError, match=r"every 15 steps of 15.*optimizer\.decay_epochs"):
        power(config, decay_steps=15)
    # a trial
    assert power(config, decay_steps=15, total_steps=3) == 2
    # one cycle falls to its end, whatever its length
    assert power(configs.load("tokd", {"optimizer.schedule": "one_cycle"}), decay_steps=15) == 2


@pytest.mark.parametrize("changed", SLOWER)
def test_without_rotations_any_schedule_will_do(changed):
    power(configs.load("tokd", {"method.rotation": "none", **changed}))
    power(configs.load("kd", changed))


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (lambda number: 0, "has no fake training image"),
        (lambda number: 1, "has no real training image"),
        (lambda number: number % 3, "16 training images have the label 2; 0 is real, 1 fake"),
    ],
    ids=["real", "fake", "three"],
)
def test_training_images_of_other_classes_are_refused(labelled_dataset, label, message):
    path = labelled_dataset(label)
    with pytest.raises(ValueError, match=rf"data\.path=.*{message}") as caught:
        check_classes(open_dataset(path))
    assert "\n" not in str(caught.value)


def test_the_manifest_says_what_classes_there_are(labelled_dataset):
    path = labelled_dataset(lambda number: number % 2)
    dataset = open_dataset(path)
    assert manifest.class_counts(dataset, "train") == {0: 24, 1: 24}
    counts = {"train": {"by_class": {"real": 48, "fake": 0}}}
    manifest.write(path, {"format": 1, "counts": counts})
    with pytest.raises(ValueError, match="has no fake training image"):
        check_classes(dataset)
    # one that says nothing, or is not ours, is not asked
    for text in ("{}", '{"format": 1}', '{"format": 1, "counts": {"train": {"by_class": 3}}}'):
        (path / "manifest.json").write_text(text)
        check_classes(dataset)


@pytest.mark.slow
def test_a_wrong_label_that_the_manifest_hides_is_one_line_too(labelled_dataset, tmp_path):
    path = labelled_dataset(lambda number: number % 3)
    counts = {"train": {"by_class": {"real": 24, "fake": 24}}}
    manifest.write(path, {"format": 1, "counts": counts})
    options = {"data.path": str(path), "data.batch_size": "8", "train.steps": "6"}
    config = configs.load("supervised:resnet_tiny", {**options, "train.devices": "1"})
    with pytest.raises(UserError, match=r"record \d+ has label 2; 0 is real, 1 fake") as caught:
        train(config, tmp_path / "run")
    assert "\n" not in str(caught.value)
