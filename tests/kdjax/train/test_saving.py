"""Saves between validations: a run that is stopped anywhere ends as if it had not been."""

import json
import resource
import shutil
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import configs, losses
from kdjax.checks import Terminated, UserError
from kdjax.configs.base import get_config
from kdjax.extensions import Extensions
from kdjax.folder import RunFolder
from kdjax.methods import Part
from kdjax.models.weights.runs import best_step, best_steps, last_step, restore
from kdjax.train import keeping, saving, trainer
from kdjax.train.ema import Used
from kdjax.train.loop import train
from kdjax.train.run import Run
from kdjax.train.state import student_variables

SETTINGS = {
    "data.batch_size": "8",
    "train.steps": "12",
    "train.validation_interval": "6",
    "train.validations_per_epoch": "1",
    "train.devices": "1",
    "train.log_every": "4",
    "train.save_every": "3",
    "train.gradient_ratio_every": "0",
    "optimizer.learning_rate": "5e-3",
    "student.qualities": "raw",
    "evaluation.batch_size": "8",
}


def settings(data, **changed):
    own = {key.replace("__", "."): str(value) for key, value in changed.items()}
    return {**SETTINGS, "data.path": str(data), **own}


def config_for(data, **changed):
    return configs.load("supervised:resnet_tiny", settings(data, **changed))


def state_of(run, step=None):
    folder = RunFolder(run).checkpoints
    return restore(folder, step or last_step(folder), "state")


def assert_same_runs(one, other):
    assert (one / "metrics.jsonl").read_bytes() == (other / "metrics.jsonl").read_bytes()
    assert (one / "finished.json").read_text() == (other / "finished.json").read_text()
    assert best_steps(one) == best_steps(other)
    jax.tree.map(np.testing.assert_array_equal, state_of(one), state_of(other))
    for step in best_steps(one):
        trees = (restore(RunFolder(run).best, step, "default") for run in (one, other))
        jax.tree.map(np.testing.assert_array_equal, *trees)


# what TensorStore could not read or write it tells an event loop too, which Orbax has closed by then
NOISY = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def whole(tiny_dataset, tmp_path_factory):
    """A run that nothing disturbed, and that saved at validations alone."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(config_for(tiny_dataset, train__save_every=0), run)
    return run


@pytest.fixture
def handled():
    """Lets SIGTERM be handled whatever the tests were started by."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def stop_at(monkeypatch, handled):
    """The function that lets SIGTERM come after a step."""

    def stop(wanted):
        by_step = saving.Due.by_step

        def raising(due, step):
            if step == wanted - 1:
                signal.raise_signal(signal.SIGTERM)
            return by_step(due, step)

        monkeypatch.setattr(saving.Due, "by_step", raising)

    yield stop
    monkeypatch.undo()


@pytest.mark.parametrize(
    "step",
    [
        6,
        pytest.param(11, marks=pytest.mark.slow),
        *(pytest.param(step, marks=pytest.mark.every) for step in (2, 8)),
    ],
)
def test_a_run_that_is_terminated_in_the_middle_of_a_line_goes_on_bit_for_bit(
    whole, tiny_dataset, tmp_path, stop_at, monkeypatch, step
):
    run = tmp_path / "run"
    stop_at(step)
    with pytest.raises(Terminated):
        train(config_for(tiny_dataset), run)
    assert last_step(run / "checkpoints") == step
    monkeypatch.undo()
    train(config_for(tiny_dataset), run)
    assert_same_runs(whole, run)


def test_spikes_are_remembered_beside_the_state(tiny_dataset, tmp_path, stop_at):
    stop_at(3)
    with pytest.raises(Terminated):
        train(config_for(tiny_dataset), tmp_path / "run")
    with saving.ocp.StandardCheckpointer():
        journal = json.loads((tmp_path / "run/checkpoints/3/journal/metadata").read_text())
    assert [len(row) > 1 for row in journal["rows"]] == [True] * 3
    steps = [step for step, _ in journal["watch"]["recent"]["cross_entropy"]]
    assert steps == [1, 2, 3]


