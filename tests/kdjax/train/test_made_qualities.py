"""JPEG as a quality of a run: the student's, the teacher's, and in evaluation."""

import dataclasses
import json

import numpy as np
import pytest

from kdjax import configs
from kdjax.checks import UserError
from kdjax.cli import main
from kdjax.train import initial
from kdjax.train.evaluation import evaluate_run
from kdjax.train.initial import initial_state
from kdjax.train.loop import train
from kdjax.train.setup import make_plan
from kdjax.train.step import prepare_batch

CHEAP = {
    "data.batch_size": "8", "train.steps": "2", "train.devices": "1", "train.balance": "none",
    "train.gradient_ratio_every": "0",
}  # fmt: skip


def settings(data, config="supervised:resnet_tiny", **changed):
    own = {key.replace("__", "."): value for key, value in changed.items()}
    return configs.load(config, {**CHEAP, "data.path": str(data), **own})


@pytest.fixture(scope="module")
def teacher(tiny_dataset, tmp_path_factory):
    """A run on two stored qualities and one that is made."""
    run = tmp_path_factory.mktemp("made") / "teacher"
    train(settings(tiny_dataset, student__qualities="c40,jpeg"), run)
    return run


def test_a_run_is_evaluated_on_what_was_made_for_it_and_on_what_is_asked_for(teacher):
    assert list(evaluate_run(teacher).scores) == ["raw", "c23", "c40", "jpeg"]
    result = evaluate_run(teacher, qualities=("jpeg10", "raw"))
    assert list(result.scores) == ["jpeg10", "raw"]
    assert not np.array_equal(result.scores["jpeg10"], result.scores["raw"])
    kept = json.loads((teacher / "evaluation" / "test-in-jpeg10-raw.json").read_text())
    assert set(kept["metrics"]) == {"jpeg10", "raw", "overall"}


def test_the_command_takes_qualities(teacher, capsys):
    main(["evaluate", str(teacher), "--qualities=jpeg30,c40"])
    shown = capsys.readouterr().out
    assert "jpeg30" in shown
    assert "c23" not in shown


@pytest.mark.parametrize(
    ("qualities", "message"),
    [
        (("webp",), "--qualities names 'webp'; .* has: raw, c23, c40; jpeg, or jpeg1 to jpeg100"),
        (("raw", "raw"), "--qualities=raw,raw names a quality twice"),
    ],
)
def test_what_is_no_quality_is_refused(teacher, qualities, message):
    with pytest.raises(UserError, match=message):
        evaluate_run(teacher, qualities=qualities)


@pytest.mark.slow
def test_a_student_of_jpeg_has_a_teacher_of_another(tiny_dataset, teacher, tmp_path):
    names = {"student__qualities": "jpeg30,c40", "teacher__quality": "jpeg95"}
    config = settings(tiny_dataset, "kd:resnet_tiny", teacher__runs=str(teacher), **names)
    plan = make_plan(config)
    assert plan.seen == ("jpeg30", "c40", "jpeg95")
    assert plan.qualities == ("raw", "c40")
    # what a method's `init` may ask the shapes of
    assert tuple(initial._example(plan)["image"]) == plan.seen
    assert train(config, tmp_path / "student")["step"] == 2
    images = {
        q: np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
        for q in ("raw", "c40")
    }
    batch = {"image": images, "index": np.arange(8)}
    found = prepare_batch(plan.parts, initial_state(plan), batch)["image"]
    assert list(found) == ["jpeg30", "c40", "jpeg95"]


def test_what_can_be_made_is_said(tiny_dataset):
    config = settings(tiny_dataset, student__qualities="raw,jpeg101")
    with pytest.raises(
        UserError, match=r"'jpeg101'; .*c40; jpeg, or jpeg1 to jpeg100 is made from raw"
    ):
        make_plan(config)


def test_a_quality_is_drawn_anew_in_each_epoch(tiny_dataset):
    still = {"data__flip": "false", "data__random_crop": "false"}
    plan = make_plan(settings(tiny_dataset, student__qualities="jpeg", **still))
    first = initial_state(plan)
    noise = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)

    def seen(step):
        batch = {"image": {"raw": noise}, "index": np.arange(8)}
        state = dataclasses.replace(first, step=np.int32(step))
        return np.asarray(prepare_batch(plan.parts, state, batch)["image"]["jpeg"])

    assert plan.steps_per_epoch == 6
    np.testing.assert_array_equal(seen(0), seen(5))
    differs = (seen(0) != seen(6)).any(axis=(1, 2, 3))
    # two of 71 qualities are seldom the same
    assert differs.sum() >= 6


def test_a_run_is_evaluated_under_corruptions(teacher, capsys):
    main(["evaluate", str(teacher), "--corruptions=noise,h264"])
    shown = capsys.readouterr().out.splitlines()
    kept = json.loads((teacher / "evaluation" / "test-under-noise-h264.json").read_text())
    metrics = kept["metrics"]
    assert list(metrics) == [
        "raw",
        *(f"{kind}-{k}" for kind in ("noise", "h264") for k in range(1, 6)),
        "overall",
    ]
    assert metrics["raw"]["auc"] == evaluate_run(teacher).metrics["raw"]["auc"]
    cells = next(line for line in shown if " noise " in line).split()[2:]
    aucs = [metrics[name]["auc"] for name in ("raw", *(f"noise-{k}" for k in range(1, 6)))]
    assert cells == [f"{value:.3f}" for value in (*aucs, np.mean(aucs[1:]))]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corruptions": ("blurs",)}, "--corruptions names 'blurs'; did you mean 'blur'"),
        ({"corruptions": ("blur", "blur")}, "names one twice"),
        ({"corruptions": ("blur",), "qualities": ("raw",)}, "without --qualities"),
    ],
)
def test_what_is_no_corruption_is_refused(teacher, options, message):
    with pytest.raises(UserError, match=message):
        evaluate_run(teacher, **options)
