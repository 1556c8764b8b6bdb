"""What is kept of one input while its frames go by, and what it comes to at the end."""

import math
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kdjax.evaluate.calibration import calibrated
from kdjax.serve import quality, verdicts
from kdjax.serve.looking import Ended, Sight
from kdjax.serve.options import Options
from kdjax.serve.running import Blocks, Curve, Point
from kdjax.serve.spec import Spec
from kdjax.serve.verdicts import CANNOT_SAY, Judgement, Scored, Threshold

KEPT = 64
"""Faces of one input of which scores are kept; of more, those that were seen for the shortest time go."""

MAIN = 0.25
"""Share of the frames with faces that a face must be in to decide on a video: of many faces that come and go each
would have its own chance of a false alarm."""

LARGEST = 0
"""The name of whoever is the largest face of each frame, as the data sets that detectors are trained on have it."""


class Found(NamedTuple):
    """A face of an input.

    Attributes:
      name: a number from 1; 0 for whoever is the largest face of each frame, where faces change.
      verdict: `real`, `fake` or `cannot say`, of this face alone.
      why: a word of `verdicts.WHYS`, or empty.
      reason: a clause.
      score: mean of the calibrated probabilities of its frames.
      low: of its 95 % interval; not a number where there is none.
      high: of the same.
      frames: how many were scored.
      side: mean side of what was cut out, in pixels of the input.
      first: seconds at which it is first seen, None where time is not known.
      last: and last.
      decides: whether the verdict on the input is made of it.
      curve: its scores over the frames.
      crop: what was most like a fake of it, uint8 `[S, S, 3]`.
      crop_frame: the number of that frame.
    """

    name: int
    verdict: str
    why: str
    reason: str
    score: float
    low: float
    high: float
    frames: int
    side: float
    first: float | None
    last: float | None
    decides: bool
    curve: list[Point]
    crop: np.ndarray | None
    crop_frame: int


class Prediction(NamedTuple):
    """What is said of an input.

    Attributes:
      path: where it lies.
      verdict: `real`, `fake` or `cannot say`.
      why: a word of `verdicts.WHYS` where nothing is said, else empty.
      reason: a clause.
      score: of the face that decided: the mean calibrated probability of fake; not a number without any.
      low: of its 95 % interval; not a number where there is none, as of an image.
      high: of the same.
      threshold: from where on it is fake, and what is known of that; None where there is none.
      faces: those that were kept, the most suspicious first.
      seen: what is known of the file.
      scored: frames with a score.
      notes: what else is worth knowing, a clause each.
    """

    path: Path
    verdict: str
    why: str
    reason: str
    score: float
    low: float
    high: float
    threshold: Threshold | None
    faces: tuple[Found, ...]
    seen: Ended
    scored: int
    notes: tuple[str, ...]

    @property
    def problem(self) -> str:
        """Why the input was not looked through to its end; empty where it was."""
        return self.seen.problem


class _Series:
    """The scores of one face."""

    def __init__(self, time: float | None) -> None:
        self.blocks, self.curve = Blocks(), Curve()
        self.sides = 0.0
        self.first = self.last = time
        self.crop: np.ndarray | None = None
        self.best, self.crop_frame = -math.inf, 0

    def add(self, sight: Sight, probability: float, side: float, crop: np.ndarray | None) -> None:
        self.blocks.add(probability)
        self.curve.add(sight.number, probability)
        self.sides += side
        self.last = sight.time
        if probability > self.best:
            self.best, self.crop, self.crop_frame = probability, crop, sight.number

    def scored(self, name: int) -> Scored:
        count = self.blocks.count
        return Scored(
            name, count, self.blocks.mean, *self.blocks.interval(), self.sides / max(count, 1)
        )


