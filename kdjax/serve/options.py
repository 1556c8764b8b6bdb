"""What `predict` can be asked for."""

from typing import NamedTuple

from kdjax.checks import UserError
from kdjax.serve.running import FEWEST

EVERY, MARGIN, DETECTOR = 5, 1.3, "hog"
"""How faces are found where the detector's data set does not tell."""

LIMITS = {
    "detect_every": (0, 25),
    "score_every": (1, 1000),
    "max_faces": (1, 256),
    "min_frames": (FEWEST, 10_000),
    "batch": (1, 1024),
    "margin": (0.0, 4.0),
}
"""Lowest and highest of each number; what is waited for between two looks is held in memory."""


class Options(NamedTuple):
    """How inputs are looked at and judged.

    Attributes:
      detect_every: frames between two searches for faces; 0: as the detector's data set was made, else 5.
      score_every: frames between two that are scored.
      max_faces: of more faces in a frame the largest so many are judged.
      min_frames: frames of a face below which a video is not judged by it; of fewer than 4 there is no interval.
      batch: faces scored at once, of however many files.
      detector: finds faces, as of `data_pipeline.faces.make_detector`; empty: the one of the detector's data set.
      landmarks: model file that faces are turned upright by, for a detector that was trained on such.
      margin: side of the crop by that of the face; 0: as the detector's data set was made, else 1.3.
      cropped: an image is a face already, and no faces are looked for.
      frames: a folder is one video's frames.
      any_quality: judge what lies outside the qualities that the detector was validated on, too.
      threshold: calibrated probability above which a face is called fake, in place of the calibration's.
      keep_frames: hand frames on with the faces of each, for drawing.
    """

    detect_every: int = 0
    score_every: int = 1
    max_faces: int = 32
    min_frames: int = 10
    batch: int = 32
    detector: str = ""
    landmarks: str = ""
    margin: float = 0.0
    cropped: bool = False
    frames: bool = False
    any_quality: bool = False
    threshold: float | None = None
    keep_frames: bool = False


def check(options: Options) -> Options:
    """Returns options as they are.

    Raises:
      UserError: a number is out of its range.
    """
    for name, (low, high) in LIMITS.items():
        value = getattr(options, name)
        if not low <= value <= high:
            raise UserError(f"{name}={value:g} must be between {low:g} and {high:g}")
    if options.margin and options.margin < 0.5:
        raise UserError(f"margin={options.margin:g} must be between 0.5 and 4, as 1.3")
    if options.threshold is not None and not 0 < options.threshold < 1:
        raise UserError(f"threshold={options.threshold:g} must lie between 0 and 1, as 0.5")
    return options
