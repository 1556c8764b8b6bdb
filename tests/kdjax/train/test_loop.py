"""The loop on the tiny data set: files, selection, resuming, and what is refused before anything is lost."""

import json
import shutil
import signal

import jax
import numpy as np
import pytest

from kdjax import configs
from kdjax.checks import UserError
from kdjax.files import held
from kdjax.folder import RunFolder
from kdjax.train import batches, checkpoint, compiled
from kdjax.train.claim import claim_run
from kdjax.train.evaluation import evaluate_run
from kdjax.train.initial import initial_state
from kdjax.train.interrupt import catch_signals
from kdjax.train.log import RunLog
from kdjax.train.loop import train
from kdjax.train.setup import make_plan
from kdjax.train.step import prepare_batch
from kdjax.train.validation import validation_steps

SETTINGS = {
    "data.batch_size": "8",
    "train.epochs": "2",
    "train.validations_per_epoch": "2",
    "train.validation_interval": "1",
    "train.devices": "1",
    "train.log_every": "2",
    "optimizer.learning_rate": "5e-3",
    "student.qualities": "raw",
    "evaluation.batch_size": "8",
}


def config_for(data, **changed):
    own = {key.replace("__", "."): str(value) for key, value in changed.items()}
    return configs.load("supervised:resnet_tiny", {**SETTINGS, "data.path": str(data), **own})


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(tiny_dataset, tmp_path_factory):
    """A run trained to its end."""
    run = tmp_path_factory.mktemp("runs") / "teacher"
    result = train(config_for(tiny_dataset), run)
    return run, result


def test_augmentations_are_drawn_from_the_seed_of_the_data_not_of_the_student(tiny_dataset):
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    batch = {"image": {"raw": images}, "index": np.arange(8)}

    def drawn(**seeds):
        plan = make_plan(config_for(tiny_dataset, **seeds))
        return np.asarray(prepare_batch(plan.parts, initial_state(plan), batch)["image"]["raw"])

    found = drawn(seed__student=1, seed__data=2)
    np.testing.assert_array_equal(drawn(seed__student=2, seed__data=2), found)
    assert not np.array_equal(drawn(seed__student=1, seed__data=1), found)


def test_run_learns_and_says_what_it_found(finished):
    _, result = finished
    assert result["step"] == 12
    assert not result["stopped_early"]
    assert result["best_metric"] > 0.9


def test_metrics_hold_every_step_once_and_no_time(finished):
    run, _ = finished
    rows = lines(run / "metrics.jsonl")
    steps = [row["step"] for row in rows if row["kind"] == "train"]
    assert steps == sorted(set(steps))
    assert [row["step"] for row in rows if row["kind"] == "validation"] == [3, 6, 9, 12]
    assert all("seconds" not in row for row in rows)
    assert all(np.isfinite(row["loss"]) for row in rows if row["kind"] == "train")
    assert {"step", "seconds", "input_seconds", "images_per_second"} == set(
        lines(run / "timings.jsonl")[0]
    )
    assert list((run / "tensorboard").glob("events*"))


@pytest.mark.parametrize(
    ("interval", "per_epoch", "steps"),
    [
        # an epoch has 6 steps
        (1, 2, {3, 6, 9, 12}),
        (5, 2, {5, 10, 12}),
        (20, 10, {12}),
        (4, 1, {6, 12}),
    ],
)
def test_validations_are_no_closer_than_their_interval(tiny_dataset, interval, per_epoch, steps):
    changed = {"train__validation_interval": interval, "train__validations_per_epoch": per_epoch}
    plan = make_plan(config_for(tiny_dataset, **changed))
    assert validation_steps(plan) == steps


def test_a_run_tells_what_it_was_trained_with(finished):
    run, _ = finished
    (noted,) = RunFolder(run).read_versions()
    assert noted["step"] == 0
    assert noted["versions"]["jax"] == jax.__version__


def test_best_weights_are_of_the_best_validation(finished):
    run, result = finished
    rows = [row for row in lines(run / "metrics.jsonl") if row["kind"] == "validation"]
    best = max(rows, key=lambda row: row["accuracy"])
    assert checkpoint.best_step(run) == result["best_step"] == best["step"]


def test_evaluation_of_the_run_has_all_qualities(finished):
    run, _ = finished
    result = evaluate_run(run)
    assert set(result.metrics) == {"raw", "c23", "c40", "overall"}
    assert result.metrics["raw"]["auc"] > 0.9
    assert result.counts == {"real": 10, "fake": 10}
    assert (run / "evaluation" / "test.json").exists()


