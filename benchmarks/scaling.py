"""How a step grows: with the batch, the images, views, negatives, rotations, qualities and devices; compiling; memory.

python benchmarks/scaling.py [--only views] [--network=resnet18_thin]

Times of a section are taken in turn in one process, as ratios to its first row's. `memory` compiles and runs nothing:
it is XLA's own account of the step. `devices` keeps the batch of a device and adds virtual devices, each in a new
process; beyond the number of cores that measures what the devices cost each other, not speed.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
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
from workloads import METHODS, Setting, Training

GIBI = 2**30

SECTIONS = (
    *("batch", "size", "views", "negatives", "rotation", "qualities"),
    *("compiling", "memory", "devices"),
)


def main() -> int:
    """Runs the chosen sections; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=SECTIONS, action="append", help="a section, or several")
    parser.add_argument("--network", default="resnet18_thin", help="(default resnet18_thin)")
    parser.add_argument("--size", type=int, default=64, help="side of the images (default 64)")
    parser.add_argument("--batch", type=int, default=16, help="images a step (default 16)")
    parser.add_argument("--large", default="resnet50", help="network of `memory`")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds (default 5)")
    parser.add_argument("--budget", type=float, default=3600, help="seconds in all (default 3600)")
    parser.add_argument("--worker", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the result file")
    arguments = parser.parse_args()
    setting = Setting(arguments.network, size=arguments.size, batch=arguments.batch)
    if arguments.worker:
        print(json.dumps(seconds_of_step(setting, arguments.worker, arguments.repeats)))
        return 0
    path = arguments.output / f"{jax.default_backend()}-scaling.json"
    results = Results(path, "how a step grows")
    known = sections(setting, arguments)
    chosen = {name: known[name] for name in arguments.only or SECTIONS}
    rows: Rows = {}
    for each in chosen.values():
        rows |= each
    run_rows(rows, results, Budget(arguments.budget))
    return bool(results.failures())


def sections(setting: Setting, arguments: argparse.Namespace) -> dict[str, Rows]:
    """Returns the rows by section."""
    repeats, size, batch = arguments.repeats, setting.size, setting.batch
    grow = partial(growth, repeats=repeats)

    def vary(method: str, option: str, values: tuple[int, ...]) -> Callable[[], dict[str, Any]]:
        """Times a method at several values of one option."""
        makers = {
            str(value): partial(Training, method, setting, **{option: value}) for value in values
        }
        return partial(grow, makers, setting)

    batches = {
        str(n): setting._replace(batch=n) for n in (batch // 4, batch // 2, batch, 2 * batch)
    }
    sizes = {str(n): setting._replace(size=n) for n in (size, 3 * size // 2, 2 * size)}
    qualities = {str(n): ("raw", "c23", "c40")[:n] for n in (2, 3)}
    large = Setting(arguments.large, "bfloat16", size=128, batch=144)

    def each(method: str, settings: Mapping[str, Setting]) -> Callable[[], dict[str, Any]]:
        """Times a method at several settings."""
        return partial(
            grow, {n: partial(Training, method, own) for n, own in settings.items()}, setting
        )

    return {
        "batch": {f"batch {method}": each(method, batches) for method in ("supervised", "add")},
        "size": {f"size {method}": each(method, sizes) for method in ("supervised", "add")},
        "views": {"views add": vary("add", "views", (4, 12, 24, 48))},
        "negatives": {"negatives ckd": vary("ckd", "negatives", (32, 128, 512, 1024))},
        "rotation": {"rotation tokd": vary("tokd", "rotation_size", (32, 64, 128, 256))},
        "qualities": {
            "qualities qad": partial(
                grow,
                {n: partial(Training, "qad", setting, qualities=each) for n, each in qualities.items()},
                setting,
            )
        },
        "compiling": {f"compiling {method}": partial(compiling, method, setting) for method in METHODS},
        "memory": {f"memory add {large.network}": partial(memory, large)},
        "devices": {"devices supervised": partial(devices, setting, arguments)},
    }  # fmt: skip


def growth(
    makers: Mapping[str, Callable[[], Training]], setting: Setting, *, repeats: int
) -> dict[str, Any]:
    """Times steps in turn; returns each as a ratio to the first."""
    trainings = {name: make() for name, make in makers.items()}
    for training in trainings.values():
        training.advance()
    works: dict[str, Work] = {name: partial(each.advance, 2) for name, each in trainings.items()}
    seconds = alternate(works, repeats)
    first = next(iter(seconds.values()))
    return {
        "setting": setting._asdict(),
        "step_ms": {name: summary([500 * each for each in values]) for name, values in seconds.items()},
        "by_first": {name: ratio(values, first) for name, values in seconds.items()},
    }  # fmt: skip


def compiling(method: str, setting: Setting) -> dict[str, Any]:
    """Times what comes before the first step: tracing and lowering, then XLA."""
    training = Training(method, setting)
    start = time.perf_counter()
    lowered = training.lower()
    middle = time.perf_counter()
    lowered.compile()
    end = time.perf_counter()
    return {
        "setting": setting._asdict(),
        "lowering_seconds": significant(middle - start),
        "compiling_seconds": significant(end - middle),
        "lines": lowered.as_text().count("\n"),
    }


def memory(setting: Setting) -> dict[str, Any]:
    """Returns what XLA plans for a step of ADD."""
    analysis = Training("add", setting).lower().compile().memory_analysis()
    parts = {
        "arguments": analysis.argument_size_in_bytes,
        "outputs": analysis.output_size_in_bytes,
        "temporary": analysis.temp_size_in_bytes,
        "shared": -analysis.alias_size_in_bytes,
    }
    found = {f"{name}_gib": significant(size / GIBI) for name, size in parts.items()}
    total = sum(parts.values()) / GIBI
    return {
        "setting": setting._asdict(),
        **found,
        "total_gib": significant(total),
        "fits_24_gib": total < 24,
    }


def devices(setting: Setting, arguments: argparse.Namespace) -> dict[str, Any]:
    """Times a step on 1, 2 and 4 virtual devices with the same batch for each device."""
    found = {}
    for count in (1, 2, 4):
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
        words = [
            f"--network={setting.network}",
            f"--size={setting.size}",
            f"--batch={setting.batch}",
        ]
        command = [sys.executable, __file__, *words, f"--repeats={arguments.repeats}"]
        done = subprocess.run(
            [*command, f"--worker={count}"],
            env={**os.environ, "XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu"},
            check=True,
            capture_output=True,
            text=True,
        )
        found[str(count)] = json.loads(done.stdout.splitlines()[-1])
    images = {name: setting.batch * int(name) / row["median"] for name, row in found.items()}
    return {
        "setting": setting._asdict(),
        "step_seconds": found,
        "images_per_second_by_first": {
            name: significant(value / images["1"]) for name, value in images.items()
        },
    }


def seconds_of_step(setting: Setting, count: int, repeats: int) -> dict[str, Any]:
    """Returns the seconds of a step on so many devices, each with the setting's batch."""
    training = Training("supervised", setting._replace(batch=count * setting.batch, devices=count))
    training.advance()
    return summary(alternate({"step": training.advance}, repeats)["step"])


if __name__ == "__main__":
    sys.exit(main())
