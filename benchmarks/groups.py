"""What a group of students on one stream saves: grouped runs beside the same runs one after the other.

python benchmarks/groups.py [--counts=1,2,4,8,16] [--steps=20] [--teacher=resnet50] [--whole=8]

`step` rows time steps alone, in turns, in one process: the batch is read, the teachers are asked, each student learns.
The `whole` row trains whole runs in processes of their own, once grouped and once one after the other, with start-up,
compilation and validations in it; and tells whether what came out is the same, bit for bit. Data and teachers are made.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import (
    RESULTS,
    Budget,
    Results,
    Rows,
    Work,
    alternate,
    ratio,
    run_rows,
    significant,
    summary,
)

from kdjax import configs
from kdjax.models.weights.runs import best_steps, restore
from kdjax.train import parallel
from kdjax.train.compiled import Compiled
from kdjax.train.grouping import plan_like
from kdjax.train.initial import initial_state
from kdjax.train.lessons import Lessons
from kdjax.train.loop import train
from kdjax.train.setup import make_plan
from kdjax.train.state import TrainState
from kdjax.train.step import make_student_step

METHOD = "ckd"
WORK = """
import json, sys
from pathlib import Path
from kdjax import configs
from kdjax.train import Member, train_group
spec, settings, folders, rows = json.loads(sys.argv[1])
members = [
    Member(configs.load(spec, {**settings, **row}), Path(folder))
    for folder, row in zip(folders, rows, strict=True)
]
for outcome in train_group(members):
    if isinstance(outcome, Exception):
        raise outcome
"""


def main() -> int:
    """Runs all rows; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--counts", default="1,2,4,8,16", help="students of the rows `step`")
    parser.add_argument("--steps", type=int, default=3, help="steps a round (default 3)")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds (default 5)")
    parser.add_argument("--teachers", default="resnet50,dual_resnet50", help="networks, by commas")
    parser.add_argument("--student", default="resnet18_thin", help="(default resnet18_thin)")
    parser.add_argument("--batch", type=int, default=16, help="examples a step (default 16)")
    parser.add_argument("--size", type=int, default=128, help="side of the images (default 128)")
    parser.add_argument(
        "--mapped", type=int, default=4, help="up to so many students are `vmap`ped too (default 4)"
    )
    parser.add_argument("--whole", type=int, default=8, help="students of the whole runs; 0: none")
    parser.add_argument("--whole_steps", type=int, default=300, help="steps of the whole runs")
    parser.add_argument("--budget", type=float, default=7200, help="seconds in all (default 7200)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the result file")
    arguments = parser.parse_args()
    backend = jax.default_backend()
    results = Results(arguments.output / f"{backend}-groups.json", "students on one stream")
    with tempfile.TemporaryDirectory() as folder:
        setting = _Setting(arguments, Path(folder))
        rows: Rows = {}
        for teacher in arguments.teachers.split(","):
            for count in map(int, arguments.counts.split(",")):
                rows[f"step {teacher} {count}"] = partial(setting.steps, teacher, count)
            if arguments.whole:
                rows[f"whole {teacher} {arguments.whole}"] = partial(setting.whole, teacher)
        run_rows(rows, results, Budget(arguments.budget))
    return bool(results.failures())


