"""The Deepfake Detection Challenge's training parts (Dolhansky et al. 2020)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdjax import checks
from kdjax.data_pipeline.trees.item import Item, Tree, check_source
from kdjax.data_pipeline.trees.videos import check_options, require, skip, videos_in

FORGERIES = ("none", "dfdc")

LABELS = {"REAL": 0, "FAKE": 1}

SHAPE = "folders as dfdc_train_part_0, each with *.mp4 and metadata.json"


def scan(source: Path, output: Path, *, part: str = "all", splits: str = "official") -> Tree:
    """Returns the videos of all parts, drawn into splits with the video that they were made from.

    A fake and its `original` are one person, whoever else is on them: the owners do not say.

    Args:
      source: the folder that holds the parts, or one part.
      output: where the data set goes, which must not lie in the source.
      part: `all`.
      splits: `official` or `drawn`, which is the same: the owners' validation and test are other downloads.

    Raises:
      checks.UserError: it is another tree, or holds one class alone.
    """
    check_source(source, output)
    check_options("dfdc", part, splits)
    parts = sorted(path.parent for path in source.glob("*/metadata.json"))
    if (source / "metadata.json").is_file():
        parts = [source]
    if not parts:
        require(source, (), SHAPE)
    items, skipped = [], []
    for folder in parts:
        known = _read_metadata(folder / "metadata.json")
        for path in videos_in(folder):
            shown, name = path.relative_to(source).as_posix(), path.stem
            entry = known.pop(path.name, None)
            label = LABELS.get(str(entry.get("label"))) if isinstance(entry, Mapping) else None
            if label is None:
                skipped.append(skip(shown, "metadata.json does not say REAL or FAKE of it"))
                continue
            original = str(entry.get("original") or path.name) if label else path.name
            people = (Path(original).stem if label else name,)
            items.append(Item(shown, {"raw": path}, label, FORGERIES[label], people))
        where = folder.relative_to(source).as_posix()
        skipped += [
            skip(f"{where}/{name}", "is in metadata.json and nowhere else") for name in known
        ]
    if {item.label for item in items} != {0, 1}:
        raise checks.UserError(f"{source} has videos of one class alone; expected is {SHAPE}")
    return Tree(sorted(items, key=lambda item: item.name), skipped, forgeries=FORGERIES)


def _read_metadata(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise checks.UserError(f"{path} cannot be read as JSON; get that part again") from error
    if not isinstance(found, dict):
        raise checks.UserError(f'{path} must be as {{"a.mp4": {{"label": "FAKE", ...}}, ...}}')
    return found
