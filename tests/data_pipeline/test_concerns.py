"""What is said of a data set before anybody trains on it."""

import numpy as np
import pytest

from kdjax.data_pipeline.concerns import concerns

EVEN = {
    "label": [0, 1] * 20,
    "identity": list(range(40)),
    "video": list(range(40)),
}


class Stub:
    """The ids of three splits."""

    qualities = ("raw",)

    def __init__(self, **train):
        self.train = {**EVEN, **train}

    def labels(self, split):
        ids = (
            self.train
            if split == "train"
            else EVEN
            if split == "test"
            else {key: [] for key in EVEN}
        )
        return {name: np.asarray(values, np.int32) for name, values in ids.items()}


def test_a_sound_data_set_has_none():
    assert concerns(Stub(), {"png": {"items": 40, "lossless": 40}}) == []
    assert concerns(Stub(), {}) == []


def test_lossy_sources_are_named_with_their_codecs():
    codecs = {"mjpeg": {"items": 3, "lossless": 0}, "png": {"items": 4, "lossless": 4}}
    codecs["h264"] = {"items": 5, "lossless": 3}
    [line] = concerns(Stub(), codecs)
    assert (
        line == "`raw` is compressed already: 5 of 12 items are of lossy codecs (2 h264, 3 mjpeg)"
    )


@pytest.mark.parametrize(
    ("ids", "line"),
    [
        (
            {"label": [1] * 37 + [0] * 3},
            "split 'train' has 3 real images of 40: classes are far from balanced",
        ),
        ({"identity": [7] * 21 + list(range(19))}, "one person makes 22 of the 40 images"),
        ({"video": [99] * 21 + list(range(19))}, "one video makes 21 of the 40 images"),
    ],
)
def test_a_split_of_one_class_or_one_person_is_said(ids, line):
    [found] = concerns(Stub(**ids), {})
    assert found.startswith(line)


@pytest.mark.parametrize(
    "ids",
    [
        {"label": [1] * 36 + [0] * 4},
        {"identity": [99] * 20 + list(range(20))},
        # one person alone is a choice, not an accident
        {"identity": [5] * 40, "video": [5] * 40},
    ],
)
def test_what_is_just_within_bounds_is_not(ids):
    assert concerns(Stub(**ids), {}) == []