def test_a_signal_in_a_validation_stops_it_and_the_same_command_begins_with_it(
    whole, tiny_dataset, tmp_path, handled, monkeypatch
):
    evaluate, run = trainer.evaluate, tmp_path / "run"

    def interrupted(predict, batches, qualities, **how):
        signal.raise_signal(signal.SIGTERM)
        return evaluate(predict, batches, qualities, **how)

    monkeypatch.setattr(trainer, "evaluate", interrupted)
    with pytest.raises(Terminated):
        train(config_for(tiny_dataset, train__save_every=0), run)
    monkeypatch.undo()
    assert last_step(run / "checkpoints") == 6
    assert "validation" not in (run / "metrics.jsonl").read_text()
    train(config_for(tiny_dataset, train__save_every=0), run)
    assert_same_runs(whole, run)


def test_a_validation_whose_state_was_not_saved_is_repeated_although_its_line_is_there(
    whole, tiny_dataset, tmp_path, handled, monkeypatch
):
    evaluate, save, run = trainer.evaluate, saving.Checkpoints.save_latest, tmp_path / "run"
    config = config_for(tiny_dataset, train__save_every=0)

    def interrupted(predict, batches, qualities, **how):
        signal.raise_signal(signal.SIGTERM)
        return evaluate(predict, batches, qualities, **how)

    def cut(checkpoints, state, written, journal):
        if journal["validated"]:
            raise KeyboardInterrupt
        save(checkpoints, state, written, journal)

    with monkeypatch.context() as patched:
        patched.setattr(trainer, "evaluate", interrupted)
        with pytest.raises(Terminated):
            train(config, run)
    with monkeypatch.context() as patched:
        patched.setattr(saving.Checkpoints, "save_latest", cut)
        with pytest.raises(KeyboardInterrupt):
            train(config, run)
    assert "validation" in (run / "metrics.jsonl").read_text()
    train(config, run)
    assert_same_runs(whole, run)


def test_the_last_two_are_kept(whole, tiny_dataset, tmp_path):
    run = tmp_path / "run"
    train(config_for(tiny_dataset), run)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["12", "9"]
    assert_same_runs(whole, run)


def damage(folder, how):
    for path in sorted(folder.rglob("*")):
        if path.is_file() and how(path):
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 2])


@NOISY
@pytest.mark.parametrize(
    "how",
    [
        lambda path: True,
        pytest.param(lambda path: path.parent.name == "d", marks=pytest.mark.every),
        pytest.param(lambda path: path.name == "manifest.ocdbt", marks=pytest.mark.every),
        pytest.param(lambda path: path.name == "_METADATA", marks=pytest.mark.slow),
        lambda path: path.parent.name == "journal",
    ],
    ids=["all", "data", "manifest", "metadata", "journal"],
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    whole, tiny_dataset, tmp_path, capsys, how
):
    run = tmp_path / "run"
    train(config_for(tiny_dataset), run)
    (run / "finished.json").unlink()
    damage(run / "checkpoints" / "12", how)
    train(config_for(tiny_dataset), run)
    said = capsys.readouterr().err
    assert said.count("12 is damaged") == 1
    assert "going on from the checkpoint before it, of step 9" in said
    assert_same_runs(whole, run)


@NOISY
@pytest.mark.parametrize("how", [lambda path: True, lambda path: path.name == "_METADATA"])
def test_damaged_checkpoints_are_all_named(tiny_dataset, tmp_path, how):
    run = tmp_path / "run"
    train(config_for(tiny_dataset), run)
    (run / "finished.json").unlink()
    for step in (9, 12):
        damage(run / "checkpoints" / str(step), how)
    with pytest.raises(
        UserError, match=r"checkpoints/12 is damaged or .*, and so is 9; use"
    ) as told:
        train(config_for(tiny_dataset), run)
    assert "NoneType" not in str(told.value)


@NOISY
def test_no_damage_of_any_single_file_passes_for_a_good_state(whole, tmp_path):
    """Cut or emptied, a file is noticed, or makes no difference."""
    good = state_of(whole)
    source = whole / "checkpoints" / "12" / "state"
    files = [path.relative_to(source) for path in source.rglob("*") if path.is_file()]
    assert len(files) > 4
    noticed = 0
    for number, name in enumerate(files):
        for cut in (0, 1):
            copy = tmp_path / f"{number}-{cut}" / "12" / "state"
            shutil.copytree(source, copy)
            content = (copy / name).read_bytes()
            (copy / name).write_bytes(content[: len(content) - 1] if cut else b"")
            try:
                found = restore(tmp_path / f"{number}-{cut}", 12, "state")
            except Exception:
                noticed += 1
                continue
            jax.tree.map(np.testing.assert_array_equal, found, good)
    assert noticed


