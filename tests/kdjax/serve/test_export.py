"""Exports of a tiny run: what is in them, that they compute the same, and what is refused."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

import kdjax
from kdjax import configs
from kdjax.checks import UserError
from kdjax.cli import main
from kdjax.data_pipeline import made
from kdjax.evaluate.calibration import Calibration, Threshold, write_calibration
from kdjax.evaluate.evaluation import Evaluation
from kdjax.files import write_json
from kdjax.folder import RunFolder
from kdjax.serve import export_run, load_export, models
from kdjax.serve.card import training_facts
from kdjax.serve.exports import centre, is_export, read_export
from kdjax.serve.models import _compare, rounding
from kdjax.train import checkpoint
from kdjax.train.loop import train

pytest.importorskip("flatbuffers")

CHEAP = {
    "data.batch_size": "4", "data.image_size": "24", "train.steps": "1", "train.devices": "1",
    "train.balance": "none", "train.gradient_ratio_every": "0", "student.qualities": "c40",
}  # fmt: skip
THRESHOLD = Threshold(0.7, 0.01, 0.005, 0.0, 0.02, 200, 200, 0.8)
CALIBRATION = Calibration(1.5, "", THRESHOLD, THRESHOLD, 400, 50, ("c40",), 2, "")


def pixels(count, side=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def run(trained, evaluated, tmp_path_factory):
    """A copy of the run that is calibrated too."""
    folder = tmp_path_factory.mktemp("export") / "run"
    shutil.copytree(trained, folder)
    write_calibration(RunFolder(folder), CALIBRATION)
    return folder


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """Its export without ONNX."""
    return export_run(run, tmp_path_factory.mktemp("exported") / "export", licence="CC0-1.0")


def log_odds(run, images):
    logits = kdjax.Run(run).features(images)["logits"].astype(np.float64)
    return logits[:, 1] - logits[:, 0]


def test_an_export_scores_as_its_run(run, exported):
    spec, score = load_export(exported.folder)
    assert spec == exported.spec
    assert spec.calibration == CALIBRATION
    for count, side in ((1, 24), (5, 32), (70, 33)):
        images = pixels(count, side, seed=count)
        found = score(images)
        assert (found.dtype, found.shape) == (np.float32, (count,))
        np.testing.assert_allclose(found, log_odds(run, images), rtol=1e-5, atol=1e-5)
    assert score(pixels(0)).shape == (0,)
    assert exported.files["stablehlo"]["difference"] < 1e-5


def test_images_of_another_kind_are_refused(exported):
    _, score = load_export(exported.folder)
    with pytest.raises(TypeError, match="must be uint8, not float64"):
        score(pixels(1) / 255)
    with pytest.raises(ValueError, match="are 23 px; the detector takes 24 px or more"):
        score(pixels(1, 23))
    with pytest.raises(ValueError, match=r"must be square, \[B, S, S, 3\]"):
        score(pixels(1)[:, 1:])


def test_the_centre_is_the_one_that_runs_take():
    images = pixels(1, 9)
    np.testing.assert_array_equal(centre(images, 4), images[:, 2:6, 2:6])


def test_it_is_the_student_alone(run, exported):
    tensors = load_file(exported.folder / "weights.safetensors")
    assert {name.split("/")[0] for name in tensors} == {"params", "batch_stats"}
    learned = sum(array.size for name, array in tensors.items() if name.startswith("params/"))
    assert learned == exported.spec.parameters
    best = kdjax.Run(run).variables()
    np.testing.assert_array_equal(
        tensors["params/classifier/kernel"], best["params"]["classifier"]["kernel"]
    )


def test_the_files_tell_nothing_of_the_machine(run, exported):
    for name in ("export.json", "README.md"):
        text = (exported.folder / name).read_text()
        assert str(run) not in text
        assert str(exported.folder.parent) not in text
    spec, files = read_export(exported.folder)
    assert set(files) == {"stablehlo", "weights"}
    assert sorted(path.name for path in exported.folder.iterdir()) == [
        *("README.md", "export.json", "model.stablehlo", "weights.safetensors")
    ]
    assert spec.licence == "CC0-1.0"


def test_the_card_has_the_numbers(exported):
    card = (exported.folder / "README.md").read_text()
    auc = exported.spec.metrics["c40"]["auc"]
    for text in (
        *(
            "## Limits",
            "## Intended use",
            "CC0-1.0",
            "resnet_tiny",
            "48 train, 16 validation",
            "supervised, 2 steps at most, 8 images a step",
            f"{auc.estimate:.3f}",
        ),
        *("0.7 ", "0.0050 [0.0000, 0.0200]", "how they were cut out is not known", "load_export"),
        f"{exported.spec.parameters:,} parameters",
    ):
        assert text in card, text
    assert "onnxruntime" not in card


def test_the_card_of_a_run_that_is_as_long_as_its_epochs_says_so(tmp_path):
    config = configs.load("supervised:resnet_tiny", {"train.epochs": "3", "data.batch_size": "8"})
    write_json(RunFolder(tmp_path).config, configs.to_json(config))
    said = training_facts(tmp_path)
    assert said == {"trained by": "supervised, 3 epochs at most, 8 images a step"}


def test_what_is_loaded_needs_no_training_code(exported):
    program = (
        "import sys, numpy as np\n"
        "from kdjax.serve import load_export\n"
        "spec, score = load_export(sys.argv[1])\n"
        "print(float(score(np.zeros((1, 24, 24, 3), np.uint8))[0]))\n"
        "code = ('train', 'losses', 'methods', 'models', 'configs')\n"
        "print([m for m in sys.modules if m.startswith(tuple(f'kdjax.{c}' for c in code))])\n"
        "print([m for m in ('flax', 'optax', 'orbax', 'grain') if m in sys.modules])\n"
    )
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, str(exported.folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.splitlines()[1:] == ["[]", "[]"]


def copied(exported, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(exported.folder, folder)
    return folder, json.loads((folder / "export.json").read_text())


def test_an_export_of_a_newer_version_is_one_line(exported, tmp_path):
    folder, document = copied(exported, tmp_path)
    (folder / "export.json").write_text(json.dumps({**document, "format": 2}))
    with pytest.raises(UserError, match="is of a newer version of kdjax"):
        load_export(folder)


def test_an_export_that_was_cut_off_is_one_line(exported, tmp_path):
    folder, document = copied(exported, tmp_path)
    (folder / "model.stablehlo").write_bytes((folder / "model.stablehlo").read_bytes()[:-1])
    with pytest.raises(UserError, match="is not the file that was exported"):
        load_export(folder)
    (folder / "model.stablehlo").unlink()
    with pytest.raises(UserError, match="cannot be read: No such file"):
        load_export(folder)
    (folder / "export.json").write_text(json.dumps({**document, "files": None}))
    with pytest.raises(UserError, match="it names no files"):
        load_export(folder)
    (folder / "export.json").unlink()
    assert not is_export(folder)
    with pytest.raises(
        UserError, match=r"has no export\.json: it is no export, or one that was cut"
    ):
        load_export(folder)
    with pytest.raises(UserError, match="does not exist"):
        load_export(tmp_path / "nothing")


def test_a_format_that_is_not_there_is_one_line(exported):
    with pytest.raises(UserError, match="has no model in onnx, only stablehlo, weights; export"):
        load_export(exported.folder, format="onnx")
    with pytest.raises(ValueError, match="format"):
        load_export(exported.folder, format="weights")


def test_nothing_is_written_over(run, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(UserError, match="full is not empty; remove it, or give --output a new"):
        export_run(run, tmp_path / "full")
    with pytest.raises(UserError, match="is a file"):
        export_run(run, tmp_path / "full" / "mine")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]


def test_an_export_that_fails_leaves_nothing(run, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise RuntimeError("card")

    monkeypatch.setattr("kdjax.serve.export.model_card", fail)
    with pytest.raises(RuntimeError, match="card"):
        export_run(run, tmp_path / "out", formats=("weights",))
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_computes_something_else_is_refused():
    expected = np.array([0.1, -20.0])
    assert _compare("onnx", expected + np.array([9e-5, 1e-3]), expected, float) == pytest.approx(
        1e-3
    )
    for wrong in np.array([[2e-4, 0], [0, 3e-3], [np.nan, 0]]):
        with pytest.raises(
            UserError, match="the exported onnx computes other log-odds than the run"
        ):
            _compare("onnx", expected + wrong, expected, lambda: 5e-5)


@pytest.mark.parametrize(("error", "kept"), [(5e-5, True), (1e-3, False)])
def test_an_export_is_kept_by_how_far_it_is_from_the_run(run, tmp_path, monkeypatch, error, kept):
    real = models.score_function

    def wrong(network, variables):
        score = real(network, variables)
        return lambda images: score(images) + error

    monkeypatch.setattr(models, "score_function", wrong)
    if not kept:
        with pytest.raises(
            UserError, match=r"other log-odds than the run, by up to 1\.0e-03; nothing"
        ):
            export_run(run, tmp_path / "out", formats=("stablehlo",))
        assert list(tmp_path.iterdir()) == []
        return
    found = export_run(run, tmp_path / "out", formats=("stablehlo",))
    assert found.files["stablehlo"]["difference"] == pytest.approx(error, rel=0.1)
    card = (found.folder / "README.md").read_text()
    assert f"| {found.files['stablehlo']['difference']:.1e} |" in card
    assert "at most 0.0001 (of the log-odds, where they are beyond 1), or at most 3 times" in card


def test_what_the_run_itself_rounds_away_is_no_difference(run):
    expected = np.array([0.1, 0.2])
    assert _compare("onnx", expected + 2e-4, expected, lambda: 1e-4) == pytest.approx(2e-4)
    network, variables, _ = checkpoint.load_best(run)
    found = rounding(network, variables, 24, pixels(20))
    assert 1e-8 < found < 1e-4


def test_an_unfinished_run_is_refused(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    RunFolder(folder).finished.unlink()
    with pytest.raises(UserError, match="is not trained to its end; run its `kdjax train` again"):
        export_run(folder, tmp_path / "out")
    with pytest.raises(UserError, match="is not a run of `kdjax train`"):
        export_run(tmp_path, tmp_path / "out")


def test_what_is_missing_is_said(trained, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder)
    shutil.rmtree(RunFolder(folder).evaluation, ignore_errors=True)
    config = json.loads(RunFolder(folder).config.read_text())
    config["data"]["path"] = str(tmp_path / "gone")
    RunFolder(folder).config.write_text(json.dumps(config))
    found = export_run(folder)
    assert found.folder == folder / "export"
    assert [note.split(":")[0] for note in found.notes] == [
        *("no thresholds", "no metrics", "the exports were checked on noise")
    ]
    card = (found.folder / "README.md").read_text()
    assert "nothing is known of how good it is" in card
    assert "no threshold has a known rate of false alarms" in card
    assert "not stated" in card
    assert "checked on noise" in card
    pytest.importorskip("onnxruntime")
    with pytest.raises(
        UserError, match="--format=int8 takes validation images, and no data set at"
    ):
        export_run(folder, tmp_path / "out", formats=("int8",))


def test_the_command_exports_and_says_where(run, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["export", str(run), f"--output={out}", "--format=weights"]) == 0
    shown = capsys.readouterr().out
    assert "weights.safetensors" in shown
    assert shown.splitlines()[-1] == str(out)
    assert main(["export", str(run), f"--output={out}"]) == 2
    assert main(["export", str(run), "--format=onx", f"--output={out}2"]) == 2
    assert main(["export", str(run), "--format=", f"--output={out}2"]) == 2
    assert main(["export", str(run), "--limit=0", f"--output={out}2"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 4
    assert "did you mean 'onnx'?" in errors[1]


def test_all_formats_score_alike(run, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    found = export_run(run, tmp_path / "out", formats=("int8", "stablehlo"))
    assert set(found.files) == {"stablehlo", "onnx", "int8"}
    assert found.files["onnx"]["difference"] < 1e-4
    # like those that ranges are taken from: what is beyond is cut off
    images = 60 + pixels(9) // 4
    scores = {name: load_export(found.folder, format=name)[1](images) for name in found.files}
    np.testing.assert_allclose(scores["onnx"], scores["stablehlo"], atol=1e-4)
    assert not np.array_equal(scores["int8"], scores["onnx"])
    np.testing.assert_allclose(scores["int8"], scores["onnx"], atol=0.1)
    assert any(note.startswith("in 8 bits the AUC on ") for note in found.notes)
    assert 0 <= found.files["int8"]["auc"] <= 1
    stored = Evaluation.load(RunFolder(run).evaluation, "test")
    assert stored.step == found.spec.step


@pytest.mark.slow
def test_what_the_run_left_out_is_not_seen(forged_dataset, tmp_path, monkeypatch):
    """Neither ranges nor AUC of 8 bits, nor what models are held beside the run on."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    config = {**CHEAP, "data.path": str(forged_dataset), "data.leave_out": "mouth"}
    train(configs.load("supervised:resnet_tiny", config), tmp_path / "run")
    seen = []
    real = made.seen_batches

    def noted(dataset, *arguments, **options):
        for batch in real(dataset, *arguments, **options):
            count = int(batch["mask"].sum())
            seen.extend(dataset.forgeries[kind] for kind in batch["forgery"][:count])
            yield batch

    monkeypatch.setattr(made, "seen_batches", noted)
    found = export_run(tmp_path / "run", tmp_path / "out", formats=("int8",))
    assert set(seen) == {"none", "graphics", "expression"}
    card = (found.folder / "README.md").read_text()
    (kinds,) = (line for line in card.splitlines() if line.startswith("| kinds of forgery |"))
    assert "graphics" in kinds
    assert "mouth" not in kinds
    assert "| left out of training | mouth |" in card
