"""Tables of scores as rows for `tables.format_table`."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from kdjax.evaluate.scorerows import Scores
from kdjax.evaluate.scoretables import SHOWN, ScoreTables
from kdjax.evaluate.statistics import Interval
from kdjax.evaluate.tables import HEADINGS, interval_text


def size_rows(files: Sequence[Scores], tables: ScoreTables) -> list[dict[str, Any]]:
    """Returns what is known of how many images, a row for each detector."""
    aligned = tables.aligned
    pairs = np.stack([aligned.videos, aligned.labels], axis=1)
    videos = len(np.unique(pairs, axis=0)) if aligned.has_videos else None
    return [
        {
            "scores": name,
            "real": int((aligned.labels == 0).sum()),
            "fake": int((aligned.labels == 1).sum()),
            "videos": videos,
            "without a score": file.missing,
            "not in all tables": left,
        }
        for name, file, left in zip(aligned.names, files, aligned.left_out, strict=True)
    ]


def metric_rows(tables: ScoreTables, quality: str) -> list[dict[str, Any]]:
    """Returns a row for each metric, the detectors across, with intervals where there are any."""
    rows = []
    for name in SHOWN:
        if name.startswith("video_") and not tables.aligned.has_videos:
            continue
        row: dict[str, Any] = {"metric": HEADINGS[name]}
        for detector, evaluation in tables.evaluations.items():
            value = evaluation.metrics[quality][name]
            nothing = Interval(value, math.nan, math.nan)
            row[detector] = interval_text(tables.intervals[detector][quality].get(name, nothing))
        rows.append(row)
    return rows


def group_rows(tables: ScoreTables, role: str) -> list[dict[str, Any]]:
    """Returns AUCs with intervals of each forgery or data set in each quality, the detectors across.

    Args:
      tables: what is known.
      role: `forgery` or `dataset`.
    """
    bounded = tables.by_forgery if role == "forgery" else tables.by_dataset
    first = tables.evaluations[tables.aligned.names[0]]
    counts = first.per_forgery if role == "forgery" else first.per_dataset
    return [
        {
            "quality": quality,
            "forgery" if role == "forgery" else "data set": name,
            "images": int(counts[quality][name]["count"]),
            **{
                f"{detector} {HEADINGS[metric]}": interval_text(interval)
                for detector, entry in bounded.items()
                for metric, interval in entry[quality][name].items()
            },
        }
        for quality, names in bounded[tables.aligned.names[0]].items()
        for name in names
    ]


def comparison_rows(tables: ScoreTables) -> list[dict[str, Any]]:
    """Returns a row for each comparison with the first detector."""
    return [
        {
            "quality": each.quality,
            "scores": each.name,
            "AUC": each.paired.auc,
            f"{tables.aligned.names[0]} AUC": each.paired.baseline,
            "difference": each.paired.difference.estimate,
            "low": each.paired.difference.low,
            "high": each.paired.difference.high,
            "p": each.paired.p_value,
            "p (Holm)": each.corrected,
            "p (DeLong, images)": each.paired.delong.p_value,
        }
        for each in tables.compared
    ]
