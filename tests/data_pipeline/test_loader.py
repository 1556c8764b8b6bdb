"""The loader: shuffled batches that do not depend on the number of processes, padded evaluation."""

import itertools

import numpy as np
import pytest

from kdjax.checks import UserError
from kdjax.data_pipeline import loader, prepared
from kdjax.data_pipeline.dataset import IDS
from kdjax.data_pipeline.sampling import Group

HALVES = [Group(np.arange(24), 0.25), Group(np.arange(24, 48), 0.75)]


@pytest.fixture(scope="module")
def dataset(tiny_dataset):
    return prepared.open_dataset(tiny_dataset)


def take(batches, count):
    return list(itertools.islice(batches, count))


def test_data_set_is_found_below_the_given_folder(tiny_dataset):
    found = prepared.open_dataset(tiny_dataset.parent.parent)
    assert found.path == tiny_dataset
    assert found.sizes == {"train": 48, "validation": 16, "test": 20}
    assert found.image_size == 32


@pytest.mark.parametrize("path", ["", "absent"])
def test_missing_data_set_is_named(path, tmp_path):
    with pytest.raises(UserError, match=r"data\.path is empty|no data set at"):
        prepared.open_dataset(tmp_path / path if path else path)


def test_folder_without_data_set_is_refused(tmp_path):
    with pytest.raises(UserError, match="must hold one prepared data set"):
        prepared.open_dataset(tmp_path)


def test_epoch_holds_every_example_once_and_epochs_differ(dataset):
    batches = take(loader.training_batches(dataset, ("raw",), batch_size=8, seed=1), 12)
    epochs = [np.concatenate([b["index"] for b in batches[i : i + 6]]) for i in (0, 6)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(48))
    assert not np.array_equal(epochs[0], epochs[1])


def test_incomplete_batch_is_left_out_of_each_epoch(dataset):
    batches = take(loader.training_batches(dataset, ("raw",), batch_size=20, seed=1), 4)
    for first in (0, 2):
        epoch = np.concatenate([b["index"] for b in batches[first : first + 2]])
        assert len(set(epoch.tolist())) == 40


CHOSEN = np.array([3, 4, 10, 17, 20, 33, 41])


def test_subset_is_trained_on_alone_and_keeps_its_index(dataset):
    options = {"batch_size": 3, "seed": 1, "indices": CHOSEN}
    batches = take(loader.training_batches(dataset, ("raw",), **options), 20)
    assert loader.steps_per_epoch(dataset, 3, indices=CHOSEN) == 2
    for first in range(0, 20, 2):
        epoch = np.concatenate([b["index"] for b in batches[first : first + 2]])
        assert len(set(epoch.tolist())) == 6
    assert {i for b in batches for i in b["index"].tolist()} == set(CHOSEN.tolist())
    whole = {
        example["index"].item(): example
        for example in loader.read_examples(dataset, "train", CHOSEN)
    }
    for row, index in enumerate(batches[0]["index"].tolist()):
        np.testing.assert_array_equal(batches[0]["image"]["raw"][row], whole[index]["image"]["raw"])
        for name in IDS:
            assert batches[0][name][row] == whole[index][name]


def test_subset_is_shuffled_anew_each_epoch_and_shared_by_processes(dataset):
    options = {"batch_size": 6, "seed": 5, "indices": CHOSEN[:6]}
    alone = take(loader.training_batches(dataset, ("raw",), **options), 5)
    orders = {tuple(batch["index"].tolist()) for batch in alone}
    assert len(orders) > 1
    parts = [
        take(
            loader.training_batches(
                dataset, ("raw",), process_index=index, process_count=2, **options
            ),
            5,
        )
        for index in range(2)
    ]
    for number, whole in enumerate(alone):
        together = np.concatenate([part[number]["index"] for part in parts])
        assert sorted(together) == sorted(whole["index"])


@pytest.mark.parametrize("options", [{}, {"workers": 1}, {"indices": CHOSEN}])
def test_batches_begin_at_any_of_them(dataset, options):
    """In the middle of an epoch too, and beyond the first."""
    options = {"batch_size": 3, "seed": 1, **options}
    whole = take(loader.training_batches(dataset, ("raw",), **options), 23)
    for start in (1, 20):
        rest = loader.training_batches(dataset, ("raw",), start=start, **options)
        for one, other in zip(whole[start:], take(rest, 23 - start), strict=True):
            np.testing.assert_array_equal(one["index"], other["index"])
            np.testing.assert_array_equal(one["image"]["raw"], other["image"]["raw"])


@pytest.mark.parametrize("groups", [None, HALVES])
def test_what_one_process_began_two_go_on_with(dataset, groups):
    options = {"batch_size": 8, "seed": 3, "groups": groups}
    alone = take(loader.training_batches(dataset, ("raw",), **options), 9)
    options |= {"process_count": 2, "start": 4}
    parts = [
        take(loader.training_batches(dataset, ("raw",), process_index=index, **options), 5)
        for index in range(2)
    ]
    for number, whole in enumerate(alone[4:]):
        together = np.concatenate([part[number]["index"] for part in parts])
        assert sorted(together) == sorted(whole["index"])


def test_subset_of_everything_gives_what_no_subset_gives(dataset):
    options = {"batch_size": 8, "seed": 1}
    plain = next(loader.training_batches(dataset, ("raw",), **options))
    chosen = next(loader.training_batches(dataset, ("raw",), indices=range(48), **options))
    np.testing.assert_array_equal(plain["index"], chosen["index"])


