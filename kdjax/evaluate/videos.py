"""Videos instead of frames: a video's score is pooled of its frames', which belong together by video id."""

import numpy as np
import numpy.typing as npt

from kdjax.checks import check_choice, check_positive, check_rank, check_same_batch
from kdjax.evaluate.curves import area_under_curve
from kdjax.evaluate.metrics import THRESHOLD, set_metrics, warn_of_one_class

POOLINGS = ("mean", "max", "top")
TOP = 3
"""Frames of the highest scores that `top` is the mean of."""

SHOWN = ("accuracy", "auc", "average_precision", "eer")
"""What is kept of videos beside what is kept of frames."""


def pool_videos(
    scores: np.ndarray,
    labels: np.ndarray,
    videos: np.ndarray,
    pooling: str = "mean",
    *,
    top: int = TOP,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns scores, labels and ids of videos, by ascending id.

    Args:
      scores: float `[N]`, by frame.
      labels: int `[N]`.
      videos: int `[N]`, ids. An id that carries both labels counts as two videos.
      pooling: `mean` or `max` of the frames' scores, or `top`: the mean of the highest.
      top: how many are the highest; of a video with fewer frames, all.
    """
    check_choice("pooling", pooling, POOLINGS)
    check_positive("top", top)
    keys, members = np.unique(np.stack([videos, labels], axis=1), axis=0, return_inverse=True)
    members = members.reshape(-1)
    counts = np.bincount(members)
    if pooling == "mean":
        pooled = np.bincount(members, weights=scores) / counts
    else:
        order = np.lexsort((-scores, members))
        starts = np.cumsum(counts) - counts
        place = np.arange(len(scores)) - np.repeat(starts, counts)
        wanted = 1 if pooling == "max" else top
        kept = order[place < wanted]
        pooled = np.bincount(members[kept], weights=scores[kept]) / np.minimum(counts, wanted)
    return pooled, keys[:, 1], keys[:, 0]


def clusters_of(ids: np.ndarray, videos: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Returns in which cluster each video of `ids` is, `videos` and `clusters` being those of frames, int `[N]`."""
    known, first = np.unique(videos, return_index=True)
    return clusters[first[np.searchsorted(known, ids)]]


def video_metrics(
    scores: npt.ArrayLike,
    labels: npt.ArrayLike,
    videos: npt.ArrayLike,
    *,
    pooling: str = "mean",
    top: int = TOP,
    threshold: float = THRESHOLD,
    logits: bool = False,
) -> dict[str, float]:
    """Returns `metrics.binary_metrics` of videos, each one example.

    Args:
      scores: float `[N]`, by frame, finite.
      labels: int `[N]`, 0 real, 1 fake.
      videos: int `[N]`, ids.
      pooling: how a video's score is made; see `pool_videos`.
      top: see `pool_videos`.
      threshold: what scores above it is called fake.
      logits: scores are any real numbers; logits are pooled, not probabilities.
    """
    given = {
        "scores": np.asarray(scores, np.float64),
        "labels": np.asarray(labels),
        "videos": np.asarray(videos),
    }
    for name, array in given.items():
        check_rank(name, array, 1)
    check_same_batch(**given)
    pooled, classes, _ = pool_videos(**given, pooling=pooling, top=top)
    warn_of_one_class(classes, "videos")
    return set_metrics(pooled, classes, threshold=threshold, logits=logits)


def kept_video_metrics(
    scores: np.ndarray, labels: np.ndarray, videos: np.ndarray, *, logits: bool = False
) -> dict[str, float]:
    """Returns what an evaluation keeps of videos: `video_auc` of the mean, `video_max_auc`, `video_top_auc`, ..."""
    found: dict[str, float] = {}
    for pooling in POOLINGS:
        pooled, classes, _ = pool_videos(scores, labels, videos, pooling)
        values = set_metrics(pooled, classes, logits=logits)
        prefix = "video_" if pooling == "mean" else f"video_{pooling}_"
        found |= {f"{prefix}{name}": values[name] for name in SHOWN}
    return found


def video_auc(scores: np.ndarray, labels: np.ndarray, videos: np.ndarray) -> float:
    """Returns the AUC of videos, each scored by the mean over its frames; NaN of one class alone.

    Args:
      scores: float `[N]`, by frame.
      labels: int `[N]`.
      videos: int `[N]`, ids. An id that carries both labels counts as two videos.
    """
    pooled, classes, _ = pool_videos(scores, labels, videos)
    return area_under_curve(pooled, classes)
