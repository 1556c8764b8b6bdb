"""Which images of a set a report shows."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from kdjax.checks import check_positive, check_same_batch


@dataclasses.dataclass(frozen=True)
class Sample:
    """One image to show.

    Attributes:
      index: its position in the data set, by which its scores are found.
      label: 0 real, 1 fake.
      forgery: name of the kind of forgery.
      images: `{quality: uint8 [H, W, 3]}`, RGB.
      mask: uint8 `[H, W]` or `[H, W, 1]`, 255 where the image was forged, or None.
    """

    index: int
    label: int
    forgery: str
    images: Mapping[str, np.ndarray]
    mask: np.ndarray | None = None


def pick_samples(
    labels: npt.ArrayLike, forgery: npt.ArrayLike, *, real: int = 3, per_kind: int = 2
) -> np.ndarray:
    """Returns positions `[K]` of a few reals and of some fakes of every kind, reals first.

    The picks of a kind are spread evenly over the set, so that they show several people, and depend
    on nothing but the arguments: not on any network's scores.

    Args:
      labels: int `[N]`, 0 real, 1 fake.
      forgery: int `[N]`, kind of forgery.
      real: how many reals.
      per_kind: how many fakes of each kind.
    """
    check_positive("real", real)
    check_positive("per_kind", per_kind)
    labels, forgery = np.asarray(labels), np.asarray(forgery)
    check_same_batch(labels=labels, forgery=forgery)
    kinds = [(labels == 1) & (forgery == kind) for kind in np.unique(forgery[labels == 1])]
    wanted = [(labels == 0, real), *((members, per_kind) for members in kinds)]
    picks = [_spread(np.flatnonzero(members), count) for members, count in wanted]
    return np.concatenate(picks)


def _spread(positions: np.ndarray, count: int) -> np.ndarray:
    if len(positions) <= count:
        return positions
    centres = (np.arange(count) + 0.5) * len(positions) / count
    return positions[centres.astype(int)]
