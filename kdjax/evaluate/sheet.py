"""A contact sheet of a data set: one HTML file of faces, qualities, masks and what was left out, to look at offline."""

from pathlib import Path
from typing import Any

import numpy as np

from kdjax.checks import UserError
from kdjax.data_pipeline.dataset import SPLITS, Dataset, forgery_name
from kdjax.data_pipeline.loader import read_examples
from kdjax.evaluate.sections import data_address
from kdjax.evaluate.templating import environment
from kdjax.files import write_text
from kdjax.types import LABELS

REAL, PER_KIND = 12, 6
"""Faces of a split that are shown: real ones, and of each kind of forgery."""

SKIPPED = 500
"""Items left out that are listed."""


def write_sheet(dataset: Dataset, manifest: dict[str, Any], output: Path) -> Path:
    """Writes the sheet and returns its path.

    Args:
      dataset: an open data set.
      manifest: what its `manifest.json` says; empty without one.
      output: the HTML file.

    Raises:
      UserError: a record cannot be read, or the file cannot be written.
    """
    skipped = manifest.get("skipped", {})
    page = (
        environment()
        .get_template("sheet.html")
        .render(
            title=f"{dataset.name}: {dataset.where}",
            image_size=dataset.image_size,
            qualities=dataset.qualities,
            made=manifest.get("qualities", {}),
            concerns=manifest.get("concerns", []),
            notes=manifest.get("notes", {}),
            splits=[_split(dataset, split) for split in SPLITS if dataset.sizes.get(split)],
            skipped=skipped.get("items", [])[:SKIPPED],
            skipped_total=skipped.get("total", 0),
        )
    )
    try:
        # names of files that are no UTF-8
        write_text(output, page.encode("utf-8", "replace").decode())
    except OSError as error:
        raise UserError(f"cannot write the sheet {output}: {error.strerror}") from error
    return output


def _split(dataset: Dataset, split: str) -> dict[str, Any]:
    """Returns a split's counts, and rows of faces by class and kind of forgery."""
    ids = dataset.labels(split)
    rows = []
    for label, kind in sorted(
        set(zip(ids["label"].tolist(), ids["forgery"].tolist(), strict=True))
    ):
        places = np.flatnonzero((ids["label"] == label) & (ids["forgery"] == kind))
        chosen = _spread(places, PER_KIND if label else REAL)
        examples = read_examples(dataset, split, [int(place) for place in chosen])
        rows.append(
            {
                "name": forgery_name(dataset.forgeries, kind) if label else LABELS[0],
                "count": len(places),
                "people": len(np.unique(ids["identity"][places])),
                "videos": len(np.unique(ids["video"][places])),
                "faces": [_face(example, dataset.qualities) for example in examples],
            }
        )
    return {"name": split, "size": len(ids["label"]), "rows": rows}


def _spread(places: np.ndarray, count: int) -> np.ndarray:
    if len(places) <= count:
        return places
    return places[((np.arange(count) + 0.5) * len(places) / count).astype(int)]


def _face(example: dict[str, Any], qualities: tuple[str, ...]) -> dict[str, Any]:
    mask = example.get("forgery_mask")
    images = [(name, _bytes(example["image"][name])) for name in qualities]
    if mask is not None and mask.any():
        images.append(("mask", mask.reshape(mask.shape[:2])))
    return {
        "title": f"record {example['index']}, video {example['video']}, frame {example['frame']}, "
        f"person {example['identity']}",
        "images": [(name, data_address(image)) for name, image in images],
    }


def _bytes(image: np.ndarray) -> np.ndarray:
    return image if image.dtype == np.uint8 else np.round(image * 255).astype(np.uint8)
