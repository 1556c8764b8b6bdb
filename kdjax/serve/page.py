"""One page about predictions: verdicts, scores over time, faces; a single file that asks nobody for anything."""

import base64
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from kdjax.checks import UserError, plain
from kdjax.data_pipeline import quantizers
from kdjax.evaluate.templating import environment
from kdjax.files import write_text
from kdjax.serve import verdicts
from kdjax.serve.curves import PALETTE, Axis, clock, colour, draw
from kdjax.serve.detector import Detector
from kdjax.serve.records import name_of
from kdjax.serve.watching import Found, Prediction

DRAWN = 100
"""Inputs with a section of their own; those after them stand in the table alone."""

LISTED = 5000
"""Inputs in the table."""

FACES = 12
"""Faces of an input that are shown; `curves.PALETTE` has colours for the curves of half as many."""


class Picture(NamedTuple):
    """A picture beside a face.

    Attributes:
      caption: what it is.
      address: of its pixels, as data.
    """

    caption: str
    address: str


class Page:
    """Collects what is shown of predictions; memory grows by inputs, a little each, and not with their length."""

    def __init__(self, detector: Detector, source: Path, notes: Sequence[str] = ()) -> None:
        """Takes the detector, the folder that it was loaded from, and what is worth knowing before it is believed."""
        self._detector, self._source, self._notes = detector, source, notes
        self._rows: list[dict[str, Any]] = []
        self._sections: list[dict[str, Any]] = []
        self._counts: Counter[str] = Counter()

    def add(self, found: Prediction) -> None:
        """Adds an input."""
        self._counts[found.verdict] += 1
        shown = len(self._sections) < DRAWN and bool(found.seen.kind)
        row = {
            "name": plain(name_of(found.path)),
            "verdict": found.verdict,
            "kind": found.verdict.replace(" ", "_"),
            "score": _score(found.score),
            "interval": _interval(found),
            "reason": plain(found.reason),
            "number": len(self._sections) if shown else None,
        }
        if len(self._rows) < LISTED:
            self._rows.append(row)
        if shown:
            self._sections.append({**row, **self._section(found)})

    def _section(self, found: Prediction) -> dict[str, Any]:
        seen = found.seen
        threshold = None if found.threshold is None else found.threshold.value
        curves = [face for face in found.faces if face.name and len(face.curve) > 1]
        # who is the largest of each frame is one of the others there
        curves = curves[: len(PALETTE)]
        places = {face.name: place for place, face in enumerate(curves)}
        words = (
            f"Scores over time of {len(curves)} faces. {found.verdict}: {found.reason}"
            if curves
            else ""
        )
        return {
            "facts": _facts(found),
            "ruled": threshold is not None,
            "said": verdicts.said(found.threshold),
            "notes": [plain(note) for note in found.notes],
            "problem": plain(found.problem),
            "chart": draw(curves, Axis(seen.frames, seen.rate), threshold, plain(words))
            if curves
            else None,
            "faces": [self._face(face, places.get(face.name)) for face in found.faces[:FACES]],
            "more": max(0, len(found.faces) - FACES),
        }

    def _face(self, face: Found, place: int | None) -> dict[str, Any]:
        when = "" if face.first is None else f"{clock(face.first)} to {clock(face.last or 0)}"
        return {
            "name": f"face {face.name}" if face.name else "the largest face of each frame",
            "colour": None if place is None else colour(place),
            "verdict": face.verdict,
            "kind": face.verdict.replace(" ", "_"),
            "reason": face.reason,
            "frames": face.frames,
            "when": when,
            "pictures": pictures_of(face, self._detector),
        }

    def text(self) -> str:
        """Returns the page."""
        spec = self._detector.spec
        total = self._counts.total()
        return (
            environment()
            .get_template("predict.html")
            .render(
                title=plain(f"Predictions of {self._source}"),
                network=spec.network,
                data=spec.data,
                version=spec.version,
                notes=self._notes,
                counts=[(name, self._counts[name]) for name in ("fake", "real", "cannot say")],
                total=total,
                rows=self._rows,
                unlisted=total - len(self._rows),
                sections=self._sections,
            )
        )

    def write(self, path: Path) -> None:
        """Writes the page, whole or not at all.

        Raises:
          UserError: it cannot be written.
        """
        try:
            write_text(path, self.text())
        except OSError as error:
            raise UserError(f"cannot write the page {path}: {error.strerror}") from error


def pictures_of(face: Found, detector: Detector) -> Sequence[Picture]:
    """Returns what is shown of a face: what the detector saw where it was most like a fake, and where it saw that."""
    if face.crop is None:
        return []
    pictures = [Picture(f"frame {face.crop_frame}", jpeg_address(face.crop))]
    heat = detector.heat_maps(face.crop[None])
    if heat is not None:
        # where nothing is explained, JAX need not be installed
        from kdjax.evaluate.explain.pictures import overlay, webp_address

        size = heat.shape[1]
        start = (face.crop.shape[0] - size) // 2
        seen = face.crop[start : start + size, start : start + size]
        pictures.append(Picture("what speaks for fake", webp_address(overlay(seen, heat[0]))))
    return pictures


def jpeg_address(image: np.ndarray) -> str:
    """Returns a uint8 RGB image `[H, W, 3]` as JPEG in an address of its own."""
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode('ascii')}"


def _facts(found: Prediction) -> str:
    seen = found.seen
    facts = [f"{seen.kind}, {seen.size[0]} x {seen.size[1]} pixels, {seen.codec}"]
    if seen.kind == "video":
        length = (
            f", {clock(seen.frames / seen.rate)} at {seen.rate:.4g} a second" if seen.rate else ""
        )
        facts.append(f"{seen.frames} frames{length}, {found.scored} of them scored")
    if seen.cuts:
        facts.append(f"{seen.cuts} cut{'s' if seen.cuts > 1 else ''}")
    if seen.quantizer is not None:
        facts.append(quantizers.told(seen.quantizer))
    return "; ".join(facts)


def _score(score: float) -> str:
    return f"{score:.3f}" if math.isfinite(score) else ""


def _interval(found: Prediction) -> str:
    return f"[{found.low:.3f}, {found.high:.3f}]" if math.isfinite(found.low) else ""
