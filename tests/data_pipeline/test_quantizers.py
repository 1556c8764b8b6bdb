"""How coarsely files were quantized, held against the encoders' own words."""

import cv2
import numpy as np
import pytest

from kdjax.data_pipeline import jpeg, quantizers
from kdjax.data_pipeline.video import open_media

ZIGZAG = sorted(
    ((row, column) for row in range(8) for column in range(8)),
    key=lambda at: (sum(at), at[0] if sum(at) % 2 else at[1]),
)


def measured(path):
    with open_media(path, measure=True) as media:
        for _ in media:
            pass
        return media.quantizer


def test_the_table_is_that_of_the_standard_in_zigzag_order():
    expected = [jpeg.LUMINANCE[at] for at in ZIGZAG[: quantizers.LOWEST + 1]]
    assert quantizers.LUMINANCE.tolist() == expected


@pytest.mark.parametrize("quality", [5, 30, 49, 50, 75, 90, 100])
def test_a_jpegs_quantizer_is_that_of_its_quality(make, tmp_path, quality):
    pixels = make.moving_frames(1)[0]
    path = make.write_image(tmp_path / "x.jpg", pixels, cv2.IMWRITE_JPEG_QUALITY, quality)
    assert measured(path) == pytest.approx(quantizers.of_quality(quality), abs=1e-9)


def test_a_worse_jpeg_has_a_larger_step():
    found = [quantizers.of_quality(quality) for quality in range(1, 101)]
    assert found == sorted(found, reverse=True)
    # all steps are 1 at 100, which is H.264's at 4
    assert found[-1] == pytest.approx(4, abs=1)


@pytest.mark.parametrize("quantizer", [12, 23, 40])
def test_h264_at_a_constant_quantizer_tells_it(make, tmp_path, quantizer):
    options = {"qp": str(quantizer), "x264-params": "ipratio=1.0"}
    path = make.write_video(tmp_path / "x.mp4", make.moving_frames(20), **options)
    assert measured(path) == pytest.approx(quantizer, abs=0.01)


@pytest.mark.parametrize(("factor", "low", "high"), [(23, 16, 28), (40, 33, 45)])
def test_a_rate_factor_is_found_again_roughly(make, tmp_path, factor, low, high):
    rng = np.random.default_rng(0)
    frames = make.moving_frames(40).astype(int) + rng.integers(-6, 7, (40, 64, 96, 3))
    clipped = np.clip(frames, 0, 255).astype(np.uint8)
    path = make.write_video(tmp_path / "x.mp4", clipped, crf=str(factor))
    assert low <= measured(path) <= high


def test_what_does_not_tell_is_not_known(make, tmp_path):
    pixels = make.moving_frames(1)[0]
    assert measured(make.write_image(tmp_path / "x.png", pixels)) is None
    assert measured(make.write_image(tmp_path / "x.webp", pixels)) is None


def test_nothing_is_measured_that_was_not_asked_for(make, tmp_path):
    path = make.write_video(tmp_path / "x.mp4", make.moving_frames(4))
    with open_media(path) as media:
        list(media)
        assert media.quantizer is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xdb\x00\x43\x00" + b"\x01" * 20,
        b"\xff\xd8\xff\xdb\x00\x00",
        b"\xff\xd8\xff\xda\x00\x08" + b"\x00" * 80,
        b"\xff\xd8\xff\xe0\x00\x01" * 9,
        b"GIF89a" + b"\x00" * 200,
    ],
)
def test_a_header_cut_off_or_of_another_kind_tells_nothing(tmp_path, data):
    path = tmp_path / "x.jpg"
    path.write_bytes(data)
    assert quantizers.of_jpeg(path) is None


def test_steps_of_16_bits_are_read(tmp_path):
    steps = np.full(64, 300, ">u2").tobytes()
    path = tmp_path / "x.jpg"
    path.write_bytes(b"\xff\xd8\xff\xdb\x00\x83\x10" + steps)
    assert quantizers.of_jpeg(path) == pytest.approx(4 + 6 * np.log2(300))
