"""`synthfaces` as it lies on disk."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from kdjax.checks import UserError
from kdjax.data_pipeline import loader, manifest, prepared
from kdjax.data_pipeline.builders.schema import SPLITS
from kdjax.data_pipeline.builders.synthfaces import SynthFaces
from kdjax.data_pipeline.builders.synthfaces.builder import SynthFacesConfig
from kdjax.data_pipeline.builders.synthfaces.plan import Size
from kdjax.data_pipeline.prepare import prepare
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
    return prepared.open_dataset(folder)


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
        ids = dataset.labels(split)
        assert ids["label"].mean() == 0.5
        np.testing.assert_array_equal(ids["forgery"] > 0, ids["label"] == 1)
        assert ids["forgery"].max() <= FORGERIES.index("occlusion")


def test_no_identity_or_video_crosses_splits(dataset):
    for field, count in (("identity", 12), ("video", 48)):
        owners = [set(dataset.labels(split)[field].tolist()) for split in SPLITS]
        assert sum(map(len, owners)) == len(set.union(*owners)) == count


def test_a_video_has_one_label_one_person_and_its_frames_once(dataset):
    ids = dataset.labels("train")
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


@pytest.fixture
def small_benchmark(monkeypatch):
    """Puts a small configuration in the benchmark's place."""
    small = SynthFacesConfig(name="benchmark", seed=7, **OPTIONS)
    monkeypatch.setitem(SynthFaces.builder_configs, "benchmark", small)


def test_the_benchmark_is_the_same_bytes_twice_and_names_itself(small_benchmark, tmp_path):
    folders = [
        prepare("synthfaces/benchmark", tmp_path / place / "data", workers=workers)
        for place, workers in (("one", 0), ("two", 2))
    ]
    names = [sorted(path.name for path in folder.iterdir()) for folder in folders]
    assert names[0] == names[1]
    for name in names[0]:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    assert manifest.checksum(folders[0]) == manifest.checksum(folders[1])
    assert manifest.read(folders[0])["dataset"] == "synthfaces/benchmark"
    assert prepared.open_dataset(folders[0]).name == "synthfaces/benchmark/1.0.0"
    with pytest.raises(UserError, match="dataset: synthfaces/benchmark -> synthfaces"):
        prepare("synthfaces", folders[0], seed=7, **OPTIONS)


def test_the_benchmark_is_what_was_frozen():
    """Another value here is a new version: see benchmarks/README.md."""
    frozen = SynthFaces.builder_configs["benchmark"]
    assert frozen.size() == Size(
        image_size=64,
        seed=1000,
        identities=400,
        clips_per_identity=2,
        frames_per_clip=4,
        clip_length=8,
    )


@pytest.mark.parametrize(
    "option", [{"seed": 1000}, {"identities": 12}, {"image_size": 64}, {"clip_length": 3}]
)
def test_the_benchmark_cannot_be_changed(tmp_path, option):
    ((name, value),) = option.items()
    with pytest.raises(UserError, match=f"is fixed, {name}={value} cannot be given") as caught:
        prepare("synthfaces/benchmark", tmp_path / "data", **option)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_an_unknown_benchmark_is_refused(tmp_path):
    with pytest.raises(UserError, match="did you mean 'synthfaces/benchmark'"):
        prepare("synthfaces/bench", tmp_path / "data")
