"""A sweep at work: its order, what is not done again, failures that stay alone, runs found by their settings."""

import csv
import json
import re

import pytest

from kdjax import configs
from kdjax.checks import UserError
from kdjax.files import HeldError, write_json
from kdjax.folder import RunFolder
from kdjax.train.programs import remember
from kdjax.train.sweeps import ledger, read_sweep, work
from kdjax.train.sweeps.ledger import Ledger
from kdjax.train.sweeps.rows import find_row

ALONE, LONG = {"name": "alone"}, {"name": "long", "train.steps": 7}
ROWS = [ALONE, LONG]


def named(folder):
    """Returns the runs' folders by row and seed, as the table has them."""
    with (folder / "results.csv").open() as file:
        return {(row["row"], int(row["seed.student"])): row["run"] for row in csv.DictReader(file)}


def test_a_folder_is_a_number_and_a_hash(stand_ins, sweep, tmp_path):
    results = sweep(tmp_path, ROWS)
    names = [path.name for path, _ in results]
    assert [re.sub("[0-9a-f]{12}$", "HASH", name) for name in names] == ["000-HASH", "001-HASH"]
    assert stand_ins.trained == [(names[0], 3, 0), (names[1], 3, 7)]
    assert all(evaluation is not None for _, evaluation in results)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *(".sweep", *names, "results.csv", "results.json", "results.md", "summary.csv")
    ]


def test_all_rows_of_a_seed_come_before_the_next(stand_ins, sweep, tmp_path):
    sweep(tmp_path, ROWS, seeds=2, baseline="alone")
    assert [each[1:] for each in stand_ins.trained] == [(3, 0), (3, 7), (4, 0), (4, 7)]
    assert len({name for name, _, _ in stand_ins.trained}) == 4


def test_a_finished_sweep_trains_and_evaluates_nothing(stand_ins, sweep, tmp_path):
    sweep(tmp_path, ROWS, seeds=2)
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    before = {path.name: path.read_bytes() for path in files}
    trained, evaluated = len(stand_ins.trained), len(stand_ins.evaluated)
    results = sweep(tmp_path, ROWS, seeds=2)
    assert (len(stand_ins.trained), len(stand_ins.evaluated)) == (trained, evaluated)
    assert all(evaluation is not None for _, evaluation in results)
    assert {path.name: path.read_bytes() for path in files} == before


def test_a_changed_file_finds_its_runs_and_keeps_those_of_rows_that_went(
    stand_ins, sweep, table, tmp_path
):
    sweep(tmp_path, ROWS)
    before = named(tmp_path)
    # a row before all others, another order, a new name, a number as a text
    rows = [
        {"train.steps": 9},
        {"name": "as long", "train.steps": "7"},
    ]
    sweep(tmp_path, rows)
    assert [steps for _, _, steps in stand_ins.trained] == [0, 7, 9]
    after = named(tmp_path)
    assert after["as long", 3] == before["long", 3]
    # kept, after those that the file has
    assert list(after) == [("train.steps=9", 3), ("as long", 3), ("alone", 3)]
    assert all(row["state"] == "done" for row in table(tmp_path / "results.csv"))


def test_fewer_seeds_and_no_baseline_replace_nothing(stand_ins, sweep, tmp_path):
    sweep(tmp_path, ROWS, seeds=3, baseline="alone")
    before = (tmp_path / "results.json").read_bytes()
    sweep(tmp_path, ROWS)
    assert json.loads((tmp_path / "results.json").read_bytes()) == json.loads(before)


