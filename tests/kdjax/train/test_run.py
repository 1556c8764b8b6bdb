"""A run as an object: what it was, what it logged, its network at work."""

import json

import jax
import numpy as np
import pytest

import kdjax
from kdjax import configs
from kdjax.checks import UserError
from kdjax.data_pipeline.prepared import open_dataset
from kdjax.train import checkpoint
from kdjax.train.loop import train

SETTINGS = {
    "data.batch_size": "8",
    "train.steps": "6",
    "train.validation_interval": "2",
    "train.devices": "1",
    "train.log_every": "1",
    "optimizer.learning_rate": "5e-3",
    "student.qualities": "raw",
    "evaluation.batch_size": "8",
}


@pytest.fixture(scope="module")
def run(tiny_dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    settings = {**SETTINGS, "data.path": str(tiny_dataset)}
    train(configs.load("supervised:resnet_tiny", settings), folder)
    return kdjax.Run(folder)


@pytest.fixture(scope="module")
def images(run):
    dataset = open_dataset(run.config.data.path)
    source = dataset.source("test")
    return np.stack(
        [dataset.read(i, source[i], ("raw",))["image"]["raw"] for i in range(len(source))]
    )


def test_it_says_what_it_was(run):
    assert (run.step, run.is_finished) == (6, True)
    assert run.best_step in (2, 4, 6)
    assert run.config.student.network == "resnet_tiny"
    assert run.image_size == 32
    assert str(run.folder) in repr(run)


def test_metrics_are_columns(run):
    found = run.metrics
    assert set(found) == {"train", "validation"}
    np.testing.assert_array_equal(found["train"]["step"], np.arange(1, 7))
    np.testing.assert_array_equal(found["validation"]["step"], [2, 4, 6])
    assert {values.dtype for values in found["train"].values()} == {np.dtype(np.float64)}
    assert {values.shape for values in found["train"].values()} == {(6,)}


def test_damaged_lines_are_left_out(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    lines = [
        '{"kind": "train", "step": 1, "loss": 0.5}',
        '{"kind": "train", "step": "x"}',
        '{"kind": "train", "step": [2]}',
        '{"kind": "train", "step": 1%s}' % ("0" * 400),
        '{"kind": null, "step": 2}',
        '{"kind": "train", "step": 3, "loss": null}',
        '{"kind": "tra',
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    found = kdjax.Run(tmp_path).metrics
    assert set(found) == {"train"}
    np.testing.assert_array_equal(found["train"]["step"], [1, 3])
    np.testing.assert_array_equal(found["train"]["loss"], [0.5, np.nan])


def test_a_relative_folder_stays_the_same_wherever_one_goes(tmp_path, monkeypatch):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "config.json").write_text(json.dumps(configs.to_json(configs.load("kd"))))
    monkeypatch.chdir(tmp_path)
    run = kdjax.Run("runs")
    monkeypatch.chdir("/")
    assert run.config.method.name == "kd"
    assert run.folder == tmp_path / "runs"


def test_scores_are_the_evaluations(run, images):
    evaluation = run.evaluate()
    scores = run.predict(images)
    np.testing.assert_allclose(scores, evaluation.scores["raw"], atol=1e-6)
    assert set(run.evaluations) == {"test"}
    floats = run.predict(images.astype(np.float32) / 255)
    np.testing.assert_allclose(floats, scores, atol=1e-6)


def test_features_do_not_depend_on_the_batch(run, images):
    whole, few = run.features(images), run.features(images[:3], batch_size=2)
    assert {"stage1", "stage4", "pooled", "logits", "score"} <= set(whole)
    for name, values in few.items():
        assert values.shape[0] == 3
        np.testing.assert_allclose(values, whole[name][:3], atol=1e-5)


def test_weights_of_the_best_and_the_latest_step(run):
    best, latest = run.variables(), run.variables(run.step)
    jax.tree.map(np.testing.assert_array_equal, best, checkpoint.load_best(run.folder)[1])
    assert jax.tree.structure(best) == jax.tree.structure(latest)
    with pytest.raises(UserError, match=r"keeps no weights of step 5; it has: "):
        run.variables(5)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.full((1, 32, 32, 3), 128.0), "must lie in"),
        (np.zeros((1, 16, 16, 3), np.uint8), "the images are 16 px, smaller than the 32 px"),
        (np.zeros((1, 48, 64, 3), np.uint8), r"must be square, \[N, S, S, 3\]; they are \[1, 48"),
        (np.zeros((0, 32, 32, 3), np.uint8), "images holds no image"),
    ],
)
def test_images_that_cannot_be_judged_are_refused(run, images, message):
    with pytest.raises(ValueError, match=message):
        run.predict(images)


def test_make_predict_tells_images_by_their_dtype(run, images):
    predict = kdjax.train.make_predict(run.network, run.variables(), run.image_size)
    expected, _ = predict(images[:2])
    found, _ = predict(images[:2].astype(np.float32) / 255)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    with pytest.raises(ValueError, match="must lie in"):
        predict(images[:2].astype(np.float32))


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"is not a run: it has no config.json"):
        kdjax.Run(tmp_path)
