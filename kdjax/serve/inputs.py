"""What is given to be judged: files, folders, a list on standard input."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from kdjax.checks import UserError
from kdjax.data_pipeline.trees.item import find_files

LIST = "-"
"""Stands for a list on standard input."""


class Input(NamedTuple):
    """Something to judge.

    Attributes:
      path: where it lies.
      problem: why it cannot be looked at, as far as that is known; one clause.
    """

    path: Path
    problem: str = ""


def expand(
    given: Iterable[str | Path], *, listed: BinaryIO | None = None, frames: bool = False
) -> Iterator[Input]:
    """Yields what is to be judged: a folder stands for all files below it.

    Nothing is read ahead, so a list may be written while it is read.

    Args:
      given: paths; `-` for those that `listed` has, one a line.
      listed: the list, bytes as the file system names files.
      frames: a folder is one video's frames, and stands for itself.
    """
    for each in given:
        if str(each) == LIST and listed is not None:
            for line in listed:
                if name := line.rstrip(b"\r\n"):
                    yield from _below(Path(os.fsdecode(name)), frames)
        else:
            yield from _below(Path(each), frames)


def _below(path: Path, frames: bool) -> Iterator[Input]:
    if "\0" in str(path):
        yield Input(Path(str(path).replace("\0", "?")), "a name with a zero byte is no file's")
        return
    if frames or not os.path.isdir(path):
        yield Input(path)
        return
    empty = True
    try:
        for found in find_files(path):
            empty = False
            yield Input(found)
    except UserError as error:
        yield Input(path, str(error))
        return
    if empty:
        yield Input(path, "a folder without files")
