"""What reading costs a training step: the loop's own input beside one batch that already lies on the device.

python benchmarks/feeding.py DATA [DATA ...] [--network=NAME] [--batch=N]

The step is that of a student alone, which has the least to compute and so waits first. Both sides run the same compiled
step in turns; the one reads, decodes and sends a batch for each step as `kdjax train` does, the other does not.
"""

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import RESULTS, Budget, Results, Rows, Work, alternate, ratio, run_rows, summary

from kdjax import configs
from kdjax.train import batches, parallel
from kdjax.train.feed import Feed
from kdjax.train.initial import initial_state
from kdjax.train.setup import Plan, make_plan
from kdjax.train.step import make_train_step
from kdjax.types import Batch


def main() -> int:
    """Runs all rows; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", nargs="+", type=Path, help="prepared data sets")
    parser.add_argument("--network", default="resnet18_thin", help="(default resnet18_thin)")
    parser.add_argument("--batch", type=int, default=32, help="examples a step (default 32)")
    parser.add_argument("--steps", type=int, default=20, help="steps a round (default 20)")
    parser.add_argument("--repeats", type=int, default=9, help="timed rounds (default 9)")
    parser.add_argument("--budget", type=float, default=900, help="seconds in all (default 900)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the result file")
    arguments = parser.parse_args()
    results = Results(
        arguments.output / f"{jax.default_backend()}-feeding.json", "input of a training step"
    )
    rows: Rows = {path.name: partial(measure, path, arguments) for path in arguments.data}
    run_rows(rows, results, Budget(arguments.budget))
    return bool(results.failures())


def measure(path: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Times both sides in turn on one data set."""
    overrides = {"data.path": str(path), "data.batch_size": arguments.batch, "train.devices": 1}
    plan = make_plan(configs.load(f"supervised:{arguments.network}", overrides))
    works = make_works(plan, arguments.steps)
    seconds = alternate(works, arguments.repeats)
    return {
        "network": arguments.network,
        "image_size": plan.image_size,
        "batch": arguments.batch,
        "read_step_ms": summary([1e3 * each / arguments.steps for each in seconds["read"]]),
        "resident_step_ms": summary([1e3 * each / arguments.steps for each in seconds["resident"]]),
        "read_by_resident": ratio(seconds["read"], seconds["resident"]),
    }


def make_works(plan: Plan, steps: int) -> dict[str, Work]:
    """Returns both sides: `steps` steps each, of one state."""
    step = parallel.compile_step(make_train_step(plan.parts), 1, donate=True)
    read = Feed(batches.training(plan, 0), parallel.sender(plan.devices))
    batch = next(read)
    states: list[Any] = [parallel.replicate(initial_state(plan), 1)]

    def run(source: Iterator[Batch]) -> None:
        for _ in range(steps):
            states[0], _ = step(states[0], (), next(source))
        jax.block_until_ready(states[0])

    resident = iter(lambda: batch, None)
    return {"read": lambda: run(read), "resident": lambda: run(resident)}


if __name__ == "__main__":
    sys.exit(main())
