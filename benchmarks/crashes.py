"""Runs that are killed at random moments and started again until they are done, against undisturbed ones.

    python benchmarks/crashes.py [--methods add,ckd,tokd,qad] [--rounds 20] [--folder FOLDER]

Final state, best weights, metrics and result must be equal bit for bit. Every second round sends SIGTERM once before
its kills. `--devices 4` begins on four virtual devices and goes on with one: there the figures are the largest
differences of parameters.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from kdjax.folder import RunFolder
from kdjax.models.weights.runs import best_steps, last_step, restore

HERE = Path(__file__).resolve().parent
TERMINATED = 75
PATIENCE_SECONDS = 300.0


class Case(NamedTuple):
    """A method, its teacher's network (empty: none) and its own settings."""

    teacher: str
    settings: tuple[str, ...] = ()


CASES = {
    "supervised": Case(""),
    "add": Case("resnet_tiny"),
    "ckd": Case("resnet_tiny", ("method.bank_reset=never",)),
    # its rotations must come to rest within the run
    "tokd": Case("dual_resnet_tiny", ("method.width=8", "optimizer.decay_epochs=2")),
    "qad": Case("", ("student.qualities=raw,c40",)),
}

SETTINGS = (
    *("data.batch_size=8", "train.steps=30", "train.validation_interval=7", "train.patience=0"),
    *(
        "train.validations_per_epoch=1",
        "train.log_every=4",
        "train.save_every=3",
        "train.keep_best=2",
    ),
    *("train.gradient_ratio_every=2", "train.balance_steps=3", "train.balance_every=4"),
    *("optimizer.learning_rate=5e-3", "evaluation.batch_size=8"),
)

MOMENTS = ("start", "steps", "save", "evaluation", "any")


def command(
    method: str, run: Path, data: Sequence[str], *more: str, network: str = "resnet_tiny"
) -> list[str]:
    """Returns the command that trains a run; `data` are the arguments that name the data set."""
    words = [sys.executable, "-m", "kdjax", "train", f"--config={method}:{network}"]
    return [*words, f"--workdir={run}", *data, *(f"--config.{each}" for each in (*SETTINGS, *more))]


def environment(folder: Path, devices: int = 1) -> dict[str, str]:
    """Returns the variables of a process: equal programs are compiled once, quickly."""
    flags = (
        f"--xla_backend_optimization_level=0 --xla_force_host_platform_device_count={devices} "
        "--xla_cpu_collective_call_terminate_timeout_seconds=600"
    )
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
    }
    return {**os.environ, **cache, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}


