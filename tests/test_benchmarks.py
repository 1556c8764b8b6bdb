"""The benchmarks' own arithmetic, and the accelerator command end to end on a CPU."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
QUICKLY_COMPILED = "--xla_backend_optimization_level=0"


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("harness")


def test_works_are_timed_in_turn_and_warm_up_is_left_out(harness: ModuleType) -> None:
    calls: list[str] = []
    works = {name: lambda name=name: calls.append(name) for name in ("a", "b")}
    seconds = harness.alternate(works, 3, warm_up=2)
    assert calls == ["a", "b"] * 5
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}


def test_ratio_is_taken_within_each_round(harness: ModuleType) -> None:
    # the second round was ten times slower for both: the ratio must not see it
    assert harness.ratio([1.0, 20.0, 2.0], [2.0, 40.0, 4.0]) == {
        "median": 0.5,
        "quartiles": [0.5, 0.5],
        "least": 0.5,
        "repeats": 3,
    }


def test_summary_gives_median_and_quartiles(harness: ModuleType) -> None:
    assert harness.summary([4.0, 1.0, 3.0, 2.0, 5.0]) == {
        "median": 3.0,
        "quartiles": [2.0, 4.0],
        "least": 1.0,
        "repeats": 5,
    }


def test_file_is_whole_after_every_row(harness: ModuleType, tmp_path: Path) -> None:
    results = harness.Results(tmp_path / "new" / "rows.json", "title")
    for count in range(3):
        assert len(json.loads(results.path.read_text())["rows"]) == count
        results.add(f"row {count}", value=count)
    assert [path.name for path in results.path.parent.iterdir()] == ["rows.json"]


def test_rows_that_no_longer_fit_or_fail_are_written_down(
    harness: ModuleType, tmp_path: Path
) -> None:
    now = iter([0.0, 0.0, 5.0, 9.0])
    budget = harness.Budget(10.0, clock=lambda: next(now))
    results = harness.Results(tmp_path / "rows.json", "title")

    def fails() -> dict[str, float]:
        raise RuntimeError("out of memory")

    rows = {"good": lambda: {"value": 1.0}, "bad": fails, "late": lambda: {"value": 2.0}}
    harness.run_rows(rows, results, budget, reserve=2.0)
    good, bad, late = results.rows
    assert good["value"] == 1.0
    assert bad["error"] == "RuntimeError: out of memory"
    assert "time budget" in late["skipped"]
    assert results.failures() == ["bad"]


def test_reference_density_of_one_channel_view_is_channel_attention(harness: ModuleType) -> None:
    references = importlib.import_module("references")
    features = np.random.default_rng(0).normal(size=(2, 3, 4, 8))
    power = (features**2).sum(axis=(1, 2))
    wanted = power / power.sum(axis=1, keepdims=True)
    density = references.view_density(features, np.array([[1.0, 0.0, 0.0]]), bins=8)
    np.testing.assert_allclose(density[:, 0], wanted)


def test_table_shows_median_and_quartiles_under_the_row(harness: ModuleType) -> None:
    table = importlib.import_module("table")
    speed = {"median": 2.0, "quartiles": [1.5, 2.5], "least": 1.0, "repeats": 3}
    rows = [{"name": "step", "images/s": speed, "passed": True, "wall_seconds": 3.0}]
    assert list(table.table({"rows": rows}))[2:] == [
        "| step | images/s | 2 (1.5 to 2.5) |",
        "|  | passed | True |",
    ]


@pytest.mark.every
def test_accelerator_command_runs_without_the_data_packages(tmp_path: Path) -> None:
    blocked = ("grain", "tensorflow_datasets", "ml_collections", "cv2", "av", "dlib")
    for name in blocked:
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} is not here')\n")
    output = tmp_path / "rows.json"
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "JAX_PLATFORMS": "cpu",
        # what is timed here is not looked at, so it need not be compiled well
        "XLA_FLAGS": f"--xla_force_host_platform_device_count=2 {QUICKLY_COMPILED}",
    }
    command = [
        sys.executable,
        BENCHMARKS / "accelerator.py",
        "--tiny",
        "--budget=3000",
        "--output",
        output,
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    rows = {row["name"]: row for row in json.loads(output.read_text())["rows"]}
    checks = [name for name, row in rows.items() if "passed" in row]
    assert len(checks) == 4
    assert all(rows[name]["passed"] for name in checks)
    assert rows["step resnet_tiny float32"]["add / supervised"]["median"] > 0


@pytest.mark.slow
def test_cpu_command_writes_the_section_it_is_asked_for(tmp_path: Path) -> None:
    command = [sys.executable, BENCHMARKS / "cpu.py", "--tiny", "--repeats=2", "--only=add"]
    command += ["--output", tmp_path]
    environment = {**os.environ, "XLA_FLAGS": QUICKLY_COMPILED}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert {path.name for path in tmp_path.iterdir()} == {"cpu-add.json"}


@pytest.mark.slow
def test_trace_command_says_where_a_steps_time_goes(tmp_path: Path) -> None:
    output = tmp_path / "trace.json"
    command = [sys.executable, BENCHMARKS / "trace_network.py", "--networks", "resnet_tiny"]
    command += ["--rounds=1", "--size=32", "--batch=4", "--output", output]
    environment = {**os.environ, "XLA_FLAGS": QUICKLY_COMPILED}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (row,) = json.loads(output.read_text())["rows"]
    assert "resnet_tiny" in row["name"]


@pytest.mark.slow
def test_steps_in_pytorch_agree_with_ours_and_are_timed_beside_them(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch, which is no dependency, is not here")
    output = tmp_path / "steps.json"
    command = [sys.executable, BENCHMARKS / "steps_torch.py", "--networks", "resnet_tiny"]
    command += ["--rounds=1", "--size=32", "--batch=8", "--output", output]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": QUICKLY_COMPILED}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    rows = {row["name"]: row for row in json.loads(output.read_text())["rows"]}
    for method in ("supervised", "kd", "ckd", "add", "tokd", "qad"):
        assert rows[f"agreement {method}"]["largest relative difference"] <= 1e-4
        assert rows[f"{method} learns in PyTorch"]["passed"]
        assert rows[f"{method} resnet_tiny"]["kdjax / torch"]["median"] > 0
