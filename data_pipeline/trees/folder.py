"""The user's own folder: which files it holds, of which class, and who is on them."""

import re
from collections.abc import Iterator
from pathlib import Path

from kdjax import checks
from kdjax.data_pipeline.trees.item import Item, Tree, find_files
from kdjax.types import QUALITIES

SWAPPED = re.compile(r"(\d{3})_\d{3}")
"""A name as in FaceForensics++: target and source, of which the target's video was altered."""


def scan(source: Path, output: Path, *, forge: bool = False) -> Tree:
    """Returns every file below `source/real` and `source/fake`.

    With `forge`, real items are enough, and a source with neither folder holds the real ones itself.

    Raises:
      checks.UserError: the source is missing or empty, holds one class alone, or holds the output.
    """
    if not source.is_dir():
        raise checks.UserError(f"source {source} is not a folder that can be read")
    roots = {1: source / "fake", 0: source / "real"}
    if forge and not roots[0].is_dir() and not roots[1].is_dir():
        roots = {0: source}
    items = [item for label, root in roots.items() for item in _items(source, root, label)]
    for root in roots.values():
        if output.resolve().is_relative_to(root.resolve()):
            raise checks.UserError(f"--output={output} lies inside {root}; put it elsewhere")
    _check_classes(source, {item.label for item in items}, forge)
    return Tree(sorted(items, key=lambda item: item.name))


def identity_of(parts: tuple[str, ...]) -> str:
    """Returns who is on a file, from its path below `real/` or `fake/`.

    A part named like `000_003`, with or without an extension, says `000`; else the first folder
    names the person; else, with no folder, the file's name without its extension does.
    """
    for part in (*parts[:-1], Path(parts[-1]).stem):
        if found := SWAPPED.fullmatch(part):
            return found[1]
    return parts[0] if len(parts) > 1 else Path(parts[0]).stem


def _check_classes(source: Path, labels: set[int], forge: bool) -> None:
    if not labels:
        raise checks.UserError(f"source {source} holds no files in real/ and fake/")
    if 0 not in labels:
        raise checks.UserError(f"source {source} holds nothing in real/; real items are needed")
    if labels == {0} and not forge:
        raise checks.UserError(
            f"source {source} holds nothing in fake/; add fakes, or make them with --forge"
        )


def _items(source: Path, root: Path, label: int) -> Iterator[Item]:
    for path in find_files(root):
        below = path.relative_to(root).parts
        yield Item(
            path.relative_to(source).as_posix(),
            {QUALITIES[0]: path},
            label,
            "unknown" if label else "none",
            (identity_of(below),),
        )