class _Setting:
    """Data and teachers, made when they are first wanted."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        self._arguments, self._folder = arguments, folder
        self._made: dict[str, dict[str, str]] = {}

    def settings(self, teacher: str) -> dict[str, str]:
        """Returns the settings of all runs under a teacher."""
        if teacher in self._made:
            return self._made[teacher]
        arguments, data = self._arguments, self._folder / "data"
        if not data.exists():
            words = ["--identities=12", f"--image_size={arguments.size}", "--encoding=raw"]
            command = [sys.executable, "-m", "kdjax", "prepare", "--dataset=synthfaces", *words]
            subprocess.run([*command, f"--output={data}"], check=True, stdout=subprocess.DEVNULL)
        common = {
            "data.path": str(data),
            "data.batch_size": str(arguments.batch),
            "train.devices": "1",
            "train.patience": "0",
            "train.gradient_ratio_every": "0",
            "train.balance": "none",
            "train.validations_per_epoch": "0.25",
        }
        one = {**common, "train.steps": "1", "student.qualities": "raw"}
        run = self._folder / teacher
        train(configs.load(f"supervised:{teacher}", one), run)
        own = {"train.steps": str(arguments.whole_steps), "teacher.runs": str(run)}
        self._made[teacher] = {**common, **own}
        return self._made[teacher]

    def steps(self, teacher: str, count: int) -> dict[str, Any]:
        """Times `count` students' steps grouped beside as many alone, on the same programs."""
        spec = f"{METHOD}:{self._arguments.student}"
        config = configs.load(spec, self.settings(teacher))
        plan = make_plan(config)
        lessons = Lessons(plan)
        lessons.open(0)
        compiled = Compiled(plan, lessons)
        states = []
        for row in rows_of(count):
            own = configs.load(spec, {**self.settings(teacher), **row})
            states.append(parallel.replicate(initial_state(plan_like(plan, own)), 1))

        def grouped() -> None:
            for _ in range(self._arguments.steps):
                lesson = lessons.give(states[0])
                for number, state in enumerate(states):
                    states[number], _ = compiled.student_step(state, lesson)
            jax.block_until_ready(states)

        def alone() -> None:
            for number in range(count):
                for _ in range(self._arguments.steps):
                    lesson = lessons.give(states[number])
                    states[number], _ = compiled.student_step(states[number], lesson)
            jax.block_until_ready(states)

        works = {"grouped": grouped, "alone": alone}
        if 1 < count <= self._arguments.mapped:
            works["mapped"] = mapped(
                lessons, make_student_step(plan.parts), states, self._arguments.steps
            )
        seconds = alternate(works, self._arguments.repeats)
        per = 1e3 / self._arguments.steps
        return {
            **self._facts(teacher, count),
            "grouped_ms": summary([per * each for each in seconds["grouped"]]),
            "alone_ms": summary([per * each for each in seconds["alone"]]),
            "grouped_by_alone": ratio(seconds["grouped"], seconds["alone"]),
            **(
                {"mapped_by_grouped": ratio(seconds["mapped"], seconds["grouped"])}
                if "mapped" in seconds
                else {}
            ),
        }

    def whole(self, teacher: str) -> dict[str, Any]:
        """Trains whole runs in processes: all in one group, then each alone in a process of its own."""
        count = self._arguments.whole
        rows, settings = rows_of(count), self.settings(teacher)
        folders = {
            kind: [str(self._folder / f"{teacher}-{kind}-{number}") for number in range(count)]
            for kind in ("grouped", "alone")
        }
        spec = f"{METHOD}:{self._arguments.student}"
        seconds = {"grouped": run(spec, settings, folders["grouped"], rows)}
        alone = [
            run(spec, settings, [folder], [row])
            for folder, row in zip(folders["alone"], rows, strict=True)
        ]
        seconds["alone"] = sum(alone)
        # from the first line of the log on: nothing is compiled any more
        steady = {
            "grouped": steady_seconds(folders["grouped"][0]),
            "alone": sum(map(steady_seconds, folders["alone"])),
        }
        return {
            **self._facts(teacher, count),
            "steps": self._arguments.whole_steps,
            "seconds": {name: significant(value) for name, value in seconds.items()},
            "grouped_by_alone": significant(seconds["grouped"] / seconds["alone"]),
            "steady_seconds": {name: significant(value) for name, value in steady.items()},
            "steady_grouped_by_alone": significant(steady["grouped"] / steady["alone"]),
            "passed": all(map(equal, folders["grouped"], folders["alone"])),
        }

    def _facts(self, teacher: str, count: int) -> dict[str, Any]:
        arguments = self._arguments
        sizes = {"image_size": arguments.size, "batch": arguments.batch}
        names = {"student": arguments.student, "method": METHOD, "teacher": teacher}
        return {"students": count, **names, **sizes}


def mapped(
    lessons: Lessons, step: Callable[..., Any], states: Sequence[TrainState], count: int
) -> Work:
    """Returns the steps of all students in one `vmap`ped program."""
    state = [jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)]
    together = jax.jit(jax.vmap(step, in_axes=(0, None)), donate_argnums=0)

    def work() -> None:
        for _ in range(count):
            lesson = lessons.give(jax.tree.map(lambda leaf: leaf[0], state[0]))
            state[0], _ = together(state[0], lesson)
        jax.block_until_ready(state)

    return work


def rows_of(count: int) -> list[dict[str, str]]:
    """Returns so many students that differ in seed, weight and learning rate."""
    return [
        {
            "seed.student": str(number),
            "method.contrast_weight": str(0.05 * (1 + number % 4)),
            "optimizer.learning_rate": str(1e-3 * (1 + number % 3)),
        }
        for number in range(count)
    ]


def run(
    spec: str, settings: dict[str, str], folders: Sequence[str], rows: Sequence[dict[str, str]]
) -> float:
    """Trains runs in one process, with nothing compiled before; returns the seconds."""
    given = json.dumps([spec, settings, list(folders), list(rows)])
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": ""}
    start = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", WORK, given],
        check=True,
        env=environment,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).resolve().parents[1],
    )
    return time.monotonic() - start


def steady_seconds(folder: str) -> float:
    """Returns the seconds of a run's steps, without those up to the first line of its log."""
    lines = (Path(folder) / "timings.jsonl").read_text(encoding="utf-8").splitlines()
    return sum(json.loads(line)["seconds"] for line in lines[1:])


def equal(one: str, other: str) -> bool:
    """Returns whether two runs have the same log and the same best weights, bit for bit."""
    if (Path(one) / "metrics.jsonl").read_bytes() != (Path(other) / "metrics.jsonl").read_bytes():
        return False
    steps = [best_steps(Path(each)) for each in (one, other)]
    trees = [restore(Path(each) / "best", steps[0][0], "default") for each in (one, other)]
    pairs = zip(*map(jax.tree.leaves, trees), strict=True)
    return steps[0] == steps[1] and all(np.array_equal(a, b) for a, b in pairs)


if __name__ == "__main__":
    sys.exit(main())
