import shlex

import pytest

from kdjax.checks import UserError
from kdjax.evaluate.runs import config_differences, describe, read_runs, train_command


def test_a_whole_run_is_read(make, tmp_path):
    (run,) = read_runs([make.run(tmp_path / "add")])
    assert run.notes == ()
    assert [line["step"] for line in run.train] == [10, 20, 30, 40, 50]
    assert run.validation[-1] == {"step": 50, "epoch": 2.0, "accuracy": 0.7, "auc": 0.8}
    assert describe(run) == {
        "method": "add",
        "network": "resnet18_thin",
        "qualities": "c40",
        "teacher": "teacher on raw",
        "steps": 50,
        "parameters": 1234567,
    }


def test_what_is_missing_becomes_a_note(make, tmp_path):
    (run,) = read_runs([make.run(tmp_path / "bare", evaluation=False, lines=False)])
    assert len(run.notes) == 2
    assert "no metrics.jsonl" in run.notes[0]
    assert "no evaluation on test" in run.notes[1]
    assert describe(run)["steps"] is None


def test_an_evaluation_that_no_run_has_is_named(make, tmp_path):
    folder = make.run(tmp_path / "run")
    with pytest.raises(UserError, match=r"no run has an evaluation on 'tset'; there are: test"):
        read_runs([folder], "tset")


def test_a_truncated_last_line_is_passed_over_in_silence(make, tmp_path):
    folder = make.run(tmp_path / "run")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 60, "kind": "tra')
    (run,) = read_runs([folder])
    assert run.notes == ()
    assert run.train[-1]["step"] == 50


def test_damaged_lines_are_counted(make, tmp_path):
    folder = make.run(tmp_path / "run")
    path = folder / "metrics.jsonl"
    bad = ["nonsense", "[1]", '{"step": "x", "kind": "train"}', '{"kind": "train"}', "[" * 9999]
    path.write_bytes("\n".join(bad).encode() + b"\n\xff\xfe\n" + path.read_bytes())
    (run,) = read_runs([folder])
    assert run.notes == ("6 lines of its metrics.jsonl are damaged and left out",)
    assert len(run.train) == 5


def test_only_finite_numbers_are_kept(make, tmp_path):
    line = {"step": 1, "kind": "train", "loss": float("nan"), "a": "<b>", "b": True, "c": None}
    (run,) = read_runs([make.run(tmp_path / "run", lines=[{**line, "d": 0.5, "e": 10**400}])])
    assert run.train == [{"step": 1.0, "d": 0.5}]


def test_a_step_logged_twice_counts_as_logged_last(make, tmp_path):
    lines = [
        {"step": step, "kind": "train", "loss": loss} for step, loss in ((2, 5), (4, 6), (2, 7))
    ]
    (run,) = read_runs([make.run(tmp_path / "run", lines=lines)])
    assert [(line["step"], line["loss"]) for line in run.train] == [(2, 7), (4, 6)]


def test_damaged_files_become_notes(make, tmp_path):
    folder = make.run(tmp_path / "run")
    (folder / "config.json").write_text("{")
    (folder / "evaluation" / "test.npz").write_bytes(b"PK")
    (run,) = read_runs([folder])
    assert run.config == {}
    assert run.evaluation is None
    assert ["damaged" in note for note in run.notes] == [True, True]


def test_what_is_no_run_is_refused(make, tmp_path):
    with pytest.raises(UserError, match=r"is not a run \(it has no config.json\)"):
        read_runs([tmp_path])
    with pytest.raises(UserError, match="does not exist"):
        read_runs([tmp_path / "absent"])
    with pytest.raises(UserError, match="no run named"):
        read_runs([])


def test_names_are_as_long_as_it_takes(make, tmp_path):
    folders = [make.run(tmp_path / part / "add", evaluation=False) for part in ("one", "two")]
    assert [run.name for run in read_runs(folders)] == ["one/add", "two/add"]
    assert [run.name for run in read_runs(folders[:1])] == ["add"]


def test_only_differing_keys_are_listed(make, tmp_path):
    changed = make.config(method__name="kd", optimizer__learning_rate=1e-3)
    del changed["method"]["views"]
    runs = read_runs([make.run(tmp_path / "add"), make.run(tmp_path / "kd", config=changed)])
    assert config_differences(runs) == {
        "method.name": ["add", "kd"],
        "method.views": ["12", None],
        "optimizer.learning_rate": ["0.0002", "0.001"],
    }


def test_the_command_names_what_differs_from_the_defaults(make, tmp_path):
    config = make.config(teacher__runs=["a b", "c"], optimizer__learning_rate=1e-3)
    (run,) = read_runs([make.run(tmp_path / "run", config=config)])
    command = train_command(run, "new run", {"add:resnet18_thin": make.config()}.__getitem__)
    assert shlex.split(command) == [
        "kdjax",
        "train",
        "--config=add:resnet18_thin",
        "--workdir=new run",
        "--config.teacher.runs=a b,c",
        "--config.optimizer.learning_rate=0.001",
    ]
