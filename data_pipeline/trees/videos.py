"""What the trees of videos share: files by name and quality, and lines that say what was expected."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from kdjax import checks
from kdjax.data_pipeline.trees.item import find_files

ENDINGS = (".mp4", ".avi", ".mov", ".mkv", ".webm")
"""Of the names of videos."""

FOLDERS = {"raw": ("raw", "c0"), "c23": ("c23",), "c40": ("c40",)}
"""Names of the folders of each quality, in FaceForensics++'s way."""


def videos_in(folder: Path) -> list[Path]:
    """Returns the videos directly in a folder, sorted by name; nothing if there is no folder."""
    if not folder.is_dir():
        return []
    found = (path for path in find_files(folder) if path.parent == folder)
    return [path for path in found if path.suffix.lower() in ENDINGS]


def videos_by_quality(folder: Path) -> dict[str, dict[str, Path]]:
    """Returns `{name: {quality: path}}` of `FOLDER/{raw|c0,c23,c40}/videos/NAME.mp4`, names sorted.

    Of two files that differ in their ending alone the second has its whole name, as `000.mp4`.
    """
    found: dict[str, dict[str, Path]] = {}
    for quality, names in FOLDERS.items():
        for name in names:
            for path in videos_in(folder / name / "videos"):
                there = found.get(path.stem, {}).get(quality)
                twice = there is not None and there.parent == path.parent
                found.setdefault(path.name if twice else path.stem, {}).setdefault(quality, path)
    return dict(sorted(found.items()))


def require(source: Path, wanted: Iterable[str], shape: str) -> None:
    """Raises UserError where a source has none of the folders or files that its kind of tree has.

    Args:
      source: the folder that was given.
      wanted: paths below it, one of which must exist.
      shape: the tree that is expected, for the message.
    """
    if any((source / name).exists() for name in wanted):
        return
    there = sorted(path.name for path in source.iterdir() if not path.name.startswith("."))
    listed = ", ".join(there[:5]) + (", ..." if len(there) > 5 else "") if there else "nothing"
    raise checks.UserError(f"{source} holds {listed}; expected is {shape}")


def check_options(dataset: str, part: str, splits: str, parts: Sequence[str] = ("all",)) -> None:
    """Raises UserError for a part that a data set does not have, or splits that are neither `official` nor `drawn`."""
    if part not in parts:
        raise checks.UserError(f"{dataset} has no part {part!r}; {checks.nearest(part, parts)}")
    if splits not in ("official", "drawn"):
        raise checks.UserError(f"--splits={splits} must be official or drawn")


def skip(name: str, reason: str) -> dict[str, str]:
    """Returns an entry of what was left out."""
    return {"item": name, "reason": reason}


def name_of(source: Path, files: Mapping[str, Path]) -> str:
    """Returns an item's name: the path of its best file below the source."""
    return next(iter(files.values())).relative_to(source).as_posix()
