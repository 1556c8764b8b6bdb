"""Predictions as lines: for people, as JSON, and as a table."""

import csv
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from kdjax.checks import counted, plain
from kdjax.files import cell
from kdjax.serve import verdicts
from kdjax.serve.detector import Detector, Judged
from kdjax.serve.verdicts import Threshold
from kdjax.serve.watching import Found, Prediction

FORMATS = ("text", "jsonl", "csv")

DETAILS = ("inputs", "faces", "frames")
"""What records there are of: each has those before it too."""

FORMAT = 1

COLUMNS = (
    *("record", "input", "frame", "time", "face", "left", "top", "right", "bottom"),
    *("score", "low", "high", "threshold", "verdict", "why", "reason"),
    *("kind", "frames", "scored", "side", "quantizer", "codec", "problem", "notes"),
)
"""Of the table; a row has those that its kind of record knows."""

Record = dict[str, Any]


def name_of(path: Path) -> str:
    """Returns a path as text; what is no UTF-8 stays as surrogates, which `encoded` writes as JSON's escapes."""
    return os.fspath(path)


def detector_record(detector: Detector, source: Path, notes: Sequence[str]) -> Record:
    """Returns the first record: by what detector all that follows was judged."""
    spec = detector.spec
    calibration = spec.calibration
    return {
        "record": "detector",
        "format": FORMAT,
        "detector": name_of(source),
        "network": spec.network,
        "version": spec.version,
        "step": spec.step,
        "labels": list(spec.labels),
        "qualities": list(calibration.qualities if calibration else spec.qualities),
        "temperature": calibration.temperature if calibration else None,
        "notes": list(notes),
    }


def frame_records(found: Judged) -> Iterator[Record]:
    """Yields a record for each face of a frame that was scored."""
    scored = (face for face in found.sight.faces if face.crop is not None)
    for face, score in zip(scored, found.scores, strict=True):
        yield {
            "record": "frame",
            "input": name_of(found.path),
            "frame": found.sight.number,
            "time": _number(found.sight.time, 3),
            "face": face.name,
            "box": list(face.box),
            "score": _number(score),
        }


def face_records(found: Prediction) -> Iterator[Record]:
    """Yields a record for each face that scores were kept of."""
    for face in found.faces:
        yield {"record": "face", "input": name_of(found.path), **_face(face)}


def input_record(found: Prediction) -> Record:
    """Returns the record of an input."""
    seen = found.seen
    return {
        "record": "input",
        "input": name_of(found.path),
        "kind": seen.kind or None,
        "verdict": found.verdict,
        "why": found.why or None,
        "reason": found.reason,
        **_scores(found),
        "threshold": _threshold(found.threshold),
        "faces": len(found.faces) - any(face.name == 0 for face in found.faces),
        "frames": seen.frames,
        "scored": found.scored,
        "cuts": seen.cuts,
        "rate": _number(seen.rate, 3) or None,
        "size": list(seen.size),
        "codec": seen.codec or None,
        "quantizer": _number(seen.quantizer, 1),
        "problem": found.problem or None,
        "notes": list(found.notes),
    }


def _face(face: Found) -> Record:
    return {
        "face": face.name,
        "verdict": face.verdict,
        "why": face.why or None,
        "reason": face.reason,
        **_scores(face),
        "decides": face.decides,
        "frames": face.frames,
        "side": _number(face.side, 1),
        "first": _number(face.first, 3),
        "last": _number(face.last, 3),
    }


def _scores(found: Found | Prediction) -> Record:
    return {name: _number(getattr(found, name)) for name in ("score", "low", "high")}


def _threshold(threshold: Threshold | None) -> Record | None:
    if threshold is None:
        return None
    chosen = threshold.chosen
    known = {} if chosen is None else {**chosen._asdict(), "false_alarms": chosen.reached}
    wanted = ("wanted", "false_alarms", "low", "high", "reals", "videos", "detections")
    return {"value": threshold.value, **{name: known.get(name) for name in wanted}}


def _number(value: float | None, digits: int = 6) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, digits)


def json_line(record: Mapping[str, Any]) -> str:
    """Returns a record as a line of JSON; a name's bytes that are no text become its escapes."""
    line = json.dumps(record, ensure_ascii=False, allow_nan=False)
    return line.encode("utf-8", "backslashreplace").decode() + "\n"


class Table:
    """Writes records as CSV; what a spreadsheet would run is quoted."""

    def __init__(self, file: TextIO) -> None:
        """Writes the names of the columns."""
        self._writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        self._writer.writeheader()

    def write(self, record: Mapping[str, Any]) -> None:
        """Adds a row."""
        row = {name: record[name] for name in COLUMNS if record.get(name) is not None}
        row |= zip(("left", "top", "right", "bottom"), record.get("box", ()), strict=False)
        if isinstance(row.get("threshold"), Mapping):
            row["threshold"] = row["threshold"]["value"]
        row["notes"] = "; ".join(row.get("notes", ()))
        self._writer.writerow({name: cell(each) for name, each in row.items()})


def text_lines(found: Prediction, detail: str) -> Iterator[str]:
    """Yields lines for people: an input's verdict, and below it what else is known."""
    yield f"{plain(name_of(found.path))}: {found.verdict}: {plain(found.reason)}"
    if detail != "inputs" and len(found.faces) > 1:
        for face in found.faces:
            who = f"face {face.name}" if face.name else "the largest face of each frame"
            when = "" if face.first is None else f", {face.first:.1f} to {face.last:.1f} s"
            yield f"  {who} ({counted(face.frames, 'frame')}{when}): {face.verdict}: {plain(face.reason)}"
    if found.verdict != verdicts.CANNOT_SAY:
        yield f"  {verdicts.said(found.threshold)}"
    elif math.isfinite(found.score) and found.why in ("quality", "not_calibrated", "incomplete"):
        yield f"  its score would be {found.score:.3f}"
    if found.problem and found.why not in ("unreadable", "incomplete"):
        yield f"  not seen to its end: {plain(found.problem)}"
    for note in found.notes:
        yield f"  note: {plain(note)}"