def test_same_command_again_changes_nothing(finished, tiny_dataset):
    run, result = finished
    before = (run / "metrics.jsonl").read_bytes()
    assert train(config_for(tiny_dataset), str(run)) == result
    assert (run / "metrics.jsonl").read_bytes() == before


def test_workdir_of_another_configuration_is_refused(finished, tiny_dataset):
    run, _ = finished
    with pytest.raises(UserError, match=r"holds a run with optimizer\.learning_rate=0\.005"):
        train(config_for(tiny_dataset, optimizer__learning_rate=1e-4), run)


def test_a_run_that_saved_nothing_begins_anew_with_other_settings(tiny_dataset, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(UserError, match="training diverged"):
        train(config_for(tiny_dataset, optimizer__learning_rate=1e30), run)
    assert (run / "config.json").exists()
    assert train(config_for(tiny_dataset), run)["step"] > 0
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert checkpoint.read_config(run).optimizer.learning_rate == 0.005
    assert all(line.get("loss", 0.0) is not None for line in lines)


def test_settings_that_do_not_matter_may_change(finished, tiny_dataset):
    run, result = finished
    assert train(config_for(tiny_dataset, data__threads=2), run) == result


def test_folder_of_something_else_is_refused(tmp_path, tiny_dataset):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="not empty and not a run"):
        train(config_for(tiny_dataset), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"data__batch_size": 6, "train__devices": 4}, "not divisible by 4 devices"),
        ({"data__image_size": 64}, "larger than the 32 px images"),
        ({"data__batch_size": 64}, r"data\.batch_size=64 is larger than the training split"),
        ({"student__network": "resnet19"}, "student.network='resnet19'"),
        ({"student__qualities": "c99"}, "student.qualities names 'c99'"),
        ({"student__qualities": "raw,raw"}, "student.qualities=raw,raw names a quality twice"),
        ({"student__dtype": "int8"}, "student.dtype='int8'"),
        ({"train__devices": 64}, "this machine has 4"),
        ({"optimizer__schedule": "triangle"}, "optimizer.schedule='triangle'"),
        ({"teacher__runs": "absent"}, "absent"),
        ({"train__selection": "loss"}, r"train\.selection='loss'"),
        ({"train__epochs": -1}, r"train\.epochs=-1"),
        ({"train__epochs": 0}, "both 0"),
        ({"optimizer__learning_rate": "1e999"}, r"optimizer\.learning_rate=inf is not finite"),
        ({"seed__data": -1}, r"seed\.data=-1"),
        ({"seed__data": 10**23}, r"seed\.data=1\d+ is too large"),
        ({"train__steps": 10**12}, r"train\.steps=1\d+ is too large"),
        ({"student__width": 1e20}, r"student\.width=1e\+20 is too large"),
        ({"student__width": 1e9}, r"the networks are too large \(student\.width\)"),
        ({"optimizer__beta1": 1}, r"optimizer\.beta1=1"),
        ({"optimizer__epsilon": -1}, r"optimizer\.epsilon=-1"),
        ({"evaluation__batch_size": 0}, r"evaluation\.batch_size=0"),
    ],
)
def test_bad_setting_is_one_line_and_leaves_no_run(tmp_path, tiny_dataset, changed, message):
    run = tmp_path / "run"
    with pytest.raises(UserError, match=message) as caught:
        train(config_for(tiny_dataset, **changed), run)
    assert "\n" not in str(caught.value)
    assert not run.exists()


