import base64
import json

import cv2
import numpy as np
import pytest

from kdjax.data_pipeline.builders.schema import encode_png
from kdjax.evaluate.calibration import Calibration, Threshold, calibrated, write_calibration
from kdjax.evaluate.evaluation import Evaluation
from kdjax.evaluate.intervals import mean_intervals, part_intervals
from kdjax.evaluate.page import calibrations, costs, explained, robustness
from kdjax.evaluate.page.table import Cell, Row, Table, bounded, in_columns, number
from kdjax.evaluate.parts import Part
from kdjax.evaluate.probabilities import calibration_error
from kdjax.evaluate.runs import read_runs
from kdjax.evaluate.statistics import Interval
from kdjax.folder import RunFolder


def threshold(value):
    return Threshold(value, 0.1, 0.05, 0.0, 0.2, 20, 20, 0.5)


def test_numbers_that_are_not_there_are_missing_and_sorted_last():
    assert number(float("nan")) == number(None) == bounded(Interval(float("nan"), 0, 1)) == Cell()
    assert number(0.25).value == 0.25
    assert bounded(Interval(0.5, 0.25, 0.75)) == Cell("0.500", "0.250 to 0.750", 0.5)
    assert bounded(Interval(0.5, float("nan"), float("nan"))) == Cell("0.500", "", 0.5)


def test_a_wide_table_becomes_several_that_hold_all_of_it():
    heads = [f"h{n}" for n in range(7)]
    table = Table(
        "t", "run", heads, [Row(None, "a", [Cell(head) for head in heads])], frozenset({6})
    )
    parts = list(in_columns(table, 3))
    assert [len(part.heads) for part in parts] == [3, 3, 1]
    assert [head for part in parts for head in part.heads] == heads
    assert [cell.text for part in parts for cell in part.rows[0].cells] == heads
    assert [part.texts for part in parts] == [frozenset(), frozenset(), frozenset({0})]
    assert len({part.caption for part in parts}) == 3
    assert list(in_columns(table, 7)) == [table]


@pytest.fixture
def calibrated_run(make, tmp_path):
    folder = make.run(tmp_path / "add")
    found = Calibration(2.0, "", threshold(0.6), threshold(0.5), 60, 30, ("c40",), 40, "")
    write_calibration(RunFolder(folder), found)
    return read_runs([folder])


def test_calibration_errors_and_shares_are_those_of_the_calibrated_scores(calibrated_run, make):
    found = calibrations.read_calibrations(calibrated_run)
    assert found[0].notes == ()
    evaluation = make.evaluation()
    scores, labels = evaluation.scores["c40"], evaluation.columns["labels"]
    after = calibrated(scores, 2.0)
    table = calibrations.error_table(calibrated_run, found)
    cell = table.rows[0].cells[list(table.heads).index("c40")]
    assert cell.text == f"{calibration_error(after, labels):.3f}"
    assert cell.bounds == f"before: {calibration_error(scores.astype(float), labels):.3f}"
    at = calibrations.threshold_table(calibrated_run, found, "test").rows[0].cells
    assert at[4].value == pytest.approx((after[labels == 0] > 0.6).mean())
    assert at[5].value == pytest.approx((after[labels == 1] > 0.6).mean())
    (diagram,) = calibrations.diagrams(calibrated_run, found)
    assert diagram.before.mass.sum() == diagram.after.mass.sum() == 3 * len(labels)


def test_a_calibration_of_another_step_or_a_damaged_one_is_noted(calibrated_run):
    path = calibrated_run[0].path / "calibration.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "step": 7}))
    assert "calibrated at step 7 and evaluated at step 40" in _notes(calibrated_run)
    path.write_text(json.dumps({**document, "format": 1}))
    assert "of an older version of kdjax" in _notes(calibrated_run)
    assert str(path.parent.parent) not in _notes(calibrated_run)
    path.write_text("{")
    assert "calibration.json" in _notes(calibrated_run)


def _notes(runs):
    return " ".join(calibrations.read_calibrations(runs)[0].notes)


def corrupted(make, folder, name, count=60, step=40):
    columns = {key: values[:count] for key, values in make.evaluation().columns.items()}
    scores = {
        key: make.evaluation(strength=strength, seed=3).scores["c40"][:count]
        for key, strength in (("raw", 3.0), ("blur-1", 2.0), ("blur-2", 1.0))
    }
    evaluation = Evaluation(scores, columns, {}, {}, step)
    evaluation.save(folder / "evaluation", name)
    return evaluation


def test_robustness_is_read_with_its_intervals(make, tmp_path):
    folder = make.run(tmp_path / "add")
    corrupted(make, folder, "test-limit40-under-blur", 40)
    whole = corrupted(make, folder, "test-under-blur")
    corrupted(make, folder, "validation-under-blur")
    runs = read_runs([folder])
    (found,) = robustness.read_robustness(runs, "test").found
    parts = [Part(scores, whole.columns) for scores in whole.scores.values()]
    assert found.images == 60
    assert found.areas == tuple(part_intervals([part], ("auc",))["auc"] for part in parts)
    assert found.mean == mean_intervals(parts[1:], ("auc",))["auc"]
    (table,) = robustness.robustness_tables(runs, [found])
    assert list(table.heads) == ["0", "1", "2", "mean"]


