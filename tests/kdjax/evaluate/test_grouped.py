"""Rows over their seeds: what is compared with what, and which runs belong together."""

import json
import math

import numpy as np
import pytest

from kdjax.checks import UserError
from kdjax.evaluate.grouped import Group, Summary, line_row, line_to_json
from kdjax.evaluate.membership import group_alike, groups_of, is_sweep, read_membership
from kdjax.evaluate.report import write_report
from kdjax.evaluate.runs import read_runs
from kdjax.evaluate.statistics import mean_interval, paired_bootstrap

HOSTILE = "</td><script>alert(1)</script>"


def group(make, name, strength, seeds=range(3)):
    return Group(name, {seed: make.evaluation(strength, seed=seed) for seed in seeds})


@pytest.fixture
def groups(make):
    """A baseline, a better row and one that has two of its seeds."""
    return [group(make, "alone", 0.5), group(make, "good", 4.0), group(make, "few", 0.6, (1, 2))]


def test_lines_have_mean_interval_and_the_paired_difference(groups):
    alone, good, few = Summary(resamples=100).lines(groups, "alone", "c40")
    assert alone.is_baseline
    assert alone.comparison is None
    aucs = [run.metrics["c40"]["auc"] for run in groups[1].runs.values()]
    assert good.auc == mean_interval(aucs, limits=(0.0, 1.0))
    runs, others = ([g.runs[s] for s in range(3)] for g in (groups[1], groups[0]))
    expected = paired_bootstrap(
        [run.scores["c40"] for run in runs],
        [run.scores["c40"] for run in others],
        runs[0].columns["labels"],
        runs[0].columns["video"],
        resamples=100,
    )
    assert good.comparison.bootstrap[1:] == expected.bootstrap[1:]
    assert good.comparison.sign == 1
    assert (few.seeds, few.comparison.seeds) == (2, 2)
    # Holm over the two comparisons
    assert good.corrected == pytest.approx(2 * good.comparison.p_value)


def test_overall_pools_the_qualities_of_a_drawn_video(groups):
    _, good, _ = Summary(resamples=50).lines(groups, "alone", "overall")
    runs = groups[1].runs
    assert good.auc.estimate == pytest.approx(
        np.mean([run.metrics["overall"]["auc"] for run in runs.values()])
    )
    assert good.comparison.bootstrap.low > 0


def test_rows_on_other_images_are_not_compared(make, groups):
    other = make.evaluation(seed=0)
    other.columns["video"][0] += 100
    _, line = Summary(resamples=10).lines([groups[0], Group("other", {0: other})], "alone", "c40")
    assert line.comparison is None
    assert math.isnan(line.corrected)


def test_a_quality_that_a_run_lacks_is_not_a_number(make, groups):
    (line,) = Summary(resamples=10).lines(groups[:1], "", "c10")
    assert math.isnan(line.auc.estimate)
    assert line_to_json(line) == {"seeds": 3, "auc": [None, None, None]}


def test_runs_that_came_later_count(make, groups):
    summary = Summary(resamples=50)
    summary.lines(groups, "alone", "c40")
    again = make.evaluation(0.1, seed=9)
    groups[1] = Group("good", {**groups[1].runs, 1: again})
    fresh = Summary(resamples=50).lines(groups, "alone", "c40")
    assert summary.lines(groups, "alone", "c40")[1] == fresh[1]


def test_line_as_json_and_as_a_row(groups):
    alone, good, _ = Summary(resamples=50).lines(groups, "alone", "c40")
    found = json.loads(json.dumps(line_to_json(good), allow_nan=False))
    assert found["shown"] == 1
    assert found["bootstrap"][0] <= found["difference"] <= found["bootstrap"][1]
    assert list(line_row(alone)) == list(line_row(good))
    assert math.isnan(line_row(alone)["difference"])


def make_sweep(make, folder, **changed):
    rows = []
    for number, (name, strength) in enumerate((("alone", 0.5), (HOSTILE, 4.0))):
        runs = {}
        for seed in (0, 1):
            path = make.run(
                folder / f"{number}-{seed}", evaluation=make.evaluation(strength, seed=seed)
            )
            runs[str(seed)] = {"folder": path.name, "problem": ""}
        rows.append({"name": name, "runs": runs})
    content = {"format": 1, "baseline": "alone", "rows": rows, **changed}
    (folder / "results.json").write_text(json.dumps(content))
    return folder


def test_sweep_says_which_runs_belong_together(make, tmp_path):
    folder = make_sweep(make, tmp_path / "sweep")
    assert is_sweep(folder)
    assert not is_sweep(folder / "0-0")
    membership = read_membership(folder)
    assert (membership.names, membership.baseline) == (["alone", HOSTILE], "alone")
    groups = groups_of(read_runs(list(membership.runs)), membership)
    assert [(group.name, sorted(group.runs)) for group in groups] == [
        ("alone", [0, 1]),
        (HOSTILE, [0, 1]),
    ]


@pytest.mark.parametrize(
    "changed",
    [
        {"format": 2},
        {"rows": [{"name": "x", "runs": {"0": {"folder": "../other"}}}]},
        {"rows": [{"name": "x", "runs": {"0": {"folder": "/etc"}}}]},
        {"rows": [{"name": "x", "runs": {"a": {"folder": "0-0"}}}]},
        {"rows": [{"name": "x", "runs": []}]},
        {"rows": 3},
    ],
)
def test_damaged_or_hostile_sweep_is_refused(make, tmp_path, changed):
    folder = make_sweep(make, tmp_path / "sweep", **changed)
    with pytest.raises(UserError, match="holds no readable sweep"):
        read_membership(folder)


def test_sweep_without_a_run_is_refused(make, tmp_path):
    folder = make_sweep(make, tmp_path / "sweep", rows=[])
    with pytest.raises(UserError, match="has no run yet"):
        read_membership(folder)


def test_runs_alike_but_for_their_seeds_are_one_group(make, tmp_path):
    for seed in (0, 1):
        config = {**make.config(), "seed": {"student": seed, "data": seed}}
        make.run(tmp_path / f"a{seed}", config=config)
    make.run(
        tmp_path / "b", config={**make.config(optimizer__learning_rate=1.0), "seed": {"student": 0}}
    )
    make.run(tmp_path / "none")
    runs = read_runs([tmp_path / name for name in ("a0", "a1", "b", "none")])
    groups = groups_of(runs, group_alike(runs))
    assert [(group.name, sorted(group.runs)) for group in groups] == [
        ("a0 and 1 more", [0, 1]),
        ("b", [0]),
    ]


def test_report_of_a_sweep_shows_the_table_and_plots_and_escapes_names(make, tmp_path):
    folder = make_sweep(make, tmp_path / "sweep")
    membership = read_membership(folder)
    page = write_report(list(membership.runs), tmp_path / "r.html", membership=membership)
    text = page.read_text()
    seeds = text[text.index('<section id="seeds"') : text.index('<section id="roc"')]
    assert "&lt;/td&gt;&lt;script&gt;alert(1)" in seeds
    assert "<script>alert" not in seeds
    assert seeds.count("(baseline)</span>") == 4
    assert 'id="intervals-0"' in seeds
    assert 'id="differences-3"' in seeds
    assert "Differences are to <em>alone</em>" in seeds


def test_report_of_single_runs_has_no_such_table(make, tmp_path):
    runs = [make.run(tmp_path / "a"), make.run(tmp_path / "b")]
    assert '<section id="seeds"' not in write_report(runs, tmp_path / "r.html").read_text()
