"""Rows of sweeps by rule: grids, draws, products, zips, seeds; each returns a list of plain dicts.

`kdjax.configs.sweeps` has these names beside the papers' tables: a sweep's file imports them from there.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import qmc

from kdjax.checks import UserError, nearest
from kdjax.configs.flat import flatten_mapping

Row = dict[str, Any]

SEED = "seed.student"
DIGITS = 6
"""Significant digits of a drawn number: enough for any setting, few enough to read."""

SEQUENCES = ("sobol", "halton")


class Range(NamedTuple):
    """Where a setting is drawn from: `linear`, `log`, `integer` or `choice` makes one.

    Attributes:
      kind: which of them.
      values: both ends, or the choices.
    """

    kind: str
    values: tuple[Any, ...]

    def at(self, share: float) -> Any:
        """Returns the value at a share in [0, 1) of the range."""
        if self.kind == "choice":
            return self.values[min(int(share * len(self.values)), len(self.values) - 1)]
        low, high = self.values
        if self.kind == "integer":
            return min(low + int(share * (high - low + 1)), high)
        if self.kind == "log":
            return _rounded(math.exp(math.log(low) + share * (math.log(high) - math.log(low))))
        return _rounded(low + share * (high - low))


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def linear(low: float, high: float) -> Range:
    """Returns the range of numbers from `low` to `high`, all alike; UserError unless low < high."""
    return Range("linear", _ends("linear", low, high))


def log(low: float, high: float) -> Range:
    """Returns the range of numbers from `low` to `high` whose logarithms are alike; UserError unless 0 < low < high."""
    low, high = _ends("log", low, high)
    if low <= 0:
        raise UserError(f"log({low!r}, {high!r}): both ends must be greater than 0")
    return Range("log", (low, high))


def integer(low: int, high: int) -> Range:
    """Returns the range of whole numbers from `low` to `high`, both among them; UserError unless low < high."""
    low, high = _ends("integer", low, high)
    if low != int(low) or high != int(high):
        raise UserError(f"integer({low!r}, {high!r}): both ends must be whole numbers")
    return Range("integer", (int(low), int(high)))


def choice(*values: Any) -> Range:
    """Returns the range of some values, all alike: `choice("kl", "mse")`; UserError without any."""
    if not values:
        raise UserError("choice() needs values, as in choice('adam', 'sgd')")
    return Range("choice", values)


def _ends(kind: str, low: Any, high: Any) -> tuple[Any, Any]:
    numbers = all(isinstance(end, int | float) and math.isfinite(end) for end in (low, high))
    if not numbers or not low < high:
        raise UserError(f"{kind}({low!r}, {high!r}) must be two numbers, the smaller first")
    return low, high


def grid(axes: Mapping[str, Iterable[Any]]) -> list[Row]:
    """Returns a row for every combination of the keys' values; the last key changes fastest.

    Args:
      axes: by key of the configuration, its values: `{"method.gamma": (0.1, 0.2), "data.subset": (100, 1000)}`.

    Raises:
      UserError: for a key without values, or with a text in place of them.
    """
    return product(*([{key: value} for value in _values(key, axes[key])] for key in axes))


def _values(key: str, values: Any) -> list[Any]:
    if isinstance(values, str | Mapping) or not isinstance(values, Iterable):
        raise UserError(f"{key} of a grid needs a list of values, not {values!r}")
    found = list(values)
    if not found:
        raise UserError(f"{key} of a grid has no values")
    return found


def product(*tables: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Returns every combination of a row of each table, the last table's changing fastest; names are joined.

    Raises:
      UserError: when two tables set one key.
    """
    lists = [[*table] for table in tables]
    return [_merged(rows) for rows in itertools.product(*lists)] if lists else []


