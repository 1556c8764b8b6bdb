"""Corruptions of test images beside OpenCV, libx264 and NumPy: five severities, each worse than the one before."""

import cv2
import numpy as np
import pytest

from kdjax.data_pipeline import corruptions
from kdjax.data_pipeline.compression import compress_clip
from kdjax.data_pipeline.prepared import open_dataset


def pictures(count=4, side=48):
    drawn = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
    return np.stack([cv2.GaussianBlur(each, (0, 0), 1.2) for each in drawn])


def libjpeg(image, quality):
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return cv2.imdecode(cv2.imencode(".jpg", image, options)[1], cv2.IMREAD_COLOR)


def cv2_blur(image, sigma):
    found = cv2.GaussianBlur(
        image.astype(np.float32), (19, 19), sigma, borderType=cv2.BORDER_REFLECT_101
    )
    return np.round(found)


def cv2_resize(image, factor):
    side = -(-len(image) // factor) * factor
    extra = side - len(image)
    padded = cv2.copyMakeBorder(image, 0, extra, 0, extra, cv2.BORDER_REPLICATE).astype(np.float32)
    small = cv2.resize(padded, (side // factor,) * 2, interpolation=cv2.INTER_AREA)
    return np.round(cv2.resize(small, (side, side), interpolation=cv2.INTER_LINEAR))[
        : len(image), : len(image)
    ]


HOST = {
    "jpeg": (libjpeg, (90, 70, 50, 30, 10), 0),
    "blur": (cv2_blur, (0.5, 1.0, 1.5, 2.0, 3.0), 1),
    "resize": (cv2_resize, (2, 3, 4, 5, 6), 1),
    "h264": (lambda image, crf: compress_clip(image[None], crf)[0], (23, 28, 33, 38, 43), 0),
}


@pytest.mark.parametrize("kind", HOST)
def test_a_corruption_is_the_hosts(kind):
    function, strengths, gap = HOST[kind]
    images, index = pictures(), np.arange(4)
    for severity, strength in enumerate(strengths, 1):
        found = corruptions.corrupt(images, index, kind, severity)
        assert found.dtype == np.uint8
        if kind == "jpeg":
            # OpenCV's channels are the other way round
            expected = np.stack([function(each[..., ::-1], strength)[..., ::-1] for each in images])
        else:
            expected = np.stack([function(each, strength) for each in images])
        assert np.abs(found.astype(int) - expected).max() <= gap


@pytest.mark.parametrize("kind", corruptions.KINDS)
def test_each_severity_is_worse_than_the_one_before(kind):
    images = pictures()
    lost = [
        np.mean((corruptions.corrupt(images, np.arange(4), kind, k).astype(float) - images) ** 2)
        for k in range(1, 6)
    ]
    assert (np.diff([0, *lost]) > 0).all()


def test_noise_has_its_strength_and_is_drawn_of_the_example_alone():
    grey = np.full((4, 48, 48, 3), 128, np.uint8)
    for severity, strength in enumerate((0.01, 0.02, 0.04, 0.07, 0.1), 1):
        found = corruptions.corrupt(grey, np.arange(4), "noise", severity) / 255
        # rounded to levels
        assert np.std(found) == pytest.approx(np.hypot(strength, 1 / 255 / 12**0.5), rel=0.03)
    assert not np.array_equal(found[0], found[1])
    alone = corruptions.corrupt(grey[:1], np.array([3]), "noise", 5) / 255
    np.testing.assert_array_equal(alone[0], found[3])


def test_floating_point_images_are_corrupted_as_bytes_are():
    images = pictures()
    for kind in corruptions.KINDS:
        found = corruptions.corrupt((images / 255).astype(np.float32), np.arange(4), kind, 3)
        np.testing.assert_array_equal(found, corruptions.corrupt(images, np.arange(4), kind, 3))


def test_what_is_none_is_refused():
    for kind, severity in (("rain", 1), ("blur", 0), ("blur", 6)):
        with pytest.raises(ValueError, match="is not one of"):
            corruptions.corrupt(pictures(), np.arange(4), kind, severity)


def test_a_batch_holds_the_best_quality_and_each_severity(tiny_dataset):
    dataset = open_dataset(tiny_dataset)
    options = {"split": "test", "batch_size": 8}
    first = next(corruptions.corrupted_batches(dataset, ("blur", "jpeg"), **options))
    blurs, jpegs = (tuple(f"{kind}-{k}" for k in range(1, 6)) for kind in ("blur", "jpeg"))
    assert tuple(first["image"]) == ("raw", *blurs, *jpegs)
    raw, worst = first["image"]["raw"], first["image"]["jpeg-5"]
    np.testing.assert_array_equal(worst, corruptions.corrupt(raw, first["index"], "jpeg", 5))
