"""Frames that DeepfakeBench has cut out (Yan et al. 2023), with the JSON that says what they are."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kdjax import checks
from kdjax.data_pipeline.trees.item import Item, Tree, check_source
from kdjax.data_pipeline.trees.videos import FOLDERS, check_options, name_of, require, skip

SPLITS = {"test": "test", "val": "validation", "train": "train"}
"""Its names, the strongest first: several of its lists repeat the test as `val` or in `train`."""

SHAPE = "dataset_json/NAME.json, or NAME.json itself, beside the folders of frames that it names"


def scan(source: Path, output: Path, *, part: str = "all", splits: str = "official") -> Tree:
    """Returns a folder of frames for each video of one of its data sets.

    A name as `000_003` says who is on it and whose face was put there, `id0_id1_0002` alike; any other is a person of
    its own. Where validation repeats the test, as for Celeb-DF, it is drawn from training.

    Args:
      source: the folder with the frames and the JSON.
      output: where the data set goes, which must not lie in the source.
      part: name of the JSON, as `FaceForensics++`; `all`: the only one there.
      splits: `official`, or `drawn`.

    Raises:
      checks.UserError: there is no such JSON, it is none of DeepfakeBench's, or no frame that it names is there.
    """
    check_source(source, output)
    check_options("deepfakebench", "all", splits)
    path = _find_json(source, part)
    try:
        content = json.loads(path.read_text("utf-8"))
        kinds = {kind: found for each in content.values() for kind, found in each.items()}
        videos = list(_videos(kinds))
    except (OSError, ValueError, RecursionError, AttributeError) as error:
        raise checks.UserError(
            f"{path} is no list of DeepfakeBench, as rearrange.py writes it"
        ) from error
    items: dict[str, Item] = {}
    skipped: list[dict[str, str]] = []
    for kind, split, name, entries in videos:
        files, mask, landmarks = _files(source, entries)
        if not files:
            skipped.append(skip(f"{kind}/{name}", "its frames are not where the list says"))
            continue
        shown = name_of(source, files)
        fake = "real" not in kind.lower()
        forgery = re.sub(r"[^\w.+-]", "_", kind.lower()) if fake else "none"
        drawn = split if splits == "official" else ""
        item = Item(
            *(shown, files, int(fake), forgery, _people(name), drawn),
            *(mask, landmarks),
            cropped=True,
        )
        items.setdefault(shown, item)
    if {item.label for item in items.values()} != {0, 1}:
        raise checks.UserError(f"{path}: frames of both classes must lie below {source}; {SHAPE}")
    forgeries = sorted({item.forgery for item in items.values()} - {"none"})
    ordered = sorted(items.values(), key=lambda item: item.name)
    return Tree(ordered, skipped, forgeries=("none", *forgeries))


def _find_json(source: Path, part: str) -> Path:
    found = {path.stem: path for path in (*source.glob("*.json"), *source.glob("*_json/*.json"))}
    if not found:
        require(source, (), SHAPE)
    if part == "all" and len(found) == 1:
        return next(iter(found.values()))
    if part not in found:
        raise checks.UserError(
            f"{source} has the lists {', '.join(sorted(found))}; name one, as --dataset=deepfakebench/{min(found)}"
        )
    return found[part]


def _videos(kinds: Mapping[str, Any]) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Yields kind, split, name and `{quality: entry}` of every video, those of the test first."""
    for official, split in SPLITS.items():
        for kind, by_split in kinds.items():
            listed = by_split.get(official, {})
            by_quality = {
                key: listed[key] for names in FOLDERS.values() for key in names if key in listed
            }
            by_quality = by_quality or {"raw": listed}
            names = dict.fromkeys(name for each in by_quality.values() for name in each)
            for name in names:
                entries = {
                    ("raw" if key == "c0" else key): each[name]
                    for key, each in by_quality.items()
                    if isinstance(each.get(name), Mapping)
                }
                if entries:
                    yield kind, split, name, entries


def _files(
    source: Path, entries: Mapping[str, Any]
) -> tuple[dict[str, Path], Path | None, Path | None]:
    """Returns the folder of frames of each quality, that of masks, and that of the best quality's landmarks."""
    files, mask, landmarks = {}, None, None
    for quality, entry in entries.items():
        folder = _folder(source, entry.get("frames"))
        if folder is not None:
            files[quality] = folder
            landmarks = landmarks or _beside(source, folder)
        mask = mask or _folder(source, entry.get("masks"))
    return files, mask, landmarks


def _beside(source: Path, frames: Path) -> Path | None:
    """Returns the folder of landmarks, which lies as that of the frames does."""
    parts = ["landmarks" if part == "frames" else part for part in frames.relative_to(source).parts]
    folder = source.joinpath(*parts)
    return folder if folder != frames and os.path.isdir(folder) else None


def _folder(source: Path, frames: Any) -> Path | None:
    """Returns the folder of some frames below the source, wherever the list's maker had it."""
    if not isinstance(frames, list) or not frames or not isinstance(frames[0], str):
        return None
    parts = [part for part in re.split(r"[\\/]+", frames[0]) if part not in ("", ".")][:-1]
    if ".." in parts:
        return None
    for start in range(len(parts)):
        folder = source.joinpath(*parts[start:])
        if os.path.isdir(folder):
            return folder
    return None


def _people(name: str) -> tuple[str, ...]:
    known = re.fullmatch(r"(\d{3})_(\d{3})|(id\d+)_(id\d+)_\d+|(id\d+)_\d+", name)
    return tuple(each for each in known.groups() if each) if known else (name,)
