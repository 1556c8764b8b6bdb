"""Groups of a sweep: what is trained side by side, and what becomes of one that is too large or whose process dies."""

import sys

import pytest

from kdjax.checks import UserError
from kdjax.train.sweeps import attempts, jobs, work
from kdjax.train.sweeps.ledger import STOPPED
from kdjax.train.sweeps.plan import differing_keys, groups

RATES = [{"optimizer.learning_rate": rate} for rate in (1e-3, 2e-3)]
LONG = {"name": "long", "train.steps": 7}


def prepared(tmp_path, rows, **options):
    common = {"seed.student": "3"}
    return work.prepare(rows, "supervised:resnet_tiny", common, tmp_path / "out", **options)


def test_what_differs_in_numbers_is_a_group_and_all_else_is_apart(tmp_path):
    runs = prepared(tmp_path, [*RATES, LONG], seeds=2).runs
    found = groups(runs)
    assert [[(run.row, run.seed) for run in each] for each in found] == [
        [(0, 3), (1, 3), (0, 4), (1, 4)],
        [(2, 3), (2, 4)],
    ]
    assert differing_keys(found[0]) == ["optimizer.learning_rate", "seed.student"]
    assert differing_keys(found[1]) == ["seed.student"]
    assert [len(each) for each in groups(runs, 3)] == [3, 2, 1]
    assert [len(each) for each in groups(runs, 1)] == [1] * 6


def test_groups_are_trained_and_their_runs_are_in_the_tables(stand_ins, sweep, table, tmp_path):
    sweep(tmp_path, [*RATES, LONG], seeds=2, group=8)
    assert stand_ins.groups == [[3, 3, 4, 4], [3, 4]]
    assert [row["state"] for row in table(tmp_path / "results.csv")] == ["done"] * 6
    # what is done is in no group any more
    sweep(tmp_path, [*RATES, LONG], seeds=3, group=8)
    assert stand_ins.groups[2:] == [[5, 5], [5]]


def test_one_that_fails_leaves_its_group_done(stand_ins, sweep, table, tmp_path):
    train = stand_ins.train

    def failing(config, run, extensions):
        if config.seed.student == 4:
            raise UserError("diverged")
        return train(config, run, extensions)

    stand_ins.train = failing
    sweep(tmp_path, [{}], seeds=3, group=8)
    assert [row["state"] for row in table(tmp_path / "results.csv")] == ["done", "failed", "done"]
    assert stand_ins.groups == [[3, 4, 5]]


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: out of memory")]
)
def test_what_finds_no_room_follows_in_smaller_groups(
    stand_ins, sweep, table, tmp_path, monkeypatch, error, capsys
):
    sizes = []

    def crowded(members):
        sizes.append(len(members))
        found = stand_ins.train_group(members[:2])
        return [*found, *[error] * (len(members) - len(found))]

    monkeypatch.setattr(attempts, "train_group", crowded)
    sweep(tmp_path, [{}], seeds=5, group=8)
    assert sizes == [5, 2, 1]
    assert [row["state"] for row in table(tmp_path / "results.csv")] == ["done"] * 5
    assert (
        "3 of 5 students found no room in memory; they follow, 2 at a time"
        in capsys.readouterr().err
    )


def test_one_without_room_alone_has_failed(stand_ins, sweep, table, tmp_path, monkeypatch):
    sizes = []

    def full(members):
        sizes.append(len(members))
        raise MemoryError

    monkeypatch.setattr(attempts, "train_group", full)
    sweep(tmp_path, [{}], seeds=3, group=8)
    assert sizes == [3, 1, 1, 1]
    lines = table(tmp_path / "results.csv")
    assert [row["state"] for row in lines] == ["failed"] * 3
    assert all("out of memory; lower data.batch_size" in row["problem"] for row in lines)


def test_a_group_that_is_stopped_is_noted_so(stand_ins, sweep, tmp_path, monkeypatch):
    def stopped(members):
        raise KeyboardInterrupt

    monkeypatch.setattr(attempts, "train_group", stopped)
    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path / "out", [{}], seeds=2, group=8)
    made = prepared(tmp_path, [{}], seeds=2)
    assert [made.ledger.together(run) for run in made.runs] == [1, 1]
    assert [made.ledger.most_together(run) for run in made.runs] == [0, 0]


def test_a_group_whose_process_died_goes_on_in_halves(stand_ins, sweep, tmp_path):
    """Whichever run was to blame in the end is alone."""
    made = prepared(tmp_path, [{}], seeds=4)
    for run in made.runs:
        made.ledger.begin(run, 4)
    sweep(tmp_path / "out", [{}], seeds=4, group=8)
    assert stand_ins.groups == [[3, 4], [5, 6]]


def test_the_process_that_watches_parts_a_group_and_blames_none(stand_ins, tmp_path):
    made = prepared(tmp_path, [{}], seeds=4)
    made.remember()
    for run in made.runs:
        made.ledger.begin(run, 4)
    process = jobs.subprocess.Popen([sys.executable, "-c", "import os; os._exit(7)"])
    process.wait()
    worker = jobs._Worker(0, process)
    for run in made.runs:
        note = made.ledger._note(run.digest)
        made.ledger._write(run.digest, {**note, "process": process.pid})
    assert jobs._note_dead(worker, made.runs, made.ledger)
    assert [made.ledger.most_together(run) for run in made.runs] == [2] * 4
    assert {made.ledger._note(run.digest)["state"] for run in made.runs} == {STOPPED}
