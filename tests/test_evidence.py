"""The evidence: what is trained, what is kept when it is cut off, and the page made of it."""

import importlib
import json
import re
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import models
from kdjax.checks import UserError
from kdjax.data_pipeline.manifest import checksum
from kdjax.evaluate.evaluator import summarize
from kdjax.evaluate.metrics import area_under_curve
from kdjax.methods import Network
from kdjax.train import checkpoint

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
GAINS = {"supervised": 1.0, "kd": 3.0, "ckd": -1.0, "add": 1.0}
VIDEOS = 40


@pytest.fixture
def code(monkeypatch):
    """The modules of the evidence."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    parts = (
        "store",
        "rows",
        "tables",
        "plan",
        "run",
        "analysis",
        "verdicts",
        "claims",
        "page",
        "logs",
        "scale",
        "shares",
        "teachers",
    )
    modules = {part: importlib.import_module(f"evidence_{part}") for part in parts}
    return SimpleNamespace(**modules, command=importlib.import_module("evidence"))


@pytest.fixture
def work(code, monkeypatch, tmp_path):
    """A table of four rows whose training is a draw, better for KD and worse for CKD; what was trained."""
    t = code.tables
    rows = (t.ALONE, *(t.Row(name.upper(), name) for name in ("kd", "ckd", "add")))
    rows += (t.Row("three", by_quality={"raw": "KD", "c23": "alone", "c40": "alone"}),)
    table = t.Table("Small", "data", "resnet_tiny", t.SCHEDULE, {}, rows, quality="average")
    monkeypatch.setitem(t.TABLES, "small", table)
    trained = []

    def train(config, folder):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        lines = [
            {"kind": "train", "step": step, "loss": 1 / step, "gradient_ratio/x": step / 10}
            for step in (1, 5, 40, 400)
        ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / "timings.jsonl").write_text('{"images_per_second": 50}\n')
        trained.append((config.method.name, config.seed.student))
        (folder / "best").mkdir()
        return {"step": 400, "best_step": 240, "best_metric": 0.8}

    def evaluate(folder):
        method, seed = trained[-1]
        rng = np.random.default_rng([seed, GAINS[method] > 1])
        labels = np.arange(2 * VIDEOS) % 2
        columns = dict.fromkeys(("labels", "forgery"), labels)
        columns |= dict.fromkeys(("video", "identity", "index"), np.arange(2 * VIDEOS) % VIDEOS)
        logits = rng.normal(size=(3, 2 * VIDEOS)) + GAINS[method] * labels
        scores = dict(zip(("raw", "c23", "c40"), 1 / (1 + np.exp(-logits)), strict=True))
        return summarize(scores, columns)

    facts = {"name": "data", "checksum": "a" * 64, "drawn": "a" * 64, "sizes": {}, "image_size": 64}
    for name, stub in {
        "train": train,
        "evaluate_run": evaluate,
        "check_plan": lambda config: None,
        "describe": lambda *arguments: facts,
    }.items():
        monkeypatch.setattr(code.run, name, stub)
    results = tmp_path / "results"

    def run(*more, workdir="work"):
        words = ["run", "small", "--data", "data=d", "--workdir", str(tmp_path / workdir)]
        return code.command.main([*words, "--results", str(results), *more])

    return SimpleNamespace(
        run=run, trained=trained, table=table, results=results, path=results / "small.json"
    )


def replace_row(code, monkeypatch, work, name, **changed):
    rows = [row._replace(**changed) if row.name == name else row for row in work.table.rows]
    monkeypatch.setitem(code.tables.TABLES, "small", work.table._replace(rows=tuple(rows)))


def test_seeds_are_outside_and_rows_inside(work):
    assert work.run("--seeds=2") == 0
    methods = ["supervised", "kd", "ckd", "add"]
    assert work.trained == [(method, seed) for seed in (0, 1) for method in methods]


def test_what_is_there_is_not_trained_again_on_another_machine(work):
    work.run("--seeds=1")
    work.run("--seeds=2", workdir="elsewhere")
    assert [seed for _, seed in work.trained] == [0] * 4 + [1] * 4


def test_row_with_other_settings_is_trained_again_and_its_old_runs_go(code, monkeypatch, work):
    work.run("--seeds=2")
    replace_row(code, monkeypatch, work, "KD", overrides={"method.temperature": 2.0})
    work.run("--seeds=1")
    assert work.trained[8:] == [("kd", 0)]
    runs = {
        name: list(row["runs"]) for name, row in json.loads(work.path.read_text())["rows"].items()
    }
    assert runs == {"alone": ["0", "1"], "KD": ["0"], "CKD": ["0", "1"], "ADD": ["0", "1"]}


def test_revision_trains_everything_again(code, monkeypatch, work):
    work.run("--seeds=1")
    monkeypatch.setitem(code.tables.TABLES, "small", work.table._replace(revision=2))
    work.run("--seeds=1")
    assert len(work.trained) == 8


def test_cut_off_run_loses_nothing_that_is_done(code, monkeypatch, work):
    whole = code.run.train

    def cut(config, folder):
        if len(work.trained) == 2:
            raise KeyboardInterrupt
        return whole(config, folder)

    monkeypatch.setattr(code.run, "train", cut)
    assert work.run("--seeds=1") == 130
    assert list(json.loads(work.path.read_text())["rows"]) == ["alone", "KD"]
    monkeypatch.setattr(code.run, "train", whole)
    assert work.run("--seeds=1") == 0
    assert [method for method, _ in work.trained] == ["supervised", "kd", "ckd", "add"]


def test_run_that_fails_is_written_down_and_the_others_go_on(code, monkeypatch, work, capsys):
    whole = code.run.train

    def diverge(config, folder):
        found = whole(config, folder)
        if config.method.name == "kd":
            raise UserError(f"the loss of {folder} is nan")
        return found

    monkeypatch.setattr(code.run, "train", diverge)
    assert work.run("--seeds=1") == 0
    run = json.loads(work.path.read_text())["rows"]["KD"]["runs"]["0"]
    assert run["problem"] == "the loss of the run is nan"
    assert "scores" not in run
    assert "Failed: KD, seed 0: the loss of the run is nan" in code.page.page(work.results)


def test_run_keeps_gradients_at_start_a_tenth_and_end(work):
    work.run("--seeds=1")
    run = json.loads(work.path.read_text())["rows"]["alone"]["runs"]["0"]
    assert run["gradients"] == {"x": [0.1, 4.0, 40.0]}
    assert run["logged"] == {"loss": [1.0, 0.025, 0.0025]}
    assert (run["steps"], run["best_step"], run["images_per_second"]) == (400, 240, 50)
    assert set(run["metrics"]) == {"raw", "c23", "c40", "overall"}
    assert run["machine"]["versions"]["jax"]


def test_dry_names_what_would_run_and_trains_nothing(work, capsys):
    assert work.run("--seeds=1", "--dry") == 0
    assert work.trained == []
    assert "4 of 4 runs are missing\n  alone, seed 0\n  KD, seed 0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "nothing"], "no table is called 'nothing'"),
        (["run", "small", "--seeds=0"], "--seeds must be at least 1"),
        (["run", "small"], "--workdir is missing"),
        (["run", "small", "--workdir=w"], "small needs --data data=FOLDER"),
        (["run", "small", "--data", "x"], "--data x must be NAME=FOLDER"),
        (
            ["run", "small", "--data", "dat=x"],
            "no table has data called 'dat'; did you mean 'data'?",
        ),
        (["run", "small", "--first=9"], "--first=9 leaves no seed of small, which has "),
        (["run", "small", "--rows", "kd"], "no row is called 'kd'"),
    ],
)
def test_bad_input_is_one_line(code, work, capsys, words, message):
    more = ["--results", str(work.results)]
    assert code.command.main([*words, *more]) == 2
    text = capsys.readouterr().err
    assert message in text
    assert text.count("\n") == 1


def test_other_data_than_the_frozen_ones_are_refused(code, tmp_path):
    frozen = tmp_path / "frozen.json"
    code.store.check_frozen("faces", "b" * 64, frozen)
    facts = {"version": 1, "checksum": "a" * 64, "command": "kdjax prepare"}
    frozen.write_text(json.dumps({"faces": facts}))
    code.store.check_frozen("faces", "a" * 64, frozen)
    code.store.check_frozen("other", "b" * 64, frozen)
    with pytest.raises(UserError, match=r"as frozen in frozen\.json; make it again: kdjax prepare"):
        code.store.check_frozen("faces", "b" * 64, frozen)


def test_data_of_another_processor_are_the_same_and_said(code, work, monkeypatch, tmp_path):
    frozen = tmp_path / "frozen.json"
    facts = {"version": 1, "checksum": "a" * 64, "variants": {"d" * 64: "on another processor"}}
    frozen.write_text(json.dumps({"data": facts}))
    assert code.store.check_frozen("data", "d" * 64, frozen) == "a" * 64
    work.run("--seeds=1")
    facts = {"name": "data", "checksum": "a" * 64, "drawn": "d" * 64, "sizes": {}, "image_size": 64}
    monkeypatch.setattr(code.run, "describe", lambda *arguments: facts)
    work.run("--seeds=2")
    content = json.loads(work.path.read_text())
    assert (content["dataset"]["checksum"], "drawn" in content["dataset"]) == ("a" * 64, False)
    drawn = [run.get("drawn") for row in content["rows"].values() for run in row["runs"].values()]
    assert drawn == [None, "d" * 64] * len(content["rows"])
    monkeypatch.setattr(code.store, "variants", lambda dataset: {"d" * 64: "on another processor"})
    half = f"{len(content['rows'])} of {2 * len(content['rows'])} runs"
    assert f"{half} saw the data as drawn on another processor (`dddddddddddd`)." in code.page.page(
        work.results
    )


def test_what_was_drawn_and_what_it_counts_as_are_told_apart(code, tiny_dataset, tmp_path):
    found = checksum(tiny_dataset)
    frozen = tmp_path / "frozen.json"
    facts = {"version": 1, "checksum": "a" * 64, "variants": {found: "on another processor"}}
    frozen.write_text(json.dumps({"data": facts}))
    described = code.run.describe("data", tiny_dataset, frozen)
    assert (described["checksum"], described["drawn"]) == ("a" * 64, found)


def test_results_on_other_data_are_dropped(code, work, monkeypatch):
    work.run("--seeds=1")
    facts = {"name": "data", "checksum": "c" * 64, "drawn": "c" * 64, "sizes": {}, "image_size": 64}
    monkeypatch.setattr(code.run, "describe", lambda *arguments: facts)
    work.run("--seeds=1", "--rows", "alone")
    content = json.loads(work.path.read_text())
    assert (list(content["rows"]), content["dataset"]["checksum"]) == (["alone"], "c" * 64)


def test_same_run_of_another_table_is_taken_over(code, monkeypatch, work, tmp_path, capsys):
    work.run("--seeds=2")
    table = work.table._replace(
        rows=(*work.table.rows[:2], work.table.rows[0]._replace(name="again")), quality="raw"
    )
    monkeypatch.setitem(code.tables.TABLES, "other", table)
    words = ["run", "other", "--data", "data=d", "--workdir", str(tmp_path / "work")]
    words += ["--results", str(work.results)]
    changed = table.rows[1]._replace(overrides={"method.temperature": 2.0})
    monkeypatch.setitem(
        code.tables.TABLES, "other", table._replace(rows=(table.rows[0], changed, table.rows[2]))
    )
    assert code.command.main([*words, "--seeds=2"]) == 0
    assert work.trained[8:] == [("kd", 0), ("kd", 1)]
    assert capsys.readouterr().out.count("is in small, with the same settings") == 4
    small, other = (code.store.read(name, work.results) for name in ("small", "other"))
    mine, theirs = other["rows"]["again"]["runs"]["1"], small["rows"]["alone"]["runs"]["1"]
    assert mine["metrics"] == theirs["metrics"]
    assert mine["scores"] == {"raw": theirs["scores"]["raw"]}
    assert other["labels"] == small["labels"]
    # a table that judges all qualities cannot take over what kept the scores of one
    for quality, found in (("average", ""), ("raw", "other")):
        arguments = ("small", changed, other["rows"]["KD"], 0, quality, work.results)
        assert code.store.share_run(*arguments) == found


def test_writers_of_one_table_lose_nothing(code, tmp_path):
    row = code.tables.ALONE
    wanted = {"revision": 1, "settings": {}, "teacher": None}

    def write(seed):
        with code.store.updating("t", tmp_path) as content:
            code.store.add_run(content, row, wanted, seed, {"seconds": seed})

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    runs = code.store.read("t", tmp_path)["rows"]["alone"]["runs"]
    assert list(runs) == [str(seed) for seed in range(12)]
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]


def test_packed_scores_keep_the_order_of_a_sure_network(code):
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    scores = (1 / (1 + np.exp(-(rng.normal(size=400) + labels + 6)))).astype(np.float32)
    packed = np.array(code.store.pack(scores))
    assert (packed.min() >= 0) & (packed.max() <= 1000)
    assert abs(area_under_curve(packed, labels) - area_under_curve(scores, labels)) < 1e-3
    assert code.store.pack(np.array([0.0, 0.5, 1.0])) == [0, 500, 1000]


def test_settings_leave_out_what_does_not_decide(code):
    flat = {
        "method.parts": ("kd",), "method.kd.temperature": 4.0, "method.add.views": 12,
        "method.kd.shares.kd": 1.0, "data.path": "here", "seed.student": 3, "data.threads": 4,
    }  # fmt: skip
    kept = {"method.parts": ["kd"], "method.kd.temperature": 4.0}
    assert code.store.settings_of(flat) == kept
    balanced = code.store.settings_of({**flat, "train.balance": "start"})
    assert balanced == {**kept, "method.kd.shares.kd": 1.0, "train.balance": "start"}
    assert code.store.same_settings(kept, {**kept, "train.balance": "none"})
    assert not code.store.same_settings(kept, balanced)


def test_table_and_verdicts_of_a_page(code, monkeypatch, work):
    work.run("--seeds=5")
    c = code.verdicts
    versus = (
        c.Versus("small", "KD", "alone"),
        c.Versus("small", "CKD", "alone"),
        c.Versus("small", "ADD", "alone"),
        c.Versus("small", "ADD", "alone", at_least=True),
        c.Versus("small", "three", "alone"),
        c.Versus("small", "KD", "CKD", logged=("loss", "loss")),
    )
    content = code.store.read("small", work.results)
    analyses = {"small": code.analysis.Analysis(work.table, content, resamples=300)}
    # ADD draws what the student alone draws; three networks are KD's on raw
    expected = [c.AGREES, c.AGAINST, c.UNDECIDED, c.AGREES, c.AGREES, c.UNDECIDED]
    found = [c.verdict(each, analyses) for each in versus]
    assert found == expected
    assert c.overall(found[:1] * 2) == c.AGREES
    assert c.overall(found[:2]) == "agrees in 1, does not agree in 1 of 2 comparisons"
    lines = list(code.page.table_lines("small", analyses["small"]))
    assert lines[2].startswith("`small`: 20 of 20 runs.")
    alone = next(line for line in lines if line.startswith("| alone | 5 | 0.7"))
    assert "| baseline |  |  |  | 1 | x 0.1 / 4 / 40 |" in alone
    assert any(line.startswith("| KD | 5 | 0.9") and "| **+0.2" in line for line in lines)
    assert any(
        line.startswith("| ADD | 5 |") and "| +0.000 | +0.000 to +0.000 |" in line for line in lines
    )


def test_a_search_is_judged_on_validation_images_and_keeps_no_test_score(code, monkeypatch, work):
    searched = work.table._replace(
        rows=work.table.rows[:2], quality="validation", seeds=range(10, 13)
    )
    monkeypatch.setitem(code.tables.TABLES, "small", searched)
    assert work.run() == 0
    assert sorted({seed for _, seed in work.trained}) == [10, 11, 12]
    content = code.store.read("small", work.results)
    assert content["rows"]["KD"]["runs"]["10"]["scores"] == {}
    for seed in ("10", "11", "12"):
        content["rows"]["KD"]["runs"][seed]["validation"] = 0.81
    analysis = code.analysis.Analysis(searched, content)
    assert analysis.compare("KD", "alone").sign == 1
    lines = list(code.page.table_lines("small", analysis))
    assert (
        next(line for line in lines if line.startswith("| KD | 3 | 0.810 |")).count("+0.010") == 3
    )
    assert lines[4].startswith("| row | seeds | AUC, validation | 95 % | difference |")


def test_what_is_shown_survives_holms_correction_and_needs_two_seeds(code, monkeypatch, work):
    work.run("--seeds=5")
    content = code.store.read("small", work.results)
    analysis = code.analysis.Analysis(work.table, content, resamples=300)
    versus = code.verdicts.Versus("small", "KD", "alone")
    assert analysis.shown("KD", "alone") == 1
    assert analysis.shown("CKD", "alone") == -1
    monkeypatch.setattr(analysis, "_corrected", {**analysis.corrected(), "KD": 0.051, "CKD": 0.05})
    assert analysis.compare("KD", "alone").sign == 1
    assert analysis.shown("KD", "alone") == analysis.shown("CKD", "alone") == 0
    assert code.verdicts.verdict(versus, {"small": analysis}) == code.verdicts.UNDECIDED
    lines = list(code.page.table_lines("small", analysis))
    assert not any("**" in line for line in lines if line.startswith(("| KD |", "| CKD |")))
    # two rows that are not of the family
    assert analysis.shown("KD", "CKD") == 1
    for row in content["rows"].values():
        row["runs"] = {"0": row["runs"]["0"]}
    one = code.analysis.Analysis(work.table, content, resamples=300)
    assert all(np.isnan(value) for value in one.corrected().values())
    assert one.shown("KD", "alone") == 0


def test_claim_with_missing_runs_is_undecided_and_says_how_many(code, work):
    work.run("--seeds=3")
    content = code.store.read("small", work.results)
    analyses = {"small": code.analysis.Analysis(work.table, content, resamples=50)}
    versus = code.verdicts.Versus("small", "three", "CKD")
    assert code.verdicts.verdict(versus, analyses) == "undecided: 9 of 15 runs"


def test_page_is_the_same_bytes_again(code, monkeypatch, work, tmp_path):
    monkeypatch.setattr(code.page, "TABLES", {"small": work.table})
    versus = (code.verdicts.Versus("small", "KD", "alone"),)
    claim = code.verdicts.Claim("Paper", "KD helps.", versus, "Table 1", "Because.")
    monkeypatch.setattr(code.page, "CLAIMS", (claim,))
    work.run("--seeds=2")
    output = tmp_path / "page.md"
    words = ["page", "--results", str(work.results), "--output", str(output)]
    assert code.command.main([*words, "--check"]) == 2
    assert code.command.main(words) == 0
    first = output.read_bytes()
    assert code.command.main([*words, "--check"]) == 0
    assert code.command.main(words) == 0
    assert output.read_bytes() == first
    assert "### Paper: KD helps.\n\n**Undecided.**" in first.decode()
    assert "The paper: Table 1.\n\nBecause." in first.decode()


def test_page_leaves_out_what_was_trained_with_other_settings(code, monkeypatch, work):
    work.run("--seeds=1")
    replace_row(code, monkeypatch, work, "KD", overrides={"method.temperature": 2.0})
    content = code.store.read("small", work.results)
    table = code.tables.TABLES["small"]
    assert list(code.plan.current(content, table)["rows"]) == ["alone", "CKD", "ADD"]
    assert list(content["rows"]) == ["alone", "KD", "CKD", "ADD"]
    monkeypatch.setattr(code.page, "TABLES", {"small": table})
    monkeypatch.setattr(code.page, "CLAIMS", ())
    text = code.page.page(work.results)
    assert "| KD | 0 | – |" in text
    assert "| CKD | 1 | 0." in text


def test_every_table_can_be_configured_and_every_claim_names_rows(code):
    tables = code.tables.TABLES
    for name, table in tables.items():
        names = [row.name for row in table.rows]
        assert len(set(names)) == len(names), name
        assert code.plan.plan(table, range(1)), name
        for row in table.rows:
            assert (row.baseline or table.baseline) in names
            assert set(row.by_quality.values()) <= set(names)
            assert not row.teacher or row.teacher in table.teachers
    for claim in code.claims.CLAIMS:
        for versus in claim.versus:
            rows = {row.name for row in tables[versus.table].rows}
            assert {versus.better, versus.worse} <= rows, claim.text


def test_teachers_have_other_seeds_than_their_students(code):
    table = code.tables.TABLES["c40_synth_scratch"]
    for seed in table.seeds:
        teacher = code.plan.teacher_config(table, "teacher", seed)
        assert teacher.seed.student >= code.plan.TEACHER_SEED > seed
        assert teacher.student.qualities == ("raw",)


def test_teachers_are_told_apart_by_their_weights(code, work):
    def taught(weights):
        known = {"network": "net", "seed": 100, "auc": {"raw": 0.9}}
        return {"teacher": known | ({"weights": weights} if weights else {})}

    def told(*kd_then_ckd):
        runs = [{str(seed): run for seed, run in enumerate(row)} for row in kd_then_ckd]
        rows = {name: {"runs": found} for name, found in zip(("KD", "CKD"), runs, strict=True)}
        analysis = code.analysis.Analysis(work.table, {"rows": rows})
        return list(code.teachers.teacher_facts(analysis))

    same = told([taught("a"), taught("a")], [taught("a"), taught("a")])
    assert same == ["Teachers: net, 1 trained, test AUC on raw 0.900 to 0.900."]
    # one from before hashes were kept
    assert told([taught(""), taught("a")], [taught("a"), taught("a")]) == same
    one, mixed = told([taught("a"), taught("a")], [taught("a"), taught("b")])
    assert "net, 2 trained" in one
    assert mixed.startswith("Of seed 1 not all rows had the same teacher")
    assert told([{}], [{}]) == []


@pytest.mark.slow
def test_committed_page_is_what_the_committed_results_say(code):
    assert code.command.main(["page", "--check"]) == 0


@pytest.mark.slow
def test_two_steps_of_students_and_their_teacher(code, monkeypatch, tiny_dataset, tmp_path):
    t = code.tables
    short = {
        "data.batch_size": 8, "train.steps": 2, "train.devices": 1, "evaluation.batch_size": 8,
        "train.gradient_ratio_every": 1,
    }  # fmt: skip
    teachers = {"teacher": t.Teacher("resnet_tiny", {**short, **t.RAW})}
    teachers["second"] = teachers["teacher"]._replace(
        settings={**short, **t.RAW, "optimizer.learning_rate": 1e-3}
    )
    rows = (t.ALONE, t.KD, code.rows.CKD._replace(name="CKD of two", more_teachers=("second",)))
    table = t.Table("Tiny", "tiny", "resnet_tiny", short, teachers, rows)
    monkeypatch.setitem(t.TABLES, "tiny", table)
    words = ["run", "tiny", "--data", f"tiny={tiny_dataset}", "--workdir", str(tmp_path / "work")]
    words += ["--seeds=1", "--results", str(tmp_path / "results")]
    assert code.command.main(words) == 0
    content = json.loads((tmp_path / "results" / "tiny.json").read_text())
    run = content["rows"]["KD"]["runs"]["0"]
    assert run["teacher"]["seed"] == 100
    assert re.fullmatch("[0-9a-f]{16}", run["teacher"]["weights"])
    assert len(run["scores"]["c40"]) == len(content["labels"]) == 20
    assert run["gradients"]["kd"][0] > 0
    ensemble = content["rows"]["CKD of two"]
    assert ensemble["teacher"]["and second"]["optimizer.learning_rate"] == 1e-3
    assert ensemble["runs"]["0"]["and second"]["network"] == "resnet_tiny"
    config = next((tmp_path / "work" / "tiny").glob("CKD_of_two-*/config.json"))
    assert len(set(json.loads(config.read_text())["teacher"]["runs"])) == 2
    assert not list((tmp_path / "work" / "tiny").glob("*/checkpoints"))
    assert "Tiny" in sys.modules["evidence_page"].page(tmp_path / "results")


def test_extremes_begin_after_a_tenth_and_spikes_are_named(code, tmp_path):
    sizes = {1: 900.0, 2: 1.0, 30: 0.2, 35: 400.0, 40: 3.0}
    lines = [
        {"kind": "train", "step": step, "term/x": size, "gradient_ratio/x": size / 10}
        for step, size in sizes.items()
    ]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert code.logs.extremes(tmp_path) == {"x": [0.02, 40.0]}
    assert code.logs.spikes(tmp_path) == ["x"]


def test_shares_at_defaults_leave_out_rows_that_change_the_method(code, work):
    rows = (*work.table.rows[:2], code.tables.add("changed", view_weight=0.0))
    table = work.table._replace(rows=rows)
    run = {"gradients": {"x": [9.0, 0.5, 0.004]}, "extremes": {"x": [0.002, 0.7]}}
    content = {"rows": {name: {"runs": {"0": run}} for name in ("KD", "changed")}}
    lines = list(code.shares.share_lines({"small": code.analysis.Analysis(table, content)}))
    assert lines[2:] == ["| kd | x | 1 | 0.002 | 0.7 | 1 |"]


@pytest.mark.slow
def test_louder_teachers_have_larger_maps_and_the_same_logits(code, monkeypatch):
    module = models.create("resnet_tiny", num_classes=2)
    variables = module.init(jax.random.key(0), jnp.ones((1, 16, 16, 3)), train=False)
    network = Network(module, (0.0,) * 3, (1.0,) * 3)
    monkeypatch.setattr(checkpoint, "load_best", lambda run, **how: (network, variables, "config"))
    with code.scale.louder_teachers(10.0):
        louder, found, config = checkpoint.load_best("run")
    plain = checkpoint.load_best("run")[0].module
    image = jax.random.normal(jax.random.key(1), (2, 16, 16, 3))
    quiet, loud = (one.apply(found, image, train=False) for one in (plain, louder.module))
    assert config == "config"
    np.testing.assert_array_equal(loud.logits, quiet.logits)
    assert set(loud.features) == set(quiet.features)
    for name, value in quiet.features.items():
        np.testing.assert_allclose(loud.features[name], 10 * value)
    again, _ = louder.module.init_with_output(jax.random.key(0), image, train=False)
    np.testing.assert_allclose(again.features["pooled"], loud.features["pooled"], rtol=1e-5)
