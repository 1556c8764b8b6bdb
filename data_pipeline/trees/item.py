"""What a tree is mapped to: one item a video or image, and what tells one state of a tree from another."""

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from kdjax import checks

IGNORED = ("thumbs.db", "desktop.ini")
"""What file managers leave behind, beside names that begin with a dot."""


@dataclasses.dataclass(frozen=True)
class Item:
    """One video, image, or folder of one video's frames.

    Attributes:
      name: its path below the source, with forward slashes; no two items share one.
      files: where it lies, by quality, the best first.
      label: 0 real, 1 fake.
      forgery: name of the kind of forgery, `none` of a real one.
      people: who is on it, as far as names tell; those whose face or expression was put there follow. All of them
        belong to one split.
      split: the split that the data set's owners put it into; empty: it is drawn.
      mask: a video of the same frames, or a folder of them, bright where the frames were forged.
      landmarks: a folder of the frames' landmarks, `FRAME.npy` each.
      cropped: whether its frames are faces already, and are stored whole.
      video: what several images were taken from; empty: the item is a video of its own.
    """

    name: str
    files: Mapping[str, Path]
    label: int
    forgery: str
    people: tuple[str, ...]
    split: str = ""
    mask: Path | None = None
    landmarks: Path | None = None
    cropped: bool = False
    video: str = ""

    @property
    def identity(self) -> str:
        """Who is on it."""
        return self.people[0]


@dataclasses.dataclass(frozen=True)
class Tree:
    """What was found in a source.

    Attributes:
      items: sorted by name.
      skipped: `{"item": name, "reason": one clause}` of what cannot be an item.
      notes: counts worth a line in the manifest.
      forgeries: names of the kinds of forgery, `none` first; empty: those of `kdjax.types`.
    """

    items: Sequence[Item]
    skipped: Sequence[dict[str, str]] = ()
    notes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    forgeries: tuple[str, ...] = ()


def summary(items: Iterable[Item]) -> dict[str, str | int]:
    """Returns what tells one state of a source from another: its files' names and sizes, and what is said of them."""
    digest = hashlib.sha256()
    count = 0
    for item in items:
        count += 1
        sizes = "\0".join(str(_size(path)) for path in _paths(item))
        told = "\0".join(
            (item.forgery, item.split, item.video, str(item.cropped), *item.files, *item.people)
        )
        line = f"{item.name}\0{item.label}\0{sizes}\0{told}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return {"files": count, "fingerprint": digest.hexdigest()[:16]}


def state_key(item: Item) -> str:
    """Returns a name for an item in its present state, which changes when its files do."""
    states = []
    for path in _paths(item):
        states += [f"{status.st_size}\0{status.st_mtime_ns}" for status in _states(path)] or [
            "gone"
        ]
    facts = (item.name, str(item.label), item.forgery, *item.files, *item.people, *states)
    return "\0".join(facts)


def check_source(source: Path, output: Path) -> None:
    """Raises UserError unless the source is a folder and does not hold the output."""
    if not source.is_dir():
        raise checks.UserError(f"source {source} is not a folder that can be read")
    if output.resolve().is_relative_to(source.resolve()):
        raise checks.UserError(f"--output={output} lies inside {source}; put it elsewhere")


def find_files(root: Path) -> Iterator[Path]:
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


def _paths(item: Item) -> list[Path]:
    beside = (item.mask, item.landmarks)
    return [*item.files.values(), *(path for path in beside if path is not None)]


def _size(path: Path) -> int:
    """Returns the bytes of a file, or of a folder's files: what a folder itself has depends on the disk."""
    found = _states(path)
    return sum(status.st_size for status in found) if found else -1


def _states(path: Path) -> list[os.stat_result]:
    """Returns the states of a file, or of a folder's files in the order of their names; nothing if it is gone."""
    found = []
    with suppress(OSError):
        for each in sorted(path.iterdir()) if os.path.isdir(path) else [path]:
            with suppress(OSError):
                found.append(each.stat())
    return found
