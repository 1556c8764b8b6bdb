"""What scores say: real, fake, or nothing, and then why not."""

import math
from typing import NamedTuple

from kdjax.evaluate.calibration import Calibration
from kdjax.evaluate.calibration import Threshold as Chosen

REAL, FAKE, CANNOT_SAY = "real", "fake", "cannot say"

WHYS = {
    "unreadable": "it could not be read",
    "no_face": "no face was found",
    "too_few_frames": "no face was seen in enough frames",
    "small_faces": "faces are smaller than the detector was validated on",
    "quality": "its quality is outside what the detector was validated on",
    "not_calibrated": "the detector has no threshold",
    "near_threshold": "the score's interval holds the limit",
    "in_between": "its score is that of a fake rather than a real, and not high enough to call it one",
    "incomplete": "a part of it was not seen",
    "no_score": "the detector gave no number",
}
"""Why nothing is said, by the word that stands in records."""


EVEN = 0.5
"""Calibrated probability at which real and fake are as likely, of as many reals as fakes."""

UNABLE = ("too_few_frames", "small_faces", "no_score")
"""Of one face among others: it is not judged."""


class Threshold(NamedTuple):
    """From where on something is fake, and what is known of that.

    Attributes:
      value: a calibrated probability.
      chosen: what validation data say of it; None of one that was given.
    """

    value: float
    chosen: Chosen | None


class Judgement(NamedTuple):
    """A verdict and its reason.

    Attributes:
      verdict: `real`, `fake` or `cannot say`.
      why: a word of `WHYS` where nothing is said, else empty.
      reason: a clause for people.
    """

    verdict: str
    why: str
    reason: str


class Scored(NamedTuple):
    """A face's score.

    Attributes:
      name: of the face.
      frames: how many of its frames were scored.
      score: the mean of their calibrated probabilities of fake.
      low: of the 95 % interval of that mean over other frames alike; not a number of too few, and of an image.
      high: of the same.
      side: the mean side of what was cut out, in pixels of the input.
    """

    name: int
    frames: int
    score: float
    low: float
    high: float
    side: float


def threshold_of(
    calibration: Calibration | None, kind: str, given: float | None
) -> Threshold | None:
    """Returns the threshold of an `image` or a `video`; None where there is none."""
    if given is not None:
        return Threshold(given, None)
    if calibration is None:
        return None
    chosen = calibration.of_images if kind == "image" else calibration.of_videos
    return Threshold(chosen.value, chosen)


def judge(
    scored: Scored, kind: str, threshold: Threshold | None, *, min_frames: int, least_side: float
) -> Judgement:
    """Returns what the scores of one face say.

    Args:
      scored: the face.
      kind: `image` or `video`.
      threshold: from where on it is fake.
      min_frames: frames below which nothing is said of a video.
      least_side: pixels of the input below which a crop is too small; 0 for any.
    """
    if kind == "video" and scored.frames < min_frames:
        return cannot_say("too_few_frames", f"{scored.frames} of {min_frames} frames")
    if not math.isfinite(scored.score):
        return cannot_say("no_score")
    if kind == "video" and not math.isfinite(scored.low):
        return cannot_say("too_few_frames", f"{scored.frames} frames have no interval")
    if scored.side < least_side:
        return cannot_say(
            "small_faces", f"{scored.side:.0f} pixels wide, {least_side:.0f} are needed"
        )
    if threshold is None:
        return cannot_say(
            "not_calibrated", "`kdjax evaluate RUN --calibrate` chooses one, --threshold names one"
        )
    above = f"the threshold {threshold.value:.3f}"
    if scored.score > threshold.value:
        if scored.low <= threshold.value:
            return cannot_say("near_threshold", f"{shown(scored)}, {above}")
        return Judgement(FAKE, "", f"{shown(scored)} is above {above}")
    # a low rate of false alarms lets many a fake pass: what lies just below the threshold is no real
    limit = threshold.value if threshold.chosen is None else min(threshold.value, EVEN)
    if scored.score > limit:
        return cannot_say("in_between", f"{shown(scored)}, {above}")
    if scored.high > limit:
        what = above if limit == threshold.value else f"{limit:g}"
        return cannot_say("near_threshold", f"{shown(scored)}, {what}")
    below = f"{above}" if limit == threshold.value else f"{limit:g}, and {above}"
    return Judgement(REAL, "", f"{shown(scored)} is below {below}")


def cannot_say(why: str, more: str = "") -> Judgement:
    """Returns that nothing can be said."""
    return Judgement(CANNOT_SAY, why, f"{WHYS[why]} ({more})" if more else WHYS[why])


def shown(scored: Scored) -> str:
    """Returns a score with its interval."""
    interval = f" [{scored.low:.3f}, {scored.high:.3f}]" if math.isfinite(scored.low) else ""
    return f"{scored.score:.3f}{interval}"


def together(judged: list[tuple[Scored, Judgement]], *, problem: str) -> tuple[Judgement, Scored]:
    """Returns the verdict on an input, and the face that decided it.

    One face that is fake makes it fake. It is real when all faces are, and all of it was seen. Faces that are too small
    or too seldom there to be judged are passed over where others are not.

    Args:
      judged: the faces that count, at least one.
      problem: why it was not seen to its end.
    """
    able = [each for each in judged if each[1].why not in UNABLE]
    ranked = sorted(able or judged, key=lambda each: -each[0].score)
    for wanted in (FAKE, CANNOT_SAY):
        for scored, judgement in ranked:
            if judgement.verdict == wanted:
                return judgement, scored
    scored, judgement = ranked[0]
    if problem:
        return cannot_say("incomplete", f"{problem}; what was seen is real"), scored
    return judgement, scored


def said(threshold: Threshold | None) -> str:
    """Returns what is known of a threshold, a clause."""
    if threshold is None:
        return "no threshold"
    if threshold.chosen is None:
        return "a threshold that was given, of which no rate of false alarms is known"
    chosen = threshold.chosen
    alarms = round(chosen.reached * chosen.reals)
    videos = "" if chosen.videos == chosen.reals else f" ({chosen.videos} videos)"
    return (
        f"the threshold finds {chosen.detections:.0%} of the fakes that it was chosen on; of {chosen.reals} reals"
        f"{videos} {alarms} lie above it: false alarms in {chosen.low:.1%} to {chosen.high:.1%} of such"
    )