def test_a_step_that_cannot_be_built_leaves_no_run(tmp_path, tiny_dataset, monkeypatch):
    def step(state, lesson):
        assert lesson.batch["image"]["raw"].shape == (8, 32, 32, 3)
        raise ValueError("shapes must be equal")

    monkeypatch.setattr(compiled, "make_student_step", lambda parts, axis: step)
    with pytest.raises(UserError, match="supervised cannot be built: shapes must be equal"):
        train(config_for(tiny_dataset, train__devices=1), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_run_does_not_go_on_with_another_data_set(finished, tiny_dataset, tmp_path):
    run, _ = finished
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    found = json.loads((copy / "inputs.json").read_text())
    found["dataset"]["manifest"] = "of another"
    (copy / "inputs.json").write_text(json.dumps(found))
    with pytest.raises(UserError, match=r"is not the one that .* was begun with"):
        train(config_for(tiny_dataset), copy)


def test_run_does_not_go_on_with_another_teacher(tmp_path, tiny_dataset):
    config = config_for(tiny_dataset, teacher__runs="teacher")
    weights = {"kernel": np.zeros(3, np.float32)}
    inputs = {"dataset": {}, "teachers": [checkpoint.fingerprint(weights)]}
    claim_run(tmp_path, config, inputs)
    RunFolder(tmp_path).finish({})
    claim_run(tmp_path, config, inputs)
    weights["kernel"][1] = 1
    inputs["teachers"] = [checkpoint.fingerprint(weights)]
    with pytest.raises(UserError, match=r"the teacher teacher is not what .* was begun with"):
        claim_run(tmp_path, config, inputs)


@pytest.mark.usefixtures("handled")
@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_interrupted_run_keeps_every_step(finished, tiny_dataset, tmp_path, monkeypatch, number):
    whole, result = finished
    write = RunLog.write_timing

    def interrupt(log, step, values):
        write(log, step, values)
        if step == 4:
            signal.raise_signal(number)

    monkeypatch.setattr(RunLog, "write_timing", interrupt)
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        train(config_for(tiny_dataset), tmp_path / "run")
    assert signal.getsignal(number) is before
    assert checkpoint.latest_step(tmp_path / "run") == 5
    monkeypatch.undo()
    assert train(config_for(tiny_dataset), tmp_path / "run") == result
    own, other = (checkpoint.load_best(run)[1] for run in (tmp_path / "run", whole))
    jax.tree.map(np.testing.assert_array_equal, own, other)


@pytest.mark.usefixtures("handled")
def test_a_signal_that_is_ignored_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with catch_signals() as interruption:
        signal.raise_signal(signal.SIGINT)
    assert not interruption.number


@pytest.mark.usefixtures("handled")
def test_second_signal_stops_at_once():
    with catch_signals() as interruption:
        signal.raise_signal(signal.SIGTERM)
        assert interruption.number == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.slow
def test_damaged_checkpoint_is_named(finished, tiny_dataset, tmp_path):
    run, _ = finished
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    for path in (copy / "checkpoints").rglob("*"):
        if path.is_file() and path.parent.name != "12" and path.name != "_CHECKPOINT_METADATA":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="is damaged or of another model"):
        train(config_for(tiny_dataset), copy)


def test_run_is_trained_by_one_process_at_a_time(finished, tiny_dataset):
    run, _ = finished
    with held(run / ".lock", "is training"), pytest.raises(UserError, match="another process"):
        train(config_for(tiny_dataset), run)


def test_checkpoint_of_another_model_is_named(finished, tmp_path):
    run, _ = finished
    other = tmp_path / "other"
    other.mkdir()
    (other / "best").symlink_to(run / "best")
    config = checkpoint.read_config(run)
    config.student.network = "resnet18_thin"
    (other / "config.json").write_text(json.dumps(configs.to_json(config)))
    with pytest.raises(UserError, match="is a checkpoint of another model than resnet18_thin"):
        checkpoint.load_best(other)


def test_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(UserError, match="is not a run"):
        evaluate_run(tmp_path)


def test_run_without_checkpoint_is_named(tmp_path, tiny_dataset):
    claim_run(tmp_path / "run", config_for(tiny_dataset), {"dataset": {}})
    with pytest.raises(UserError, match="has no checkpoint yet"):
        evaluate_run(tmp_path / "run")


@pytest.mark.slow
def test_run_stops_early_without_improvement(tiny_dataset, tmp_path):
    changed = {"train__patience": 2, "train__epochs": 20, "optimizer__learning_rate": 0.0}
    result = train(config_for(tiny_dataset, **changed), tmp_path / "run")
    assert result["stopped_early"]
    assert result["step"] == 3 * 3
    again = train(config_for(tiny_dataset, **changed), tmp_path / "run")
    assert again == result


