"""The record every data set stores, and who goes into which split."""

import io
from collections import Counter

import cv2
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kdjax.data_pipeline.builders import schema
from kdjax.types import FORGERIES, QUALITIES

NAMES = st.sets(st.text("abcé/ 1", min_size=1, max_size=6), min_size=1, max_size=40)


@given(NAMES, st.integers(0, 5))
@settings(deadline=None, max_examples=30)
def test_everyone_is_in_one_split_whatever_the_order(names, seed):
    ordered = sorted(names)
    splits = schema.assign_splits(ordered, seed=seed)
    assert set(splits) == names
    assert set(splits.values()) <= set(schema.SPLITS)
    assert schema.assign_splits(reversed(ordered), seed=seed) == splits
    if len(names) >= 3:
        assert set(splits.values()) == set(schema.SPLITS)


def test_shares_are_as_asked_and_depend_on_the_seed():
    names = [f"person {k}" for k in range(200)]
    splits = schema.assign_splits(names)
    assert Counter(splits.values()) == {"train": 140, "validation": 30, "test": 30}
    assert schema.assign_splits(names, seed=1) != splits


def test_a_file_name_that_is_not_unicode_can_be_assigned():
    assert schema.assign_splits(["b\udce9", "b", "c"])["b\udce9"] in schema.SPLITS


def test_a_record_holds_what_went_in():
    generator = np.random.default_rng(0)
    images = {q: generator.integers(0, 256, (8, 8, 3), dtype=np.uint8) for q in QUALITIES}
    mask = np.where(generator.random((8, 8)) > 0.5, 255, 0).astype(np.uint8)
    record = schema.encode_example(
        images, mask, label=1, forgery="mouth", video=5, identity=3, frame=7
    )
    for quality in QUALITIES:
        assert isinstance(record["image"][quality], io.BytesIO)
        encoded = np.frombuffer(record["image"][quality].getvalue(), np.uint8)
        decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]
        np.testing.assert_array_equal(decoded, images[quality])
    decoded = cv2.imdecode(np.frombuffer(record["forgery_mask"].getvalue(), np.uint8), 0)
    np.testing.assert_array_equal(decoded, mask)
    assert FORGERIES[record["forgery"]] == "mouth"
    assert (record["label"], record["video"], record["identity"], record["frame"]) == (1, 5, 3, 7)


def test_png_bytes_go_in_as_they_are():
    png = schema.encode_png(np.zeros((4, 4, 3), np.uint8))
    record = schema.encode_example(
        dict.fromkeys(QUALITIES, png), png, label=0, forgery="none", video=0, identity=0, frame=0
    )
    assert record["image"]["c40"].getvalue() == png == record["forgery_mask"].getvalue()
