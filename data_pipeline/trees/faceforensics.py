"""FaceForensics++ and DeepFakeDetection, as their owners' script leaves them."""

import json
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from kdjax import checks
from kdjax.data_pipeline.trees.item import Item, Tree, check_source
from kdjax.data_pipeline.trees.videos import (
    ENDINGS,
    check_options,
    name_of,
    require,
    skip,
    videos_by_quality,
    videos_in,
)

ACTORS = "deepfakedetection"

MANIPULATIONS = {
    "deepfakes": "Deepfakes",
    "face2face": "Face2Face",
    "faceswap": "FaceSwap",
    "neuraltextures": "NeuralTextures",
    "faceshifter": "FaceShifter",
    ACTORS: "DeepFakeDetection",
}
"""Names of the parts, and of the folders below `manipulated_sequences`."""

ALL = tuple(name for name in MANIPULATIONS if name != ACTORS)
"""What was made of the thousand videos of YouTube; the part `all`."""

FORGERIES = ("none", *MANIPULATIONS)

SHAPE = (
    "original_sequences/{youtube,actors}/{raw,c23,c40}/videos/*.mp4 beside "
    "manipulated_sequences/{Deepfakes,...}/{raw,c23,c40}/videos/*.mp4"
)

LISTS = {"train": "train", "validation": "val", "test": "test"}
"""Names of the official lists of pairs, without `.json`."""

ORIGINAL, PAIR = re.compile(r"(\d{3})"), re.compile(r"(\d{3})_(\d{3})")
ACTOR, ACTOR_PAIR = re.compile(r"(\d\d)__\w+"), re.compile(r"(\d\d)_(\d\d)__\w+")


def scan(source: Path, output: Path, *, part: str = "all", splits: str = "official") -> Tree:
    """Returns the originals and the fakes of one manipulation, or of all that were made of them.

    Args:
      source: the folder that holds `original_sequences` and `manipulated_sequences`.
      output: where the data set goes, which must not lie in the source.
      part: a name of `MANIPULATIONS`, or `all`: `ALL` together.
      splits: `official`: the owners' lists of pairs (Roessler et al. 2019; 360, 70 and 70), and actors are the test; or
        a folder with `train.json`, `val.json` and `test.json`; or `drawn`.

    Raises:
      checks.UserError: it is another tree, or lacks the part; lists of pairs cannot be read.
    """
    check_source(source, output)
    check_options("faceforensics", part, "drawn", parts=("all", *MANIPULATIONS))
    require(source, ("original_sequences", "manipulated_sequences"), SHAPE)
    parts = ALL if part == "all" else (part,)
    origin = "actors" if part == ACTORS else "youtube"
    listed = None if splits == "drawn" else _split_of(splits)
    items: list[Item] = []
    skipped: list[dict[str, str]] = []
    for item in _items(source, origin, parts):
        if isinstance(item, dict):
            skipped.append(item)
        elif listed is None:
            items.append(item)
        else:
            split = "test" if origin == "actors" else listed.get("_".join(item.people), "")
            reason = "" if split else "in none of the lists of pairs"
            skipped += [skip(item.name, reason)] if reason else []
            items += [] if reason else [Item(**{**vars(item), "split": split})]
    if not any(item.label for item in items) or all(item.label for item in items):
        shown = ", ".join(MANIPULATIONS[name] for name in parts)
        raise checks.UserError(
            f"{source} has {sum(not item.label for item in items)} videos of {origin} and "
            f"{sum(item.label for item in items)} of {shown} that can be used; expected is {SHAPE}"
        )
    absent = 0
    if listed is not None and origin != "actors":
        absent = len({n for n in listed if "_" not in n} - {p for i in items for p in i.people[:1]})
    return Tree(
        sorted(items, key=lambda item: item.name),
        skipped,
        {"listed_videos_that_are_absent": absent} if absent else {},
        FORGERIES,
    )


def _items(source: Path, origin: str, parts: tuple[str, ...]) -> Iterator[Item | dict[str, str]]:
    """Yields an item for each video, or what says why it is none."""
    actors = origin == "actors"
    for name, files in videos_by_quality(source / "original_sequences" / origin).items():
        known = (ACTOR if actors else ORIGINAL).fullmatch(name)
        path = name_of(source, files)
        if known is None:
            yield skip(path, _strange(name, "01__kitchen_pan" if actors else "000"))
        else:
            yield Item(path, files, 0, "none", known.groups())
    for part in parts:
        folder = source / "manipulated_sequences" / MANIPULATIONS[part]
        masks = {path.stem: path for path in videos_in(folder / "masks" / "videos")}
        for name, files in videos_by_quality(folder).items():
            known = (ACTOR_PAIR if actors else PAIR).fullmatch(name)
            path = name_of(source, files)
            if known is None:
                like = "01_02__kitchen_pan__1A2B3C4D" if actors else "000_003"
                yield skip(path, _strange(name, like))
            else:
                yield Item(path, files, 1, part, known.groups(), mask=masks.get(name))


def _strange(name: str, like: str) -> str:
    """Returns why a name is left out."""
    twice = name.lower().endswith(ENDINGS)
    return "is there with another ending too" if twice else f"its name is not like {like}"


def _split_of(splits: str) -> dict[str, str]:
    """Returns the split of each video of the lists, `000` and `000_003` alike."""
    found: dict[str, str] = {}
    for split, name in LISTS.items():
        for pair in _pairs(splits, name):
            first, second = pair
            for key in (first, second, f"{first}_{second}", f"{second}_{first}"):
                if found.setdefault(key, split) != split:
                    raise checks.UserError(f"{splits}: {key} is in the lists {found[key]}, {split}")
    return found


def _pairs(splits: str, name: str) -> list[list[str]]:
    if splits == "official":
        text = resources.files(__package__).joinpath("faceforensics.json").read_text("utf-8")
        pairs: list[list[str]] = json.loads(text)[name]
        return pairs
    path = Path(splits).expanduser() / f"{name}.json"
    try:
        given = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise checks.UserError(
            f"--splits={splits}: {path} cannot be read; give official, drawn, or a folder with train.json, val.json "
            "and test.json"
        ) from error
    if not isinstance(given, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(each, str) for each in pair)
        for pair in given
    ):
        raise checks.UserError(f'{path} must be a list of pairs, as [["000", "003"]]')
    return given
