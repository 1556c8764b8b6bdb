"""Several processes: what each gets of the machine, and what becomes of a run whose process dies."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading

import pytest

from kdjax.checks import Terminated, UserError
from kdjax.train.sweeps import jobs, work
from kdjax.train.sweeps.ledger import Ledger
from kdjax.train.sweeps.rows import parse_shard, shard
from kdjax.train.sweeps.shares import environment_of, gpus, on_cores, part
from kdjax.train.sweeps.tables import Tables

HOLD = """
import json, os, pathlib, signal, socket, sys, time
note = pathlib.Path(sys.argv[1])
note.parent.mkdir(parents=True, exist_ok=True)
facts = {"process": os.getpid(), "host": socket.gethostname(), "since": time.time() - 42}
note.write_text(json.dumps({"state": "running", **facts}))
"""
DIE = f"{HOLD}os.kill(os.getpid(), signal.SIGKILL)"
LEAVE = f"{HOLD}os._exit(7)"
FINISH = "import shutil, sys\nshutil.copytree(sys.argv[1], sys.argv[2])"
WAIT = "import time\ntime.sleep(60)"


def process(text, *words):
    return subprocess.Popen([sys.executable, "-c", text, *map(str, words)])


@pytest.fixture
def two(stand_ins, sweep, tmp_path):
    """Two runs that are to come, and the folder of the second one as it will be."""
    rows = [{"name": "first"}, {"name": "second", "train.steps": 7}]
    sweep(tmp_path / "made", rows)
    made = tmp_path / "made"
    prepared = work.prepare(rows, "supervised:resnet_tiny", {"seed.student": "3"}, tmp_path / "new")
    prepared.remember()
    return prepared, made / prepared.runs[1].folder.name


@pytest.mark.parametrize(
    ("ends", "problem"),
    [
        (
            DIE,
            "its process was killed by SIGKILL (as by the system when memory runs out: fewer --jobs, a smaller "
            "data.batch_size); see jobs/1.log",
        ),
        (LEAVE, "its process ended with exit code 7; see jobs/1.log"),
    ],
)
def test_a_run_whose_process_dies_has_failed_and_another_process_goes_on(
    two, table, capsys, ends, problem
):
    prepared, done = two
    first, second = prepared.runs
    note = prepared.ledger.folder / ".sweep" / "runs" / f"{first.digest}.json"
    started = []

    def start(worker):
        started.append(worker)
        if len(started) == 1:
            return process(ends, note)
        return process(FINISH, done, second.folder)

    tables = Tables(prepared.ledger)
    jobs.supervise(start, 1, prepared.runs, prepared.ledger, tables.write)
    assert started == [0, 0]
    lines = table(prepared.ledger.folder / "results.csv")
    assert [(line["state"], line["problem"]) for line in lines] == [
        ("failed", problem),
        ("done", ""),
    ]
    said = capsys.readouterr().out
    # what it took is counted although nobody could say so any more
    assert re.search(rf"\(first, seed 3\) failed after [4-9]\d s: {re.escape(problem)}", said)
    assert "(second, seed 3) done" in said
    assert "2 runs: 1 done, 1 failed" in said


def test_a_process_that_cannot_begin_is_not_started_for_ever(two):
    prepared, _ = two
    started = []

    def start(worker):
        started.append(worker)
        return process("raise SystemExit(3)")

    with pytest.raises(
        UserError, match=r"process [12] ended with exit code 3 before it began a run"
    ):
        jobs.supervise(start, 2, prepared.runs, prepared.ledger, lambda: None)
    assert sorted(started) == [0, 1]


@pytest.mark.usefixtures("handled")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_processes_and_then_the_sweep(two, number):
    prepared, _ = two
    found = []

    def start(worker):
        found.append(process(WAIT))
        return found[-1]

    threading.Timer(1.0, os.kill, (os.getpid(), number)).start()
    with pytest.raises(KeyboardInterrupt) as caught:
        jobs.supervise(start, 2, prepared.runs, prepared.ledger, lambda: None)
    assert [each.poll() is not None for each in found] == [True, True]
    assert isinstance(caught.value, Terminated) == (number == signal.SIGTERM)
    assert prepared.ledger.state(prepared.runs[0]).name == "missing"


def test_no_more_processes_start_than_runs_are_left(two):
    prepared, done = two
    shutil.copytree(done, prepared.runs[1].folder)
    started = []

    def start(worker):
        started.append(worker)
        return process("")

    jobs.supervise(start, 8, prepared.runs, prepared.ledger, lambda: None)
    assert started == [0]


def test_locks_end_with_their_process(two):
    prepared, _ = two
    ledger, run = prepared.ledger, prepared.runs[0]
    path = ledger.folder / ".sweep" / "runs" / f"{run.digest}.lock"
    hold = "import fcntl, sys\nf = open(sys.argv[1], 'a')\nfcntl.flock(f, fcntl.LOCK_EX)\nprint(1, flush=True)\ninput()"
    path.parent.mkdir(exist_ok=True)
    words = [sys.executable, "-c", hold, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        assert ledger.state(run).name == "running"
        with ledger.claimed(run) as mine:
            assert not mine
        holder.kill()
    assert ledger.state(run).name == "missing"
    with ledger.claimed(run) as mine:
        assert mine
        # looking at a lock does not take it from who comes then
        assert Ledger(ledger.folder).state(run).name == "running"


def test_parts_are_neighbours_that_divide_the_whole():
    parts = [part(range(7), worker, 3) for worker in range(3)]
    assert parts == [[0, 1], [2, 3], [4, 5, 6]]
    assert [part([4, 5], worker, 3) for worker in range(3)] == [[4], [5], [4]]
    assert part([], 0, 2) == []


def test_a_process_starts_on_its_share_of_the_cores():
    before = os.sched_getaffinity(0)
    show = [sys.executable, "-c", "import os; print(sorted(os.sched_getaffinity(0)))"]
    shown = []
    for worker in range(2):
        with on_cores(worker, 2):
            shown.append(subprocess.run(show, capture_output=True, text=True, check=True).stdout)
    assert os.sched_getaffinity(0) == before
    assert [eval(text) for text in shown] == [part(sorted(before), worker, 2) for worker in (0, 1)]


def test_gpus_are_divided_and_one_that_several_use_is_shared():
    four = {"CUDA_VISIBLE_DEVICES": "0,1, 2,3", "PATH": "p"}
    assert gpus(four) == ["0", "1", "2", "3"]
    assert environment_of(1, 2, four) == {"CUDA_VISIBLE_DEVICES": "2,3", "PATH": "p"}
    one = environment_of(1, 3, {"CUDA_VISIBLE_DEVICES": "6"})
    assert one == {"CUDA_VISIBLE_DEVICES": "6", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.300"}
    given = {"CUDA_VISIBLE_DEVICES": "6", "XLA_PYTHON_CLIENT_MEM_FRACTION": ".2"}
    assert environment_of(0, 2, given) == given
    assert environment_of(0, 2, {"CUDA_VISIBLE_DEVICES": ""}) == {"CUDA_VISIBLE_DEVICES": ""}


def test_shares_divide_the_runs():
    shares = [shard(range(7), parse_shard(f"{share}/3")) for share in (1, 2, 3)]
    assert shares == [[0, 3, 6], [1, 4], [2, 5]]
    assert shard(range(3), parse_shard("")) == [0, 1, 2]


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/", "1/0", "-1/4", "1.5/2"])
def test_a_wrong_share_is_refused(text):
    with pytest.raises(UserError, match=f"--shard={text}"):
        parse_shard(text)


def test_a_file_beside_the_sweep_is_no_library(tmp_path, monkeypatch):
    (tmp_path / "argparse.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    assert subprocess.run(jobs.command(["--version"]), check=False).returncode == 0


def test_no_process_is_too_few():
    with pytest.raises(UserError, match="--jobs=0 must be at least 1"):
        jobs.check_jobs(0)
