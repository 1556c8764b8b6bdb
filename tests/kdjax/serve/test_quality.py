"""Whether an input is of a quality that a detector was validated on."""

import pytest

from kdjax.evaluate.calibration import Calibration, Threshold
from kdjax.serve.quality import covered, least_side, other_codec, outside, validated
from kdjax.serve.spec import Spec

CHOSEN = Threshold(0.8, 0.01, 0.0, 0.0, 0.05, 72, 72, 0.5)


def spec(*qualities, calibrated=()):
    calibration = (
        Calibration(1.0, "", CHOSEN, CHOSEN, 100, 25, calibrated, 1, "") if calibrated else None
    )
    return Spec(
        *("net", 56, 64, ("real", "fake"), qualities, None, calibration),
        *("", "0", 10, 1, "data", None),
    )


@pytest.mark.parametrize(
    ("qualities", "quantizer", "word"),
    [
        (("raw",), 2.0, ""),
        (("raw",), 23.0, "coarser than raw"),
        (("c23",), 23.0, ""),
        (("c23",), 39.0, "coarser than c23"),
        (("c40",), 38.5, ""),
        (("c40",), 22.0, "finer than c40"),
        (("c40",), 48.0, "coarser than c40"),
        (("raw", "c40"), 30.0, ""),
        (("raw", "c23", "c40"), 22.0, ""),
        (("jpeg50",), 27.0, ""),
        (("jpeg50",), 10.0, "finer than jpeg50"),
        (("jpeg",), 30.0, ""),
        (("jpeg",), 45.0, "coarser than jpeg"),
        (("phone",), 45.0, ""),
        (("c40", "phone"), 10.0, ""),
    ],
)
def test_a_quantizer_is_held_against_the_qualities(qualities, quantizer, word):
    found = outside(spec(*qualities), quantizer)
    assert found.endswith(word)
    assert bool(found) == bool(word)


def test_what_is_not_known_is_not_held_against_an_input():
    assert outside(spec("c40"), None) == ""


def test_the_calibrations_qualities_come_before_those_of_training():
    assert validated(spec("raw", calibrated=("c40",))) == ("c40",)
    assert outside(spec("raw", calibrated=("c40",)), 5.0)
    assert not outside(spec("raw", calibrated=("c40",)), 40.0)


def test_neighbouring_qualities_leave_no_gap_and_ranges_lie_in_order():
    raw, middle, low = (covered((name,)) for name in ("raw", "c23", "c40"))
    assert raw[1] >= middle[0]
    assert middle[0] < low[0]
    assert middle[1] < low[1]


def test_a_crop_must_have_half_the_side_that_the_detector_sees():
    assert least_side(spec("c40")) == 32


def test_a_codec_that_no_data_went_through_is_told():
    known = spec("c40")._replace(codecs=("h264", "mjpeg"))
    assert other_codec(known, "hevc", lossless=False) == (
        "compressed by hevc, and the detector was validated on h264, mjpeg alone"
    )
    assert other_codec(known, "h264", lossless=False) == ""
    assert other_codec(known, "png", lossless=True) == ""
    assert other_codec(known, "", lossless=False) == ""
    assert other_codec(spec("c40"), "hevc", lossless=False) == ""
