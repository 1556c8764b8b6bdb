"""What a sweep writes and says: its tables, its state, the time left, and all of it read back in Python."""

import json

import numpy as np
import pytest
from scipy import stats

import kdjax
from kdjax.checks import UserError
from kdjax.evaluate import statistics
from kdjax.evaluate.membership import is_sweep, read_membership
from kdjax.train.sweeps.ledger import DONE, FAILED, MISSING, RUNNING, STOPPED, State
from kdjax.train.sweeps.status import describe, duration, seconds_left

ROWS = [{"name": "alone"}, {"name": "long", "train.steps": 7}, {"train.steps": 8}]


@pytest.fixture
def swept(stand_ins, sweep, tmp_path):
    """A sweep of three rows and four seeds, in which one row fails."""
    stand_ins.failing = {8: UserError("diverged | badly")}
    sweep(tmp_path, ROWS, seeds=4, baseline="0")
    return tmp_path


def aucs(folder, row):
    sweep = kdjax.Sweep(folder)
    lines = [line for line in sweep.table("seeds") if line["row"] == row]
    return np.array([line["c40/auc"] for line in lines])


def test_results_have_runs_and_rows_with_their_comparison(swept, table):
    lines = table(swept / "results.csv")
    assert [(line["row"], line["seed.student"]) for line in lines[:4]] == [
        *(("alone", "3"), ("long", "3"), ("train.steps=8", "3"), ("alone", "4"))
    ]
    content = json.loads((swept / "results.json").read_text())
    assert (content["baseline"], content["split"], content["metric"]) == ("alone", "test", "auc")
    alone, long, failed = content["rows"]
    assert list(long["runs"]) == ["3", "4", "5", "6"]
    assert (long["config"], long["overrides"]) == ("supervised:resnet_tiny", {"train.steps": 7})
    assert failed["runs"]["6"]["problem"] == "diverged | badly"
    assert "difference" not in alone["summary"]["c40"]
    assert long["summary"]["c40"]["shown"] == 1
    summary = {(line["quality"], line["row"]): line for line in table(swept / "summary.csv")}
    assert float(summary["c40", "long"]["p (Holm)"]) < 0.05
    # not measured, not zero
    assert summary["raw", "long"]["AUC"] == ""
    assert summary["c40", "alone"]["p"] == ""


def test_the_mean_and_its_interval_are_students(swept, table):
    summary = {(line["quality"], line["row"]): line for line in table(swept / "summary.csv")}
    found, values = summary["c40", "alone"], aucs(swept, "alone")
    half = stats.t.ppf(0.975, 3) * values.std(ddof=1) / 2
    assert float(found["AUC"]) == pytest.approx(values.mean())
    assert float(found["low"]) == pytest.approx(values.mean() - half)
    difference = aucs(swept, "long").mean() - values.mean()
    assert float(summary["c40", "long"]["difference"]) == pytest.approx(difference)


def test_holm_corrects_within_a_table(stand_ins, sweep, tmp_path, table):
    rows = [{"name": "alone"}, *({"name": str(n), "optimizer.momentum": n / 10} for n in (1, 2, 3))]
    sweep(tmp_path, rows, seeds=2, baseline="alone")
    lines = [line for line in table(tmp_path / "summary.csv") if line["quality"] == "c40"][1:]
    wanted = statistics.holm([float(line["p"]) for line in lines])
    assert [float(line["p (Holm)"]) for line in lines] == pytest.approx(list(wanted))


def test_the_page_is_a_table_for_each_quality_and_what_is_not_done(swept):
    page = (swept / "results.md").read_text()
    assert "8 of 12 runs are done" in page
    lines = page.splitlines()
    head = lines.index("## c40") + 2
    assert lines[head] == ("| row | seeds | AUC | difference (bootstrap) | over seeds | p (Holm) |")
    mean = aucs(swept, "long").mean()
    assert lines[head + 3].startswith(f"| long | 4 | {mean:.4f} [")
    assert "## raw" not in lines
    assert page.count("| failed | diverged \\| badly |") == 4


def test_the_report_takes_a_sweep_of_one_seed_too(stand_ins, sweep, tmp_path):
    sweep(tmp_path, ROWS[:2])
    assert is_sweep(tmp_path)
    assert read_membership(tmp_path).names == ["alone", "long"]