def test_batch_larger_than_the_subset_is_refused(dataset):
    with pytest.raises(UserError, match=r"larger than the 7 examples of data\.subset"):
        loader.training_batches(dataset, ("raw",), batch_size=8, seed=0, indices=CHOSEN)


@pytest.mark.parametrize("wrong", [48, -1])
def test_index_outside_the_split_is_refused(dataset, wrong):
    with pytest.raises(ValueError, match=r"0\.\.47"):
        loader.training_batches(dataset, ("raw",), batch_size=1, seed=0, indices=[0, wrong])


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_the_same_global_batches(dataset, processes):
    alone = take(loader.training_batches(dataset, ("raw",), batch_size=8, seed=3), 9)
    parts = [
        take(
            loader.training_batches(
                dataset,
                ("raw",),
                batch_size=8,
                seed=3,
                process_index=index,
                process_count=processes,
            ),
            9,
        )
        for index in range(processes)
    ]
    for number, whole in enumerate(alone):
        together = np.concatenate([part[number]["index"] for part in parts])
        assert sorted(together) == sorted(whole["index"])


def test_batch_holds_decoded_aligned_qualities(dataset):
    batch = next(loader.training_batches(dataset, ("raw", "c40"), batch_size=8, seed=0))
    assert set(batch["image"]) == {"raw", "c40"}
    for image in batch["image"].values():
        assert image.shape == (8, 32, 32, 3)
        assert image.dtype == np.uint8
    assert batch["label"].dtype == np.int32
    np.testing.assert_array_equal(batch["mask"], 1)
    outside = np.ones((32, 32), bool)
    outside[8:24, 8:24] = False
    np.testing.assert_array_equal(
        batch["image"]["raw"][:, outside], batch["image"]["c40"][:, outside]
    )


def test_evaluation_sees_each_example_once_with_padding_masked(dataset):
    batches = list(loader.evaluation_batches(dataset, ("c40",), split="test", batch_size=8))
    assert [len(batch["label"]) for batch in batches] == [8, 8, 8]
    mask = np.concatenate([batch["mask"] for batch in batches])
    index = np.concatenate([batch["index"] for batch in batches])
    assert mask.sum() == 20
    assert index[mask > 0].tolist() == list(range(20))


def test_limit_spreads_over_the_split_and_keeps_the_index(dataset):
    batches = loader.evaluation_batches(dataset, ("raw",), split="test", batch_size=4, limit=5)
    rows = [i for b in batches for i, m in zip(b["index"], b["mask"], strict=True) if m]
    assert rows == [0, 5, 10, 14, 19]
    batches = loader.evaluation_batches(
        dataset, ("raw",), split="test", batch_size=4, limit=3, indices=np.array([1, 2, 5, 7, 11])
    )
    rows = [i for b in batches for i, m in zip(b["index"], b["mask"], strict=True) if m]
    assert rows == [1, 5, 11]
    [whole] = loader.read_examples(dataset, "test", [8])
    assert whole["index"] == 8


def test_batch_larger_than_the_split_is_refused(dataset):
    with pytest.raises(UserError, match="larger than the 48 examples"):
        loader.training_batches(dataset, ("raw",), batch_size=64, seed=0)


def test_unknown_split_is_refused(dataset):
    with pytest.raises(UserError, match="no split 'tset'"):
        list(loader.evaluation_batches(dataset, ("raw",), split="tset", batch_size=4))


def test_labels_are_read_without_images(dataset):
    labels = dataset.labels("validation")
    assert sorted(labels["label"]) == [0] * 8 + [1] * 8
    np.testing.assert_array_equal(labels["label"], labels["frame"])
    np.testing.assert_array_equal(labels["identity"], labels["video"] // 2)


def test_a_label_that_is_neither_real_nor_fake_is_refused(dataset):
    record = dict(dataset.source("train")[0])
    with pytest.raises(UserError, match="record 3 has label 2; 0 is real, 1 fake"):
        prepared.decode_record(3, {**record, "label": 2}, ("raw",))


@pytest.mark.parametrize("change", ["shape", "dtype", "field"])
def test_examples_of_one_batch_are_alike(change):
    """Written into its place, one of another shape could be spread over it, one of another dtype rounded."""

    def read(index, element, qualities, *, with_mask=False):
        image = np.zeros((4, 4, 3), np.uint8)
        example = {"image": {"raw": image}, "label": np.int32(0), "index": np.int32(index)}
        if index < 5:
            return example
        changed = {
            "shape": {"image": {"raw": image[:1]}},
            "dtype": {"image": {"raw": image.astype(np.float32)}},
            "field": {"more": np.int32(0)},
        }
        return {**example, **changed[change]}

    data = Memory(read)
    first = next(loader.evaluation_batches(data, ("raw",), split="test", batch_size=4))
    assert first["image"]["raw"].shape == (4, 4, 4, 3)
    with pytest.raises(
        ValueError, match="example 5 has other fields, shapes or dtypes than example 4"
    ):
        list(loader.evaluation_batches(data, ("raw",), split="test", batch_size=4))


class Memory:
    """A data set of positions."""

    def __init__(self, read):
        self.read = read

    def source(self, split):
        return range(8)


def test_other_ids_are_another_data_set_also_without_a_manifest(tiny_dataset, labelled_dataset):
    one, other = (labelled_dataset(lambda number, by=by: number % by == 0) for by in (2, 3))
    known = [prepared.open_dataset(folder) for folder in (tiny_dataset, one, other)]
    assert [each.sizes for each in known] == [known[0].sizes] * 3
    assert known[0].identity() == prepared.open_dataset(tiny_dataset).identity()
    assert known[1].identity() != known[2].identity()
