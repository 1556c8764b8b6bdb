"""What somebody should know before training on a data set: lossy sources, splits of one person, of one class."""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from kdjax.data_pipeline.dataset import SPLITS, Dataset
from kdjax.types import LABELS

MOST = 0.5
"""Share of a split's images from which one person or one video is most of it."""

LEAST = 0.1
"""Share of the rarer class below which a split is far from balanced."""


def concerns(dataset: Dataset, codecs: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Returns a line for each thing worth knowing.

    Args:
      dataset: a prepared data set.
      codecs: of each codec of its sources the number of items, and of those that lost nothing (`FaceDataset.codecs`).
    """
    found = _lossy(codecs) if "raw" in dataset.qualities else []
    for split in SPLITS:
        ids = dataset.labels(split)
        count = len(ids["label"])
        if not count:
            continue
        shares = Counter(ids["label"].tolist())
        for label, name in enumerate(LABELS):
            if shares[label] < LEAST * count:
                found.append(
                    f"split {split!r} has {shares[label]} {name} images of {count}: classes are far from balanced"
                )
        for field, what in (("identity", "person"), ("video", "video")):
            kinds, counts = np.unique(ids[field], return_counts=True)
            if len(kinds) > 1 and counts.max() > MOST * count:
                found.append(
                    f"one {what} makes {counts.max()} of the {count} images of split {split!r}"
                )
                break
    return found


def _lossy(codecs: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Says how many sources had lost something before they came here: `raw` is what they were."""
    lossy = {name: each["items"] - each["lossless"] for name, each in sorted(codecs.items())}
    lossy = {name: count for name, count in lossy.items() if count}
    if not lossy:
        return []
    total = sum(each["items"] for each in codecs.values())
    listed = ", ".join(f"{count} {name}" for name, count in lossy.items())
    return [
        f"`raw` is compressed already: {sum(lossy.values())} of {total} items are of lossy codecs ({listed})"
    ]
