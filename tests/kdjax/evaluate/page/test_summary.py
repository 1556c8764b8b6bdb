import dataclasses

import numpy as np
import pytest

from kdjax.evaluate.evaluation import OVERALL
from kdjax.evaluate.grouped import Group, Line, Summary
from kdjax.evaluate.intervals import evaluation_intervals
from kdjax.evaluate.page import summary
from kdjax.evaluate.page.summary import candidates, choose, sentences, summary_table, verdict
from kdjax.evaluate.runs import Run
from kdjax.evaluate.statistics import Comparison, Interval, holm, paired_bootstrap

DATA = [{"videos": 30}]


def rows(make, **strengths):
    return [
        Group(name, {0: make.evaluation(strength=strength, seed=number)})
        for number, (name, strength) in enumerate(strengths.items())
    ]


def pick(groups, quality="c40"):
    return choose(groups, quality, Summary(resamples=500))


def test_the_best_is_compared_with_every_other_by_the_paired_bootstrap(make):
    groups = rows(make, weak=0.2, strong=4.0, middle=2.0)
    choice = pick(groups)
    assert choice.best == "strong"
    assert [rival.name for rival in choice.rivals] == ["middle", "weak"]
    best, other = (groups[n].runs[0] for n in (1, 2))
    expected = paired_bootstrap(
        best.scores["c40"][None],
        other.scores["c40"][None],
        best.columns["labels"],
        best.columns["video"],
        resamples=500,
    )
    lead = choice.rivals[0].lead
    np.testing.assert_allclose(lead, expected.bootstrap, atol=1e-12)


def test_of_one_run_the_interval_is_over_videos(make):
    (group,) = rows(make, alone=1.0)
    choice = pick([group])
    assert choice.auc == evaluation_intervals(group.runs[0], "c40", ("auc",))["auc"]
    assert verdict(choice) == "nothing to compare it with"
    assert "alone is the only one to use" in sentences([choice], DATA)[0]


def test_what_chance_can_do_is_undecided_and_what_it_cannot_is_not(make):
    close = pick(rows(make, first=1.0, second=1.0))
    assert not close.rivals[0].is_decided
    assert close.rivals[0].lead.low < 0 < close.rivals[0].lead.high
    assert verdict(close).startswith("undecided against ")
    assert "is undecided (" in sentences([close], DATA)[0]
    clear = pick(rows(make, first=-3.0, second=5.0))
    assert clear.rivals[0].is_decided
    assert verdict(clear) == "better than the other"
    assert "it is better than the next best, first (" in sentences([clear], DATA)[0]


def test_p_values_are_corrected_over_the_rivals(make):
    choice = pick(rows(make, a=4.0, b=1.0, c=0.5, d=0.2))
    groups = rows(make, a=4.0, b=1.0, c=0.5, d=0.2)
    best = groups[0].runs[0]
    values = []
    for rival in choice.rivals:
        other = next(group for group in groups if group.name == rival.name).runs[0]
        scores = (run.scores["c40"][None] for run in (best, other))
        columns = best.columns["labels"], best.columns["video"]
        values.append(paired_bootstrap(*scores, *columns, resamples=500).p_value)
    assert [rival.corrected for rival in choice.rivals] == pytest.approx(holm(values))


def test_an_interval_beside_zero_is_not_enough_when_the_correction_says_so(make, monkeypatch):
    groups = rows(make, first=-3.0, second=5.0)
    monkeypatch.setattr(summary, "LEVEL", 1e-9)
    assert not pick(groups).rivals[0].is_decided


def test_a_small_p_value_is_not_enough_when_the_interval_holds_zero():
    nothing, p_value = Interval(-0.1, float("nan"), float("nan")), 1e-4
    for high, is_decided in ((0.01, False), (-0.01, True)):
        comparison = Comparison(1, nothing, Interval(-0.1, -0.2, high), p_value)
        line = Line("a", 1, Interval(0.5, 0.4, 0.6), False, comparison, p_value)
        assert summary._rival(line).is_decided == is_decided


def test_rows_on_other_images_or_data_are_told_apart(make):
    groups = rows(make, first=1.0, second=2.0, other=9.0)
    moved = groups[2].runs[0]
    moved.columns["video"] = moved.columns["video"] + 1
    choice = pick(groups)
    assert (choice.best, choice.apart) == ("second", ("other",))
    assert "other images: other." in sentences([choice], DATA)[-1]
    groups = rows(make, first=1.0, second=2.0, other=9.0)
    renamed = dataclasses.replace(groups[2].runs[0], dataset={"name": "another"})
    assert pick([*groups[:2], Group("other", {0: renamed})]).apart == ("other",)


def test_several_seeds_have_to_agree_and_are_named(make):
    groups = [
        Group(name, {seed: make.evaluation(strength=s, seed=seed + 10 * n) for seed in range(3)})
        for n, (name, s) in enumerate((("low", -3.0), ("high", 5.0)))
    ]
    choice = pick(groups)
    assert (choice.best, choice.seeds, choice.rivals[0].is_decided) == ("high", 3, True)
    told = sentences([choice], DATA)
    assert "the mean of 3 seeds" in told[0]
    assert told[-1].startswith("This is known from at least 3 seeds a row and 30 videos")
    # of two seeds the interval over them is wide: the videos alone do not decide
    close = [Group(each.name, {seed: each.runs[seed] for seed in (0, 1)}) for each in groups]
    assert pick(close).rivals[0].is_decided == (
        Summary(resamples=500).lines(close, "high", "c40")[0].comparison.sign != 0
    )


def test_rows_without_a_seed_in_common_are_compared_by_their_order(make):
    groups = [Group("a", {5: make.evaluation(seed=0)}), Group("b", {7: make.evaluation(seed=1)})]
    found = candidates([], groups)
    assert [list(group.runs) for group in found] == [[0], [0]]
    assert np.isfinite(pick(found).rivals[0].lead.estimate)
    alike = [Group("a", {5: make.evaluation()}), Group("b", {5: make.evaluation()})]
    assert [list(group.runs) for group in candidates([], alike)] == [[5], [5]]


def test_a_run_that_is_in_no_row_is_a_row(make, tmp_path):
    evaluation = make.evaluation()
    run = Run("scores.csv", tmp_path, {}, [], [], evaluation, ())
    (group,) = candidates([run], [])
    assert (group.name, group.runs[0]) == ("scores.csv", evaluation)


def test_a_quality_that_is_best_elsewhere_is_said(make):
    first, second = make.evaluation(strength=3.0, seed=0), make.evaluation(strength=1.0, seed=1)
    first.metrics["raw"]["auc"], second.metrics["raw"]["auc"] = 0.6, 0.7
    groups = [Group("first", {0: first}), Group("second", {0: second})]
    choices = [pick(groups, quality) for quality in ("raw", "c40", OVERALL)]
    told = sentences(choices, DATA)
    assert told[0].startswith("Over all qualities, use first")
    assert "in raw second has the highest AUC" in told[1]
    table = summary_table(choices)
    assert [row.name for row in table.rows] == ["raw", "c40", OVERALL]
    assert [row.cells[0].text for row in table.rows] == ["second", "first", "first"]


def test_one_class_has_nothing_to_choose(make):
    group = rows(make, alone=1.0)[0]
    group.runs[0].metrics["c40"]["auc"] = float("nan")
    assert pick([group]) is None
    assert sentences([], DATA) == []