def test_a_sweep_is_read_back_by_settings_and_by_seeds(swept):
    sweep = kdjax.Sweep(swept)
    assert sweep.baseline == "alone"
    assert sweep.rows[1] == {"name": "long", "config": "supervised:resnet_tiny", "train.steps": 7}
    lines = sweep.table(quality="c40")
    assert [(line["row"], line["seeds"], line.get("train.steps")) for line in lines] == [
        *(("alone", 4, None), ("long", 4, 7))
    ]
    assert {line["quality"] for line in sweep.table()} == {"c40", "overall"}
    with pytest.raises(ValueError, match="quality='c99'"):
        sweep.table(quality="c99")
    with pytest.raises(UserError, match=r"^baseline=nothing: no row is called so"):
        sweep.table(baseline="nothing")
    turned = sweep.table(quality="c40", baseline="long")
    assert turned[0]["difference"] == pytest.approx(-lines[1]["difference"])
    assert np.isnan(sweep.table(quality="c40", baseline="")[1]["difference"])
    seeds = sweep.table("seeds")
    assert len(seeds) == 12
    assert {line["state"] for line in seeds if line["row"] == "long"} == {"done"}
    assert [type(run) for run in sweep.runs] == [kdjax.Run] * 12
    assert sweep.run("long", 4).config.seed.student == 4
    assert sweep.run(1).config.train.steps == 7
    states = [(line["state"], line["problem"]) for line in sweep.status()]
    assert states.count(("failed", "diverged | badly")) == 4


def test_what_a_sweep_has_not_is_refused(swept, tmp_path_factory):
    sweep = kdjax.Sweep(swept)
    with pytest.raises(UserError, match=r"row 'long' has begun with the seeds: 3, 4, 5, 6"):
        sweep.run("long", 9)
    with pytest.raises(UserError, match=r"row=lon: no row is called so; did you mean 'long'"):
        sweep.run("lon")
    with pytest.raises(ValueError, match="by='seed' is not one of 'settings', 'seeds'"):
        sweep.table("seed")
    with pytest.raises(UserError, match="is not a sweep; `kdjax sweep` makes one"):
        kdjax.Sweep(tmp_path_factory.mktemp("none"))


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', '{"format": 2, "rows": {}}'])
def test_a_damaged_list_of_rows_is_said_and_can_be_deleted(swept, sweep, stand_ins, text):
    plan = swept / ".sweep" / "plan.json"
    plan.write_text(text)
    with pytest.raises(UserError, match=r"plan\.json"):
        kdjax.Sweep(swept)
    plan.unlink()
    trained = len(stand_ins.trained)
    sweep(swept, ROWS, seeds=4)
    assert len(stand_ins.trained) == trained


def test_a_folder_outside_is_refused(swept):
    plan = swept / ".sweep" / "plan.json"
    document = json.loads(plan.read_text())
    next(iter(next(iter(document["rows"].values()))["runs"].values()))["folder"] = "../elsewhere"
    plan.write_text(json.dumps(document))
    with pytest.raises(UserError, match=r"plan\.json is damaged"):
        kdjax.Sweep(swept)


def test_time_left_is_that_of_what_is_done_shared_by_what_runs():
    done = [State(DONE, seconds=100), State(DONE, seconds=200)]
    assert seconds_left([State(MISSING)]) is None
    assert seconds_left([*done, State(MISSING), State(MISSING)]) == 300
    # 150 each: one has had 30, one 50 and stopped, two are missing; two at work
    running = [State(RUNNING, since=970), State(RUNNING, since=1000)]
    rest = [State(STOPPED, seconds=50), State(MISSING), State(MISSING), State(FAILED, "why")]
    assert seconds_left([*done, *running, *rest], 1000) == (120 + 150 + 100 + 150 + 150) / 2
    # what takes longer than it should takes no time less than nothing
    assert seconds_left([*done, State(RUNNING, since=10)], 1000) == 0
    assert describe([*done, *rest, *running], 1000) == (
        "8 runs: 2 done, 2 running, 1 failed, 1 stopped, 2 missing; about 6 min left"
    )
    assert describe(done) == "2 runs: 2 done"
    # a time that is hardly any is not told
    late = describe([*done, State(RUNNING, since=10)], 1000)
    assert late == "3 runs: 2 done, 1 running"


def test_times_are_read_at_a_glance():
    assert [duration(each) for each in (0.2, 42, 150, 7500)] == ["", "42 s", "2 min", "2 h 05 min"]