def due(moment: str, run: Path, steps: int, rng: random.Random) -> Callable[[], bool]:
    """Returns what says that a moment has come: in a start-up, after some steps, in a save or a validation."""
    files = RunFolder(run)
    end = time.monotonic() + rng.uniform(0, {"start": 6.0, "any": 20.0}.get(moment, 0.0))
    # further on than what is there already
    size = files.metrics.stat().st_size if files.metrics.exists() else 0
    wanted = rng.randint(1, max(1, steps // 4))
    later = rng.uniform(0, 0.1)

    def lines() -> list[str]:
        return files.metrics.read_text().splitlines() if files.metrics.exists() else []

    def writing() -> bool:
        folders = (files.checkpoints, files.best)
        return any(
            each.is_dir() and any("tmp" in name for name in os.listdir(each)) for each in folders
        )

    before = len(lines())

    def ready() -> bool:
        if moment in ("start", "any"):
            return time.monotonic() >= end
        if moment == "save":
            return writing()
        found = lines()
        if moment == "steps":
            return len(found) >= before + wanted
        # a line of training whose step is validated next
        grown = files.metrics.exists() and files.metrics.stat().st_size > size
        return grown and '"train"' in found[-1] and json.loads(found[-1])["step"] % 7 == 0

    def come() -> bool:
        if not ready():
            return False
        if moment != "any":
            time.sleep(later if moment != "save" else later / 20)
        return True

    return come


def interrupt(
    arguments: Sequence[str], variables: dict[str, str], come: Callable[[], bool], number: int
) -> tuple[int, str]:
    """Starts a run and sends a signal at a moment; returns its status, 0 where it was done before, and what it said."""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(arguments, stderr=said, stdout=said, env=variables)
        end = time.monotonic() + PATIENCE_SECONDS
        try:
            while process.poll() is None and time.monotonic() < end and not come():
                time.sleep(0.001)
            if process.poll() is None:
                process.send_signal(number)
            process.wait(PATIENCE_SECONDS)
        finally:
            process.kill()
            process.wait()
        said.seek(0)
        return process.returncode, said.read()


def differences(whole: Path, broken: Path) -> list[str]:
    """Returns what two runs differ in: states, best weights, metrics, results."""
    found = []
    for name in ("metrics", "finished", "best_values", "config"):
        paths = [getattr(RunFolder(run), name) for run in (whole, broken)]
        if len({path.read_bytes() for path in paths}) > 1:
            found.append(name)
    if best_steps(whole) != best_steps(broken):
        return [*found, "best steps"]
    trees = [(tree_of(whole, step), tree_of(broken, step)) for step in (None, *best_steps(whole))]
    for pair in trees:
        leaves = [jax.tree_util.tree_leaves_with_path(tree) for tree in pair]
        for (path, one), (_, other) in zip(*leaves, strict=True):
            if np.asarray(one).tobytes() != np.asarray(other).tobytes():
                found.append(jax.tree_util.keystr(path))
    return found


def tree_of(run: Path, best: int | None = None) -> Any:
    """Returns the latest state of a run, or its best weights of a step."""
    files = RunFolder(run)
    if best is not None:
        return restore(files.best, best, "default")
    return restore(files.checkpoints, last_step(files.checkpoints) or 0, "state")


def crash_round(
    arguments: Sequence[str],
    run: Path,
    variables: dict[str, str],
    moments: Sequence[tuple[str, int]],
    rng: random.Random,
) -> list[tuple[str, int]]:
    """Interrupts a run at some moments, one start each, then lets it end; returns moments and statuses.

    Raises:
      RuntimeError: for a status that is no signal's, 75 or 0.
    """
    found = []
    for moment, number in moments:
        come = due(moment, run, 30, rng)
        status, said = interrupt(arguments, variables, come, number)
        if status not in (0, -signal.SIGKILL, TERMINATED):
            raise RuntimeError(
                f"status {status} after {signal.Signals(number).name}: {said[-2000:]}"
            )
        found.append((moment, status))
        if not status:
            return found
    subprocess.run(
        arguments, check=True, env=variables, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    return found


def main() -> None:
    """Runs the rounds and prints a line each, and the sums."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", default="add,ckd,tokd,qad")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--devices", type=int, default=1, help="of the first start of each round")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("crashes"))
    options = parser.parse_args()
    data = [f"--program={HERE / 'crash_data.py'}", "--config.data.path=own:squares"]
    bad = 0
    for method in options.methods.split(","):
        case, folder = CASES[method], options.folder.absolute() / method
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        alone, many = environment(options.folder, 1), environment(options.folder, options.devices)
        more = list(case.settings)
        if case.teacher:
            teacher = command("supervised", folder / "teacher", data, network=case.teacher)
            subprocess.run(teacher, check=True, env=alone)
            more += [f"teacher.runs={folder / 'teacher'}", "teacher.quality=raw"]
        whole = folder / "whole"
        subprocess.run(command(method, whole, data, *more), check=True, env=many)
        counts: Counter[str] = Counter()
        for number in range(options.rounds):
            rng = random.Random(f"{options.seed} {method} {number}")
            moments = [(rng.choice(MOMENTS), signal.SIGKILL) for _ in range(2)]
            if number % 2:
                moments.insert(0, ("any" if number % 4 == 1 else "steps", signal.SIGTERM))
            run = folder / f"round{number:02d}"
            arguments = command(method, run, data, *more)
            if options.devices > 1:
                interrupt(arguments, many, due("save", run, 30, rng), signal.SIGTERM)
                moments = [("any", signal.SIGKILL)]
            what = crash_round(arguments, run, alone, moments, rng)
            if options.devices > 1:
                pairs = zip(
                    *(jax.tree.leaves(tree_of(each)["params"]) for each in (whole, run)),
                    strict=True,
                )
                gap = max(float(np.max(np.abs(np.subtract(*pair)))) for pair in pairs)
                print(f"{method} round {number}: {what}, largest difference {gap:.3g}", flush=True)
                continue
            differing = differences(whole, run)
            bad += bool(differing)
            counts.update(f"{moment} {status}" for moment, status in what)
            print(f"{method} round {number}: {what} {differing or 'equal'}", flush=True)
            shutil.rmtree(run)
        print(f"{method}: {dict(counts)}", flush=True)
    print(f"{bad} rounds differ")
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