def test_rows_that_differ_in_their_seed_are_one(stand_ins, sweep, tmp_path):
    rows = [{**row, "seed.student": seed} for seed in (1, 2) for row in ROWS]
    sweep(tmp_path, rows)
    assert list(named(tmp_path)) == [("alone", 1), ("long", 1), ("alone", 2), ("long", 2)]
    sweep(tmp_path / "same", ROWS, seeds=2)
    content = json.loads((tmp_path / "results.json").read_text())
    assert [list(row["runs"]) for row in content["rows"]] == [["1", "2"], ["1", "2"]]


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (UserError("diverged"), "diverged"),
        (KeyError("stage9"), "KeyError: 'stage9'"),
        (MemoryError(), "out of memory; lower data.batch_size or data.image_size: MemoryError"),
        (
            RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes\nmore"),
            "out of memory; lower data.batch_size or data.image_size: "
            "RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes",
        ),
    ],
)
def test_whatever_a_run_raises_the_others_go_on(
    stand_ins, sweep, table, tmp_path, capsys, error, problem
):
    stand_ins.failing = {7: error}
    results = sweep(tmp_path, [LONG, ALONE])
    assert [evaluation is None for _, evaluation in results] == [True, False]
    failed, done = table(tmp_path / "results.csv")
    assert (failed["state"], failed["problem"]) == ("failed", problem)
    assert (done["state"], done["problem"]) == ("done", "")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"failed: {problem}" in said
    # the trace of what nobody foresaw is kept
    traces = [*(tmp_path / ".sweep" / "runs").glob("*.txt")]
    assert len(traces) == (not isinstance(error, UserError))
    assert all("Traceback" in path.read_text() for path in traces)
    page = (tmp_path / "results.md").read_text()
    assert "1 of 2 runs are done" in page
    assert "## Not done" in page


def test_what_failed_is_tried_again_on_request_alone(stand_ins, sweep, table, tmp_path, capsys):
    stand_ins.failing = {7: UserError("diverged")}
    sweep(tmp_path, ROWS, seeds=2)
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["rows"][1]["runs"]["4"]["problem"] == "diverged"
    assert content["rows"][1]["summary"]["c40"]["seeds"] == 0
    stand_ins.failing = {}
    sweep(tmp_path, ROWS, seeds=2)
    assert len(stand_ins.trained) == 4
    sweep(tmp_path, ROWS, seeds=2, retry=True)
    assert [steps for _, _, steps in stand_ins.trained[4:]] == [7, 7]
    assert {row["state"] for row in table(tmp_path / "results.csv")} == {"done"}
    capsys.readouterr()
    sweep(tmp_path, ROWS, seeds=2, retry=True)
    assert capsys.readouterr().err == "--retry: no run that can be built has failed\n"
    assert len(stand_ins.trained) == 6


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(75)])
def test_what_stops_the_process_stops_the_sweep_with_its_tables_right(
    stand_ins, sweep, table, tmp_path, error
):
    stand_ins.failing = {7: error}
    with pytest.raises(type(error)):
        sweep(tmp_path, [ALONE, LONG, {"train.steps": 9}])
    states = [row["state"] for row in table(tmp_path / "results.csv")]
    assert states == ["done", "stopped", "missing"]
    stand_ins.failing = {}
    sweep(tmp_path, [ALONE, LONG, {"train.steps": 9}])
    assert [steps for _, _, steps in stand_ins.trained] == [0, 7, 7, 9]


def test_a_run_that_another_process_holds_is_passed_over(stand_ins, sweep, table, tmp_path, capsys):
    planned = work.prepare(ROWS, "supervised:resnet_tiny", {"seed.student": "3"}, tmp_path).runs
    with Ledger(tmp_path).claimed(planned[1]) as mine:
        assert mine
        results = sweep(tmp_path, ROWS)
        states = [(row["state"], row["problem"]) for row in table(tmp_path / "results.csv")]
    assert states == [("done", ""), ("running", "")]
    assert [evaluation is None for _, evaluation in results] == [False, True]
    # by `kdjax train`, say
    stand_ins.failing = {7: HeldError("another process is training it")}
    sweep(tmp_path, ROWS)
    assert [row["state"] for row in table(tmp_path / "results.csv")] == ["done", "stopped"]
    assert "another process is training it" in capsys.readouterr().err


def test_a_run_that_processes_die_of_has_failed_and_the_rest_goes_on(
    stand_ins, sweep, table, tmp_path, monkeypatch, capsys
):
    run, _ = work.prepare(ROWS, "supervised:resnet_tiny", {"seed.student": "3"}, tmp_path).runs
    dying = Ledger(tmp_path)
    steps = iter((None, 5, 5, 7, 7))
    monkeypatch.setattr(ledger, "last_step", lambda folder: next(steps))
    assert dying.count_death(run) == 0
    deaths = []
    for _ in range(4):
        # a process begins, and leaves no word
        dying.begin(run)
        deaths.append(dying.count_death(run))
    # one that got further has not died of the same
    assert deaths == [1, 1, 2, 1]
    dying.begin(run)
    sweep(tmp_path, ROWS)
    lines = table(tmp_path / "results.csv")
    assert [line["state"] for line in lines] == ["failed", "done"]
    assert lines[0]["problem"] == "2 processes in turn died at it, at the same step"
    assert "--retry tries it again" in capsys.readouterr().err
    dying.forget(run)
    dying.begin(run)
    monkeypatch.setattr(ledger, "last_step", lambda folder: 7)
    assert dying.count_death(run) == 1


