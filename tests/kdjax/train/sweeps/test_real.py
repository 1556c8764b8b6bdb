"""Sweeps of real, tiny runs: a step is compiled once, and processes divide the work and outlive one that dies."""

import os
import subprocess
import sys

import jax
import pytest

import kdjax
from kdjax.train.sweeps import sweep

SETTINGS = {
    "data.batch_size": 8,
    "train.steps": 4,
    "train.validation_interval": 4,
    "train.patience": 0,
    "train.devices": 1,
    "train.gradient_ratio_every": 0,
    "evaluation.batch_size": 8,
}
MISSES = "/jax/compilation_cache/cache_misses"

FATAL = """
import os, signal, sys

def fatal(steps):
    if any(word in ("--worker=1/2", "--worker=2/2") for word in sys.argv):
        os.kill(os.getpid(), signal.SIGKILL)
    return lambda step: 1.0

SCHEDULES = {"fatal": fatal}
TWICE = [{"seed.student": 1}, {"seed.student": 2}]

def sweep():
    from kdjax.configs.sweeps import grid, product
    yield {"name": "fatal", "optimizer.schedule": "fatal"}
    yield {"name": "large", "data.batch_size": 1000}
    yield from product(grid({"optimizer.learning_rate": [1e-3, 2e-3]}), TWICE)
"""


@pytest.mark.slow
def test_numbers_and_seeds_compile_nothing_again(tiny_dataset, tmp_path):
    """Counts what the cache on the disk had not: programs that XLA compiled."""
    compiled = []

    def count(event, **facts):
        compiled.append(event == MISSES)

    rows = [
        {"seed.student": 1, "optimizer.learning_rate": 1e-3},
        {"seed.student": 2, "optimizer.learning_rate": 3e-3},
        {"seed.student": 2, "optimizer.learning_rate": 3e-3, "data.batch_size": 12},
    ]
    common = {**SETTINGS, "data.path": str(tiny_dataset), "student.width": 1.25}
    jax.monitoring.register_event_listener(count)
    try:
        found = []
        for row in rows:
            compiled.clear()
            sweep([row], "supervised:resnet_tiny", common, tmp_path)
            found.append(sum(compiled))
    finally:
        jax.monitoring.unregister_event_listener(count)
    assert found[0] > 0
    assert found[1] == 0
    # another shape is another program
    assert found[2] > 0


@pytest.mark.slow
def test_processes_divide_a_sweep_and_outlive_one_that_dies(tiny_dataset, tmp_path):
    (tmp_path / "rows.py").write_text(FATAL)
    settings = {**SETTINGS, "data.path": tiny_dataset}
    command = [
        *(sys.executable, "-m", "kdjax", "sweep", "rows.py", "--config=supervised:resnet_tiny"),
        *("--program=rows.py", "--workdir=out", "--jobs=2", "--baseline=fatal"),
        *(f"--config.{key}={value}" for key, value in settings.items()),
    ]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}

    def run(*more):
        return subprocess.run(
            [*command, *more], cwd=tmp_path, env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip

    planned = run("--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert planned.stdout.count(" train\n") == 5
    assert planned.stdout.endswith("6 runs: 1 failed, 5 missing\n")
    assert not (tmp_path / "out").exists()
    done = run()
    assert done.returncode == 2, done.stderr
    assert "large cannot be built and is left out: data.batch_size=1000 is larger" in done.stderr
    # a group is told without them
    assert "on one stream of batches, from large" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("kdjax: error: 2 of 6 runs failed")
    found = kdjax.Sweep(tmp_path / "out")
    states = {(line["row"], line["seed"]): line["state"] for line in found.status()}
    rates = ("optimizer.learning_rate=0.001", "optimizer.learning_rate=0.002")
    assert states == {
        ("fatal", 0): "failed",
        ("large", 0): "failed",
        **{(row, seed): "done" for row in rates for seed in (1, 2)},
    }
    problems = [line["problem"] for line in found.status() if line["row"] == "fatal"]
    assert problems[0].startswith("its process was killed by SIGKILL")
    assert [line["seeds"] for line in found.table(quality="c40")] == [2, 2]
    # nothing is done twice
    before = {
        run.folder: run.files.finished.stat().st_mtime_ns for run in found.runs if run.is_finished
    }
    assert len(before) == 4
    again = run()
    assert again.returncode == 2
    after = {folder: (folder / "finished.json").stat().st_mtime_ns for folder in before}
    assert before == after
    status = subprocess.run(
        [sys.executable, "-m", "kdjax", "sweep", "rows.py", "--workdir=out", "--status"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "6 runs: 4 done, 2 failed" in status.stdout