@pytest.mark.slow
def test_student_learns_from_a_finished_run(finished, tiny_dataset, tmp_path):
    run, _ = finished
    overrides = {**SETTINGS, "data.path": str(tiny_dataset), "teacher.runs": str(run)}
    overrides |= {"train.epochs": "1", "student.qualities": "c40"}
    config = configs.load("kd:resnet_tiny", {**overrides, "train.gradient_ratio_every": "1"})
    before = jax.tree.map(np.array, checkpoint.load_best(run)[1])
    train(config, tmp_path / "kd")
    jax.tree.map(np.testing.assert_array_equal, before, checkpoint.load_best(run)[1])
    measured = [
        row["gradient_ratio/kd"]
        for row in lines(tmp_path / "kd" / "metrics.jsonl")
        if "gradient_ratio/kd" in row
    ]
    # at the start (a tenth of 6 steps is the first one too), at both validations, the second being the end
    assert len(measured) == 3
    assert all(value > 0 for value in measured)


def test_unfinished_run_does_not_teach(finished, tiny_dataset, tmp_path):
    run, _ = finished
    copy = tmp_path / "teacher"
    shutil.copytree(run, copy)
    (copy / "finished.json").unlink()
    settings = {**SETTINGS, "data.path": str(tiny_dataset), "teacher.runs": str(copy)}
    with pytest.raises(UserError, match="is not trained to its end"):
        train(configs.load("kd:resnet_tiny", settings), tmp_path / "kd")


def test_damaged_lines_cost_no_others(finished, tiny_dataset, tmp_path):
    run, result = finished
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    whole = (copy / "metrics.jsonl").read_text().splitlines()
    (copy / "metrics.jsonl").write_text("\n".join([whole[0], "garbage", *whole[1:], '{"st']))
    assert train(config_for(tiny_dataset), copy) == result
    assert (copy / "metrics.jsonl").read_text().splitlines() == whole


@pytest.mark.slow
def test_classifier_alone_trains_during_the_warm_up(tiny_dataset, tmp_path):
    changed = {"train__head_epochs": 1, "train__epochs": 1, "train__validations_per_epoch": 6}
    settings = config_for(tiny_dataset, **changed)
    plan = make_plan(settings)
    before = jax.device_get(initial_state(plan))
    train(settings, tmp_path / "run")
    after = checkpoint.load_best(tmp_path / "run")[1]
    for name, value in before.params["student"].items():
        same = jax.tree.map(np.array_equal, value, after["params"][name])
        assert all(jax.tree.leaves(same)) == (name != "classifier"), name
    # what the classifier saw in training it must see in evaluation: the running statistics follow
    moved = jax.tree.map(lambda a, b: (a != b).any(), before.batch_stats, after["batch_stats"])
    assert all(jax.tree.leaves(moved))


def test_partial_evaluation_leaves_the_whole_one_alone(finished):
    run, _ = finished
    whole = evaluate_run(run)
    part = evaluate_run(run, limit=6)
    assert part.counts["real"] + part.counts["fake"] == 6
    kept = json.loads((run / "evaluation" / "test.json").read_text())
    assert kept["counts"] == whole.counts


@pytest.mark.slow
def test_bfloat16_trains(tiny_dataset, tmp_path):
    changed = {"student__dtype": "bfloat16", "train__epochs": 1}
    result = train(config_for(tiny_dataset, **changed), tmp_path / "run")
    assert np.isfinite(result["best_metric"])
    leaves = jax.tree.leaves(checkpoint.load_best(tmp_path / "run")[1])
    assert {leaf.dtype for leaf in leaves} == {np.dtype("float32")}


def test_a_run_on_two_data_sets_draws_them_as_told(tmp_path, tiny_dataset, monkeypatch):
    seen = []
    original = batches.training_batches

    def watched(dataset, qualities, **options):
        seen.append((dataset, options["groups"]))
        return original(dataset, qualities, **options)

    monkeypatch.setattr(batches, "training_batches", watched)
    more = {"data__more": str(tiny_dataset), "data__weights": "3,1", "data__balance": "class"}
    config = config_for(tiny_dataset, train__steps=2, **more)
    train(config, tmp_path / "run")
    ((dataset, groups),) = seen
    assert dataset.sizes["train"] == 96
    assert [group.share for group in groups] == [0.375, 0.375, 0.125, 0.125]
    assert json.loads((tmp_path / "run/config.json").read_text())["data"]["weights"] == [3.0, 1.0]
    with pytest.raises(UserError, match=r"data\.weights=1,2,3 must be 2 positive numbers"):
        train(config_for(tiny_dataset, **{**more, "data__weights": "1,2,3"}), tmp_path / "other")
    assert not (tmp_path / "other").exists()