@NOISY
def test_a_disk_that_is_full_is_one_line_and_what_was_saved_is_whole(
    whole, tiny_dataset, tmp_path, monkeypatch, capfd
):
    run, save = tmp_path / "run", saving.Checkpoints.save_latest
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def full(checkpoints, state, config, journal):
        if int(state.step) == 9:
            # the one before is still being written
            checkpoints.check(wait=True)
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
        save(checkpoints, state, config, journal)

    monkeypatch.setattr(saving.Checkpoints, "save_latest", full)
    try:
        with pytest.raises(
            UserError, match=r"cannot save .*run at step 9: File too large"
        ) as caught:
            train(config_for(tiny_dataset), run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, before)
        monkeypatch.undo()
    assert "its checkpoint of step 6 is whole" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert last_step(run / "checkpoints") == 6
    train(config_for(tiny_dataset), run)
    assert_same_runs(whole, run)


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_trained(
    tiny_dataset, tmp_path, monkeypatch
):
    def refuse(**options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(saving.tempfile, "NamedTemporaryFile", refuse)
    monkeypatch.setattr(keeping.Keeper, "look", pytest.fail)
    with pytest.raises(UserError, match=r"checkpoints cannot be written: Permission denied"):
        train(config_for(tiny_dataset), tmp_path / "run")
    monkeypatch.undo()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text("{}")
    (tmp_path / "other" / "checkpoints").write_text("")
    with pytest.raises(UserError, match=r"checkpoints cannot be written: "):
        train(config_for(tiny_dataset), tmp_path / "other")


def test_time_makes_a_save_due(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(saving.time, "monotonic", lambda: now[0])
    config = get_config("supervised")
    config.train.save_minutes = 0.5
    due = saving.Due(config.train)
    now[0] = 129.9
    assert not due.by_time()
    now[0] = 130.0
    assert due.by_time()
    due.saved()
    assert not due.by_time()
    config.train.save_minutes, config.train.save_every = 0.0, 4
    due = saving.Due(config.train)
    now[0] = 1e9
    assert [step for step in range(1, 10) if due.by_step(step)] == [4, 8]


class State(dict):
    def __getattr__(self, name):
        return self[name]


def fake_state(step, best):
    return State(
        step=step,
        params={"student": {"kernel": np.full(2, step, np.float32)}},
        batch_stats={},
        best_step=best,
        best_metric=0.5,
    )


def save_best(checkpoints, state, value):
    checkpoints.save_best(state, value, Used(student_variables(state)))


def test_the_best_are_kept_and_the_very_best_is_told(tmp_path):
    best = 0
    checkpoints = saving.Checkpoints(tmp_path, keep_best=2)
    for step, value in enumerate((0.5, 0.25, 0.75, 0.75, 0.5, 0.625), 1):
        save_best(checkpoints, fake_state(step, best), value)
    checkpoints.close()
    assert best_steps(tmp_path) == [3, 4]
    assert best_step(tmp_path) == 3
    assert sorted(path.name for path in (tmp_path / "best").iterdir()) == ["3", "4"]
    # fewer from now on
    checkpoints = saving.Checkpoints(tmp_path, keep_best=1)
    save_best(checkpoints, fake_state(9, 3), 0.875)
    checkpoints.close()
    assert best_steps(tmp_path) == [9]


def test_weights_that_a_crash_left_behind_are_not_the_best_of_what_is_trained_after_it(tmp_path):
    checkpoints = saving.Checkpoints(tmp_path)
    save_best(checkpoints, fake_state(4, 0), 0.5)
    save_best(checkpoints, fake_state(8, 4), 0.75)
    # back at step 4, and validated at another step than before
    save_best(checkpoints, fake_state(6, 4), 0.625)
    checkpoints.close()
    assert best_steps(tmp_path) == [6]


@pytest.mark.parametrize("text", ["{", "[]", '{"x": 1}', '{"4": "0.5"}', ""])
def test_a_damaged_list_of_what_weights_were_worth_is_one_line_when_the_run_is_opened(
    tmp_path, text
):
    checkpoints = saving.Checkpoints(tmp_path)
    save_best(checkpoints, fake_state(4, 0), 0.5)
    checkpoints.close()
    (tmp_path / "best.json").write_text(text)
    for read in (saving.Checkpoints, best_step):
        with pytest.raises(
            UserError, match=r"best\.json is damaged: .*; remove it, and the latest"
        ):
            read(tmp_path)
    (tmp_path / "best.json").unlink()
    assert best_step(tmp_path) == 4


def test_weights_of_a_run_from_before_are_worth_what_its_state_says(tmp_path):
    checkpoints = saving.Checkpoints(tmp_path)
    save_best(checkpoints, fake_state(4, 0), 0.5)
    (tmp_path / "best.json").unlink()
    assert best_step(tmp_path) == 4
    save_best(checkpoints, fake_state(6, 4), 0.25)
    assert best_step(tmp_path) == 4
    save_best(checkpoints, fake_state(8, 4), 0.75)
    checkpoints.close()
    assert best_step(tmp_path) == 8


def test_a_checkpoint_from_before_there_was_a_journal_goes_on(whole, tiny_dataset, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    shutil.rmtree(run / "checkpoints" / "12")
    (run / "best.json").unlink()
    shutil.rmtree(run / "checkpoints" / "6" / "journal")
    (run / "finished.json").unlink()
    train(config_for(tiny_dataset), run)
    assert (whole / "metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()
    assert best_step(run) == best_step(whole)


def brittle(student, teachers, *, qualities, teacher_quality, first=5, last=5, gradient=False):
    """A term that is not finite, or whose gradient is not, at some steps."""

    def compare(outputs, params, inputs):
        step = inputs.hyper["step"] + 1
        broken = (step >= first) & (step <= last)
        size = jnp.mean(losses.unit_vectors(outputs.features["pooled"]) ** 2)
        # the root's slope at 0 is infinite
        slope = jnp.sqrt(jnp.where(broken, 0.0, 1.0) * size)
        term = slope if gradient else jnp.where(broken, jnp.nan, 1.0) * size
        return {"fragile": 0.1 * term}, inputs.aux, {}

    return Part("brittle", compare, term_names=("fragile",), hyper={})


EXTENSIONS = Extensions(methods={"brittle": brittle})


def brittle_config(data, **changed):
    options = settings(data, **{"train__balance": "none", **changed})
    config = get_config("brittle", "resnet_tiny", extensions=EXTENSIONS)
    for key, value in options.items():
        configs.override(config, key, value)
    return config


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_and_the_last_good_state_stays(tiny_dataset, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(UserError, match=r"the loss of .* is nan at step 5 \(fragile\)") as caught:
        train(brittle_config(tiny_dataset), run, EXTENSIONS)
    assert "\n" not in str(caught.value)
    assert last_step(run / "checkpoints") == 3
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(state_of(run)["params"]))
    why = json.loads((run / "broken" / "why.json").read_text())
    assert (why["step"], why["metrics"]["term/fragile"]) == (5, "nan")
    broken = restore(run, "broken", "state")
    assert int(broken["step"]) == why["state_step"] == 6
    assert not np.all(np.isfinite(broken["params"]["student"]["stem_conv"]["kernel"]))
    # the same command goes on from the good one, and stops there again
    with pytest.raises(UserError, match=r"is nan at step 5"):
        train(brittle_config(tiny_dataset), run, EXTENSIONS)
    # a longer wait does not help; leaving the step out does
    config = brittle_config(tiny_dataset, train__nonfinite="skip")
    result = train(config, run, EXTENSIONS, accept_config_changes=True)
    assert result["step"] == 12
    assert int(state_of(run)["skipped"]) == 1


def test_weights_that_a_finite_loss_broke_are_never_saved(tiny_dataset, tmp_path):
    run = tmp_path / "run"
    config = brittle_config(
        tiny_dataset, method__gradient=True, method__first=9, method__last=9, train__log_every=1
    )
    with pytest.raises(UserError, match=r"params/.* is not finite after step 9"):
        train(config, run, EXTENSIONS)
    assert last_step(run / "checkpoints") == 6
    assert json.loads((run / "broken" / "why.json").read_text())["weights"]


@pytest.mark.parametrize(
    ("gradient", "devices"),
    [
        (False, 1),
        pytest.param(True, 4, marks=pytest.mark.slow),
        pytest.param(False, 4, marks=pytest.mark.every),
        pytest.param(True, 1, marks=pytest.mark.every),
    ],
)
def test_a_step_that_is_not_finite_is_left_out(tiny_dataset, tmp_path, capsys, gradient, devices):
    run = tmp_path / "run"
    config = brittle_config(
        tiny_dataset,
        train__nonfinite="skip",
        train__devices=devices,
        method__gradient=gradient,
        method__first=4,
        method__last=5,
        train__log_every=1,
        train__save_every=1,
        train__steps=5,
    )
    train(config, run, EXTENSIONS)
    found = Run(run, EXTENSIONS).metrics["train"]
    assert found["skipped"].tolist() == [0, 0, 0, 1, 2]
    assert np.isfinite(found["loss"]).tolist() == [True, True, True, gradient, gradient]
    said = capsys.readouterr().err
    assert "step 4 is left out (1 so far)" in said
    assert "step 5 is left out (2 so far)" in said
    before, after = state_of(run, 4), state_of(run, 5)
    assert (int(before["step"]), int(after["step"])) == (4, 5)
    for part in ("params", "batch_stats", "opt_state", "aux"):
        jax.tree.map(np.testing.assert_array_equal, before[part], after[part])
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(after["params"]))


@pytest.mark.every
def test_an_average_is_of_the_updates_that_were_made(tiny_dataset, tmp_path):
    """The first step is left out: nothing of the initial weights is in the average of the other two."""
    run = tmp_path / "run"
    config = brittle_config(
        tiny_dataset,
        train__nonfinite="skip",
        ema__decay=0.5,
        method__first=1,
        method__last=1,
        train__steps=3,
        train__save_every=1,
    )
    train(config, run, EXTENSIONS)
    second, third = state_of(run, 2), state_of(run, 3)
    jax.tree.map(
        np.testing.assert_array_equal, second["ema"]["params"], second["params"]["student"]
    )

    def check(average, one, other):
        np.testing.assert_allclose(average, (0.5 * one + other) / 1.5, rtol=1e-5, atol=1e-7)

    trees = (third["ema"]["params"], second["params"]["student"], third["params"]["student"])
    jax.tree.map(check, *trees)


@pytest.mark.slow
def test_steps_left_out_do_not_enter_the_means(tiny_dataset, tmp_path, stop_at, monkeypatch):
    """Stopped between the two, too: the means are those of the undisturbed run."""
    config = brittle_config(
        tiny_dataset,
        train__nonfinite="skip",
        method__first=5,
        method__last=6,
        train__steps=8,
        # the line of step 8 is of 7 and 8 alone
        train__validation_interval=8,
    )
    train(config, tmp_path / "whole", EXTENSIONS)
    stop_at(5)
    with pytest.raises(Terminated):
        train(config, tmp_path / "run", EXTENSIONS)
    monkeypatch.undo()
    train(config, tmp_path / "run", EXTENSIONS)
    assert_same_runs(tmp_path / "whole", tmp_path / "run")
    found = Run(tmp_path / "run", EXTENSIONS).metrics["train"]
    assert found["skipped"].tolist()[-1] == 2
    assert np.all(np.isfinite(found["loss"]))


@pytest.mark.slow
def test_a_run_that_leaves_out_everything_stops(tiny_dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("kdjax.train.rows.MOST_SKIPPED", 6)
    config = brittle_config(tiny_dataset, train__nonfinite="skip", method__first=1, method__last=99)
    with pytest.raises(UserError, match=r"is nan at step 6 "):
        train(config, tmp_path / "run", EXTENSIONS)


def test_a_finished_run_is_made_longer_and_says_so(whole, tiny_dataset, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    longer = config_for(tiny_dataset, train__steps=20, train__save_every=0)
    with pytest.raises(UserError, match=r"train\.steps=12, asked for 20 \(--accept_config_changes"):
        train(longer, run)
    assert RunFolder(run).is_finished
    result = train(longer, run, accept_config_changes=True)
    assert result["step"] == 20
    assert "changed at step 12: train.steps from 12 to 20" in capsys.readouterr().err
    found = Run(run)
    assert found.config.train.steps == 20
    changes = found.files.read_config_changes()
    assert changes == [{"step": 12, "changes": {"train.steps": [12, 20]}}]
    rates = found.metrics["train"]
    # one_cycle is a function of the new length: its curve at step 16 of 20, not what was left of 12
    straight = tmp_path / "straight"
    train(longer, straight)
    other = Run(straight).metrics["train"]
    pick = [np.flatnonzero(each["step"] == 16)[0] for each in (rates, other)]
    assert rates["learning_rate"][pick[0]] == other["learning_rate"][pick[1]] > 0
    # what was trained before is kept as it was
    lines = [(each / "metrics.jsonl").read_text().splitlines() for each in (whole, run)]
    assert lines[1][: len(lines[0])] == lines[0]
    # the same command again does nothing, the one before is refused
    assert train(longer, run) == result
    with pytest.raises(UserError, match="is trained to step 20 already"):
        train(config_for(tiny_dataset, train__save_every=0), run, accept_config_changes=True)


@pytest.mark.slow
def test_a_constant_rate_goes_on_as_if_it_had_been_longer_from_the_start(tiny_dataset, tmp_path):
    common = {"optimizer__schedule": "constant", "train__patience": 0}
    short = config_for(tiny_dataset, **common)
    longer = config_for(tiny_dataset, train__steps=18, **common)
    train(short, tmp_path / "run")
    train(longer, tmp_path / "run", accept_config_changes=True)
    train(longer, tmp_path / "straight")
    assert_same_runs(tmp_path / "straight", tmp_path / "run")


def test_all_differences_are_told_a_line_each(whole, tiny_dataset):
    config = config_for(
        tiny_dataset, train__steps=20, optimizer__learning_rate=1e-4, seed__student=3
    )
    for accept, hint in ((False, " (--accept_config_changes takes it)"), (True, " (accepted)")):
        with pytest.raises(UserError) as caught:
            train(config, whole, accept_config_changes=accept)
        first, *lines = str(caught.value).splitlines()
        assert first.endswith("holds a run with other settings:")
        assert lines == [
            "  optimizer.learning_rate=0.005, asked for 0.0001",
            "  seed.student=0, asked for 3",
            f"  train.steps=12, asked for 20{hint}",
        ]
    assert RunFolder(whole).is_finished


ALONE = """
import resource, sys
from pathlib import Path
import numpy as np
from kdjax import __main__, cli
from kdjax.train import best
from kdjax.models.weights.runs import restore_best
def main():
    cli._quiet_libraries()
    place = Path(sys.argv[1])
    for number in range(10):
        try:
            WORK
        except Exception as error:
            print("failed:", str(error).splitlines()[0], file=sys.stderr)
    return 0
__main__.main = main
__main__.command()
"""
"""What a command does ten times, and fails at."""


@pytest.mark.slow
@pytest.mark.parametrize("work", ["read", "write"])
def test_one_line_stands_alone_where_many_reads_or_writes_fail(tmp_path, work):
    """TensorStore's threads, for whom nobody waits after the first failure, say nothing beside it."""
    checkpoints = saving.Checkpoints(tmp_path)
    save_best(checkpoints, fake_state(4, 0), 0.5)
    checkpoints.close()
    damaged = [path for path in (tmp_path / "best").rglob("d/*") if path.is_file()]
    assert damaged
    for path in damaged:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    tree = "{f'p{n}': np.random.default_rng(n).normal(size=60000) for n in range(40)}"
    full = "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    does = {
        "read": "restore_best(place)",
        "write": f"{full}; best._replace(best._open(place / str(number)), 1, {tree}, [1])",
    }
    code = ALONE.replace("WORK", does[work])
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=300
    )
    lines = done.stderr.strip().splitlines()
    assert (done.returncode, len(lines)) == (0, 10), done.stderr[:2000]
    assert all(line.startswith("failed: ") for line in lines)
