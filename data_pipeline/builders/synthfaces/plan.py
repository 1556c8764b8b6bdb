"""Who is in which split and who is forged with what: everything decided before a pixel is drawn."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kdjax.data_pipeline.builders.schema import SPLITS, assign_splits
from kdjax.types import FORGERIES

KINDS = FORGERIES[1:6]
"""The five forgeries of this data set."""

SPLIT_FRACTIONS = (0.6, 0.15, 0.25)
"""More test identities than usual: they cost no training time and steady the figures."""

ENOUGH = 12
"""Identities from which on every split has two, as a face swap needs."""

_SOURCES = 4


@dataclass(frozen=True)
class Size:
    """How much is made.

    Attributes:
      image_size: side of the frames in pixels.
      seed: decides everything else.
      identities: persons over all splits.
      clips_per_identity: real clips of each person; each gives one forged clip too.
      frames_per_clip: frames of a clip that are stored.
      clip_length: frames of a clip that are encoded.
    """

    image_size: int
    seed: int
    identities: int
    clips_per_identity: int
    frames_per_clip: int
    clip_length: int

    def __post_init__(self) -> None:
        if not 32 <= self.image_size <= 512:
            raise ValueError(f"image_size={self.image_size!r} must be from 32 to 512")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed!r} must be at least 0")
        if self.clips_per_identity < 1:
            raise ValueError(f"clips_per_identity={self.clips_per_identity!r} must be at least 1")
        if not 1 <= self.frames_per_clip <= self.clip_length:
            raise ValueError(
                f"frames_per_clip={self.frames_per_clip!r} must be from 1 to "
                f"clip_length={self.clip_length!r}"
            )
        fewest = min(list(_splits(self).values()).count(split) for split in SPLITS)
        if fewest < 2:
            raise ValueError(
                f"identities={self.identities!r} leaves a split with {fewest}; each needs two, a face swap takes its "
                f"source from the same split: {ENOUGH} are enough"
            )

    @property
    def stored(self) -> np.ndarray:
        """Positions of the stored frames in a clip, evenly spaced, int `[frames_per_clip]`."""
        count = self.frames_per_clip
        return (2 * np.arange(count) + 1) * self.clip_length // (2 * count)


class Forgery(NamedTuple):
    """One forged clip: the kind, and the person and clip that it is forged with."""

    kind: str
    source: int
    source_clip: int


class Task(NamedTuple):
    """All clips of one person: each of them is stored as it is and forged, `forgeries[clip]`."""

    size: Size
    identity: int
    forgeries: tuple[Forgery, ...]


def tasks(size: Size, split: str) -> list[Task]:
    """Returns the work of a split, in order; kinds take turns over all clips of the split."""
    names = [identity for identity, owner in _splits(size).items() if owner == split]
    rng = np.random.default_rng([size.seed, _SOURCES, SPLITS.index(split)])
    start, result = int(rng.integers(len(KINDS))), []
    for position, identity in enumerate(names):
        others = [other for other in names if other != identity]
        forgeries = [
            Forgery(
                kind=KINDS[(start + position * size.clips_per_identity + clip) % len(KINDS)],
                source=others[rng.integers(len(others))],
                source_clip=int(rng.integers(size.clips_per_identity)),
            )
            for clip in range(size.clips_per_identity)
        ]
        result.append(Task(size, identity, tuple(forgeries)))
    return result


def _splits(size: Size) -> dict[int, str]:
    """Returns the split of each identity, by identity."""
    names = [f"{identity:06d}" for identity in range(size.identities)]
    splits = assign_splits(names, seed=size.seed, fractions=SPLIT_FRACTIONS)
    return {int(name): splits[name] for name in names}
