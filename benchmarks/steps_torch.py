"""Training steps of every method beside the same steps in PyTorch, in one process, on whatever device JAX finds.

python benchmarks/steps_torch.py [--networks resnet50] [--methods add qad] [--compile]

Needs PyTorch (extra `bench`). A step is all of it: flips, the teacher's forward pass, losses, gradients, optimiser, on
one batch that stays on the device; `train.balance=none` on both sides. First both sides are held against each other.
"""

import argparse
import gc
import math
import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

# PyTorch needs memory of the same device
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import numpy as np
import torch
import torch_agreement
from harness import (
    RESULTS,
    Budget,
    Results,
    alternate,
    ratio,
    run_rows,
    significant,
    summary,
    usable_cores,
)
from torch_methods import METHODS
from torch_staged import CUTS, WIDTHS
from torch_step import Method
from torch_step import Setting as TorchSetting
from workloads import DATASET_SIZE, ROTATION_SIZE, Setting, Training, draw_batch

from kdjax.train.utilisation import peak
from kdjax.types import Batch

NETWORKS = ("resnet18_thin", "resnet50", "efficientnet_b0")
TOLERANCE = 1e-4
LEARNING_STEPS = 60
ROUND_SECONDS = 0.3
"""A round is long enough that its start and the waiting at its end do not count."""


def main() -> int:
    """Checks both sides against each other, then times every method on every network; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--networks", nargs="+", choices=tuple(CUTS), default=list(NETWORKS))
    parser.add_argument("--methods", nargs="+", choices=tuple(METHODS), default=list(METHODS))
    parser.add_argument("--batch", type=int, default=16, help="images (default 16)")
    parser.add_argument("--size", type=int, default=128, help="side of the images (default 128)")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds (default 7)")
    parser.add_argument("--compile", action="store_true", help="time torch.compile too")
    parser.add_argument(
        "--amp",
        action=argparse.BooleanOptionalAction,
        help="bfloat16 on both sides (default: on a GPU)",
    )
    parser.add_argument("--check", action="store_true", help="check both sides and time nothing")
    parser.add_argument("--budget", type=float, default=3600, help="seconds in all (default 3600)")
    parser.add_argument("--output", type=Path, help="result file (default: named by the backend)")
    arguments = parser.parse_args()
    backend = jax.default_backend()
    amp = backend == "gpu" if arguments.amp is None else arguments.amp
    torch.set_num_threads(usable_cores())
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    output = arguments.output or RESULTS / f"{backend}-steps-torch.json"
    results = Results(output, "full training steps: kdjax and PyTorch")
    rows = {
        **{
            f"agreement {name}": partial(agreement, check)
            for name, check in torch_agreement.LOSSES.items()
            if name in arguments.methods
        },
        **{
            f"agreement {kind}{name}": partial(
                agreement, partial(torch_agreement.network, name, dual=bool(kind))
            )
            for name in arguments.networks
            for kind in ("", *(("dual_",) if "tokd" in arguments.methods else ()))
        },
        **{f"{name} learns in PyTorch": partial(learns, name) for name in arguments.methods},
    }
    dtype = "bfloat16" if amp else "float32"
    if not arguments.check:
        rows |= {
            f"{method} {name}": partial(
                compare,
                method,
                Setting(name, dtype, arguments.size, arguments.batch),
                rounds=arguments.rounds,
                compiled=arguments.compile,
            )
            for name in arguments.networks
            for method in arguments.methods
        }
    run_rows(rows, results, Budget(arguments.budget))
    failures = results.failures()
    print(f"written: {output}" + (f"; did not hold: {', '.join(failures)}" if failures else ""))
    return 1 if failures else 0


def agreement(check: Any) -> Mapping[str, Any]:
    """Returns the largest relative difference that a check finds, and whether it is small enough."""
    found = check()
    return {"largest relative difference": significant(found), "passed": found <= TOLERANCE}


def learns(method: str) -> Mapping[str, Any]:
    """Trains PyTorch's side on one batch: the mean loss of the last steps must be below that of the first."""
    setting = Setting("resnet_tiny", size=32, batch=8)
    side = beside(method, setting, draw_batch(jax.random.key(0), setting.size, setting.batch))
    losses = [float(side.step()) for _ in range(LEARNING_STEPS)]
    first, last = np.mean(losses[:10]), np.mean(losses[-10:])
    return {
        "first losses": significant(first),
        "last losses": significant(last),
        "passed": bool(math.isfinite(last) and last < first),
    }


