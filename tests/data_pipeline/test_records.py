"""Records: what is kept of them beside, and features that are not stored as ours."""

import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from kdjax.data_pipeline import prepared, records
from kdjax.data_pipeline.builders import schema
from kdjax.data_pipeline.dataset import IDS


@pytest.fixture
def dataset(tiny_dataset, tmp_path):
    shutil.copytree(tiny_dataset, tmp_path / "data")
    return prepared.open_dataset(tmp_path / "data")


def read_ids(dataset, split):
    source = dataset.source(split)
    return {name: [source[i][name] for i in range(len(source))] for name in IDS}


def test_ids_are_kept_and_then_no_record_is_read(dataset, monkeypatch):
    expected = {split: read_ids(dataset, split) for split in dataset.sizes}
    prepared.keep_ids(dataset.path)
    monkeypatch.setattr(prepared.PreparedDataset, "source", None)
    for split in dataset.sizes:
        found = dataset.labels(split)
        assert list(found) == list(IDS)
        for name, ids in found.items():
            assert ids.dtype == np.int32
            np.testing.assert_array_equal(ids, expected[split][name])


@pytest.mark.parametrize("kept", ["nothing", "damaged", "cut", "of another", "objects"])
def test_ids_that_cannot_be_used_are_read_from_the_records(dataset, kept):
    expected = read_ids(dataset, "train")
    file = dataset.path / prepared.IDS_FILE
    if kept == "damaged":
        file.write_bytes(b"PK no archive")
    elif kept == "cut":
        prepared.keep_ids(dataset.path)
        file.write_bytes(file.read_bytes()[:700])
    elif kept == "of another":
        np.savez(file, **{f"train/{name}": np.zeros(3, np.int32) for name in IDS})
    elif kept == "objects":
        np.savez(file, **{f"train/{name}": np.array([{}] * 48, object) for name in IDS})
    for name, ids in dataset.labels("train").items():
        np.testing.assert_array_equal(ids, expected[name])


def test_features_stored_in_another_way_are_left_to_tfds():
    ours = schema.features(8, ("raw",), encoding="raw")
    assert records.pixel_shapes(ours, ("raw",)) == {"raw": (8, 8, 3)}
    assert records.pixel_shapes(schema.features(8, ("raw",)), ("raw",)) == {"raw": ()}
    for other in (
        tfds.features.Tensor(shape=(8, 8, 3), dtype=np.uint8),
        tfds.features.Tensor(shape=(8, 8, 3), dtype=np.uint8, encoding="zlib"),
        tfds.features.Tensor(shape=(8, 8, 3), dtype=np.float32, encoding="bytes"),
    ):
        changed = tfds.features.FeaturesDict({**ours, "image": {"raw": other}})
        assert records.pixel_shapes(changed, ("raw",)) is None
    listed = tfds.features.FeaturesDict(
        {**ours, "label": tfds.features.Tensor(shape=(1,), dtype=np.int32)}
    )
    assert records.pixel_shapes(listed, ("raw",)) is None
