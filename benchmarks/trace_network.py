"""Where the time of a network's training step goes on the CPU, by kind of operation.

python benchmarks/trace_network.py [--networks resnet18 efficientnet_b0]

The profiler's events carry the names of the compiled program's instructions; the program says of
each which operation of the network it came from. A fusion counts as what its root came from.
"""

import argparse
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
from harness import RESULTS, Results, significant
from networks import network_programs

KINDS = {
    "depthwise": r"kdjax_depthwise|depthwise",
    "normalisation": r"norm",
    "convolution": r"conv|expand|reduce|project",
    "squeeze and excite": r"squeeze",
    "pooling": r"reduce_window|select_and_scatter|max_pool|\bstem\b",
    "classifier": r"classifier",
}
"""Patterns of the operations' paths, the first that is found counts."""

INSTRUCTION = re.compile(r'^\s*(?:ROOT )?%?([\w.-]+) = .*op_name="([^"]*)"')


def main() -> int:
    """Traces a step of every network; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--networks", nargs="+", default=["resnet18", "efficientnet_b0"])
    parser.add_argument("--rounds", type=int, default=5, help="traced steps (default 5)")
    parser.add_argument("--size", type=int, default=128, help="side of the images (default 128)")
    parser.add_argument("--batch", type=int, default=32, help="images (default 32)")
    parser.add_argument("--output", type=Path, default=RESULTS / "cpu-trace.json")
    arguments = parser.parse_args()
    results = Results(arguments.output, "where a training step's time goes on a CPU")
    for name in arguments.networks:
        row = shares(name, rounds=arguments.rounds, size=arguments.size, batch=arguments.batch)
        results.add(f"trace {name} float32", **row)
    print(f"written: {arguments.output}")
    return 0


def shares(name: str, *, rounds: int, size: int, batch: int) -> dict[str, Any]:
    """Returns the share of each kind and direction in the time that the cores were at work."""
    programs = network_programs(name, size=size, batch=batch)
    programs.step()
    kinds = dict(kinds_by_instruction(programs.compiled.as_text()))
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(rounds):
                programs.step()
        path = next(Path(folder).rglob("*.xplane.pb"))
        data = jax.profiler.ProfileData.from_file(str(path))
    busy: Counter[str] = Counter()
    for instruction, nanoseconds in own_times(data):
        if instruction in kinds:
            busy[kinds[instruction]] += nanoseconds
    total = sum(busy.values())
    return {
        "size": size,
        "batch": batch,
        "rounds": rounds,
        "busy seconds a step": significant(total / rounds / 1e9),
        **{kind: significant(value / total) for kind, value in busy.most_common()},
    }


def kinds_by_instruction(program: str) -> Iterator[tuple[str, str]]:
    """Yields the names of a compiled program's instructions with their kinds, such as `convolution, backward`."""
    for line in program.splitlines():
        if found := INSTRUCTION.match(line):
            name, path = found.groups()
            direction = "backward" if "transpose(" in path else "forward"
            for kind, pattern in KINDS.items():
                if re.search(pattern, path):
                    yield name, f"{kind}, {direction}"
                    break
            else:
                yield name, "the rest"


def own_times(data: Any) -> Iterator[tuple[str, float]]:
    """Yields each event's name and its nanoseconds without those of the events within it."""
    for plane in data.planes:
        for line in plane.lines:
            open_events: list[list[Any]] = []
            for event in sorted(line.events, key=lambda e: (e.start_ns, -e.duration_ns)):
                while open_events and open_events[-1][1] <= event.start_ns:
                    name, _, own = open_events.pop()
                    yield name, own
                if open_events:
                    open_events[-1][2] -= event.duration_ns
                open_events.append(
                    [event.name, event.start_ns + event.duration_ns, event.duration_ns]
                )
            yield from ((name, own) for name, _, own in open_events)


if __name__ == "__main__":
    sys.exit(main())
