"""`kdjax demo`: the whole job on data it makes itself."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from kdjax import configs
from kdjax.data_pipeline.prepare import prepare
from kdjax.evaluate.evaluation import Evaluation
from kdjax.evaluate.grouped import Group, Summary
from kdjax.evaluate.tables import format_table, result_rows
from kdjax.train.evaluation import evaluated
from kdjax.train.loop import train
from kdjax.train.reporting import report

NETWORK = "resnet18_thin"
IMAGE_SIZE = 64
STEPS = {"quick": 240, "full": 1600}
IDENTITIES = {"quick": 240, "full": 960}
FEW = 100
"""Training images of the runs on few samples, in the full demo."""


class Run(NamedTuple):
    """One network of the demo.

    Attributes:
      method: the configuration.
      teacher: the run that teaches, "" for none.
      own: what it changes.
      network: the student.
      quick: steps in the quick demo; the full one has as many for all.
    """

    method: str
    teacher: str = ""
    own: Mapping[str, str] = MappingProxyType({})
    network: str = NETWORK
    quick: int = STEPS["quick"]


RAW = {"student.qualities": "raw"}

TEACHER_SEED = 100
"""Added to the seed of the teachers: of the students' own seed their channels would correspond to the students'."""

RUNS: dict[str, Run] = {
    "teacher": Run("supervised", own=RAW),
    "alone": Run("supervised"),
    "kd": Run("kd", "teacher"),
    "add": Run("add", "teacher"),
    "ckd": Run("ckd", "teacher", quick=80),
    "dual": Run("supervised", own=RAW, network=f"dual_{NETWORK}", quick=80),
    "tokd": Run("tokd", "dual", quick=80),
    "qad": Run("qad", quick=60),
}
"""The networks in order. Students see c40, QAD all qualities; all share the data, the students a seed. `teacher`,
`alone`, `kd` and `add` share the budget too; in the quick demo the others are shown with less."""

FEW_IMAGES = {
    "data.subset": str(FEW),
    # an epoch is three steps
    "train.validations_per_epoch": "0.025",
}

FEW_RUNS: dict[str, Run] = {
    "alone_few": Run("supervised", own=FEW_IMAGES),
    "ckd_few": Run("ckd", "teacher", FEW_IMAGES),
}
"""What the full demo trains beside: CKD on few samples, and a student alone on the same ones."""


PACE = {
    # few interruptions: compiling what measures the gradients takes longer than many steps
    "quick": {
        "train.gradient_ratio_every": "0",
        "train.balance_steps": "5",
        "train.balance_every": "40",
    },
    "full": {"evaluation.validation_limit": "768", "train.gradient_ratio_every": "2"},
}
"""How closely networks are looked at while they train."""


def demo_overrides(data: Path, workdir: Path, run: Run, *, seed: int, full: bool) -> dict[str, str]:
    """Returns what the demo changes in a run's configuration."""
    size = "full" if full else "quick"
    common = {
        "data.path": str(data),
        "data.batch_size": "32",
        "optimizer.learning_rate": "2e-3",
        "optimizer.schedule": "one_cycle",
        "optimizer.warmup_fraction": "0.2",
        "train.steps": str(STEPS["full"] if full else run.quick),
        "train.validations_per_epoch": "0.5",
        "train.patience": "0",
        **PACE[size],
        "seed.data": str(seed),
        "seed.student": str(seed + TEACHER_SEED if run.own == RAW else seed),
        **run.own,
    }
    if run.teacher:
        common["teacher.runs"] = str(workdir / run.teacher)
    return common


def run_demo(workdir: Path, *, seed: int = 0, full: bool = False) -> dict[str, Evaluation]:
    """Prepares `synthfaces`, trains teachers on raw and a student by each method, evaluates, reports.

    A second call reuses what is done; an interrupted one goes on.

    Args:
      workdir: where data, runs and report go.
      seed: seed of the data and of every network.
      full: more steps, the same for all, on four times the identities; CKD on few samples too.

    Returns:
      Each run's evaluation on the test identities.
    """
    size = "full" if full else "quick"
    options: dict[str, Any] = {
        "identities": IDENTITIES[size],
        "image_size": IMAGE_SIZE,
        # small images: decoding them would cost a step a twentieth, and pixels cost the disk half as much again
        "encoding": "raw",
    }
    print(
        f"1/3 synthfaces: {IDENTITIES[size]} identities, five forgeries, three qualities",
        flush=True,
    )
    data = prepare("synthfaces", workdir / "data", seed=seed, **options)
    results: dict[str, Evaluation] = {}
    runs = {**RUNS, **FEW_RUNS} if full else RUNS
    for number, (name, run) in enumerate(runs.items(), start=1):
        folder = workdir / name
        print(f"2/3 {name} ({run.method}), network {number} of {len(runs)}", flush=True)
        overrides = demo_overrides(data, workdir, run, seed=seed, full=full)
        train(configs.load(f"{run.method}:{run.network}", overrides), folder)
        results[name] = evaluated(folder)
    page = report([workdir / name for name in runs], workdir / "report.html")
    print("3/3 on the test identities, which no network has seen:\n")
    print(format_table(result_rows([workdir / name for name in runs])))
    print(f"\n{beside_alone(results, full=full)}")
    print(f"\nreport: {page}")
    return results


def beside_alone(results: Mapping[str, Evaluation], *, full: bool) -> str:
    """Returns lines on what a teacher has changed, and how sure that is: students of one budget, on c40.

    Args:
      results: evaluations by name of the run.
      full: whether all students had the same steps.
    """
    budget = STEPS["full"] if full else RUNS["alone"].quick
    alike = [
        name
        for name, run in RUNS.items()
        if run.teacher and name in results and (full or run.quick == budget)
    ]
    summary = Summary()
    groups = [Group(name, {0: results[name]}) for name in ("alone", *alike)]
    lines = [
        "AUC on c40 less that of the student alone, with the 95 % interval of a bootstrap over test videos:"
    ]
    for line in summary.lines(groups, "alone", "c40"):
        if line.comparison is not None:
            found = line.comparison.bootstrap
            said = "more than chance images say" if found.excludes_zero else "undecided"
            lines.append(
                f"  {line.name:<6} {found.estimate:+.3f} [{found.low:+.3f}, {found.high:+.3f}]  {said}"
            )
    lines.append(
        "That is one seed of a small budget; another seed moves it as far. What five seeds say is in docs/results.md."
    )
    return "\n".join(lines)
