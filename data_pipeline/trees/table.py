"""Any table of videos and images: CSV, or a JSON object a line."""

import csv
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kdjax import checks
from kdjax.data_pipeline.trees.item import Item, Tree
from kdjax.data_pipeline.trees.videos import check_options
from kdjax.types import QUALITIES

LABELS = {"0": 0, "real": 0, "1": 1, "fake": 1}

SPLITS = {"": "", "train": "train", "val": "validation", "validation": "validation", "test": "test"}

KNOWN = ("path", "label", "split", "identity", "source", "video", "forgery", "mask", *QUALITIES)

SHAPE = "columns path and label (real, fake), and if known split, identity, video, forgery, mask, c23, c40"


def scan(source: Path, output: Path, *, part: str = "all", splits: str = "official") -> Tree:
    """Returns the videos and images that a table names.

    Columns: `path` (the best quality, `raw`) or `raw`, `c23`, `c40` for qualities of their own; `label`: real or fake,
    0 or 1; and as far as known `split`, `identity` (who is on it), `source` (whose face was put there), `video` (what
    several images were taken from), `forgery` and `mask`. Paths are seen from the table's folder.

    Args:
      source: the table, `.csv` or `.jsonl`.
      output: where the data set goes.
      part: `all`.
      splits: `official`: the column, where there is one; or `drawn`.

    Raises:
      checks.UserError: it is no such table; or naming the first row that cannot be understood.
    """
    check_options("videos", part, splits)
    items: dict[str, Item] = {}
    for number, row in _rows(source):
        item = _item(source, number, row, drawn=splits == "drawn")
        place = os.path.normpath(next(iter(item.files.values())))
        if place in items:
            raise checks.UserError(f"{source}, row {number}: {item.name} is there twice")
        items[place] = item
    _check_videos(source, items.values())
    if not items:
        raise checks.UserError(f"{source} has no row; expected are {SHAPE}")
    if {item.label for item in items.values()} != {0, 1}:
        raise checks.UserError(f"{source} has items of one class alone; real and fake are needed")
    splits_there = {bool(item.split) for item in items.values()}
    if len(splits_there) > 1:
        raise checks.UserError(
            f"{source}: some rows have a split and some have none; fill it in, or give --splits=drawn"
        )
    forgeries = sorted({item.forgery for item in items.values()} - {"none"})
    return Tree(sorted(items.values(), key=lambda each: each.name), forgeries=("none", *forgeries))


def _check_videos(source: Path, items: Iterable[Item]) -> None:
    """Raises UserError where rows of one `video` are of two people, classes, forgeries or splits."""
    first: dict[str, Item] = {}
    for item in items:
        other = first.setdefault(item.video or item.name, item)
        for what, own, its in (
            ("identity", item.people, other.people),
            ("label", item.label, other.label),
            ("forgery", item.forgery, other.forgery),
            ("split", item.split, other.split),
        ):
            if own != its:
                raise checks.UserError(
                    f"{source}: {other.name} and {item.name} are of one video, {item.video!r}, and differ in {what}"
                )


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields number, from 1, and values of each row."""
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        raise checks.UserError(
            f"--source={path} is no table that can be read; expected are {SHAPE}"
        ) from error
    if path.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield number, _texts(path, number, _parsed(path, number, line))
        return
    number = 0
    try:
        for number, row in enumerate(csv.DictReader(text.splitlines(), restkey=""), 1):
            yield number, _texts(path, number, row)
    except csv.Error as error:
        raise checks.UserError(f"{path}, row {number + 1} is no row of a table: {error}") from error


def _parsed(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise checks.UserError(f"{path}, line {number} is no JSON object") from error


def _texts(path: Path, number: int, row: Any) -> dict[str, str]:
    if not isinstance(row, Mapping) or "" in row:
        raise checks.UserError(
            f"{path}, row {number} is not as the first line says; expected are {SHAPE}"
        )
    for name in row:
        if name not in KNOWN:
            raise checks.UserError(f"{path} has a column {name!r}; {checks.nearest(name, KNOWN)}")
    return {name: str(value).strip() for name, value in row.items() if value is not None}


def _item(source: Path, number: int, row: dict[str, str], *, drawn: bool) -> Item:
    places = {
        "raw": row.get("raw") or row.get("path", ""),
        **{q: row.get(q, "") for q in QUALITIES[1:]},
    }
    files = {quality: _path(source, number, place) for quality, place in places.items() if place}
    label = LABELS.get(row.get("label", "").lower())
    split = SPLITS.get(row.get("split", "").lower())
    what = f"{source}, row {number}"
    if not files:
        raise checks.UserError(f"{what} has no path; expected are {SHAPE}")
    if label is None:
        raise checks.UserError(
            f"{what}: label={row.get('label', '')!r} must be real or fake, or 0 or 1"
        )
    if split is None:
        raise checks.UserError(f"{what}: split={row['split']!r} must be train, validation or test")
    name = next(place for place in places.values() if place)
    forgery = row.get("forgery") or "unknown"
    if not re.fullmatch(r"[\w .+-]{1,60}", forgery):
        raise checks.UserError(
            f"{what}: forgery={forgery!r} must be a short name of letters and digits"
        )
    if label == 0 and forgery not in ("unknown", "none"):
        raise checks.UserError(f"{what} is real and has the forgery {forgery!r}")
    if label == 1 and forgery == "none":
        raise checks.UserError(f"{what} is fake and has the forgery 'none'")
    people = (row.get("identity") or row.get("video") or name, row.get("source", ""))
    return Item(
        name,
        files,
        label,
        forgery if label else "none",
        tuple(each for each in people if each),
        "" if drawn else split,
        _path(source, number, row["mask"]) if row.get("mask") else None,
        video=row.get("video", ""),
    )


def _path(table: Path, number: int, place: str) -> Path:
    """Returns where a file lies; UserError for a text that can be no path."""
    try:
        os.fsencode(place)
        if "\0" in place:
            raise ValueError
        expanded = Path(place).expanduser()
    except RuntimeError:
        # nobody is called so: a file whose name begins with ~
        expanded = Path(place)
    except ValueError as error:
        raise checks.UserError(f"{table}, row {number}: {place!r:.80} is no path") from error
    return table.parent / expanded
