"""The page's heat maps and embeddings: what `kdjax explain` has left in the runs or beside them."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from kdjax.evaluate.explain.pictures import webp_address
from kdjax.evaluate.files import parse_json
from kdjax.evaluate.runs import Run

FOLDER, NUMBERS, PICTURES = "explain", "explain.json", "heat"

MOST_PICTURES = 24
"""Pictures of a folder that are shown."""

MOST_BYTES = 20_000_000
"""Largest picture that is read."""


class Picture(NamedTuple):
    """A picture of heat: its address, and what it shows in words."""

    address: str
    caption: str


class Explained(NamedTuple):
    """What a folder of `kdjax explain` holds.

    Attributes:
      folder: its path as seen from the page.
      networks: which ones looked.
      about: what was explained, a sentence.
      pictures: networks beside each other, qualities below each other.
      left_out: how many more pictures there are.
      points: `{network: points}` as `explain.findings.points` makes them.
    """

    folder: str
    networks: tuple[str, ...]
    about: str
    pictures: tuple[Picture, ...]
    left_out: int
    points: dict[str, dict[str, Any]]


def read_explained(
    runs: Sequence[Run], shown_as: Callable[[Path], str] = str
) -> tuple[list[Explained], list[str]]:
    """Returns what `kdjax explain` left in each run or beside the runs, and what of it is damaged, a sentence each.

    Args:
      runs: the runs.
      shown_as: from a folder to what it is called on the page.
    """
    found, notes = [], []
    names = {run.path.resolve().name for run in runs}
    for folder in _folders(runs):
        name = shown_as(folder)
        try:
            each = _read(folder, name)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            notes.append(f"{name} holds no readable {NUMBERS}: run `kdjax explain` again")
            continue
        # what lies beside the runs may be of others
        if any(network.rpartition("/")[2] in names for network in each.networks):
            found.append(each)
    return found, notes


def _folders(runs: Sequence[Run]) -> Iterator[Path]:
    places = [run.path / FOLDER for run in runs] + [
        run.path.resolve().parent / FOLDER for run in runs
    ]
    seen: set[Path] = set()
    for place in places:
        if place.resolve() not in seen and (place / NUMBERS).is_file():
            seen.add(place.resolve())
            yield place


def _read(folder: Path, name: str) -> Explained:
    document = parse_json((folder / NUMBERS).read_text("utf-8"))
    images, networks = document["images"], document["networks"]
    counted = f"{int(images['real'])} real and {int(images['fake'])} fake images"
    about = (
        f"{', '.join(networks)} on {counted} of the split {document['split']} of {document['data']}: "
        f"{document['method']} of the map {document['stage']}"
    )
    paths = sorted(
        (folder / PICTURES).glob("*.png"),
        key=lambda path: (path.stem.startswith("error-"), path.stem),
    )
    pictures = [
        picture
        for path in paths[:MOST_PICTURES]
        if (picture := _picture(path, ", ".join(networks))) is not None
    ]
    points = {network: _points(entry.get("points")) for network, entry in networks.items()}
    return Explained(
        name,
        tuple(networks),
        about,
        tuple(pictures),
        max(0, len(paths) - MOST_PICTURES),
        {network: each for network, each in points.items() if each},
    )


def _picture(path: Path, networks: str) -> Picture | None:
    """Returns a picture that was read and written anew, None of what is none."""
    if path.stat().st_size > MOST_BYTES:
        return None
    read = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if read is None or max(read.shape[:2]) > 16000:
        return None
    what = path.stem
    is_error = what.startswith("error-")
    kind = what.rpartition("-")[2]
    number = what.rpartition("-")[0].rpartition("-")[2].lstrip("0") or "0"
    face = f"{'a confident error: ' if is_error else ''}{kind} face no. {number}"
    return Picture(webp_address(read[..., ::-1]), f"{face}, then as seen by {networks}")


def _points(found: Any) -> dict[str, Any]:
    """Returns the points if they are whole, else nothing."""
    if not isinstance(found, dict) or not found:
        return {}
    labels, qualities = list(found["label"]), list(map(str, found["quality"]))
    places = {kind: np.asarray(found[kind], np.float64) for kind in ("pca", "tsne")}
    if any(
        place.shape != (len(labels), 2) or not np.isfinite(place).all() for place in places.values()
    ):
        raise ValueError("points are damaged")
    if len(qualities) != len(labels) or not set(labels) <= {0, 1}:
        raise ValueError("points are damaged")
    explained = [float(share) for share in found["explained"]][:2]
    return {"label": labels, "quality": qualities, "explained": explained, **places}