def test_shares_divide_the_runs_and_each_sees_all_in_its_table(stand_ins, sweep, table, tmp_path):
    for share in (1, 2):
        sweep(tmp_path, ROWS, seeds=2, share=(share, 2), baseline="alone")
        done = [row["state"] for row in table(tmp_path / "results.csv")].count("done")
        assert (len(stand_ins.trained), done) == (2 * share, 2 * share)
    content = json.loads((tmp_path / "results.json").read_text())
    assert content["rows"][1]["summary"]["c40"]["paired_seeds"] == 2


def test_shares_made_in_python_share_a_table(stand_ins, sweep, table, tmp_path):
    """Rows whose first 100 characters are the same were one folder once."""
    rows = [{"notes.why": "x" * 200, "train.steps": steps} for steps in (7, 8)]
    for row in rows:
        sweep(tmp_path, [row])
    assert len(stand_ins.trained) == 2
    assert len({row["run"] for row in table(tmp_path / "results.csv")}) == 2


def test_a_slip_of_the_command_line_is_not_the_rows(stand_ins, tmp_path):
    common = {"train.step": "3"}
    for rows in (ROWS, [{"train.patience": 2}]):
        with pytest.raises(UserError, match=r"^unknown configuration key 'train\.step'"):
            work.prepare(rows, "supervised:resnet_tiny", common, tmp_path)
    with pytest.raises(UserError, match=r"^row 0 of the sweep: unknown"):
        work.prepare([{"train.step": 3}], "supervised:resnet_tiny", {}, tmp_path)


def test_a_row_that_cannot_be_built_is_left_out_with_every_seed(
    stand_ins, sweep, table, tmp_path, monkeypatch, capsys
):
    def check(config, extensions):
        if config.train.steps:
            raise UserError("no such thing")

    monkeypatch.setattr(work, "check_plan", check)
    sweep(tmp_path, ROWS, seeds=2)
    assert [steps for _, _, steps in stand_ins.trained] == [0, 0]
    assert [row["problem"] for row in table(tmp_path / "results.csv")] == [
        *("", "no such thing", "", "no such thing")
    ]
    assert "long cannot be built and is left out: no such thing" in capsys.readouterr().err
    # it can be by now
    monkeypatch.setattr(work, "check_plan", lambda config, extensions: None)
    sweep(tmp_path, ROWS, seeds=2)
    assert [steps for _, _, steps in stand_ins.trained] == [0, 0, 7, 7]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (ROWS, {"seeds": 0}, "--seeds=0 must be at least 1"),
        (ROWS, {"baseline": "alon"}, "--baseline=alon: no row is called so; did you mean 'alone'"),
        (ROWS, {"baseline": "2"}, "--baseline=2: the sweep has rows 0 to 1"),
        (
            [{"name": "a"}, {"name": "a", "train.steps": 7}],
            {},
            "two rows of the sweep are called 'a'",
        ),
        ([{}, {"seed.student": 1}], {"seeds": 2}, "row 1 of the sweep sets seed.student"),
        ([LONG, {"train.steps": "7"}], {}, "rows 0 and 1 of the sweep come to the same settings"),
        # a default is a setting too
        ([{}, {"train.steps": 0}], {}, "rows 0 and 1 of the sweep come to the same settings"),
        ([{}, {"train.step": 7}], {}, r"row 1 of the sweep: unknown .*'train\.step'; did you mean"),
        ([], {}, "the sweep has no row"),
    ],
)
def test_bad_input_is_said_before_anything_is_trained(
    stand_ins, sweep, tmp_path, rows, options, message
):
    with pytest.raises(UserError, match=message):
        sweep(tmp_path / "sweep", rows, **options)
    assert stand_ins.trained == []
    assert not (tmp_path / "sweep").exists()


