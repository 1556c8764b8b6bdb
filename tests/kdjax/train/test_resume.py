"""A run that is killed and started again ends as if it had never stopped."""

import importlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from kdjax.models.weights.runs import restore_best

PROGRAMS = Path(__file__).resolve().parents[2] / "programs"
BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
SETTINGS = [
    "--config.data.batch_size=8",
    "--config.train.epochs=5",
    "--config.train.validations_per_epoch=3",
    "--config.train.validation_interval=1",
    "--config.train.devices=1",
    "--config.train.gradient_ratio_every=0",
    "--config.optimizer.learning_rate=5e-3",
    "--config.evaluation.batch_size=8",
]


def command(config, run, data, *more):
    return [
        *(sys.executable, "-m", "kdjax", "train", f"--config={config}"),
        *(f"--workdir={run}", f"--config.data.path={data}", *SETTINGS, *more),
    ]


def variables(run):
    return restore_best(run)[0]


def latest(run):
    import orbax.checkpoint as ocp

    with ocp.CheckpointManager((run / "checkpoints").absolute()) as manager:
        return manager.restore(
            manager.latest_step(), args=ocp.args.Composite(state=ocp.args.StandardRestore())
        )["state"]


def kill_during(arguments, run, wanted, environment):
    """Starts a run and kills it without warning once `wanted` validations are in its metrics."""
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL, env=environment)
    deadline = time.monotonic() + 300
    try:
        while time.monotonic() < deadline and process.poll() is None:
            metrics = run / "metrics.jsonl"
            if metrics.exists() and metrics.read_text().count('"validation"') >= wanted:
                break
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return process.returncode


@pytest.mark.parametrize(
    "config",
    [
        pytest.param("supervised:resnet_tiny", marks=pytest.mark.every),
        pytest.param("combine:resnet_tiny", marks=pytest.mark.every),
        *(
            pytest.param(str(PROGRAMS / f"{name}.py"), marks=pytest.mark.every)
            for name in ("closeness", "small", "memory")
        ),
    ],
    ids=["supervised", "combine", "own method", "own network", "own data"],
)
def test_killed_run_ends_bit_for_bit_like_an_uninterrupted_one(config, tiny_dataset, tmp_path):
    # equal programs of the processes are compiled once
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled")}
    environment = {**os.environ, **cache, "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    more = []
    if config.endswith(("closeness.py", "small.py")):
        teacher = command("supervised:resnet_tiny", tmp_path / "teacher", tiny_dataset)
        subprocess.run(teacher, check=True, env=environment)
        more = [f"--config.teacher.runs={tmp_path / 'teacher'}", "--config.student.qualities=raw"]
    if config.endswith("memory.py"):
        more = ["--config.data.path=own:squares", "--config.student.qualities=c40"]
    if config.startswith("combine"):
        # a bank, rotations, heads and moved weights at once
        teacher = command("supervised:dual_resnet_tiny", tmp_path / "teacher", tiny_dataset)
        subprocess.run(teacher, check=True, env=environment)
        more = [
            f"--config.teacher.runs={tmp_path / 'teacher'}",
            "--config.method.parts=ckd,tokd,qad",
            "--config.method.tokd.width=8",
            "--config.method.ckd.bank_reset=never",
            "--config.student.qualities=raw,c40",
        ]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run(command(config, whole, tiny_dataset, *more), check=True, env=environment)
    arguments = command(config, broken, tiny_dataset, *more)
    for wanted in (3,) if config.endswith(".py") else (2, 5):
        assert kill_during(arguments, broken, wanted, environment) == -signal.SIGKILL
    subprocess.run(arguments, check=True, env=environment)
    jax.tree.map(np.testing.assert_array_equal, latest(whole), latest(broken))
    jax.tree.map(np.testing.assert_array_equal, variables(whole), variables(broken))
    assert (whole / "metrics.jsonl").read_text() == (broken / "metrics.jsonl").read_text()


@pytest.fixture
def crashes(monkeypatch):
    """The benchmarks' module that interrupts runs."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("crashes")


@pytest.mark.slow
def test_rounds_of_crashes_in_steps_saves_and_validations_leave_no_trace(
    crashes, tiny_dataset, tmp_path
):
    """A bank, saves in the middle of a line, `kill -9` and SIGTERM, one start after the other."""
    variables, data = crashes.environment(tmp_path), [f"--config.data.path={tiny_dataset}"]
    teacher, whole, run = (tmp_path / name for name in ("teacher", "whole", "run"))
    more = [f"teacher.runs={teacher}", *crashes.CASES["ckd"].settings]
    subprocess.run(crashes.command("supervised", teacher, data), check=True, env=variables)
    subprocess.run(crashes.command("ckd", whole, data, *more), check=True, env=variables)
    moments = [("save", signal.SIGKILL), ("steps", signal.SIGTERM), ("evaluation", signal.SIGKILL)]
    arguments = crashes.command("ckd", run, data, *more)
    found = crashes.crash_round(arguments, run, variables, moments, random.Random(0))
    assert (moments[0][0], -signal.SIGKILL) in found
    assert crashes.differences(whole, run) == []
    (run / "metrics.jsonl").write_text("")
    assert crashes.differences(whole, run) == ["metrics"]


@pytest.mark.slow
def test_sigterm_has_an_exit_status_of_its_own_at_start_up_too(crashes, tiny_dataset, tmp_path):
    variables, data = crashes.environment(tmp_path), [f"--config.data.path={tiny_dataset}"]
    arguments = crashes.command("supervised", tmp_path / "run", data)
    begun = time.monotonic()
    status, said = crashes.interrupt(
        arguments, variables, lambda: time.monotonic() > begun + 1.5, signal.SIGTERM
    )
    assert (status, said.strip().splitlines()[-1]) == (
        75,
        "kdjax: terminated; what was saved is kept, and the same command goes on from there",
    )
    assert "Traceback" not in said
