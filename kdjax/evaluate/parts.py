"""The metrics of complete scores: by quality, over all of them pooled, and by kind of forgery."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kdjax.data_pipeline.dataset import forgery_name
from kdjax.evaluate.evaluation import OVERALL
from kdjax.evaluate.metrics import THRESHOLD, set_metrics
from kdjax.evaluate.probabilities import probability
from kdjax.evaluate.videos import kept_video_metrics, video_auc

Table = dict[str, dict[str, float]]

OF_FORGERY = ("auc", "average_precision", "eer", "tpr_at_fpr_0.01", "tpr_at_fpr_0.001")
"""What is computed of the fakes of one kind against all reals."""

OF_GROUP = ("accuracy", "balanced_accuracy", *OF_FORGERY)
"""What is computed of a group that has reals and fakes of its own."""


class Part(NamedTuple):
    """The scores of one quality.

    Attributes:
      scores: float `[N]`.
      columns: `{"labels" | "forgery" | "video" | "index" | ...: int [N]}`; another part may have other examples.
      embeddings: float `[N, D]` or None.
    """

    scores: np.ndarray
    columns: Mapping[str, np.ndarray]
    embeddings: np.ndarray | None = None

    def at(self, rows: np.ndarray) -> "Part":
        """Returns the part with some rows alone, places or a mask; without embeddings."""
        return Part(
            self.scores[rows], {name: values[rows] for name, values in self.columns.items()}
        )

    def against_reals(self, kinds: Collection[int]) -> "Part":
        """Returns all reals and the fakes of some kinds of forgery."""
        labels = self.columns["labels"]
        return self.at((labels == 0) | np.isin(self.columns["forgery"], list(kinds)))

    def of_group(self, column: str, number: int) -> "Part":
        """Returns the examples with a number in a column."""
        return self.at(self.columns[column] == number)


def summarize_parts(
    parts: Mapping[str, Part], forgeries: Sequence[str], *, logits: bool = False
) -> tuple[Table, dict[str, Table]]:
    """Returns the metrics, and those by kind of forgery, of each part and of all of them pooled.

    Overall, one image in several qualities is several examples, which are not each other's
    neighbours in R@k, and one video in several qualities is several videos.

    Args:
      parts: by quality.
      forgeries: names of the kinds of forgery, by id.
      logits: scores are any real numbers; see `metrics.binary_metrics`.
    """
    metrics: Table = {}
    per_forgery: dict[str, Table] = {}
    for name in dict.fromkeys((*parts, OVERALL)):
        used = used_parts(parts, name)
        if name == OVERALL and len(used) == 1 and OVERALL not in parts:
            (only,) = parts
            metrics[name], per_forgery[name] = metrics[only], per_forgery[only]
            continue
        scores = np.concatenate([np.asarray(part.scores, np.float64) for part in used])
        labels, forgery, index = (
            np.concatenate([part.columns[key] for part in used])
            for key in ("labels", "forgery", "index")
        )
        video = distinct_videos(used)
        points = [part.embeddings for part in used if part.embeddings is not None]
        metrics[name] = set_metrics(
            scores,
            labels,
            embeddings=np.concatenate(points) if len(points) == len(used) else None,
            groups=index if len(used) > 1 else None,
            logits=logits,
        )
        metrics[name] |= kept_video_metrics(scores, labels, video, logits=logits)
        per_forgery[name] = {
            forgery_name(forgeries, int(kind)): _of_forgery(
                scores, labels, video, forgery == kind, logits=logits
            )
            for kind in np.unique(forgery[labels == 1])
        }
    return metrics, per_forgery


def summarize_groups(
    parts: Mapping[str, Part], column: str, names: Sequence[str], *, logits: bool = False
) -> dict[str, Table]:
    """Returns metrics of groups of examples, as of several data sets in one, by part and over all parts.

    Args:
      parts: by quality.
      column: of the parts that tells groups apart, places in `names`.
      names: of the groups.
      logits: scores are any real numbers.

    Returns:
      `{quality or "overall": {group: {"count", metric: value}}}` of the groups that have examples.
    """
    found: dict[str, Table] = {}
    for quality in dict.fromkeys((*parts, OVERALL)):
        used = used_parts(parts, quality)
        found[quality] = {}
        for number in np.unique(np.concatenate([part.columns[column] for part in used])):
            own = [part.of_group(column, number) for part in used]
            scores = np.concatenate([np.asarray(part.scores, np.float64) for part in own])
            labels = np.concatenate([part.columns["labels"] for part in own])
            values = set_metrics(scores, labels, logits=logits)
            found[quality][names[number]] = {
                "count": len(labels),
                **{name: values[name] for name in OF_GROUP},
                "video_auc": video_auc(scores, labels, distinct_videos(own)),
            }
    return found


def used_parts(parts: Mapping[str, Part], quality: str) -> list[Part]:
    """Returns the part of a quality; all of them overall."""
    return list(parts.values()) if quality == OVERALL else [parts[quality]]


def distinct_videos(parts: Sequence[Part]) -> np.ndarray:
    """Returns the video ids of all parts, renumbered so that no two parts share one."""
    lengths = [len(part.scores) for part in parts]
    _, numbers = np.unique(
        np.concatenate([part.columns["video"] for part in parts]), return_inverse=True
    )
    return numbers + len(numbers) * np.repeat(np.arange(len(parts)), lengths)


def _of_forgery(
    scores: np.ndarray,
    labels: np.ndarray,
    videos: np.ndarray,
    of_kind: np.ndarray,
    *,
    logits: bool,
) -> dict[str, float]:
    fakes = (labels == 1) & of_kind
    chosen = (labels == 0) | fakes
    found = set_metrics(scores[chosen], labels[chosen], logits=logits)
    return {
        "accuracy": float((probability(scores[fakes], logits=logits) > THRESHOLD).mean()),
        "count": int(fakes.sum()),
        **{name: found[name] for name in OF_FORGERY},
        "video_auc": video_auc(scores[chosen], labels[chosen], videos[chosen]),
    }
