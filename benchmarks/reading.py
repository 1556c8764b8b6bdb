"""How fast prepared data are read into batches, by how images are stored, beside PyTorch's DataLoader.

python benchmarks/reading.py DATA [DATA ...]

Each DATA is a prepared data set; prepare one source several times, with another --encoding each. Both sides shuffle
the same files, decode all qualities by the same function and stack whole batches; both are taken in the best of several
settings of threads and worker processes, found in a round of its own before the timed ones.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness import RESULTS, Budget, Results, Rows, Work, alternate, ratio, run_rows, summary

from kdjax.data_pipeline.loader import training_batches
from kdjax.data_pipeline.prepared import PreparedDataset, decode_record, open_dataset

GRAIN = [{"threads": threads} for threads in (1, 2, 4, 8)] + [{"threads": 2, "workers": 2}]
TORCH = [{"num_workers": workers} for workers in (0, 1, 2, 4)]


def main() -> int:
    """Runs all rows; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", nargs="+", type=Path, help="prepared data sets")
    parser.add_argument("--batch", type=int, default=64, help="examples a batch (default 64)")
    parser.add_argument("--batches", type=int, default=40, help="batches a round (default 40)")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds (default 5)")
    parser.add_argument("--budget", type=float, default=900, help="seconds in all (default 900)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the result file")
    arguments = parser.parse_args()
    results = Results(arguments.output / "cpu-reading.json", "reading of prepared data")
    rows: Rows = {
        path.name: partial(
            measure, path, arguments.batch, arguments.batches, repeats=arguments.repeats
        )
        for path in arguments.data
    }
    run_rows(rows, results, Budget(arguments.budget))
    return bool(results.failures())


def measure(path: Path, batch: int, batches: int, *, repeats: int) -> dict[str, Any]:
    """Times both sides in turn on one data set."""
    dataset = open_dataset(path)
    options = json.loads((dataset.path / "manifest.json").read_text())["options"]
    size = sum(os.path.getsize(file) for file in dataset.path.glob("*-train.array_record*"))
    sides = {"kdjax": (GRAIN, grain_batches), "torch": (TORCH, torch_batches)}
    chosen, works = {}, {}
    for side, (settings, make) in sides.items():
        found: dict[int, Work] = {
            number: reads(make(dataset, batch, **setting), batches)
            for number, setting in enumerate(settings)
        }
        tried = alternate(found, 2)
        best = min(tried, key=lambda number: min(tried[number]))
        chosen[side], works[side] = settings[best], found[best]
    seconds = alternate(works, repeats)
    count = batch * batches
    return {
        "encoding": options.get("encoding", "png"),
        "image_size": dataset.image_size,
        "qualities": list(dataset.qualities),
        "bytes_an_example": round(size / dataset.sizes["train"]),
        **{f"{side}_setting": setting for side, setting in chosen.items()},
        **{f"{side}_examples_a_second": per_second(seconds[side], count) for side in works},
        "kdjax_by_torch": ratio(seconds["torch"], seconds["kdjax"]),
    }


def reads(batches: Iterator[Any], count: int) -> Work:
    """Returns what takes so many batches of an endless iterator."""

    def work() -> None:
        for _ in range(count):
            next(batches)

    return work


def grain_batches(dataset: PreparedDataset, batch: int, **setting: int) -> Iterator[Any]:
    """Returns the library's own batches."""
    return training_batches(
        dataset, dataset.qualities, batch_size=batch, seed=0, read_ahead=8 * batch, **setting
    )


class Examples:
    """A data set as PyTorch's DataLoader takes one: by position."""

    def __init__(self, dataset: PreparedDataset) -> None:
        self.source, self.qualities = dataset.source("train"), dataset.qualities

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return decode_record(index, self.source[index], self.qualities)


def torch_batches(dataset: PreparedDataset, batch: int, num_workers: int) -> Iterator[Any]:
    """Yields batches of PyTorch's DataLoader, epoch after epoch; its own way of stacking arrays."""
    import torch
    from torch.utils.data import DataLoader

    torch.set_num_threads(1)
    loader = DataLoader(
        Examples(dataset),
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        multiprocessing_context="spawn" if num_workers else None,
    )
    while True:
        yield from loader


def per_second(seconds: list[float], count: int) -> dict[str, Any]:
    """Returns the summary of examples a second."""
    return summary([float(count / np.float64(each)) for each in seconds])


if __name__ == "__main__":
    raise SystemExit(main())