def test_baseline_is_a_name_or_a_number():
    # a name counts before a number
    assert find_row(["1", "x"], "1") == "1"
    assert find_row(["a", "x"], "1") == "x"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("    yield {'name': 3}\n", "must yield dicts"),
        ("    return []\n", "yields no row"),
        (
            "    from kdjax.configs.sweeps import grid\n    return grid({'a': ()})\n",
            "fails: a of a grid has no values",
        ),
        (
            "    yield {'seed.student': 1, 'name': 'one', 'seed.student': 2}\n",
            "rows.py, line 2: the dict has 'seed.student' 2 times",
        ),
    ],
)
def test_a_file_that_yields_no_rows_is_one_line(tmp_path, text, message):
    program = tmp_path / "rows.py"
    program.write_text(f"def sweep():\n{text}")
    with pytest.raises(UserError, match=message):
        read_sweep(str(program))


def test_a_slip_costs_no_table(stand_ins, sweep, tmp_path):
    sweep(tmp_path, ROWS)
    before = (tmp_path / "results.csv").read_bytes()
    with pytest.raises(UserError, match=r"holds a run with optimizer\.learning_rate="):
        work.sweep(
            ROWS,
            "supervised:resnet_tiny",
            {"seed.student": "3", "optimizer.learning_rate": "0.5"},
            tmp_path,
        )
    assert (tmp_path / "results.csv").read_bytes() == before
    assert len(stand_ins.trained) == 2


def old_run(stand_ins, folder, overrides):
    """Makes a run as an older version left it."""
    config = configs.load("supervised:resnet_tiny", {"seed.student": 3, **overrides})
    stand_ins.train(config, folder, None)
    stand_ins.evaluate(folder, "test", None)


def test_runs_of_the_old_names_are_found_wherever_their_rows_are_now(
    stand_ins, sweep, table, tmp_path
):
    old_run(stand_ins, tmp_path / "000-alone", {})
    old_run(stand_ins, tmp_path / "001-train.steps=7", {"train.steps": 7})
    old_run(stand_ins, tmp_path / "001-train.steps=7-seed4", {"train.steps": 7, "seed.student": 4})
    old_run(stand_ins, tmp_path / "002-gone", {"train.steps": 8})
    stand_ins.trained.clear()
    stand_ins.evaluated.clear()
    sweep(tmp_path, [LONG, ALONE], seeds=2)
    assert [(seed, steps) for _, seed, steps in stand_ins.trained] == [(4, 0)]
    assert len(stand_ins.evaluated) == 1
    runs = named(tmp_path)
    assert runs["long", 3] == "001-train.steps=7"
    assert runs["long", 4] == "001-train.steps=7-seed4"
    assert runs["alone", 3] == "000-alone"
    # its row is not known any more, its numbers are
    assert runs["002-gone", 3] == "002-gone"
    assert {row["state"] for row in table(tmp_path / "results.csv")} == {"done"}


def test_old_names_guard_against_a_slip_too(stand_ins, sweep, tmp_path):
    old_run(stand_ins, tmp_path / "000-alone", {"optimizer.learning_rate": 0.5})
    with pytest.raises(UserError, match=r"000-alone holds a run with optimizer\.learning_rate=0.5"):
        sweep(tmp_path, ROWS)


def test_versions_of_a_program_are_mixed_only_when_told(stand_ins, sweep, tmp_path):
    def program(text):
        (tmp_path / "of_sweep.py").write_text(text)
        return configs.program(str(tmp_path / "of_sweep.py"))

    text = "SCHEDULES = {'flat_of_sweep': lambda steps: None}\n"
    first = program(text)
    (alone, _), _ = sweep(tmp_path / "runs", ROWS, extensions=first)
    remember_as_unfinished(alone, first)
    before = (tmp_path / "runs/results.csv").read_bytes()
    second = program(f"{text}# changed\n")
    with pytest.raises(UserError, match=r"of_sweep\.py has changed since .*was begun: the table"):
        sweep(tmp_path / "runs", ROWS, extensions=second)
    assert (tmp_path / "runs/results.csv").read_bytes() == before
    sweep(tmp_path / "runs", ROWS, extensions=second, accept_changes=True)
    assert len(stand_ins.trained) == 2


def remember_as_unfinished(folder, program):
    """Notes a program as a training does before it ends."""
    files = RunFolder(folder)
    files.finished.unlink()
    remember(folder, program)
    write_json(files.finished, {"step": 3})
