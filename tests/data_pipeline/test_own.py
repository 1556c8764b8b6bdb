"""Data sets of the user's own: what they may leave out, and what is refused by name."""

import pickle

import grain
import numpy as np
import pytest

from kdjax.checks import UserError
from kdjax.data_pipeline.loader import evaluation_batches, training_batches
from kdjax.data_pipeline.own import Sources

LABELS = np.array([0, 1, 1, 0, 1, 0])


def images(count=6, dtype=np.uint8, side=8):
    found = np.random.default_rng(0).integers(0, 255, (count, side, side, 3)).astype(np.uint8)
    return found if dtype == np.uint8 else (found / 255).astype(dtype)


def arrays(**changed):
    return {"image": images(), "label": LABELS, **changed}


def test_arrays_are_a_data_set():
    data = Sources(train=arrays(), validation=arrays(label=LABELS == 1), name="mine")
    assert (data.image_size, data.qualities, data.has_masks) == (8, ("raw",), False)
    assert data.sizes == {"train": 6, "validation": 6}
    found = data.labels("train")
    np.testing.assert_array_equal(found["label"], LABELS)
    np.testing.assert_array_equal(found["video"], np.arange(6))
    np.testing.assert_array_equal(found["forgery"], np.where(LABELS, 7, 0))
    assert {name: values.dtype for name, values in found.items()} == dict.fromkeys(found, np.int32)
    np.testing.assert_array_equal(data.labels("validation")["label"], LABELS)


def test_qualities_masks_and_ids_are_the_users(tmp_path):
    given = arrays(
        image={"jpeg90": images(), "jpeg10": images() // 2},
        identity=np.arange(6) // 2,
        forgery_mask=np.full((6, 8, 8, 1), 255, np.uint8),
    )
    data = Sources({"train": given, "validation": given})
    assert data.qualities == ("jpeg90", "jpeg10")
    example = data.read(3, data.source("train")[3], ("jpeg10",), with_mask=True)
    np.testing.assert_array_equal(example["image"]["jpeg10"], images()[3] // 2)
    assert (int(example["identity"]), int(example["index"])) == (1, 3)
    assert example["forgery_mask"].all()


def test_kinds_of_forgery_have_the_users_names():
    kinds = np.where(LABELS, np.arange(6) % 2 + 1, 0)
    splits = {"train": arrays(forgery=kinds), "validation": arrays()}
    data = Sources(splits, forgeries=("none", "mask", "paint"))
    assert data.forgeries == ("none", "mask", "paint", "unknown")
    np.testing.assert_array_equal(data.labels("train")["forgery"], kinds)
    np.testing.assert_array_equal(data.labels("validation")["forgery"], np.where(LABELS, 3, 0))


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_source_of_grain_is_read_in_shuffled_batches(workers):
    rows = [
        {"image": image, "label": int(label)} for image, label in zip(images(), LABELS, strict=True)
    ]
    source = grain.MapDataset.source(rows)
    data = Sources(train=source, validation=rows)
    batches = training_batches(data, ("raw",), batch_size=2, seed=1, threads=1, workers=workers)
    seen = [next(batches) for _ in range(3)]
    order = np.concatenate([batch["index"] for batch in seen])
    assert sorted(order.tolist()) == list(range(6))
    np.testing.assert_array_equal(np.concatenate([b["label"] for b in seen]), LABELS[order])
    np.testing.assert_array_equal(
        np.concatenate([b["image"]["raw"] for b in seen]), images()[order]
    )
    (batch,) = evaluation_batches(data, ("raw",), split="validation", batch_size=8)
    np.testing.assert_array_equal(batch["mask"], [1] * 6 + [0] * 2)


def test_floats_stay_floats():
    data = Sources(
        train=arrays(image=images(dtype=np.float64)),
        validation=arrays(image=images(dtype=np.float32)),
    )
    assert data.image_dtype == np.float32
    example = data.read(0, data.source("train")[0], ("raw",))
    np.testing.assert_allclose(example["image"]["raw"], images()[0] / 255, atol=1e-7)


def test_identity_tells_data_apart():
    def identity(**changed):
        return Sources(train=arrays(**changed), validation=arrays()).identity()

    assert identity() == identity()
    other = images()
    other[5, 0, 0, 0] ^= 1
    assert identity(image=other) != identity()
    assert identity(label=1 - LABELS) != identity()


def test_the_reader_can_be_sent_to_a_process():
    data = Sources(train=arrays(), validation=arrays())
    read = pickle.loads(pickle.dumps(data.read))
    assert read(1, data.source("train")[1], ("raw",))["label"] == 1


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"image": images()}, "example 0 of data set own has no 'label'; it has image"),
        (
            arrays(label=np.array(["real"] * 6)),
            "label must be 0 for real or 1 for fake; it is",
        ),
        (arrays(label=LABELS * 2.0), "label must be 0 for real or 1 for fake; it is"),
        (arrays(label=LABELS + 1), "has label 2; 0 is real, 1 fake"),
        (
            arrays(image=images() * 1.0),
            r"floating point numbers from 0 to 2\d\d; they must lie in \[0, 1\]",
        ),
        (arrays(image=images().astype(np.int64)), "is int64; images must be uint8"),
        (arrays(image=images()[:, :, :6]), r"must be \[S, S, 3\].* it is \[8, 6, 3\]"),
        (arrays(image=images()[..., 0]), r"must be \[S, S, 3\].* it is \[8, 8\]"),
        (arrays(label=LABELS[:4]), "must have a row an example each; they have 4, 6 rows"),
        ({}, "must have a row an example each"),
        ([3, 4], "example 0 of data set own must be a dict with image and label; it is a int"),
        (iter([]), "must have a length and elements by position, or be a dict of arrays"),
        ([], "has no train examples; give train="),
    ],
)
def test_what_is_no_data_set_is_one_line(train, message):
    with pytest.raises(UserError, match=message) as caught:
        Sources(train=train, validation=arrays()).labels("train")
    assert "\n" not in str(caught.value)


def test_an_example_unlike_the_first_is_named():
    rows = [{"image": images()[0], "label": 0}, {"image": images(side=6)[0], "label": 1}]
    data = Sources(train=rows, validation=arrays())
    with pytest.raises(UserError, match="example 1 of data set own: its image must be"):
        data.read(1, rows[1], ("raw",))
    with pytest.raises(UserError, match="has no split 'test'; known: train, validation"):
        data.source("test")
    with pytest.raises(UserError, match="has a split 'dev'; known: train"):
        Sources(train=arrays(), validation=arrays(), dev=arrays())


def test_images_to_be_evaluated_on_alone():
    data = Sources(test=arrays(), name="a test")
    assert data.sizes == {"test": 6}
    assert len(data.labels("test")["label"]) == 6
    with pytest.raises(UserError, match="has no validation examples; give validation="):
        Sources(train=arrays(), test=arrays())
    with pytest.raises(UserError, match="has no test examples; give test="):
        Sources(test=[])