class Watch:
    """Collects the scores of one input."""

    def __init__(self, path: Path, spec: Spec, options: Options) -> None:
        """Begins with nothing seen."""
        self._path, self._spec, self._options = path, spec, options
        self._series: dict[int, _Series] = {}
        self._scored = self._lost = 0
        self._let_go: Counter[str] = Counter()

    def add(self, sight: Sight, logits: np.ndarray) -> list[float]:
        """Takes a frame and the log-odds of its faces; returns their calibrated probabilities of fake."""
        temperature = self._spec.calibration.temperature if self._spec.calibration else 1.0
        scored = [face for face in sight.faces if face.crop is not None]
        found = calibrated(logits, temperature, logits=True).tolist()
        self._scored += bool(scored)
        for place, (face, value) in enumerate(zip(scored, found, strict=True)):
            if not math.isfinite(value):
                self._lost += 1
                continue
            for name in (face.name, LARGEST) if place == 0 else (face.name,):
                series = self._series.setdefault(name, _Series(sight.time))
                series.add(sight, value, face.side, face.crop)
        if len(self._series) > 2 * KEPT:
            self._prune({face.name for face in sight.faces})
        return found

    def _prune(self, present: set[int]) -> None:
        gone = sorted(
            (name for name in self._series if name != LARGEST and name not in present),
            key=lambda name: -self._series[name].blocks.count,
        )[KEPT:]
        for name in gone:
            self._let_go[self._judge(self._series.pop(name).scored(name), "video").verdict] += 1

    def _judge(self, scored: Scored, kind: str) -> Judgement:
        options = self._options
        return verdicts.judge(
            scored,
            kind,
            self._threshold(kind),
            min_frames=options.min_frames,
            least_side=0.0 if options.any_quality else quality.least_side(self._spec),
        )

    def _threshold(self, kind: str) -> Threshold | None:
        return verdicts.threshold_of(self._spec.calibration, kind, self._options.threshold)

    def close(self, ended: Ended) -> Prediction:
        """Returns what the input comes to."""
        series = dict(self._series)
        whole = series.pop(LARGEST, None)
        enough = MAIN * self._scored
        main = {
            name
            for name, each in series.items()
            if ended.kind == "image" or each.blocks.count >= enough
        }
        if (
            whole is not None
            and max(each.blocks.count for each in series.values()) < 0.9 * self._scored
        ):
            series[LARGEST] = whole
            main.add(LARGEST)
        judged = {name: each.scored(name) for name, each in series.items()}
        judgements = {name: self._judge(each, ended.kind) for name, each in judged.items()}
        deciding = [(judged[name], judgements[name]) for name in main]
        verdict, decider = self._decide(ended, deciding)
        faces = tuple(
            _found(series[name], judged[name], judgements[name], decides=name in main)
            for name in sorted(judged, key=lambda name: (-judged[name].score, name))
        )
        score = (math.nan,) * 3 if decider is None else (decider.score, decider.low, decider.high)
        return Prediction(
            self._path,
            *verdict,
            *score,
            self._threshold(ended.kind) if ended.kind else None,
            faces,
            ended,
            self._scored,
            tuple(self._notes(ended, faces)),
        )

    def _decide(
        self, ended: Ended, deciding: list[tuple[Scored, Judgement]]
    ) -> tuple[Judgement, Scored | None]:
        if not deciding:
            if ended.problem:
                return verdicts.cannot_say("unreadable", ended.problem), None
            return verdicts.cannot_say("no_score" if self._lost else "no_face"), None
        verdict, decider = verdicts.together(deciding, problem=ended.problem)
        beyond = quality.outside(self._spec, ended.quantizer)
        if beyond and not self._options.any_quality and verdict.verdict != CANNOT_SAY:
            return verdicts.cannot_say("quality", beyond), decider
        if len(deciding) > 1 and not verdict.why:
            who = f"face {decider.name}" if decider.name else "the largest face of each frame"
            verdict = verdict._replace(reason=f"{who}: {verdict.reason}")
        return verdict, decider

    def _notes(self, ended: Ended, faces: tuple[Found, ...]) -> list[str]:
        notes = []
        if ended.kind and ended.quantizer is None:
            notes.append(
                f"quality not known: {quality.unknown(ended.codec, lossless=ended.lossless)}"
            )
        if strange := quality.other_codec(self._spec, ended.codec, lossless=ended.lossless):
            notes.append(strange)
        if ended.most > self._options.max_faces:
            notes.append(
                f"up to {ended.most} faces in a frame: the {self._options.max_faces} largest were judged"
            )
        judged = sum(face.decides and not face.why and face.name != LARGEST for face in faces)
        if judged > 1:
            notes.append(
                f"{judged} faces were judged: a false alarm is up to {judged} times as likely as of one"
            )
        aside = [face for face in faces if not face.decides and face.verdict == verdicts.FAKE]
        if aside:
            names = ", ".join(str(face.name) for face in aside[:8])
            notes.append(
                f"seen too seldom to decide, and above the threshold by themselves: face {names}"
            )
        if self._let_go:
            counted = ", ".join(f"{count} {name}" for name, count in sorted(self._let_go.items()))
            notes.append(f"of the faces seen for the shortest time no scores are kept: {counted}")
        if self._lost:
            notes.append(f"{self._lost} scores are no finite number and count nowhere")
        if ended.oddities:
            notes.append(", ".join(name.replace("_", " ") for name in ended.oddities))
        return notes


def _found(series: _Series, scored: Scored, judgement: Judgement, *, decides: bool) -> Found:
    return Found(
        scored.name,
        judgement.verdict,
        judgement.why,
        judgement.reason,
        scored.score,
        scored.low,
        scored.high,
        scored.frames,
        scored.side,
        series.first,
        series.last,
        decides,
        series.curve.points(),
        series.crop,
        series.crop_frame,
    )