def test_robustness_of_another_step_or_damaged_is_noted(make, tmp_path):
    folder = make.run(tmp_path / "add")
    corrupted(make, folder, "test-under-blur", step=9)
    (folder / "evaluation" / "test-under-noise.json").write_text("{")
    notes = " ".join(
        note for _, note in robustness.read_robustness(read_runs([folder]), "test").notes
    )
    assert "test-under-blur is of step 9" in notes
    assert "test-under-noise is damaged" in notes


def test_costs_are_read_of_log_and_export(make, tmp_path):
    folder = make.run(tmp_path / "add")
    lines = [
        {"step": 1, "seconds": 90.0, "images_per_second": 0.1},
        {"step": 11, "seconds": 5.0, "images_per_second": 64.0},
        {"step": 21, "seconds": 7.0, "images_per_second": 32.0},
    ]
    (folder / "timings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "export").mkdir()
    sizes = {"onnx": {"bytes": 3e6}, "int8": {"bytes": 1e6}}
    (folder / "export" / "export.json").write_text(json.dumps({"files": sizes}))
    runs = read_runs([folder])
    assert costs.read_pace(runs[0]) == {"step": pytest.approx(0.6), "images": 48.0}
    table = costs.cost_table(runs, {0: costs.Cost(7, 2_500_000_000, 64, 0.0125, "cpu")})
    (row,) = table.rows
    told = dict(zip(table.heads, row.cells, strict=True))
    assert told["parameters"].text == "7"
    assert told["GMACs an image"] == Cell("2.5", "64 px", 2.5)
    assert told["export"] == Cell("1.0 MB", "int8; onnx 3.0", 1.0)
    assert told["latency, ms"] == Cell("12.5", "cpu", 0.0125)
    (bare,) = costs.cost_table(runs, {}).rows
    assert bare.cells[1].text == "1,234,567"
    assert bare.cells[2] == bare.cells[6] == Cell()


def explain(folder, networks=("add",)):
    points = {
        "label": [0, 1, 0, 1],
        "quality": ["raw"] * 4,
        "pca": [[0, 1]] * 4,
        "tsne": [[0, 1]] * 4,
        "explained": [0.5, 0.25],
    }
    document = {
        "data": "faces",
        "split": "test",
        "stage": "stage4",
        "method": "gradcam",
        "images": {"real": 2, "fake": 2},
        "networks": {name: {"points": points} for name in networks},
    }
    (folder / "heat").mkdir(parents=True)
    (folder / "explain.json").write_text(json.dumps(document))
    picture = np.full((40, 80, 3), (200, 30, 60), np.uint8)
    for name in ("000007-mouth", "error-add-000003-real"):
        (folder / "heat" / f"{name}.png").write_bytes(encode_png(picture))


def test_heat_and_embeddings_are_read_from_the_run_or_beside_it(make, tmp_path):
    folder = make.run(tmp_path / "add")
    explain(folder / "explain")
    explain(tmp_path / "explain", ("others",))
    (found,), notes = explained.read_explained(read_runs([folder]))
    assert notes == []
    assert "add on 2 real and 2 fake images of the split test of faces" in found.about
    captions = [picture.caption for picture in found.pictures]
    assert captions[0] == "mouth face no. 7, then as seen by add"
    assert captions[1].startswith("a confident error: real face no. 3")
    assert found.points["add"]["pca"].shape == (4, 2)


def test_a_picture_is_written_anew_so_that_nothing_else_is_in_it(make, tmp_path):
    folder = make.run(tmp_path / "add")
    explain(folder / "explain")
    path = folder / "explain" / "heat" / "000007-mouth.png"
    path.write_bytes(path.read_bytes() + b"<script>alert(1)</script>")
    (folder / "explain" / "heat" / "000009-mouth.png").write_text("<svg onload=alert(1)>")
    (found,), _ = explained.read_explained(read_runs([folder]))
    assert len(found.pictures) == 2
    head, _, code = found.pictures[0].address.partition(",")
    content = base64.b64decode(code)
    assert head == "data:image/webp;base64"
    assert b"script" not in content
    seen = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert abs(seen[20, 40].astype(int) - (200, 30, 60)).max() < 20


@pytest.mark.parametrize("text", ["{", "{}", '{"images": 1, "networks": {}}', "[" * 100000])
def test_a_damaged_folder_is_noted(make, tmp_path, text):
    folder = make.run(tmp_path / "add")
    explain(folder / "explain")
    (folder / "explain" / "explain.json").write_text(text)
    found, notes = explained.read_explained(read_runs([folder]))
    assert found == []
    assert "holds no readable explain.json" in notes[0]