def beside(method: str, setting: Setting, batch: Batch, *, compiled: bool = False) -> Method:
    """Returns PyTorch's side of a training on a batch."""
    batch = jax.device_get(batch)
    images = {name: torch.from_numpy(np.array(image)) for name, image in batch["image"].items()}
    built = TorchSetting(
        setting.network,
        setting.size,
        dataset_size=DATASET_SIZE,
        steps_per_epoch=DATASET_SIZE // setting.batch,
        rotation_size=min(ROTATION_SIZE, WIDTHS[setting.network][-1]),
        device="cuda" if jax.default_backend() == "gpu" else "cpu",
        amp=setting.dtype == "bfloat16",
        compiled=compiled,
    )
    return METHODS[method](built, images, torch.from_numpy(np.array(batch["label"])))


def compare(method: str, setting: Setting, *, rounds: int, compiled: bool) -> Mapping[str, Any]:
    """Times the whole step of a method on both sides in turn.

    Raises:
      ValueError: when the two sides do not have as many parameters.
    """
    gc.collect()
    # else it gives up on a function that it has compiled for eight settings, and runs it eagerly
    torch.compiler.reset()
    ours = Training(method, setting)
    sides = {"torch": beside(method, setting, ours.batch)}
    parameters = _parameters(ours)
    if parameters != sides["torch"].parameters():
        raise ValueError(f"{parameters} in kdjax, {sides['torch'].parameters()} in PyTorch")
    row: dict[str, Any] = {
        "setting": setting._asdict(),
        "parameters": parameters,
        "torch threads": torch.get_num_threads(),
    }
    if compiled:
        try:
            side = beside(method, setting, ours.batch, compiled=True)
            side.advance()
            sides["torch.compile"] = side
        except Exception as error:
            row["torch.compile"] = f"skipped: {type(error).__name__}: {str(error)[:300]}"
    everyone = {"kdjax": ours, **sides}
    for side in everyone.values():
        side.advance()
    trial = alternate({name: side.advance for name, side in everyone.items()}, 1, warm_up=0)
    count = max(1, min(50, round(ROUND_SECONDS / max(values[0] for values in trial.values()))))
    works = {name: partial(side.advance, count) for name, side in everyone.items()}
    seconds = alternate(works, rounds)
    row["steps a round"] = count
    highest, operations = peak(jax.local_devices()[0]), ours.operations()
    for name, values in seconds.items():
        middle = summary(values)["median"] / count
        row[f"{name} seconds"] = significant(middle)
        if highest and operations:
            # both sides compute the same: what XLA counts of kdjax's step is held against either's time
            row[f"{name} MFU"] = significant(operations / middle / highest)
        if name != "kdjax":
            row[f"kdjax / {name}"] = ratio(seconds["kdjax"], values)
    return row


def _parameters(training: Training) -> dict[str, int]:
    """Returns how many parameters student, teacher and trained heads have."""

    def count(tree: Any) -> int:
        return sum(leaf.size for leaf in jax.tree.leaves(tree))

    params = training.state.params
    taught = [variables["params"] for variables in training.teachers]
    return {
        "student": count(params["student"]),
        "teacher": count(taught),
        "heads": count(params.get("heads", {})),
    }


if __name__ == "__main__":
    sys.exit(main())
