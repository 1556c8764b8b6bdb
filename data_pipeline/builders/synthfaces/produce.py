"""The stored frames of one person: drawn, forged, compressed. Runs in worker processes."""

from typing import Any

import numpy as np

from kdjax.data_pipeline.builders.schema import QUALITY_FACTORS
from kdjax.data_pipeline.builders.synthfaces import forgeries
from kdjax.data_pipeline.builders.synthfaces.performance import Performance
from kdjax.data_pipeline.builders.synthfaces.plan import Forgery, Size, Task
from kdjax.data_pipeline.compression import compress_clip

_FORGING = 3


def produce(task: Task) -> dict[str, Any]:
    """Returns the stored frames of a person's real and forged clips, real and fake in turns.

    `raw`, `c23`, `c40` uint8 `[2 * clips, frames, S, S, 3]`, and `masks` uint8
    `[2 * clips, frames, S, S]`.
    """
    size, stored = task.size, task.size.stored
    images: dict[str, list[np.ndarray]] = {quality: [] for quality in ("raw", *QUALITY_FACTORS)}
    masks = []
    for clip, forgery in enumerate(task.forgeries):
        recorded, forged = draw_clip(size, task.identity, clip, forgery)
        for frames in (recorded, forged.frames):
            images["raw"].append(frames[stored])
            for quality, factor in QUALITY_FACTORS.items():
                images[quality].append(compress_clip(frames, factor)[stored])
        masks += [np.zeros_like(forged.masks[stored]), forged.masks[stored]]
    return {
        **{quality: np.stack(clips) for quality, clips in images.items()},
        "masks": np.stack(masks),
    }


def draw_clip(
    size: Size, identity: int, clip: int, forgery: Forgery
) -> tuple[np.ndarray, forgeries.Forged]:
    """Returns all frames of a person's clip as it was recorded, uint8 `[T, S, S, 3]`, and forged."""
    target = _performance(size, identity, clip)
    source = _performance(size, forgery.source, forgery.source_clip)
    rng = np.random.default_rng([size.seed, _FORGING, identity, clip])
    return target.frames, forgeries.forge(forgery.kind, target, source, rng)


def _performance(size: Size, identity: int, clip: int) -> Performance:
    return Performance(size.seed, identity, clip, length=size.clip_length, size=size.image_size)
