"""Sweeps with seeds: their order, what is not done again, and the files after each run."""

import csv
import json

import numpy as np
import pytest

from kdjax import configs
from kdjax.checks import UserError
from kdjax.evaluate.evaluator import summarize
from kdjax.files import write_json
from kdjax.folder import RunFolder
from kdjax.train import sweep as module
from kdjax.train.programs import remember
from kdjax.train.sweeps import find_row, read_sweep, sweep

ROWS = [{"name": "alone"}, {"name": "long", "train.steps": 7}]
COUNT = 40


@pytest.fixture
def trained(monkeypatch):
    """Stands in for training and evaluating: `(folder, seed, steps)` of what was trained."""
    done = []

    def train(config, run, extensions):
        run.mkdir(parents=True, exist_ok=True)
        (run / "config.json").write_text("{}")
        done.append((run.name, config.seed.student, config.train.steps))

    def evaluated(run, split, extensions):
        assert split == "test"
        _, seed, steps = next(entry for entry in done if entry[0] == run.name)
        rng = np.random.default_rng(seed)
        labels = np.arange(COUNT) % 2
        logits = rng.normal(size=COUNT) + labels * (3.0 if steps else 0.5)
        names = ("labels", "forgery", "video", "identity", "index")
        columns = dict.fromkeys(names, np.arange(COUNT)) | {"labels": labels}
        return summarize({"c40": 1 / (1 + np.exp(-logits))}, columns)

    monkeypatch.setattr(module, "train", train)
    monkeypatch.setattr(module, "evaluated", evaluated)
    monkeypatch.setattr(module, "check_plan", lambda config, extensions: None)
    return done


def run(folder, rows=ROWS, **options):
    return sweep(rows, "supervised:resnet_tiny", {"seed.student": "3"}, folder, **options)


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_one_seed_is_a_run_a_row_and_no_summary(trained, tmp_path):
    results = run(tmp_path)
    assert trained == [("000-alone", 3, 0), ("001-long", 3, 7)]
    assert [path.name for path, _ in results] == ["000-alone", "001-long"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("000-alone", "001-long", "results.csv")
    ]


def test_all_rows_of_a_seed_come_before_the_next(trained, tmp_path):
    run(tmp_path, seeds=2, baseline="alone")
    assert trained == [
        ("000-alone", 3, 0),
        ("001-long", 3, 7),
        ("000-alone-seed4", 4, 0),
        ("001-long-seed4", 4, 7),
    ]


def test_results_have_runs_and_rows_with_their_comparison(trained, tmp_path):
    run(tmp_path, seeds=4, baseline="0")
    assert [(row["run"], row["seed.student"]) for row in table(tmp_path / "results.csv")][-1] == (
        "001-long-seed6",
        "6",
    )
    content = json.loads((tmp_path / "results.json").read_text())
    assert (content["baseline"], content["split"], content["metric"]) == ("alone", "test", "auc")
    alone, long = content["rows"]
    assert list(long["runs"]) == ["3", "4", "5", "6"]
    assert long["overrides"] == {"name": "long", "train.steps": 7}
    assert "difference" not in alone["summary"]["c40"]
    assert long["summary"]["c40"]["shown"] == 1
    summary = {(row["quality"], row["row"]): row for row in table(tmp_path / "summary.csv")}
    assert float(summary["c40", "long"]["difference"]) > 0.1
    assert float(summary["c40", "long"]["p (Holm)"]) < 0.05
    # not measured, not zero
    assert summary["raw", "long"]["AUC"] == ""
    assert summary["c40", "alone"]["p"] == ""


def test_files_are_whole_after_each_run(trained, tmp_path, monkeypatch):
    whole = module.train

    def cut(config, folder, extensions):
        if len(trained) == 3:
            raise KeyboardInterrupt
        whole(config, folder, extensions)

    monkeypatch.setattr(module, "train", cut)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, seeds=2)
    content = json.loads((tmp_path / "results.json").read_text())
    assert [list(row["runs"]) for row in content["rows"]] == [["3", "4"], ["3"]]
    assert len(table(tmp_path / "results.csv")) == 3


