"""The TFDS builder of `synthfaces`."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import tensorflow_datasets as tfds

from kdjax.data_pipeline.builders.schema import SPLITS, FaceDataset, check_encoding, encode_example
from kdjax.data_pipeline.builders.synthfaces.plan import Size, Task, tasks
from kdjax.data_pipeline.builders.synthfaces.produce import produce
from kdjax.data_pipeline.results import Result
from kdjax.types import QUALITIES

Examples = Iterator[tuple[str, dict[str, Any]]]
"""Keys and records of one split."""

Made = Iterator[tuple[tuple[str, Task], Result]]
"""Split and task of each person in the order of the splits, with what was made of it."""


@dataclass
class SynthFacesConfig(tfds.core.BuilderConfig):
    """How much is made and from which seed; see `plan.Size`."""

    name: str = "faces"
    image_size: int = 64
    seed: int = 0
    identities: int = 240
    clips_per_identity: int = 2
    frames_per_clip: int = 4
    clip_length: int = 8
    encoding: str = "png"

    def size(self) -> Size:
        """Returns the checked size; raises ValueError where a number or the encoding does not fit."""
        check_encoding(self.encoding)
        return Size(
            image_size=self.image_size,
            seed=self.seed,
            identities=self.identities,
            clips_per_identity=self.clips_per_identity,
            frames_per_clip=self.frames_per_clip,
            clip_length=self.clip_length,
        )


BENCHMARK = SynthFacesConfig(name="benchmark", image_size=64, seed=1000, identities=400)
"""What methods are compared on. A change of it, or of what is drawn, is a new version: see docs/data.md."""


class SynthFaces(FaceDataset, skip_registration=True):  # type: ignore[call-arg]
    """Rendered talking heads, real and forged in five ways, in three qualities.

    Every real clip is stored together with one forged version of it, so that classes are balanced and
    differ by the forgery alone. Splits are by identity, the sources of the forgeries included.
    """

    name = "synthfaces"
    VERSION = tfds.core.Version("1.0.0")
    CONFIG = SynthFacesConfig
    BUILDER_CONFIGS = [BENCHMARK]  # noqa: RUF012

    def __init__(self, *, config: SynthFacesConfig | None = None, **arguments: Any):
        config = config or SynthFacesConfig()
        self._size = config.size()
        super().__init__(config=config, **arguments)

    def _split_generators(self, dl_manager: Any) -> dict[str, Examples]:
        """Returns the splits' examples, all from one run over all persons: workers start once."""
        del dl_manager
        owners = [(split, task) for split in SPLITS for task in tasks(self._size, split)]
        planned = [task for _, task in owners]
        keys = [f"identity {task.identity}" for task in planned]
        results = self.work.run(produce, planned, keys=keys, description="identities")
        made = zip(owners, results, strict=True)
        return {
            split: self._generate_examples(split, made, sum(owner == split for owner, _ in owners))
            for split in SPLITS
        }

    def _generate_examples(self, split: str, made: Made, persons: int) -> Examples:
        for (owner, task), result in itertools.islice(made, persons):
            if owner != split:
                raise RuntimeError(f"{split} was asked for out of order: next is {owner}")
            yield from _examples(task, result, self.encoding())


def _examples(task: Task, result: Result, encoding: str) -> Examples:
    """Yields key and record of every stored frame of one person."""
    clips = 2 * len(task.forgeries)
    for row in range(clips):
        label = row % 2
        video = clips * task.identity + row
        for column, frame in enumerate(task.size.stored.tolist()):
            yield (
                f"{video:07d}_{frame:04d}",
                encode_example(
                    {quality: result[quality][row, column] for quality in QUALITIES},
                    result["masks"][row, column],
                    label=label,
                    forgery=task.forgeries[row // 2].kind if label else "none",
                    video=video,
                    identity=task.identity,
                    frame=frame,
                    encoding=encoding,
                ),
            )
