"""What a detector needs beside its weights: of runs, and through JSON."""

import hashlib
import json
import math
import shutil

import pytest

from kdjax.checks import UserError
from kdjax.data_pipeline import manifest
from kdjax.evaluate.calibration import Calibration, Threshold, write_calibration
from kdjax.evaluate.statistics import Interval
from kdjax.folder import RunFolder
from kdjax.serve.origins import Faces, codecs_of_data, faces_of_data
from kdjax.serve.spec import Spec, spec_of_run

THRESHOLD = Threshold(0.7, 0.01, 0.005, 0.0, 0.02, 200, 200, 0.8)
CALIBRATION = Calibration(
    1.5, "", THRESHOLD, THRESHOLD._replace(value=0.6), 400, 50, ("c40",), 2, ""
)
SPEC = Spec(
    "resnet_tiny", 112, 128, ("real", "fake"), ("c23", "c40"),
    Faces("blazeface 0123456789abcdef", 1.3, "", 5), CALIBRATION, "CC-BY-4.0", "0.1.0", 1234, 2,
    "synthfaces/1.0.0", {"c40": {"auc": Interval(0.9, 0.8, math.nan)}}, ("h264", "mjpeg"),
)  # fmt: skip


def through_json(spec):
    return Spec.from_json(json.loads(json.dumps(spec.to_json(), allow_nan=False)))


def test_json_keeps_everything():
    again = through_json(SPEC)
    assert again._replace(metrics=None) == SPEC._replace(metrics=None)
    estimate, low, high = again.metrics["c40"]["auc"]
    assert (estimate, low) == (0.9, 0.8)
    assert math.isnan(high)
    bare = SPEC._replace(faces=None, calibration=None, metrics=None)
    assert through_json(bare) == bare
    assert isinstance(again.faces, Faces)
    assert isinstance(again.calibration.of_images, Threshold)


def test_what_else_an_export_holds_is_passed_over():
    assert Spec.from_json({**SPEC._replace(metrics=None).to_json(), "files": {}}).network


def test_a_newer_format_is_one_line():
    with pytest.raises(
        UserError, match=r"^x is of a newer version of kdjax \(format 2, this one rea"
    ):
        Spec.from_json({"format": 2}, "x")


@pytest.mark.parametrize("found", [None, [], {}, {"format": "1"}, {"format": True}])
def test_other_json_is_no_export(found):
    with pytest.raises(UserError, match="is not of an export of kdjax"):
        Spec.from_json(found)


@pytest.mark.parametrize(
    "change",
    [
        {"image_size": 0}, {"image_size": 129}, {"image_size": None}, {"labels": ["fake"]},
        {"labels": "ab"}, {"qualities": None}, {"faces": {}}, {"faces": []}, {"calibration": {}},
        {"metrics": {"c40": {"auc": [1]}}}, {"metrics": {"c40": None}}, {"metrics": 3},
    ],
)  # fmt: skip
def test_damaged_values_are_one_line(change):
    with pytest.raises(UserError, match=r"^export\.json is damaged \(.*\); export the run again$"):
        Spec.from_json({**SPEC.to_json(), **change})


def test_a_value_that_is_missing_is_named():
    for name in Spec._fields:
        document = SPEC.to_json()
        del document[name]
        with pytest.raises(UserError, match=f"KeyError: '{name}'"):
            Spec.from_json(document)


