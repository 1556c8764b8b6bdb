"""A trained detector at work: inputs in, verdicts out."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kdjax.checks import UserError
from kdjax.extensions import NOTHING, Extensions
from kdjax.serve import inputs, looking
from kdjax.serve.batches import in_batches, score
from kdjax.serve.cutting import make_cutter
from kdjax.serve.exports import is_export, load_export
from kdjax.serve.inputs import Input, expand
from kdjax.serve.looking import Ended, Sight
from kdjax.serve.options import Options, check
from kdjax.serve.spec import Heater, Scorer, Spec
from kdjax.serve.watching import Prediction, Watch


class Judged(NamedTuple):
    """A frame of an input with its scores.

    Attributes:
      path: the input.
      sight: the frame, and the faces in it.
      scores: calibrated probabilities of fake of those faces that were scored, in their order.
    """

    path: Path
    sight: Sight
    scores: list[float]


class _Step(NamedTuple):
    each: Input
    seen: Sight | Ended

    @property
    def crops(self) -> list[np.ndarray]:
        faces = self.seen.faces if isinstance(self.seen, Sight) else ()
        return [face.crop for face in faces if face.crop is not None]


class Detector:
    """A detector with what it needs to judge images and videos.

    Attributes:
      spec: what is known of it.
    """

    def __init__(self, spec: Spec, scorer: Scorer, heater: Heater | None = None) -> None:
        """Takes what is known of a detector, what scores faces, and what explains scores, if anything does."""
        self.spec = spec
        self._scorer, self._heater = scorer, heater

    @classmethod
    def load(cls, folder: str | Path, *, extensions: Extensions = NOTHING) -> "Detector":
        """Returns the detector in a folder.

        Args:
          folder: a run of `kdjax train`, or an export of `kdjax export`.
          extensions: the user's own, for a run whose network is not shipped.

        Raises:
          UserError: the folder is neither, or is damaged, or of a newer version.
        """
        if is_export(folder):
            return cls(*load_export(folder))
        from kdjax.serve.runs import load_run

        return cls(*load_run(folder, extensions))

    def notes(self, options: Options) -> tuple[str, ...]:
        """Returns what is worth knowing before it is believed, a clause each.

        Raises:
          UserError: as `watch`.
        """
        return (
            *_notes(self.spec, options.threshold),
            *make_cutter(self.spec, check(options)).notes,
        )

    def score(self, faces: np.ndarray, *, batch: int = 32) -> np.ndarray:
        """Returns log-odds of fake, float32 `[N]`.

        Args:
          faces: uint8 RGB `[N, S, S, 3]`, cut out already; S at least `spec.image_size`.
          batch: faces scored at once.
        """
        return score(self._scorer, list(faces), batch)

    def heat_maps(self, faces: np.ndarray) -> np.ndarray | None:
        """Returns where what speaks for fake is seen, by Grad-CAM on the last map; None where the detector cannot tell.

        Args:
          faces: uint8 RGB `[N, S, S, 3]`, cut out already.

        Returns:
          float32 `[N, s, s]` of the centre that the detector sees, s being `spec.image_size`, at least 0; None of an
          export, which has no maps.
        """
        return None if self._heater is None else self._heater(faces)

    def predict(
        self, given: str | Path | Iterable[str | Path], **options: Any
    ) -> Iterator[Prediction]:
        """Yields what is said of each input, in order; a bad one is no error, but told in its prediction.

        Args:
          given: images, videos and folders; `-` for a list on standard input.
          **options: as of `Options`.

        Raises:
          UserError: for an option that is out of its range, or a detector of faces that is missing.
        """
        return (
            found
            for found in self.watch(given, Options(**options))
            if isinstance(found, Prediction)
        )

    def watch(
        self, given: str | Path | Iterable[str | Path], options: Options
    ) -> Iterator[Judged | Prediction]:
        """Yields each frame with its scores, and after an input's last frame what it comes to.

        Memory does not grow with the length of a video. Batches are filled across inputs.

        Raises:
          UserError: as `predict`; of options before anything is looked at.
        """
        check(options)
        cutter = make_cutter(self.spec, options)
        listed = [given] if isinstance(given, str | Path) else given

        def steps() -> Iterator[_Step]:
            read = inputs_of(listed, options)
            for each in read:
                for seen in looking.look(each, cutter, options):
                    yield _Step(each, seen)

        return self._watch(steps(), options)

    def judge(
        self, path: Path, seen: Iterable[Sight | Ended], options: Options
    ) -> Iterator[Judged | Prediction]:
        """Yields as `watch` does, of one input that was looked at elsewhere: in another process, say.

        Args:
          path: what the input is called.
          seen: its frames, and `Ended` as the last.
          options: how it is judged.
        """
        return self._watch((_Step(Input(path), each) for each in seen), check(options))

    def _watch(self, steps: Iterator[_Step], options: Options) -> Iterator[Judged | Prediction]:
        watch: Watch | None = None
        for step, logits in in_batches(steps, self._scorer, options.batch):
            if watch is None:
                watch = Watch(step.each.path, self.spec, options)
            if isinstance(step.seen, Sight):
                yield Judged(step.each.path, step.seen, watch.add(step.seen, logits))
            else:
                yield watch.close(step.seen)
                watch = None


def inputs_of(given: Iterable[str | Path], options: Options) -> Iterator[Input]:
    """Yields the inputs; UserError where there is none."""
    none = True
    for each in expand(given, listed=getattr(sys.stdin, "buffer", None), frames=options.frames):
        none = False
        yield each
    if none:
        raise UserError(
            f"nothing to judge: name files or folders, or {inputs.LIST} and give a list of them"
        )


def _notes(spec: Spec, given: float | None) -> Iterator[str]:
    calibration = spec.calibration
    if given is not None:
        yield f"the threshold {given:g} was given: no rate of false alarms is known of it" + (
            ", and scores are not calibrated" if calibration is None else ""
        )
        if calibration is not None and calibration.problem:
            yield calibration.problem
        return
    if calibration is None:
        yield (
            "the detector was not calibrated, so scores are its own and nothing is called real or fake: "
            "`kdjax evaluate RUN --calibrate` does it, or --threshold=0.5 names a threshold"
        )
        return
    if calibration.problem:
        yield calibration.problem
    for what, name in ((calibration.of_images, "images"), (calibration.of_videos, "videos")):
        if what.videos * what.wanted < 1:
            yield (
                f"the threshold of {name} was chosen on {what.videos} real videos: false alarms may be up to "
                f"{what.high:.1%}"
            )