def zipped(*tables: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Returns the first rows of all tables as one row, then the second ones, and so on; names are joined.

    Raises:
      UserError: for tables of different lengths, or when two set one key.
    """
    lists = [[*table] for table in tables]
    if len({len(rows) for rows in lists}) > 1:
        lengths = ", ".join(str(len(rows)) for rows in lists)
        raise UserError(f"zipped tables must be of one length; they have {lengths} rows")
    return [_merged(rows) for rows in zip(*lists, strict=True)]


def _merged(rows: Sequence[Mapping[str, Any]]) -> Row:
    found: Row = {}
    for row in rows:
        flat = dict(flatten_mapping(row))
        twice = sorted((found.keys() & flat.keys()) - {"name"})
        if twice:
            raise UserError(f"two tables set {twice[0]!r}; leave it out of one")
        names = [str(each["name"]) for each in (found, flat) if each.get("name")]
        found |= flat
        found |= {"name": " ".join(names)} if names else {}
    return found


def seeds(rows: Iterable[Mapping[str, Any]], count: int, *, first: int = 0) -> list[Row]:
    """Returns the rows with `count` seeds each, from `first` on; all rows with a seed before any with the next.

    Rows that differ in `seed.student` alone are one line of the sweep's table, with its interval.

    Raises:
      UserError: for fewer than one seed, or rows that set it.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise UserError(f"seeds(rows, {count!r}): the number of seeds must be at least 1")
    table = [*rows]
    return product(table, [{SEED: first}]) + (
        seeds(table, count - 1, first=first + 1) if count > 1 else []
    )


def random(ranges: Mapping[str, Range], count: int, *, seed: int = 0) -> list[Row]:
    """Returns `count` different rows, each key drawn from its range on its own.

    More rows of the same seed begin with the same ones: a sweep that is made longer finds its runs.

    Args:
      ranges: by key of the configuration, `linear`, `log`, `integer` or `choice`.
      count: how many.
      seed: of NumPy's generator (PCG64).

    Raises:
      UserError: for what is no range, or when there are not as many different rows.
    """
    _check_ranges(ranges, count)
    generator = np.random.default_rng(seed)
    return _distinct(ranges, count, lambda number: generator.random((number, len(ranges))))


def quasi_random(
    ranges: Mapping[str, Range], count: int, *, seed: int = 0, sequence: str = "sobol"
) -> list[Row]:
    """Returns `count` different rows that fill the ranges more evenly than `random` does.

    Args:
      ranges: by key of the configuration, `linear`, `log`, `integer` or `choice`.
      count: how many; a power of two is balanced best where `sequence` is `sobol`.
      seed: of the scrambling.
      sequence: `sobol` (Owen-scrambled) or `halton`; both go on from where fewer rows ended.

    Raises:
      UserError: for what is no range, an unknown sequence, or when there are not as many different rows.
    """
    _check_ranges(ranges, count)
    if sequence not in SEQUENCES:
        raise UserError(f"sequence={sequence!r}: {nearest(str(sequence), SEQUENCES)}")
    kind = qmc.Sobol if sequence == "sobol" else qmc.Halton
    sampler = kind(len(ranges), scramble=True, seed=np.random.default_rng(seed))

    def draw(number: int) -> np.ndarray:
        # whole powers of two: SciPy warns of other first draws
        return sampler.random(1 << (number - 1).bit_length())

    return _distinct(ranges, count, draw)


def _check_ranges(ranges: Mapping[str, Range], count: int) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise UserError(f"the number of rows must be a whole number of at least 1, not {count!r}")
    if not ranges:
        raise UserError(
            "nothing to draw; give ranges, as {'optimizer.learning_rate': log(1e-4, 1e-2)}"
        )
    for key, value in ranges.items():
        if not isinstance(value, Range):
            raise UserError(f"{key}={value!r} is no range; give linear, log, integer or choice")


def _distinct(ranges: Mapping[str, Range], count: int, draw: Any) -> list[Row]:
    found: dict[str, Row] = {}
    drawn, limit = 0, 100 * count + 1000
    while len(found) < count and drawn < limit:
        points: npt.NDArray[np.float64] = draw(count)
        drawn += len(points)
        for row in _rows(ranges, points):
            if len(found) < count:
                found.setdefault(repr(row), row)
    if len(found) < count:
        raise UserError(f"the ranges hold {len(found)} different rows, not {count}; ask for fewer")
    return list(found.values())


def _rows(ranges: Mapping[str, Range], points: npt.NDArray[np.float64]) -> Iterator[Row]:
    for point in points:
        shares = zip(ranges.items(), point, strict=True)
        yield {key: each.at(float(share)) for (key, each), share in shares}
