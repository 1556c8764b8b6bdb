"""What the demo makes and trains."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

NETWORK = "resnet18_thin"
IMAGE_SIZE = 64
STEPS = {"quick": 240, "full": 1600}
IDENTITIES = {"quick": 240, "full": 960}
JUDGED = "c40"
"""The quality that students are for."""

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


def runs_of(*, full: bool) -> dict[str, Run]:
    """Returns the networks of the quick or the full demo, in order."""
    return {**RUNS, **FEW_RUNS} if full else RUNS


def students(runs: Mapping[str, Run]) -> list[str]:
    """Returns the names of those that learned from compressed images, teachers left out."""
    return [name for name, run in runs.items() if run.own != RAW]
