"""Celeb-DF, its first and its second version (Li et al. 2020)."""

import re
from pathlib import Path

from kdjax import checks
from kdjax.data_pipeline.trees.item import Item, Tree, check_source
from kdjax.data_pipeline.trees.videos import check_options, require, skip, videos_in

LIST = "List_of_testing_videos.txt"

FORGERIES = ("none", "celeb_synthesis")

KINDS = {
    "Celeb-real": (0, re.compile(r"(id\d+)_\d+")),
    "YouTube-real": (0, re.compile(r"(\d+)")),
    "Celeb-synthesis": (1, re.compile(r"(id\d+)_(id\d+)_\d+")),
}
"""Folders, with their label and whose face a name says it is: of a fake, first whose video it is, then whose face."""

SHAPE = f"Celeb-real, YouTube-real and Celeb-synthesis with *.mp4, and {LIST}"


def scan(source: Path, output: Path, *, part: str = "all", splits: str = "official") -> Tree:
    """Returns all videos; those of the owners' list are the test, the others are drawn by person.

    Args:
      source: the folder that holds `Celeb-real` and the others.
      output: where the data set goes, which must not lie in the source.
      part: `all`.
      splits: `official` or `drawn`.

    Raises:
      checks.UserError: a part that there is not; it is another tree, or its list cannot be read.
    """
    check_source(source, output)
    check_options("celebdf", part, splits)
    require(source, KINDS, SHAPE)
    items, skipped = [], []
    tested = _read_list(source / LIST) if splits == "official" else {}
    for folder, (label, form) in KINDS.items():
        for path in videos_in(source / folder):
            shown, name = f"{folder}/{path.name}", path.stem
            known = form.fullmatch(name)
            if known is None:
                skipped.append(skip(shown, f"its name is not as {folder} has them"))
                continue
            split = "test" if shown in tested else ""
            if split and tested.pop(shown) != label:
                skipped.append(skip(shown, f"{LIST} has it in the other class"))
                continue
            people = known.groups() if folder != "YouTube-real" else (f"youtube {name}",)
            forgery = FORGERIES[label]
            items.append(Item(shown, {"raw": path}, label, forgery, people, split))
    skipped += [skip(name, f"is in {LIST} and nowhere else") for name in tested]
    if {item.label for item in items} != {0, 1}:
        raise checks.UserError(f"{source} has videos of one class alone; expected is {SHAPE}")
    return Tree(sorted(items, key=lambda item: item.name), skipped, forgeries=FORGERIES)


def _read_list(path: Path) -> dict[str, int]:
    """Returns the label of each video of the list, where **1 means real**, as 0 real and 1 fake."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise checks.UserError(
            f"{path} cannot be read; it comes with Celeb-DF and says what the test is. --splits=drawn goes without"
        ) from error
    found = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        mark, _, name = line.strip().partition(" ")
        if mark not in ("0", "1") or not name.strip():
            raise checks.UserError(
                f"{path}, line {number}: {line!r} is not as '1 Celeb-real/id0_0000.mp4'"
            )
        found[name.strip()] = 1 - int(mark)
    return found
