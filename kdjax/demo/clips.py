"""Clips of people whom no network has seen, real and forged, as files."""

from collections.abc import Mapping
from pathlib import Path

from kdjax.data_pipeline.builders.schema import QUALITY_FACTORS
from kdjax.data_pipeline.builders.synthfaces.plan import KINDS, Forgery, Size
from kdjax.data_pipeline.builders.synthfaces.produce import draw_clip
from kdjax.data_pipeline.compression import write_clip
from kdjax.demo.plan import IMAGE_SIZE, JUDGED

FRAMES = 25
"""Of a clip: a second."""


def make_clips(folder: Path, *, seed: int, identities: int) -> Mapping[Path, str]:
    """Renders a real and a forged clip for each kind of forgery and writes them as H.264; what is there stays.

    Args:
      folder: where they go.
      seed: of the data set.
      identities: how many the data set has: those here come after them.

    Returns:
      The files, each with its kind of forgery, "" of a real one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = Size(IMAGE_SIZE, seed, identities, 1, FRAMES, FRAMES)
    made: dict[Path, str] = {}
    for number, kind in enumerate(KINDS):
        person, source = identities + 2 * number, identities + 2 * number + 1
        real, fake = (folder / f"{name}.mp4" for name in (f"real-{number + 1}", f"fake-{kind}"))
        if not (real.exists() and fake.exists()):
            recorded, forged = draw_clip(size, person, 0, Forgery(kind, source, 0))
            write_clip(real, recorded, QUALITY_FACTORS[JUDGED])
            write_clip(fake, forged.frames, QUALITY_FACTORS[JUDGED])
        made |= {real: "", fake: kind}
    return made
