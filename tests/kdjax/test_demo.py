"""The demo: what it says of its results and how sure that is, which student it exports, and that it goes on."""

import re

import numpy as np
import pytest

from kdjax.data_pipeline.corruptions import KINDS, names
from kdjax.data_pipeline.video import open_media
from kdjax.demo import RUNS, beside_alone, clips, job, plan, telling, using
from kdjax.evaluate import summarize
from kdjax.serve.exports import read_export

VIDEOS = 120


def evaluation(gain, seed):
    labels = np.repeat([0, 1], VIDEOS)
    columns = dict.fromkeys(("labels", "forgery"), labels)
    columns |= dict.fromkeys(("video", "identity", "index"), np.arange(2 * VIDEOS))
    logits = np.random.default_rng(seed).normal(size=2 * VIDEOS) + gain * labels
    return summarize({"c40": 1 / (1 + np.exp(-logits))}, columns)


@pytest.fixture
def results():
    gains = dict.fromkeys(RUNS, 1.0) | {"kd": 3.0}
    return {name: evaluation(gain, seed) for seed, (name, gain) in enumerate(gains.items())}


def test_a_difference_that_images_show_is_told_from_one_that_they_do_not(results):
    text = beside_alone(results, full=False)
    kd = next(line for line in text.splitlines() if line.startswith("  kd "))
    add = next(line for line in text.splitlines() if line.startswith("  add "))
    assert "+0.2" in kd
    assert kd.endswith("more than chance images say")
    assert add.endswith("undecided")
    assert "another seed" in text


@pytest.mark.parametrize(
    ("full", "names"), [(False, ["kd", "add"]), (True, ["kd", "add", "ckd", "tokd"])]
)
def test_only_students_of_one_budget_and_teacher_are_compared(results, full, names):
    lines = beside_alone(results, full=full).splitlines()[1:-1]
    assert [line.split()[0] for line in lines] == names


def test_the_export_is_chosen_by_validation_images_alone(monkeypatch, tmp_path):
    gains = {"alone": 1.0, "kd": 3.0, "add": 2.0}
    asked = []

    def evaluated(run, split, *, qualities):
        asked.append((split, qualities))
        return evaluation(gains[run.name], 0)

    monkeypatch.setattr(using, "evaluated", evaluated)
    best, auc = using.best_on_validation({name: tmp_path / name for name in gains})
    assert best == "kd"
    assert auc == evaluation(3.0, 0).metrics["c40"]["auc"]
    assert set(asked) == {("validation", ("c40",))}


def test_teachers_are_no_students():
    assert plan.students(plan.runs_of(full=False)) == ["alone", "kd", "add", "ckd", "tokd", "qad"]
    assert plan.students(plan.runs_of(full=True))[-2:] == ["alone_few", "ckd_few"]


def test_corruptions_are_told_by_the_mean_of_their_severities():
    labels = np.repeat([0, 1], 4)
    columns = dict.fromkeys(("labels", "forgery"), labels)
    columns |= {name: np.arange(8) for name in ("video", "identity", "index")}
    right, wrong = labels.astype(float), 1.0 - labels
    scores = {"raw": right} | {name: right for kind in KINDS for name in names(kind)}
    scores |= {"blur-5": wrong, "blur-4": wrong}
    (row,) = telling.corruption_rows({"kd": summarize(scores, columns)})
    assert row.pop("run") == "kd"
    assert row == pytest.approx(dict.fromkeys(("as they are", *KINDS), 1.0) | {"blur": 0.6})


def record(verdict, score=0.5):
    low, high = (None, None) if score is None else (score - 0.1, score + 0.1)
    return {"verdict": verdict, "score": score, "low": low, "high": high, "why": None}


def test_verdicts_stand_beside_the_truth_wrong_ones_too():
    records = [record("real"), record("fake"), record("cannot say"), record("real", None)]
    truth = ["", "", "mouth", "graphics"]
    rows = telling.verdict_rows(records, truth)
    assert [row["clip"] for row in rows] == ["real", "real", "mouth", "graphics"]
    assert [row["score"] for row in rows] == [*["0.500 [0.400, 0.600]"] * 3, ""]
    lines = telling.verdict_counts(records, truth).splitlines()
    assert lines[0] == "of 2 fake clips: 0 fake, 1 real, 1 cannot say"
    assert lines[1] == "of 2 real clips: 1 fake, 1 real, 0 cannot say"


