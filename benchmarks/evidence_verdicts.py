"""Verdicts on the papers' claims, computed from the stored runs."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from evidence_analysis import Analysis

from kdjax.evaluate.statistics import Comparison

MARGIN = 0.01
"""AUC that a row may be below another and still count as at least as good."""

AGREES, AGAINST, UNDECIDED = "agrees", "does not agree", "undecided"


class Versus(NamedTuple):
    """One comparison of a claim.

    Attributes:
      table: where both rows are.
      better: the row that should be above.
      worse: the row that should be below.
      at_least: whether not being below by more than `MARGIN` is enough.
      logged: names of what the two rows log, compared at the runs' ends; empty: the table's AUC.
    """

    table: str
    better: str
    worse: str
    at_least: bool = False
    logged: tuple[str, str] | tuple[()] = ()


class Claim(NamedTuple):
    """A claim of a paper.

    Attributes:
      paper: whose.
      text: what it claims.
      versus: what is compared.
      numbers: the paper's own numbers and where they stand.
      reading: why we think it came out as it did.
    """

    paper: str
    text: str
    versus: tuple[Versus, ...]
    numbers: str
    reading: str = ""


def compare(versus: Versus, analyses: Mapping[str, Analysis]) -> Comparison | None:
    """Returns the comparison; None when no seed has both rows."""
    analysis = analyses[versus.table]
    if not versus.logged:
        return analysis.compare(versus.better, versus.worse)
    sides = zip((versus.better, versus.worse), versus.logged, strict=True)
    return analysis.compare_logged(*sides)


def verdict(versus: Versus, analyses: Mapping[str, Analysis]) -> str:
    """Returns one of the three, with `n of m runs` where some are missing."""
    done, wanted = analyses[versus.table].count((versus.better, versus.worse))
    if done < wanted:
        return f"{UNDECIDED}: {done} of {wanted} runs"
    comparison = compare(versus, analyses)
    if comparison is None:
        return f"{UNDECIDED}: the runs failed"
    if comparison.seeds < analyses[versus.table].wanted:
        return f"{UNDECIDED}: {comparison.seeds} seeds have both, the others failed"
    lows = (comparison.bootstrap.low, comparison.over_seeds.low)
    sign = shown(versus, analyses)
    if sign > 0 or (versus.at_least and min(lows) > -MARGIN):
        return AGREES
    return AGAINST if sign < 0 else UNDECIDED


def shown(versus: Versus, analyses: Mapping[str, Analysis]) -> int:
    """Returns 1 or -1 where the better row is shown to be above or below, else 0."""
    if not versus.logged:
        return analyses[versus.table].shown(versus.better, versus.worse)
    comparison = compare(versus, analyses)
    return 0 if comparison is None else comparison.sign


def overall(verdicts: Sequence[str]) -> str:
    """Returns the verdict on a claim of several comparisons: one word where they are of one mind."""
    kinds = [text.partition(":")[0] for text in verdicts]
    if len(set(kinds)) == 1:
        return kinds[0]
    return ", ".join(f"{kind} in {kinds.count(kind)}" for kind in dict.fromkeys(kinds)) + (
        f" of {len(kinds)} comparisons"
    )


def above(table: str, better: str, *others: str, at_least: bool = False) -> tuple[Versus, ...]:
    """Returns one row against several."""
    return tuple(Versus(table, better, other, at_least) for other in others)