def test_failed_run_says_why_and_the_others_are_summarised(trained, tmp_path, monkeypatch):
    whole = module.train

    def fail(config, folder, extensions):
        whole(config, folder, extensions)
        if folder.name == "001-long":
            raise UserError("diverged")

    monkeypatch.setattr(module, "train", fail)
    results = run(tmp_path, seeds=2)
    assert [evaluation is None for _, evaluation in results] == [False, True, False, False]
    long = json.loads((tmp_path / "results.json").read_text())["rows"][1]
    assert long["runs"]["3"]["problem"] == "diverged"
    assert long["summary"]["c40"]["seeds"] == 1


def test_row_that_cannot_be_built_is_left_out_with_every_seed(trained, tmp_path, monkeypatch):
    def check(config, extensions):
        if config.train.steps:
            raise UserError("no such thing")

    monkeypatch.setattr(module, "check_plan", check)
    run(tmp_path, seeds=2)
    assert [name for name, _, _ in trained] == ["000-alone", "000-alone-seed4"]
    assert [row["problem"] for row in table(tmp_path / "results.csv")] == [
        *("", "no such thing", "", "no such thing")
    ]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (ROWS, {"seeds": 0}, "--seeds=0 must be at least 1"),
        (ROWS, {"baseline": "alon"}, "--baseline=alon: no row is called so; did you mean 'alone'"),
        (ROWS, {"baseline": "2"}, "--baseline=2: the sweep has rows 0 to 1"),
        ([{"name": "a"}, {"name": "a"}], {}, "two rows of the sweep are called 'a'"),
        ([{}, {"seed.student": 1}], {"seeds": 2}, "row 1 of the sweep sets seed.student"),
    ],
)
def test_bad_input_is_said_before_anything_is_trained(trained, tmp_path, rows, options, message):
    with pytest.raises(UserError, match=message):
        run(tmp_path / "sweep", rows, **options)
    assert trained == []
    assert not (tmp_path / "sweep").exists()


def test_baseline_is_a_name_or_a_number():
    # a name counts before a number
    assert find_row(["1", "x"], "1") == "1"
    assert find_row(["a", "x"], "1") == "x"


def test_name_of_a_row_must_be_a_text(tmp_path):
    program = tmp_path / "rows.py"
    program.write_text("def sweep():\n    yield {'name': 3}\n")
    with pytest.raises(UserError, match="must yield dicts"):
        read_sweep(str(program))


def finish(folder, program=None):
    """Makes what stands in for a run one that has ended, of the configuration that `run` asks for."""
    config = configs.load("supervised:resnet_tiny", {"seed.student": "3"})
    files = RunFolder(folder)
    write_json(files.config, configs.to_json(config))
    if program is not None:
        remember(folder, program)
    files.finish({"step": 3})


def test_a_slip_costs_no_table(trained, tmp_path):
    run(tmp_path)
    finish(tmp_path / "000-alone")
    before = (tmp_path / "results.csv").read_bytes()
    with pytest.raises(UserError, match=r"000-alone holds a run with optimizer\.learning_rate="):
        sweep(
            ROWS,
            "supervised:resnet_tiny",
            {"seed.student": "3", "optimizer.learning_rate": "0.5"},
            tmp_path,
        )
    assert (tmp_path / "results.csv").read_bytes() == before
    assert len(trained) == 2


def test_versions_of_a_program_are_mixed_only_when_told(trained, tmp_path):
    def program(text):
        (tmp_path / "of_sweep.py").write_text(text)
        return configs.program(str(tmp_path / "of_sweep.py"))

    text = "SCHEDULES = {'flat_of_sweep': lambda steps: None}\n"
    first = program(text)
    run(tmp_path / "runs", extensions=first)
    finish(tmp_path / "runs/000-alone", first)
    run(tmp_path / "runs", extensions=first)
    finish(tmp_path / "runs/000-alone", first)
    before = (tmp_path / "runs/results.csv").read_bytes()
    second = program(f"{text}# changed\n")
    with pytest.raises(
        UserError, match=r"of_sweep\.py has changed since .*000-alone was begun: the table"
    ):
        run(tmp_path / "runs", extensions=second)
    assert (tmp_path / "runs/results.csv").read_bytes() == before
    run(tmp_path / "runs", extensions=second, accept_changes=True)
    assert len(trained) == 6