def test_clips_are_of_people_that_the_data_do_not_have(monkeypatch, tmp_path):
    drawn = []

    def draw(size, identity, clip, forgery):
        drawn.extend([identity, forgery.source])
        return draw_clip(size, identity, clip, forgery)

    draw_clip = clips.draw_clip
    monkeypatch.setattr(clips, "draw_clip", draw)
    monkeypatch.setattr(clips, "KINDS", ("graphics", "mouth"))
    monkeypatch.setattr(clips, "FRAMES", 5)
    found = clips.make_clips(tmp_path, seed=3, identities=12)
    assert {path.name: kind for path, kind in found.items()} == {
        "real-1.mp4": "",
        "fake-graphics.mp4": "graphics",
        "real-2.mp4": "",
        "fake-mouth.mp4": "mouth",
    }
    assert len(set(drawn)) == 4
    assert min(drawn) >= 12
    pixels = []
    for path in found:
        with open_media(path, measure=True) as media:
            pixels.append(np.stack([frame for _, frame in media.read(range(media.frames))]))
            # as c40 of the training data
            assert 33 <= media.quantizer <= 45
    assert {each.shape for each in pixels} == {(5, 64, 64, 3)}
    assert (pixels[0] != pixels[1]).any()
    before = {path: path.stat().st_mtime_ns for path in found}
    next(iter(found)).unlink()
    again = clips.make_clips(tmp_path, seed=3, identities=12)
    assert again == found
    kept = [path for path in found if path.stat().st_mtime_ns == before[path]]
    assert [path.name for path in kept] == ["real-2.mp4", "fake-mouth.mp4"]


@pytest.fixture
def small(monkeypatch):
    """The demo with few people and networks of two steps."""
    chosen = {name: plan.RUNS[name]._replace(quick=2) for name in ("teacher", *job.LOOKED_AT)}
    monkeypatch.setattr(job, "runs_of", lambda full: chosen)
    monkeypatch.setattr(job, "IDENTITIES", {"quick": 24})
    monkeypatch.setattr(using, "CORRUPTED", 8)
    monkeypatch.setattr(using, "EXPLAINED", 8)
    monkeypatch.setattr(clips, "FRAMES", 12)
    own = plan.demo_overrides
    changed = {"student.network": "resnet_tiny", "train.steps": "2", "train.devices": "1"}
    monkeypatch.setattr(job, "demo_overrides", lambda *a, **k: own(*a, **k) | changed)
    return chosen


def products(folder):
    """What is made once, by when it was written."""
    patterns = ("*/calibration.json", "*/evaluation/*", "explain/index.html", "detector/*")
    found = [path for pattern in (*patterns, "clips/*") for path in folder.glob(pattern)]
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in found}


@pytest.mark.slow
def test_the_demo_goes_on_where_it_was_cut_off_and_makes_nothing_twice(
    small, monkeypatch, tmp_path, capsys
):
    def cut(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(using, "export_run", cut)
        with pytest.raises(KeyboardInterrupt):
            job.run_demo(tmp_path)
    begun = products(tmp_path)
    assert {path.parts[0] for path in begun} == {*small, "explain"}
    capsys.readouterr()
    job.run_demo(tmp_path)
    text = capsys.readouterr().out
    done = products(tmp_path)
    assert begun.items() <= done.items()
    assert (tmp_path / "report.html").exists()
    assert (tmp_path / "predictions.html").exists()
    best = re.search(r"export of (\w+), the best student on validation", text)[1]
    spec, files = read_export(tmp_path / "detector")
    assert set(files) == {"stablehlo", "weights"}
    assert spec.calibration == using.calibrate(tmp_path / best)
    assert re.search(r"of 5 fake clips: \d fake, \d real, \d cannot say", text)
    assert "autoencoder" in text
    job.run_demo(tmp_path)
    assert products(tmp_path) == done
    # other weights are exported anew
    using.export(tmp_path / "teacher", tmp_path / "detector")
    assert products(tmp_path).items() != done.items()
