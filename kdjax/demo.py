"""`kdjax demo`: the whole job on data it makes itself."""

import contextlib
from pathlib import Path
from typing import Any

import configs
from data_pipeline.prepare import prepare
from kdjax.checks import UserError
from kdjax.evaluate.evaluation import Evaluation
from kdjax.evaluate.tables import format_table, result_rows
from kdjax.train import checkpoint
from kdjax.train.evaluation import evaluate_run
from kdjax.train.loop import train
from kdjax.train.reporting import report

NETWORK = "resnet18_thin"
IMAGE_SIZE = 64
STEPS = {"quick": 400, "full": 4000}
IDENTITIES = {"quick": 240, "full": 960}

RUNS: dict[str, tuple[str, dict[str, str]]] = {
    "teacher": ("supervised", {"student.qualities": "raw"}),
    "alone": ("supervised", {}),
    "kd": ("kd", {}),
    "add": ("add", {}),
}
"""Each run's configuration and what it changes; all students share budget, seed and data."""


def demo_overrides(
    data: Path, workdir: Path, name: str, *, seed: int, steps: int
) -> dict[str, str]:
    """Returns what the demo changes in a run's configuration."""
    method, own = RUNS[name]
    common = {
        "data.path": str(data),
        "data.batch_size": "32",
        "optimizer.learning_rate": "2e-3",
        "optimizer.warmup_fraction": "0.2",
        "train.steps": str(steps),
        "train.validations_per_epoch": "1",
        "train.patience": "0",
        "train.gradient_ratio_every": "2",
        "seed.data": str(seed),
        "seed.student": str(seed),
        **own,
    }
    if method != "supervised":
        common["teacher.runs"] = str(workdir / "teacher")
    return common


def run_demo(workdir: Path, *, seed: int = 0, full: bool = False) -> dict[str, Evaluation]:
    """Prepares `synthfaces`, trains a teacher on raw and three students on c40, evaluates, reports.

    A second call reuses what is done; an interrupted one goes on.

    Args:
      workdir: where data, runs and report go.
      seed: seed of the data and of every network.
      full: ten times the steps on four times the identities.

    Returns:
      Each run's evaluation on the test identities.
    """
    size = "full" if full else "quick"
    options: dict[str, Any] = {"identities": IDENTITIES[size], "image_size": IMAGE_SIZE}
    print(
        f"1/3 synthfaces: {IDENTITIES[size]} identities, five forgeries, three qualities",
        flush=True,
    )
    data = prepare("synthfaces", workdir / "data", seed=seed, **options)
    results: dict[str, Evaluation] = {}
    for number, (name, (method, _)) in enumerate(RUNS.items(), start=1):
        folder = workdir / name
        print(f"2/3 {name} ({method}), network {number} of {len(RUNS)}", flush=True)
        overrides = demo_overrides(data, workdir, name, seed=seed, steps=STEPS[size])
        train(configs.load(f"{method}:{NETWORK}", overrides), folder)
        results[name] = _evaluated(folder)
    page = report([workdir / name for name in RUNS], workdir / "report.html")
    print("3/3 on the test identities, which no network has seen:\n")
    print(format_table(result_rows([workdir / name for name in RUNS])))
    print(f"\nreport: {page}")
    return results


def _evaluated(folder: Path) -> Evaluation:
    """Returns the evaluation on the test split, the stored one when it is of the best checkpoint."""
    if (folder / "evaluation" / "test.json").exists():
        with contextlib.suppress(UserError):
            stored = Evaluation.load(folder / "evaluation", "test")
            if stored.step == checkpoint.best_step(folder):
                return stored
    return evaluate_run(folder)
