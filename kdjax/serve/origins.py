"""What the manifests of a run's data sets tell of its images: how faces were cut out, and what compressed them."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple


class Faces(NamedTuple):
    """How the faces of a data set were cut out, as its manifest has it.

    Attributes:
      detector: `hog`, `blazeface`, `centerface` or `yunet`; behind it the beginning of its weights' hash.
      margin: side of the crop by that of the face.
      alignment: what turned faces upright: `given`, or `dlib` or `yunet` with a hash; empty: they stayed as they were.
      detect_every: frames of a video between two searches for faces.
    """

    detector: str
    margin: float
    alignment: str
    detect_every: int


def faces_of_data(places: list[str], dataset: dict[str, Any]) -> Faces | None:
    """Returns how the faces of data sets were cut; None where their manifests do not tell, or not the same.

    Args:
      places: folders of prepared data sets, or `own:NAME`.
      dataset: what told them from others when the run began: manifests that are others by now tell nothing.
    """
    found = {_faces_in(each) for each in _manifests(places, dataset)}
    return found.pop() if len(found) == 1 else None


def codecs_of_data(
    places: list[str], dataset: dict[str, Any], qualities: tuple[str, ...]
) -> tuple[str, ...]:
    """Returns what data sets' images went through in some qualities; nothing where one of them does not tell."""
    from kdjax.data_pipeline import manifest

    manifests = _manifests(places, dataset)
    if None in manifests:
        return ()
    found = [manifest.codecs_of(each, qualities) for each in manifests if each is not None]
    return tuple(sorted(set().union(*found)))


def _manifests(places: list[str], dataset: dict[str, Any]) -> list[dict[str, Any] | None]:
    """Returns the manifest of each data set, None where it is not the one that a run noted; nothing of other sets."""
    parts = dataset.get("parts", [dataset])
    if len(parts) != len(places):
        return []
    return [
        _manifest(place, part.get("manifest")) for place, part in zip(places, parts, strict=True)
    ]


def _manifest(place: str, recorded: str | None) -> dict[str, Any] | None:
    from kdjax.data_pipeline import manifest

    folders = {info.parent for info in Path(place).expanduser().rglob("dataset_info.json")}
    for folder in folders:
        path = folder / manifest.NAME
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == recorded:
            return manifest.read(folder)
    return None


def _faces_in(found: dict[str, Any] | None) -> Faces | None:
    options = (found or {}).get("options", {})
    if "detector" not in options:
        return None
    return Faces(
        options["detector"],
        options["margin"],
        options.get("landmarks", ""),
        options["detect_every"],
    )
