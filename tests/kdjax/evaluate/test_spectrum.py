import cv2
import numpy as np
import pytest

from kdjax.checks import UserError
from kdjax.evaluate.spectrum import log_magnitude, radial_profile, spectrum_difference

SIZE = 16


def wave(cycles, amplitude=100.0):
    """Returns a grey image [S, S, 3] with `cycles` waves across."""
    row = 128 + amplitude * np.cos(2 * np.pi * cycles * np.arange(SIZE) / SIZE)
    return np.broadcast_to(row[None, :, None], (SIZE, SIZE, 3)).round().astype(np.uint8)


def batch(images, labels, **more):
    stacked = {quality: np.stack(parts) for quality, parts in images.items()}
    return {"image": stacked, "label": np.array(labels), **more}


def test_magnitude_of_a_wave_by_hand():
    # A cosine of amplitude a has |F| = a N / 2 at its frequency, N = S^2 samples.
    level = log_magnitude(wave(4)[None])[0]
    assert level[0, 4] == pytest.approx(20 * np.log10(100 / 255 * SIZE * SIZE / 2), abs=0.05)
    assert level[0, 4] == pytest.approx(level[0, -4])
    assert level[3, 3] < level[0, 4] - 40


def test_the_lost_frequency_is_where_it_was_and_a_tenth_is_20_decibels():
    images = {"raw": [wave(5, 100.0)] * 2, "c40": [wave(5, 10.0)] * 2}
    found = spectrum_difference([batch(images, [0, 1])])
    for label in ("real", "fake"):
        assert np.unravel_index(found.maps[label].argmax(), (SIZE, SIZE)) in [(0, 5), (0, 11)]
        assert found.maps[label][0, 5] == pytest.approx(20, abs=0.5)
        assert found.maps[label][0, 0] == pytest.approx(0, abs=0.1)


def test_blur_takes_the_middle_of_the_map():
    rng = np.random.default_rng(0)
    raw = [rng.integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8) for _ in range(8)]
    blurred = [cv2.blur(image, (3, 3), borderType=cv2.BORDER_REFLECT) for image in raw]
    found = spectrum_difference([batch({"raw": raw, "c40": blurred}, [0] * 8)]).maps["real"]
    assert found[6:11, 6:11].mean() > found[:2, :2].mean() + 6


def test_classes_are_counted_apart_and_padding_left_out():
    images = {"raw": [wave(5), wave(5), wave(5)], "c40": [wave(5), wave(3), wave(7)]}
    found = spectrum_difference([batch(images, [0, 1, 1], mask=np.array([1, 1, 0]))] * 2)
    assert found.counts == {"real": 2, "fake": 2}
    np.testing.assert_array_equal(found.maps["real"], 0)
    assert found.maps["fake"][0, 3] < -20
    assert abs(found.maps["fake"][0, 7]) < 10


def test_reading_stops_at_the_limit():
    def endless():
        while True:
            yield batch({"raw": [wave(5)] * 4, "c40": [wave(5)] * 4}, [0, 1, 1, 1])

    assert spectrum_difference(endless(), limit=3).counts == {"real": 3, "fake": 3}


def test_profile_is_the_mean_over_rings():
    rows, columns = np.meshgrid(np.fft.fftfreq(32), np.fft.fftfreq(32), indexing="ij")
    radius, values = radial_profile(np.hypot(rows, columns), bins=8)
    np.testing.assert_allclose(values, radius, atol=0.02)
    assert radius.min() > 0
    assert radius.max() < 0.5


def test_wrong_use_is_refused():
    with pytest.raises(UserError, match="no image"):
        spectrum_difference([])
    with pytest.raises(ValueError, match="holds raw, not 'c40'"):
        spectrum_difference([batch({"raw": [wave(5)]}, [0])])
