"""The user's own folder: which files it holds, of which class, and who is on them."""

import dataclasses
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from kdjax import checks

SWAPPED = re.compile(r"(\d{3})_\d{3}")
"""A name as in FaceForensics++: target and source, of which the target's video was altered."""

IGNORED = ("thumbs.db", "desktop.ini")
"""What file managers leave behind, beside names that begin with a dot."""


@dataclasses.dataclass(frozen=True)
class Item:
    """One image or video.

    Attributes:
      path: where it lies.
      name: its path below the source, with forward slashes.
      label: 0 real, 1 fake.
      identity: who is on it, as far as names tell.
    """

    path: Path
    name: str
    label: int
    identity: str


def scan(source: Path, *, forge: bool, output: Path) -> list[Item]:
    """Returns every file below `source/real` and `source/fake`, sorted by name.

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
    return sorted(items, key=lambda item: item.name)


def identity_of(parts: tuple[str, ...]) -> str:
    """Returns who is on a file, from its path below `real/` or `fake/`.

    A part named like `000_003`, with or without an extension, says `000`; else the first folder
    names the person; else, with no folder, the file's name without its extension does.
    """
    for part in (*parts[:-1], Path(parts[-1]).stem):
        if found := SWAPPED.fullmatch(part):
            return found[1]
    return parts[0] if len(parts) > 1 else Path(parts[0]).stem


def summary(items: list[Item]) -> dict[str, str | int]:
    """Returns what tells one state of a source from another: its files' names and sizes."""
    digest = hashlib.sha256()
    for item in items:
        line = f"{item.name}\0{item.label}\0{_size(item.path)}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return {"files": len(items), "fingerprint": digest.hexdigest()[:16]}


def state_key(item: Item) -> str:
    """Returns a name for an item in its present state, which changes when the file does."""
    try:
        status = item.path.stat()
    except OSError:
        return f"{item.name}\0gone"
    return f"{item.name}\0{item.label}\0{item.identity}\0{status.st_size}\0{status.st_mtime_ns}"


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
    for path in _files(root):
        below = path.relative_to(root).parts
        yield Item(path, path.relative_to(source).as_posix(), label, identity_of(below))


def _files(root: Path) -> Iterator[Path]:
    """Yields files below a folder; a folder that links lead to again is entered once."""

    def refuse(error: OSError) -> None:
        reason = error.strerror or error
        raise checks.UserError(f"cannot look into {error.filename}: {reason}; mend or move it")

    seen = set()
    walk = os.walk(root, followlinks=True, onerror=refuse if root.is_dir() else None)
    for folder, folders, files in walk:
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and name.lower() not in IGNORED:
                yield Path(folder) / name


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
