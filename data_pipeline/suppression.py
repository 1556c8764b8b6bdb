"""Which of the boxes that a network predicts are the same face, and the one box that is made of them."""

import numpy as np


def overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the intersections of a box `[4]` with others `[N, 4]` over their unions, float `[N]` in [0, 1]."""
    shared = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = np.prod(np.maximum(shared, 0), axis=-1)
    areas = np.prod(others[:, 2:] - others[:, :2], axis=-1)
    return common / np.maximum(np.prod(box[2:] - box[:2]) + areas - common, 1e-9)


def blend(rows: np.ndarray, same: float) -> np.ndarray:
    """Returns one row for each face: the mean of its boxes, weighted by their scores, and the best score.

    The best box that is left takes all that overlap it by `same` or more.

    Args:
      rows: float `[N, 5]`: left, top, right, bottom, score.
      same: intersection over union.
    """
    kept = []
    left = rows[np.argsort(-rows[:, 4], kind="stable")]
    while len(left):
        mine = overlaps(left[0, :4], left[:, :4]) >= same
        mine[0] = True
        weights = left[mine, 4:]
        mean = (weights * left[mine, :4]).sum(axis=0) / weights.sum()
        kept.append([*mean, left[0, 4]])
        left = left[~mine]
    return np.array(kept, rows.dtype).reshape(-1, 5)


def best(rows: np.ndarray, same: float) -> np.ndarray:
    """Returns the rows that no better one overlaps by `same` or more, the best first."""
    kept = []
    left = rows[np.argsort(-rows[:, 4], kind="stable")]
    while len(left):
        kept.append(left[0])
        left = left[1:][overlaps(left[0, :4], left[1:, :4]) < same]
    return np.array(kept, rows.dtype).reshape(-1, 5)
