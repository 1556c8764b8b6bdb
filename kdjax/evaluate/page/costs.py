"""The page's part on costs: parameters, multiply-adds, size on disk, time of a step, latency."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from kdjax.checks import UserError
from kdjax.evaluate.page.table import Cell, Row, Table, number, text
from kdjax.evaluate.runs import Run
from kdjax.files import read_json
from kdjax.folder import RunFolder

EXPORT = "export.json"

MEGABYTE = 1e6


class Cost(NamedTuple):
    """What a run's network costs, as far as whoever writes the report has counted or measured it.

    Attributes:
      parameters: that are trained.
      multiply_adds: for one image.
      image_size: side of that image in pixels.
      latency: seconds that one image takes, the median of several.
      device: on which that was measured.
    """

    parameters: int | None = None
    multiply_adds: int | None = None
    image_size: int | None = None
    latency: float | None = None
    device: str = ""


NOTHING = Cost()


def cost_table(runs: Sequence[Run], costs: Mapping[int, Cost]) -> Table:
    """Returns the costs of every run; what is not known is missing.

    Args:
      runs: the runs.
      costs: by the run's number.
    """
    heads = (
        *("network", "parameters", "GMACs an image", "export", "step, seconds"),
        *("images a second", "latency, ms"),
    )
    rows = []
    for position, run in enumerate(runs):
        cost = costs.get(position, NOTHING)
        counted = cost.parameters
        if counted is None and run.evaluation is not None:
            counted = run.evaluation.parameters
        network = run.config.get("student")
        pace = read_pace(run)
        rows.append(
            Row(
                position,
                run.name,
                [
                    text(network.get("network") if isinstance(network, dict) else None),
                    Cell() if counted is None else Cell(f"{counted:,}", value=float(counted)),
                    _multiply_adds(cost),
                    _exported(run),
                    number(pace.get("step"), "%.3g"),
                    number(pace.get("images"), "%.3g"),
                    _latency(cost),
                ],
            )
        )
    return Table("What the networks cost", "run", heads, rows, frozenset({0}))


def _multiply_adds(cost: Cost) -> Cell:
    if cost.multiply_adds is None:
        return Cell()
    count = cost.multiply_adds / 1e9
    return Cell(f"{count:.3g}", f"{cost.image_size} px", count)


def _latency(cost: Cost) -> Cell:
    if cost.latency is None:
        return Cell()
    return Cell(f"{cost.latency * 1e3:.3g}", cost.device, cost.latency)


def _exported(run: Run) -> Cell:
    """Returns the sizes of a run's exported files, the smallest first."""
    path = RunFolder(run.path).export / EXPORT
    if not path.is_file():
        return Cell()
    try:
        files = read_json(path, "an export")["files"]
        sizes = {str(name): float(each["bytes"]) for name, each in files.items()}
    except (UserError, KeyError, TypeError, ValueError, AttributeError):
        return Cell("damaged")
    if not sizes or not all(math.isfinite(size) for size in sizes.values()):
        return Cell()
    order = sorted(sizes, key=lambda name: sizes[name])
    told = ", ".join(f"{name} {sizes[name] / MEGABYTE:.1f}" for name in order[1:])
    least = sizes[order[0]] / MEGABYTE
    return Cell(f"{least:.1f} MB", f"{order[0]}{'; ' if told else ''}{told}", least)


def read_pace(run: Run) -> dict[str, float]:
    """Returns the medians over a run's log of `step`, seconds, and `images`, a second; empty without a log.

    The first line is left out where there are others: compiling is in it.
    """
    lines = sorted(RunFolder(run.path).read_timings(), key=_step)
    steps, images = [], []
    for before, line in zip([{"step": 0}, *lines], lines, strict=False):
        count, seconds, rate = (
            _step(line) - _step(before),
            line.get("seconds"),
            line.get("images_per_second"),
        )
        if _is_positive(count) and _is_positive(seconds):
            steps.append(float(seconds) / count)
        if _is_positive(rate):
            images.append(float(rate))
    found = {}
    for name, values in (("step", steps), ("images", images)):
        kept = values[1:] or values
        if kept:
            found[name] = float(np.median(kept))
    return found


def _step(line: Mapping[str, Any]) -> float:
    step = line.get("step")
    return float(step) if _is_positive(step) else 0.0


def _is_positive(value: Any) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 < value < 1e300
