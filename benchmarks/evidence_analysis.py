"""What the stored runs of a table say: AUC by seed, comparisons with their intervals, what is missing."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from evidence_types import Row, Table

from kdjax.evaluate import statistics
from kdjax.evaluate.statistics import Comparison
from kdjax.types import QUALITIES

LEVEL = 0.05
"""Corrected p-values below it count."""

END = 2
"""The place of the last of the three values that are kept of what a run logged."""


class Analysis:
    """The results of one table; what is computed is kept."""

    def __init__(
        self,
        table: Table,
        content: Mapping[str, Any],
        *,
        resamples: int = statistics.RESAMPLES,
    ) -> None:
        """Takes a table and what `evidence_store.read` gave of it."""
        self.table, self.content, self.wanted = table, content, len(table.seeds)
        self.rows = {row.name: row for row in table.rows}
        self._labels = np.asarray(content.get("labels", ()), np.int64)
        self._videos = np.asarray(content.get("videos", ()), np.int64)
        self._resamples = resamples
        self._draws: np.ndarray | None = None
        self._corrected: dict[str, float] | None = None
        self._found: dict[tuple[str, int], tuple[float, np.ndarray]] = {}

    def runs(self, name: str) -> dict[int, Mapping[str, Any]]:
        """Returns the runs of a trained row by seed, failed ones too."""
        found = self.content["rows"].get(name, {}).get("runs", {})
        return {int(seed): run for seed, run in found.items() if int(seed) in self.table.seeds}

    def seeds(self, name: str) -> list[int]:
        """Returns the seeds whose scores are there; of a row of several networks, of all of them."""
        row = self.rows[name]
        if row.by_quality:
            each = [set(self.seeds(member)) for member in row.by_quality.values()]
            return sorted(set.intersection(*each))
        return sorted(seed for seed, run in self.runs(name).items() if "scores" in run)

    def failures(self, name: str) -> dict[int, str]:
        """Returns why runs of a row have no scores, by seed."""
        return {seed: run["problem"] for seed, run in self.runs(name).items() if "problem" in run}

    def count(self, names: Sequence[str]) -> tuple[int, int]:
        """Returns how many runs that some rows need are there, and how many are wanted."""
        needed = {
            member for name in names for member in (self.rows[name].by_quality.values() or (name,))
        }
        return sum(len(self.runs(name)) for name in needed), self.wanted * len(needed)

    def auc(self, name: str) -> dict[int, float]:
        """Returns the AUC that the table judges, by seed."""
        if self.table.quality == "validation":
            return {seed: self.runs(name)[seed]["validation"] for seed in self.seeds(name)}
        return {seed: self._measured(name, seed)[0] for seed in self.seeds(name)}

    def baseline(self, name: str) -> str:
        """Returns the row that a row is compared with, empty for a baseline."""
        wanted = self.rows[name].baseline or self.table.baseline
        return "" if wanted == name else wanted

    def compare(self, name: str, other: str) -> Comparison | None:
        """Compares two rows on the seeds that both have; None when they share none."""
        if self.table.quality == "validation":
            return _over_seeds(self.auc(name), self.auc(other))
        common = sorted(set(self.seeds(name)) & set(self.seeds(other)))
        if not common:
            return None
        sides = [[self._measured(row, seed) for seed in common] for row in (name, other)]
        observed = [[auc for auc, _ in side] for side in sides]
        resampled = [np.stack([draws for _, draws in side]) for side in sides]
        return statistics.compare(observed[0], observed[1], resampled[0], resampled[1])

    def compare_logged(self, better: tuple[str, str], worse: tuple[str, str]) -> Comparison | None:
        """Compares what two rows logged at their ends, `(row, name)` each, by the t-interval over seeds."""
        return _over_seeds(self._logged(*better), self._logged(*worse))

    def _logged(self, row: str, name: str) -> dict[int, float]:
        values = {seed: run.get("logged", {}).get(name) for seed, run in self.runs(row).items()}
        return {
            seed: three[END]
            for seed, three in values.items()
            if three is not None and three[END] is not None
        }

    def mean_metric(self, name: str, quality: str, metric: str) -> float | None:
        """Returns the mean of a test metric over a trained row's seeds, None where one lacks it."""
        runs = [run for run in self.runs(name).values() if "metrics" in run]
        values = [run["metrics"].get(quality, {}).get(metric) for run in runs]
        return float(np.mean(values)) if values and None not in values else None

    def corrected(self) -> dict[str, float]:
        """Returns the p-value of each row against its baseline, by Holm's correction within the table.

        One seed, whose p-value would be of the videos alone, has none and does not count.
        """
        if self.table.quality == "validation":
            return {}
        if self._corrected is None:
            found = {
                name: comparison.p_value if comparison.seeds > 1 else float("nan")
                for name in self.rows
                if (other := self.baseline(name)) and (comparison := self.compare(name, other))
            }
            self._corrected = dict(zip(found, statistics.holm(list(found.values())), strict=True))
        return self._corrected

    def shown(self, name: str, other: str) -> int:
        """Returns 1 or -1 where a row is shown to be above or below another, else 0.

        Both intervals must say so, and against the row's baseline, which all others of the table are compared with
        as well, Holm's correction too.
        """
        comparison = self.compare(name, other)
        if comparison is None:
            return 0
        if other == self.baseline(name) and self.table.quality != "validation":
            # NaN, of one seed, is not below either
            return comparison.sign if self.corrected()[name] < LEVEL else 0
        return comparison.sign

    def _measured(self, name: str, seed: int) -> tuple[float, np.ndarray]:
        """Returns the AUC of a run, and in every resample of the videos."""
        key = (name, seed)
        if key not in self._found:
            scores = self._scores(self.rows[name], seed)
            groups = [[quality] for quality in scores]
            if self.table.quality == "overall":
                groups = [list(scores)]
            each = [self._auc([scores[quality] for quality in group]) for group in groups]
            self._found[key] = (
                float(np.mean([auc for auc, _ in each])),
                np.mean([draws for _, draws in each], axis=0),
            )
        return self._found[key]

    def _auc(self, parts: list[np.ndarray]) -> tuple[float, np.ndarray]:
        if self._draws is None:
            videos = len(np.unique(self._videos))
            self._draws = statistics.video_draws(videos, resamples=self._resamples)
        # an image in several qualities is several examples; its video is drawn with all of them
        scores = np.concatenate(parts)
        labels, videos = (np.tile(ids, len(parts)) for ids in (self._labels, self._videos))
        resampled = statistics.resampled_auc(scores, labels, videos, self._draws)
        return statistics.weighted_auc(scores, labels), resampled

    def _scores(self, row: Row, seed: int) -> dict[str, np.ndarray]:
        if row.by_quality:
            return {
                quality: self._scores(self.rows[member], seed)[quality]
                for quality, member in row.by_quality.items()
            }
        stored = self.runs(row.name)[seed]["scores"]
        judged = self.table.quality
        names = (judged,) if judged in QUALITIES else QUALITIES
        return {quality: np.asarray(stored[quality], np.float64) for quality in names}


def _over_seeds(better: Mapping[int, float], worse: Mapping[int, float]) -> Comparison | None:
    """Compares values that do not depend on the test videos, by the t-interval over the seeds that both have."""
    common = sorted(set(better) & set(worse))
    if not common:
        return None
    interval = statistics.mean_interval([better[seed] - worse[seed] for seed in common])
    return Comparison(len(common), interval, interval, float("nan"))
