import json
import math

import numpy as np
import pytest
from sklearn.exceptions import UndefinedMetricWarning

from kdjax.checks import UserError
from kdjax.evaluate.evaluation import Evaluation
from kdjax.evaluate.evaluator import evaluate
from kdjax.evaluate.metrics import binary_metrics
from kdjax.types import FORGERIES

QUALITIES = ("raw", "c40")
SIZE = 4


def make_examples(count=22):
    rng = np.random.default_rng(3)
    labels = np.arange(count) % 2
    images = {
        quality: np.clip(
            rng.integers(60, 160, (count, SIZE, SIZE, 3)) + strength * labels[:, None, None, None],
            0,
            255,
        ).astype(np.uint8)
        for quality, strength in zip(QUALITIES, (40, 8), strict=True)
    }
    return {
        "image": images,
        "label": labels,
        "forgery": np.where(labels == 1, 1 + np.arange(count) // 2 % 2, 0),
        "video": np.arange(count) // 4 * 2 + labels,
        "identity": np.arange(count) // 4,
        "index": np.arange(count) + 100,
    }


def batched(examples, size):
    count = len(examples["label"])
    for start in range(0, count, size):
        rows = np.arange(start, start + size)
        taken = np.minimum(rows, count - 1)
        batch = {key: value[taken] for key, value in examples.items() if key != "image"}
        batch["image"] = {quality: value[taken] for quality, value in examples["image"].items()}
        batch["mask"] = (rows < count).astype(np.float32)
        yield batch


def brightness(images):
    means = images.astype(np.float64).mean(axis=(1, 2)) / 255
    return means.mean(axis=1), means


def test_metrics_are_those_of_the_whole_set_whatever_the_batches():
    examples = make_examples()
    for size in (5, 22, 64):
        found = evaluate(brightness, batched(examples, size), QUALITIES)
        for quality in QUALITIES:
            scores, points = brightness(examples["image"][quality])
            expected = binary_metrics(
                scores.astype(np.float32), examples["label"], embeddings=points.astype(np.float32)
            )
            got = {name: found.metrics[quality][name] for name in expected}
            assert got == pytest.approx(expected)
        np.testing.assert_array_equal(found.columns["index"], examples["index"])


def test_overall_pools_the_qualities():
    examples = make_examples()
    found = evaluate(brightness, batched(examples, 8), QUALITIES)
    scores = np.concatenate([brightness(examples["image"][quality])[0] for quality in QUALITIES])
    expected = binary_metrics(scores.astype(np.float32), np.tile(examples["label"], 2))
    assert found.metrics["overall"]["auc"] == pytest.approx(expected["auc"])
    assert found.metrics["overall"]["auc"] != found.metrics["raw"]["auc"]


def test_the_same_image_in_another_quality_is_no_neighbour():
    examples = make_examples()
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((400, 2)).astype(np.float32)

    def predict(images):
        identities = np.array([int(image.sum()) % 400 for image in images])
        return np.full(len(images), 0.5), noise[identities]

    examples["image"]["c40"] = examples["image"]["raw"]
    overall = evaluate(predict, batched(examples, 8), QUALITIES).metrics["overall"]
    alone = evaluate(predict, batched(examples, 8), ("raw",)).metrics["raw"]
    assert overall["recall_at_1"] == pytest.approx(alone["recall_at_1"])
    assert alone["recall_at_1"] < 1


def test_each_forgery_is_compared_with_all_reals():
    examples = make_examples()
    found = evaluate(brightness, batched(examples, 8), QUALITIES).per_forgery["c40"]
    scores = brightness(examples["image"]["c40"])[0].astype(np.float32)
    assert set(found) == {FORGERIES[1], FORGERIES[2]}
    for kind in (1, 2):
        fakes = scores[examples["forgery"] == kind]
        gaps = fakes[:, None] - scores[examples["label"] == 0][None]
        assert found[FORGERIES[kind]]["auc"] == pytest.approx(np.mean(gaps > 0))
        assert found[FORGERIES[kind]]["count"] == len(fakes)
        assert found[FORGERIES[kind]]["accuracy"] == pytest.approx(np.mean(fakes > 0.5))


def test_forgeries_are_called_as_their_data_set_calls_them():
    examples = make_examples()
    batches = list(batched(examples, 8))
    found = evaluate(brightness, batches, QUALITIES, forgeries=("none", "mask")).per_forgery["c40"]
    assert set(found) == {"mask", "kind 2"}


def test_videos_are_scored_by_their_mean():
    examples = make_examples()
    found = evaluate(brightness, batched(examples, 8), QUALITIES).metrics["c40"]["video_auc"]
    scores = brightness(examples["image"]["c40"])[0]
    means = {video: scores[examples["video"] == video].mean() for video in examples["video"]}
    real = [mean for video, mean in means.items() if video % 2 == 0]
    fake = [mean for video, mean in means.items() if video % 2 == 1]
    assert found == pytest.approx(np.mean(np.array(fake)[:, None] > np.array(real)[None]))


def test_overall_a_video_in_two_qualities_is_two_videos():
    examples = make_examples()
    found = evaluate(brightness, batched(examples, 8), QUALITIES).metrics["overall"]["video_auc"]
    means = {0: [], 1: []}
    for quality in QUALITIES:
        scores = brightness(examples["image"][quality])[0]
        for video in np.unique(examples["video"]):
            means[int(video % 2)].append(scores[examples["video"] == video].mean())
    expected = np.mean(np.array(means[1])[:, None] > np.array(means[0])[None])
    assert 0 < expected < 1
    assert found == pytest.approx(expected)


def test_features_are_optional_and_progress_is_told():
    told = []
    found = evaluate(
        lambda images: (brightness(images)[0], None),
        batched(make_examples(), 8),
        ("raw",),
        progress=told.append,
    )
    assert told == [8, 16, 22]
    assert "recall_at_1" not in found.metrics["raw"]
    assert found.metrics["overall"] == found.metrics["raw"]


def test_what_is_saved_is_read_again(tmp_path):
    found = evaluate(
        brightness,
        batched(make_examples(), 8),
        QUALITIES,
        step=7,
        parameters=12,
        dataset={"name": "synthfaces"},
    )
    path = found.save(tmp_path / "evaluation", "test")
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["test.json", "test.npz"]
    document = json.loads(path.read_text())
    assert (document["split"], document["step"]) == ("test", 7)
    assert document["counts"] == {"real": 11, "fake": 11}
    again = Evaluation.load(path.parent, "test")
    assert again.metrics == found.metrics
    assert again.per_forgery == found.per_forgery
    assert (again.step, again.parameters, again.dataset) == (7, 12, {"name": "synthfaces"})
    for name, values in {**found.scores, **found.columns}.items():
        np.testing.assert_array_equal({**again.scores, **again.columns}[name], values)
    with np.load(path.with_suffix(".npz")) as archive:
        assert archive["scores_c40"].dtype == np.float32
        assert archive["labels"].dtype == np.int32


def test_what_is_not_defined_is_null_in_the_file(tmp_path):
    examples = make_examples()
    examples["label"] = np.ones(22, np.int64)
    with pytest.warns(UndefinedMetricWarning, match="all 22 examples are fake") as told:
        found = evaluate(brightness, batched(examples, 8), QUALITIES)
    assert len(told) == 1
    path = found.save(tmp_path, "test")
    stored = json.loads(path.read_text())["metrics"]["raw"]
    assert stored["auc"] is stored["video_auc"] is stored["log_loss"] is None
    assert math.isnan(Evaluation.load(tmp_path, "test").metrics["raw"]["auc"])


def test_damaged_files_are_named(tmp_path):
    path = evaluate(brightness, batched(make_examples(), 8), ("raw",)).save(tmp_path, "test")
    archive = path.with_suffix(".npz")
    whole, text = archive.read_bytes(), path.read_text()
    for damage in (b"", whole[:100], whole[:-30], b"no archive"):
        archive.write_bytes(damage)
        with pytest.raises(UserError, match=r"test\.json and \.npz hold no readable evaluation"):
            Evaluation.load(tmp_path, "test")
    archive.write_bytes(whole)
    for damage in ("", text[:50], "[]", "[" * 100_000, '{"metrics": {"raw": 3}}'):
        path.write_text(damage)
        with pytest.raises(UserError, match="run `kdjax evaluate`"):
            Evaluation.load(tmp_path, "test")


def test_pickled_arrays_are_refused(tmp_path):
    path = evaluate(brightness, batched(make_examples(), 8), ("raw",)).save(tmp_path, "test")
    with np.load(path.with_suffix(".npz")) as archive:
        arrays = dict(archive)
    arrays["labels"] = np.array([{"a": 1}], dtype=object)
    np.savez(path.with_suffix(".npz"), **arrays)
    with pytest.raises(UserError, match="no readable evaluation"):
        Evaluation.load(tmp_path, "test")


def test_wrong_use_is_refused():
    with pytest.raises(UserError, match="the split is empty"):
        evaluate(brightness, [], QUALITIES)
    with pytest.raises(ValueError, match="quality 'c23' is not in the batch, which holds raw, c40"):
        evaluate(brightness, batched(make_examples(), 8), ("c23",))
    with pytest.raises(ValueError, match="scores/raw has shape"):
        evaluate(lambda images: (np.zeros((8, 2)), None), batched(make_examples(), 8), ("raw",))
