"""`synthfaces` as it lies on disk."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_pipeline import loader, manifest
from data_pipeline.builders.schema import SPLITS
from data_pipeline.builders.synthfaces import SynthFaces
from data_pipeline.prepare import prepare
from kdjax.checks import UserError
from kdjax.types import FORGERIES, QUALITIES

OPTIONS = {
    "image_size": 32,
    "identities": 12,
    "clips_per_identity": 2,
    "frames_per_clip": 2,
    "clip_length": 3,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return prepare("synthfaces", tmp_path_factory.mktemp("faces") / "data", workers=0, **OPTIONS)


@pytest.fixture(scope="module")
def dataset(folder):
    return loader.open_dataset(folder)


def all_examples(dataset, split):
    return loader.read_examples(dataset, split, range(dataset.sizes[split]))


def test_tfds_reads_the_folder_back(folder):
    builder = tfds.builder_from_directory(folder)
    assert builder.info.full_name == f"synthfaces/faces/{SynthFaces.VERSION}"
    assert set(builder.info.splits) == set(SPLITS)
    total = sum(split.num_examples for split in builder.info.splits.values())
    assert total == 12 * 2 * 2 * 2


def test_classes_are_balanced_in_every_split(dataset):
    for split in SPLITS:
        ids = loader.read_labels(dataset, split)
        assert ids["label"].mean() == 0.5
        np.testing.assert_array_equal(ids["forgery"] > 0, ids["label"] == 1)
        assert ids["forgery"].max() <= FORGERIES.index("occlusion")


def test_no_identity_or_video_crosses_splits(dataset):
    for field, count in (("identity", 12), ("video", 48)):
        owners = [set(loader.read_labels(dataset, split)[field].tolist()) for split in SPLITS]
        assert sum(map(len, owners)) == len(set.union(*owners)) == count


def test_a_video_has_one_label_one_person_and_its_frames_once(dataset):
    ids = loader.read_labels(dataset, "train")
    for video in set(ids["video"].tolist()):
        rows = ids["video"] == video
        assert (
            len(set(ids["label"][rows].tolist())) == len(set(ids["identity"][rows].tolist())) == 1
        )
        assert sorted(ids["frame"][rows].tolist()) == [0, 2]


def test_qualities_lose_detail_in_order(dataset):
    examples = all_examples(dataset, "train")
    errors = [
        np.mean([np.abs(e["image"][q].astype(float) - e["image"]["raw"]).mean() for e in examples])
        for q in QUALITIES
    ]
    assert errors[0] == 0
    assert 1 < errors[1] < errors[2] < 30


def test_every_fake_is_its_real_frame_outside_the_mask(dataset):
    examples = all_examples(dataset, "train")
    by_place = {(int(e["video"]), int(e["frame"])): e for e in examples}
    fakes = [e for e in examples if e["label"]]
    for fake in fakes:
        real = by_place[int(fake["video"]) - 1, int(fake["frame"])]
        outside = fake["forgery_mask"][..., 0] == 0
        assert not real["forgery_mask"].any()
        assert not outside.all()
        np.testing.assert_array_equal(fake["image"]["raw"][outside], real["image"]["raw"][outside])
        assert (fake["image"]["raw"] != real["image"]["raw"]).any()
    assert len(fakes) == len(examples) // 2


def test_the_manifest_says_what_was_asked_for(folder):
    written = manifest.read(folder)
    assert written["dataset"] == "synthfaces"
    assert written["options"] == {**OPTIONS, "seed": 0}


def test_a_number_that_does_not_fit_is_a_clear_error(tmp_path):
    with pytest.raises(UserError, match="identities=3"):
        prepare("synthfaces", tmp_path / "data", workers=0, identities=3)
