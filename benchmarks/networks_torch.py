"""Training steps and inference of five networks beside the same ones in PyTorch, in one process on the CPU.

python benchmarks/networks_torch.py [--networks resnet18 xception]

Needs PyTorch in the environment, which is no dependency of the package. Both sides take float32
batches; PyTorch's maps lie in memory as kdjax's do (channels last), its threads are the cores.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from harness import (
    RESULTS,
    Budget,
    Results,
    Work,
    alternate,
    ratio,
    run_rows,
    significant,
    summary,
    usable_cores,
)
from networks import LEARNING_RATE, MOMENTUM, draw, network_programs
from torch_networks import NETWORKS


def main() -> int:
    """Times every network; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--networks", nargs="+", choices=tuple(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--rounds", type=int, default=10, help="timed rounds (default 10)")
    parser.add_argument("--size", type=int, default=128, help="side of the images (default 128)")
    parser.add_argument("--batch", type=int, default=16, help="images (default 16)")
    parser.add_argument("--budget", type=float, default=3600, help="seconds in all (default 3600)")
    parser.add_argument("--output", type=Path, default=RESULTS / "cpu-networks.json")
    arguments = parser.parse_args()
    torch.set_num_threads(usable_cores())
    torch.manual_seed(0)
    results = Results(arguments.output, "networks on a CPU: kdjax and PyTorch")
    rows = {
        f"network {name} float32": lambda name=name: compare(
            name, rounds=arguments.rounds, size=arguments.size, batch=arguments.batch
        )
        for name in arguments.networks
    }
    run_rows(rows, results, Budget(arguments.budget))
    print(f"written: {arguments.output}")
    return 1 if results.failures() else 0


def compare(name: str, *, rounds: int, size: int, batch: int) -> Mapping[str, Any]:
    """Times the four programs of one network in turn.

    Raises:
      ValueError: when the two sides do not have as many parameters.
    """
    ours = network_programs(name, size=size, batch=batch)
    step, infer, parameters = torch_programs(name, size=size, batch=batch)
    if parameters != ours.parameters:
        raise ValueError(f"{ours.parameters} parameters in kdjax, {parameters} in PyTorch")
    works = {
        "kdjax step": ours.step,
        "torch step": step,
        "kdjax inference": ours.infer,
        "torch inference": infer,
    }
    seconds = alternate(works, rounds, warm_up=2)
    row: dict[str, Any] = {
        "size": size,
        "batch": batch,
        "parameters": parameters,
        "torch threads": torch.get_num_threads(),
    }
    for what in ("step", "inference"):
        own, other = seconds[f"kdjax {what}"], seconds[f"torch {what}"]
        row[f"{what}: kdjax / torch"] = ratio(own, other)
        row[f"{what}: kdjax seconds"] = significant(summary(own)["median"])
        row[f"{what}: torch seconds"] = significant(summary(other)["median"])
    return row


def torch_programs(name: str, *, size: int, batch: int) -> tuple[Work, Work, int]:
    """Returns PyTorch's training step, its inference and the number of parameters."""
    images, labels = (torch.from_numpy(array) for array in draw(size, batch))
    images = images.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    labels = labels.long()
    network = NETWORKS[name]().to(memory_format=torch.channels_last)
    frozen = NETWORKS[name]().to(memory_format=torch.channels_last).eval()
    optimizer = torch.optim.SGD(network.parameters(), LEARNING_RATE, momentum=MOMENTUM)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()

    def infer() -> None:
        with torch.inference_mode():
            frozen(images)

    return step, infer, sum(each.numel() for each in network.parameters())


if __name__ == "__main__":
    sys.exit(main())
