"""Parity, a short training and speed on whatever device JAX finds: one command, within 9 minutes.

python benchmarks/accelerator.py

Needs JAX, Flax, optax, Orbax, chex and this checkout; no data set, no Grain, TFDS or
ml_collections. The result file is whole after every row: a run that is cut keeps what it has.
Exit code 1 when a check did not hold.
"""

import argparse
import re
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import parity
from costs import add_costs, method_costs, steps
from harness import RESULTS, Budget, Results, Rows, run_rows
from workloads import Setting


def main() -> int:
    """Runs the rows, most telling first; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--budget", type=float, default=500, help="seconds in all (default 500)")
    parser.add_argument("--batch", type=int, default=256, help="images a step (default 256)")
    parser.add_argument("--repeats", type=int, default=7, help="timed rounds (default 7)")
    parser.add_argument("--tiny", action="store_true", help="tiny networks: a test of this file")
    parser.add_argument("--output", type=Path, help="result file (default: named by the device)")
    arguments = parser.parse_args()
    kind = re.sub(r"[^a-z0-9]+", "-", jax.local_devices()[0].device_kind.lower()).strip("-")
    output = arguments.output or RESULTS / f"accelerator-{kind}.json"
    budget = Budget(arguments.budget)
    results = Results(output, "kdjax on one device: parity, learning, speed")
    rows = tiny_rows() if arguments.tiny else all_rows(arguments.batch, arguments.repeats)
    run_rows(rows, results, budget, reserve=0 if arguments.tiny else 30)
    failures = results.failures()
    print(f"written: {output}" + (f"; did not hold: {', '.join(failures)}" if failures else ""))
    return 1 if failures else 0


def all_rows(batch: int, repeats: int) -> Rows:
    """Returns the rows in order: checks first, then the speeds that tell most."""
    thin = Setting("resnet18_thin", batch=batch)
    full = Setting("resnet50", batch=batch)
    half = {"dtype": "bfloat16"}
    return {
        "losses equal float64": parity.loss_errors,
        "gradients equal the host's": partial(parity.gradient_errors, "resnet18_thin", 64),
        "all devices equal one": partial(parity.device_parity, "resnet18_thin", 64),
        "training learns": partial(parity.learning, "resnet18_thin", 64, 64, 300),
        "step resnet50 bfloat16": partial(steps, full._replace(**half), repeats),
        "step resnet50 float32": partial(steps, full, repeats, ("supervised",)),
        "step resnet18_thin bfloat16": partial(steps, thin._replace(**half), repeats),
        "step resnet18_thin float32": partial(steps, thin, repeats, ("supervised",)),
        "methods resnet50 bfloat16": partial(method_costs, full._replace(**half), repeats),
        "ADD losses resnet50 bfloat16": partial(add_costs, full._replace(**half), repeats),
        "ADD losses resnet50 float32": partial(add_costs, full, repeats),
    }


def tiny_rows() -> Rows:
    """Returns every kind of row on the smallest network, for a test on a CPU."""
    setting = Setting("resnet_tiny", size=32, batch=8)
    return {
        "losses equal float64": parity.loss_errors,
        "gradients equal the host's": partial(parity.gradient_errors, "resnet_tiny", 32),
        "all devices equal one": partial(parity.device_parity, "resnet_tiny", 32),
        "training learns": partial(parity.learning, "resnet_tiny", 32, 32, 150),
        "step resnet_tiny float32": partial(steps, setting, 2),
        "methods resnet_tiny float32": partial(method_costs, setting, 2),
        "ADD losses resnet_tiny float32": partial(add_costs, setting, 2),
    }


if __name__ == "__main__":
    sys.exit(main())
