"""FFIW10K, faces forged in scenes of several people (Zhou et al. 2021)."""

from pathlib import Path

from kdjax import checks
from kdjax.data_pipeline.trees.item import Item, Tree, check_source
from kdjax.data_pipeline.trees.videos import check_options, require, videos_in

FORGERIES = ("none", "ffiw")

SPLITS = {"train": "train", "validation": "val", "test": "test"}

SHAPE = "source/{train,val,test}/*.mp4 (real) beside target/{train,val,test}/*.mp4 (fake)"


def scan(source: Path, output: Path, *, part: str = "all", splits: str = "official") -> Tree:
    """Returns all videos, in the splits of their folders or drawn.

    Names do not tell who is on a video: each is a person of its own, but for a real and a fake one of the same name.

    Args:
      source: the folder that holds `source` and `target`.
      output: where the data set goes, which must not lie in the source.
      part: `all`.
      splits: `official` or `drawn`.

    Raises:
      checks.UserError: a part that there is not; it is another tree, or holds one class alone.
    """
    check_source(source, output)
    check_options("ffiw", part, splits)
    require(source, ("source", "target"), SHAPE)
    items = [
        Item(
            path.relative_to(source).as_posix(),
            {"raw": path},
            label,
            FORGERIES[label],
            (f"{part} {path.stem}",),
            split if splits == "official" else "",
        )
        for label, folder in enumerate(("source", "target"))
        for split, part in SPLITS.items()
        for path in videos_in(source / folder / part)
    ]
    if {item.label for item in items} != {0, 1}:
        raise checks.UserError(f"{source} has videos of one class alone; expected is {SHAPE}")
    return Tree(sorted(items, key=lambda item: item.name), forgeries=FORGERIES)