def test_a_runs_files_tell_what_its_weights_need(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    spec = spec_of_run(run, licence="MIT")
    assert spec.network == "resnet_tiny"
    assert (spec.image_size, spec.stored_size) == (24, 32)
    assert (spec.labels, spec.qualities) == (("real", "fake"), ("c40",))
    assert (spec.faces, spec.calibration, spec.metrics) == (None, None, None)
    assert (spec.licence, spec.step, spec.data) == ("MIT", 2, "tiny/1.0.0")
    assert spec.parameters > 1000
    write_calibration(RunFolder(run), CALIBRATION)
    assert spec_of_run(run).calibration == CALIBRATION
    write_calibration(RunFolder(run), CALIBRATION._replace(step=1))
    assert spec_of_run(run).calibration is None


def test_metrics_are_of_the_best_weights(trained, evaluated):
    spec = spec_of_run(trained, metrics=True)
    assert set(spec.metrics) == {"raw", "c23", "c40"}
    assert set(spec.metrics["c40"]) == {"auc", "video_auc", "accuracy", "eer"}
    assert spec.metrics["c40"]["auc"].estimate == pytest.approx(evaluated.metrics["c40"]["auc"])
    assert through_json(spec) == spec


def test_a_folder_that_is_no_run_is_one_line(tmp_path):
    with pytest.raises(UserError, match="is not a run of `kdjax train`"):
        spec_of_run(tmp_path)


def prepared(folder, known=None, **options):
    """Returns what a run would have noted of a data set, in whose manifest these options stand."""
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text("{}")
    manifest.write(folder, {"format": manifest.FORMAT, "options": options, **(known or {})})
    content = (folder / manifest.NAME).read_bytes()
    return {"manifest": hashlib.sha256(content).hexdigest()}


def test_faces_are_as_the_manifest_has_them(tmp_path):
    cut = {"detector": "hog", "margin": 1.5, "detect_every": 3}
    first = prepared(tmp_path / "a" / "1.0.0", **cut)
    second = prepared(tmp_path / "b", **cut)
    other = prepared(tmp_path / "c", **{**cut, "landmarks": "given"})
    a, b, c = (str(tmp_path / name) for name in "abc")
    assert faces_of_data([a], first) == Faces("hog", 1.5, "", 3)
    assert faces_of_data([c], other) == Faces("hog", 1.5, "given", 3)
    assert faces_of_data([a, b], {"parts": [first, second]}) == Faces("hog", 1.5, "", 3)
    assert faces_of_data([a, c], {"parts": [first, other]}) is None


def test_faces_are_unknown_where_nothing_tells(tmp_path):
    drawn = prepared(tmp_path / "drawn", image_size=64)
    cut = prepared(tmp_path / "cut", detector="hog", margin=1.5, detect_every=3)
    assert faces_of_data([str(tmp_path / "drawn")], drawn) is None
    assert faces_of_data([str(tmp_path / "cut")], {**cut, "manifest": "another"}) is None
    assert faces_of_data([str(tmp_path / "gone")], cut) is None
    assert faces_of_data(["own:mine"], {"name": "mine"}) is None
    assert faces_of_data([str(tmp_path / "cut")], {}) is None


def test_codecs_are_those_of_the_qualities_it_was_validated_on(tmp_path):
    made = {"raw": "the source", "c40": "raw by H.264, crf 40"}
    films = prepared(tmp_path / "a", {"qualities": made, "codecs": {"vp9": {}, "png": {}}})
    drawn = prepared(tmp_path / "b", {"qualities": {**made, "raw": "rendered"}, "codecs": {}})
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert codecs_of_data([a], films, ("raw",)) == ("png", "vp9")
    assert codecs_of_data([a], films, ("c40",)) == ("h264",)
    assert codecs_of_data([a], films, ("c40", "jpeg50")) == ("h264", "mjpeg")
    assert codecs_of_data([a, b], {"parts": [films, drawn]}, ("raw", "c40")) == (
        "h264",
        "png",
        "vp9",
    )
    # rendered images went through nothing
    assert codecs_of_data([a, b], {"parts": [films, drawn]}, ("raw",)) == ("png", "vp9")
    assert codecs_of_data([b], drawn, ("raw",)) == ()
    assert codecs_of_data([a, b], {"parts": [films, {"manifest": "another"}]}, ("raw",)) == ()
    assert codecs_of_data([a], {**films, "manifest": "another"}, ("raw",)) == ()
    assert codecs_of_data([a], {}, ("raw",)) == ()
