"""Speed on the CPU: what a step of each method costs, and ADD's losses within it.

python benchmarks/cpu.py [--only add]

Figures are ratios of times taken in turn in one process; rows name the machine's load.
"""

import argparse
import os
import sys
from functools import partial
from pathlib import Path

# before JAX starts: a CPU build or a CUDA build, this file measures the CPU
os.environ["JAX_PLATFORMS"] = "cpu"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from costs import add_costs, method_costs, steps
from harness import RESULTS, Budget, Results, Rows, run_rows
from workloads import Setting


def main() -> int:
    """Runs the chosen sections, each into a file of its own; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--only", choices=("add", "methods", "steps"), help="one section instead of all"
    )
    parser.add_argument("--budget", type=float, default=1800, help="seconds in all (default 1800)")
    parser.add_argument("--repeats", type=int, default=7, help="timed rounds (default 7)")
    parser.add_argument("--tiny", action="store_true", help="tiny networks: a test of this file")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the result files")
    arguments = parser.parse_args()
    budget = Budget(arguments.budget)
    failures = []
    for name, rows in sections(arguments.repeats, tiny=arguments.tiny).items():
        if arguments.only in (None, name):
            results = Results(arguments.output / f"cpu-{name}.json", f"kdjax on a CPU: {name}")
            run_rows(rows, results, budget)
            failures += results.failures()
            print(f"written: {results.path}")
    return 1 if failures else 0


def sections(repeats: int, *, tiny: bool) -> dict[str, Rows]:
    """Returns the rows by section."""
    full = Setting("resnet_tiny", size=32, batch=8) if tiny else Setting("resnet50")
    thin = full if tiny else Setting("resnet18_thin")
    return {
        "add": {f"ADD losses {full.network} {full.dtype}": partial(add_costs, full, repeats)},
        "methods": {f"methods {full.network} {full.dtype}": partial(method_costs, full, repeats)},
        "steps": {
            f"step {thin.network} {dtype}": partial(steps, thin._replace(dtype=dtype), repeats)
            for dtype in ("float32", "bfloat16")
        },
    }


if __name__ == "__main__":
    sys.exit(main())
