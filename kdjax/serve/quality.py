"""Whether an input is of a quality that a detector was validated on, as far as its file tells.

A quality stands for a range of quantizers on H.264's scale (`data_pipeline.quantizers`). libx264's pictures that others
are predicted from lie one or two below the rate factor, so c23 is about 22 and c40 about 39. A step twice as large or
half as large, six quantizers, is taken as alike. What a codec other than H.264 and JPEG did is not known, nor
what a picture went through before it came into its file: then nothing is said against it.
"""

import re

from kdjax.data_pipeline import quantizers
from kdjax.serve.spec import Spec

ALIKE = 6.0
"""Quantizers apart at which the step has doubled."""

CENTRES = {"c23": 22.0, "c40": 39.0}

RAW = (0.0, 20.0)
"""Little or no compression."""

LOWEST_JPEG = 30
"""Of `jpeg`, which is drawn from there to 100."""

SMALL = 0.5
"""Side of a crop in the input by that of the detector's, below which too little is left of a face."""


def covered(qualities: tuple[str, ...]) -> tuple[float, float] | None:
    """Returns the range of quantizers that some qualities stand for; None where a name tells nothing."""
    ranges = [_range(name) for name in qualities]
    known = [each for each in ranges if each is not None]
    if not known or len(known) < len(ranges):
        return None
    return min(low for low, _ in known), max(high for _, high in known)


def _range(name: str) -> tuple[float, float] | None:
    if name == "raw":
        return RAW
    if name in CENTRES:
        return CENTRES[name] - ALIKE, CENTRES[name] + ALIKE
    found = re.fullmatch(r"jpeg(\d*)", name)
    if found is None:
        return None
    if not found[1]:
        return 0.0, quantizers.of_quality(LOWEST_JPEG) + ALIKE
    centre = quantizers.of_quality(int(found[1]))
    return max(0.0, centre - ALIKE), centre + ALIKE


def validated(spec: Spec) -> tuple[str, ...]:
    """Returns the qualities that a detector was validated on: the calibration's, else those it was trained on."""
    return spec.calibration.qualities if spec.calibration else spec.qualities


def outside(spec: Spec, quantizer: float | None) -> str:
    """Returns how an input lies outside of what a detector was validated on, a clause; nothing where none is known."""
    names = validated(spec)
    ends = covered(names)
    if quantizer is None or ends is None or ends[0] <= quantizer <= ends[1]:
        return ""
    how = "coarser" if quantizer > ends[1] else "finer"
    return f"{quantizers.told(quantizer)}: {how} than {', '.join(names)}"


def other_codec(spec: Spec, codec: str, *, lossless: bool) -> str:
    """Returns by what an input was compressed that no data of the detector were, a clause; nothing if none is known.

    How much that changes a score is not known, so that it is said, and nothing is held against the input.
    """
    if not codec or lossless or not spec.codecs or codec in spec.codecs:
        return ""
    return (
        f"compressed by {codec}, and the detector was validated on {', '.join(spec.codecs)} alone"
    )


def least_side(spec: Spec) -> float:
    """Returns how many pixels of the input a crop must be wide."""
    return SMALL * spec.stored_size


def unknown(codec: str, *, lossless: bool) -> str:
    """Returns what is not known of the quality of an input that tells no quantizer, a clause."""
    if lossless:
        return f"{codec} loses nothing, and what it went through before is not known"
    return f"{codec} does not tell how coarsely it was compressed"
