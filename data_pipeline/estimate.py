"""What a preparation will take, roughly, said before it starts."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from kdjax.data_pipeline.builders.options import MediaConfig
from kdjax.data_pipeline.trees.item import Item
from kdjax.data_pipeline.trees.videos import ENDINGS
from kdjax.data_pipeline.work import duration

BYTES_A_PIXEL = 2.0
"""Of a PNG of a face: 1.75 to 2.2 on photographs, rendered heads and video, of 64 and 128 pixels."""

SECONDS_A_FRAME = {"still": 0.03, "video": 0.27}
"""Of one core for a face found and cut out: measured on 300-pixel photographs, and on 480p and 720p video."""

SECONDS_A_QUALITY = {"still": 0.02, "video": 0.12}
"""More for each quality that is made by encoding, on the same; 0.07 of 480p and 0.17 of 720p video."""

COPIES = 2
"""Results lie in the work folder while records are written."""


def estimate(
    items: Sequence[Item], config: MediaConfig, qualities: Sequence[str], workers: int, place: Path
) -> list[str]:
    """Returns lines that say how much there is to do, how long it takes, and whether it fits.

    Args:
      items: what is worked on.
      config: the options.
      qualities: that are stored.
      workers: processes.
      place: where it goes; it need not be there yet.
    """
    images = seconds = 0.0
    videos = 0
    for item in items:
        path = next(iter(item.files.values()))
        video = path.suffix.lower() in ENDINGS or not path.suffix
        versions = 2 if config.forge and item.label == 0 else 1
        faces = config.frames_per_video if video else config.takes
        made = sum(quality not in item.files for quality in qualities)
        videos += video
        images += faces * versions
        kind = "video" if video else "still"
        seconds += faces * (SECONDS_A_FRAME[kind] + versions * made * SECONDS_A_QUALITY[kind])
    disk = images * len(qualities) * BYTES_A_PIXEL * config.image_size**2 * COPIES
    free = _free(place)
    lines = [
        f"{len(items)} items, {videos} of them videos: up to {images:.0f} faces in {', '.join(qualities)}; roughly "
        f"{duration(seconds / max(workers, 1))} with {max(workers, 1)} processes, {_size(disk)} of disk "
        f"({_size(free)} are free)"
    ]
    if disk > free:
        lines.append(f"note: that may not fit on the disk of {place}")
    return lines


def _free(place: Path) -> int:
    there = place
    while not there.exists() and there != there.parent:
        there = there.parent
    return shutil.disk_usage(there).free


def _size(count: float) -> str:
    return f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"
