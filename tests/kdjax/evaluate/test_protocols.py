"""Protocols' tables against the metrics of the arrays that they are of."""

import json
import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from kdjax.data_pipeline.prepared import open_dataset
from kdjax.evaluate.evaluator import summarize
from kdjax.evaluate.protocols import ALONE, OWN, Measured, protocol_notes, protocol_rows
from kdjax.evaluate.protocoltext import protocol_records, protocol_tables
from kdjax.evaluate.tables import format_table
from kdjax.evaluate.trained import SEEN, TAUGHT, UNKNOWN, UNSEEN, Trained, trained_on

KINDS = ("none", "swap", "mouth", "unknown")
COUNT = 160


def trained(**changes):
    found = Trained("add", "resnet18", ("raw", "c40"), 500, 2000, ("swap",), (), ({"name": "a"},))
    return found._replace(**changes)


def made(qualities=("raw", "c40"), seed=0):
    rng = np.random.default_rng(seed)
    video = np.arange(COUNT) // 4
    labels = video % 2
    scores = {
        name: 1 / (1 + np.exp(-(labels - 0.5) * (3 - rank) - rng.standard_normal(COUNT)))
        for rank, name in enumerate(qualities)
    }
    columns = {
        "labels": labels,
        "forgery": labels * (1 + video // 2 % 3),
        "video": video,
        "identity": video,
        "index": np.arange(COUNT),
    }
    return summarize(scores, columns)


def measured(run="one", data=OWN, knows=SEEN, evaluation=None, **changes):
    evaluation = made() if evaluation is None else evaluation
    return Measured(run, trained(**changes), data, knows, KINDS, evaluation)


def auc(evaluation, quality, rows=slice(None)):
    return roc_auc_score(evaluation.columns["labels"][rows], evaluation.scores[quality][rows])


def test_qualities_stand_beside_their_mean_and_all_as_one_set():
    each = measured()
    (row,) = protocol_rows("qualities", [each])
    assert list(row.cells) == ["raw", "c40", "mean", "pooled"]
    assert row.facts == {"run": "one", "data": OWN, "trained on": "raw, c40"}
    of = {name: auc(each.evaluation, name) for name in ("raw", "c40")}
    for name, value in of.items():
        assert row.cells[name]["auc"].estimate == pytest.approx(value)
    assert row.cells["mean"]["auc"].estimate == pytest.approx(sum(of.values()) / 2)
    overall = each.evaluation.metrics["overall"]
    for name in ("auc", "video_auc"):
        interval = row.cells["pooled"][name]
        assert interval.estimate == pytest.approx(overall[name])
        assert interval.low < interval.estimate < interval.high
    (alone,) = protocol_rows("qualities", [measured(evaluation=made(("jpeg",)))])
    assert list(alone.cells) == ["jpeg"]


def test_specialists_are_joined_where_each_quality_has_one():
    c40 = measured("c40s", evaluation=made(("c40",), seed=1), qualities=("c40",))
    raw = measured("raws", evaluation=made(("raw",)), qualities=("raw",))
    all_ = measured("both")
    rows = protocol_rows("specialists", [c40, raw, all_])
    assert [row.facts["run"] for row in rows] == [
        *("c40s", "raws", "both", "add:resnet18, one each")
    ]
    joined = rows[-1]
    assert list(joined.cells) == ["raw", "c40", "mean", "pooled"]
    expected = (auc(raw.evaluation, "raw") + auc(c40.evaluation, "c40")) / 2
    assert joined.cells["mean"]["auc"].estimate == pytest.approx(expected)
    # two networks for one quality are seeds of it
    assert len(protocol_rows("specialists", [c40, raw, raw])) == 3
    ((_, lines), _) = protocol_tables(rows)
    assert list(lines[0]) == ["run", "trained on", "raw", "c40", "mean", "pooled"]
    assert lines[0]["raw"] == ""


def test_kinds_that_were_trained_on_and_those_that_were_not_stand_apart():
    each = measured(forgeries=("swap", "unknown"), left_out=("mouth",))
    rows = protocol_rows("forgeries", [each])
    assert [(row.facts["forgery"], row.facts["in training"]) for row in rows] == [
        *(("swap", SEEN), ("mouth", UNSEEN), ("unknown", UNKNOWN))
    ]
    columns, scores = each.evaluation.columns, each.evaluation.scores
    for kind, row in zip((1, 2, 3), rows, strict=True):
        kept = np.isin(columns["forgery"], (0, kind))
        expected = roc_auc_score(
            np.tile(columns["labels"][kept], 2), np.r_[scores["raw"][kept], scores["c40"][kept]]
        )
        assert row.cells[ALONE]["auc"].estimate == pytest.approx(expected)
        assert row.facts["fakes"] == (columns["forgery"] == kind).sum()
    rows = protocol_rows("forgeries", [measured(forgeries=("other",))])
    named = {row.facts["forgery"]: row for row in rows}
    assert list(named) == ["swap", "mouth", "all unseen", "unknown"]
    kept = np.isin(columns["forgery"], (0, 1, 2))
    expected = roc_auc_score(
        np.tile(columns["labels"][kept], 2), np.r_[scores["raw"][kept], scores["c40"][kept]]
    )
    assert named["all unseen"].cells[ALONE]["auc"].estimate == pytest.approx(expected)


def test_it_is_said_where_no_kind_is_unseen():
    everything = measured(forgeries=("swap", "mouth"))
    (note,) = protocol_notes("forgeries", [everything, measured()])
    assert note.startswith("one on own: no kind of forgery is known to be unseen; leave one out")
    assert {row.facts["in training"] for row in protocol_rows("forgeries", [everything])} == {
        *(SEEN, UNKNOWN)
    }


def test_data_sets_stand_apart_by_whether_they_were_trained_on():
    rows = protocol_rows("datasets", [measured(), measured(data="celebs", knows=UNSEEN)])
    assert [(row.facts["data"], row.facts["in training"]) for row in rows] == [
        *((OWN, SEEN), ("celebs", UNSEEN))
    ]
    assert rows[0].facts["images"] == COUNT
    assert rows[0].facts["videos"] == COUNT // 4
    (note,) = protocol_notes("datasets", [measured(data="again", knows=SEEN)])
    assert "it is no other data set" in note


def test_corruptions_have_a_row_each_and_the_mean_of_their_severities():
    names = ("raw", *(f"blur-{n}" for n in range(1, 4)), *(f"noise-{n}" for n in range(1, 4)))
    each = measured(evaluation=made(names))
    rows = protocol_rows("corruptions", [each])
    assert [row.facts["corruption"] for row in rows] == ["blur", "noise"]
    assert list(rows[1].cells) == ["0", "1", "2", "3", "mean"]
    assert rows[1].cells["0"] == rows[0].cells["0"]
    assert rows[1].cells["2"]["auc"].estimate == pytest.approx(auc(each.evaluation, "noise-2"))
    expected = np.mean([auc(each.evaluation, f"noise-{n}") for n in range(1, 4)])
    assert rows[1].cells["mean"]["auc"].estimate == pytest.approx(expected)


def test_runs_are_in_the_order_of_their_images():
    several = [
        *(measured(f"b{n}", method="kd", images=n) for n in (2000, 90, None)),
        *(measured(f"a{n}", images=n) for n in (1000, 200)),
    ]
    rows = protocol_rows("samples", several)
    assert [row.facts["run"] for row in rows] == ["a200", "a1000", "bNone", "b90", "b2000"]
    assert [row.facts["share"] for row in rows] == [0.1, 0.5, None, 0.045, 1.0]
    assert len(list(protocol_notes("samples", several))) == 1


def test_records_hold_every_number_once():
    rows = protocol_rows("qualities", [measured(), measured("two")])
    records = protocol_records(rows)
    assert len(records) == 2 * 4 * 2
    first = records[0]
    assert (first["run"], first["column"], first["metric"]) == ("one", "raw", "auc")
    assert (first["value"], first["low"], first["high"]) == rows[0].cells["raw"]["auc"]


def test_what_a_run_was_trained_on_is_in_its_files(forged_dataset):
    dataset = open_dataset(forged_dataset)
    config = {
        "method": {"name": "kd"},
        "student": {"network": "resnet18", "qualities": ["raw", "c40"]},
        "data": {"path": str(forged_dataset), "leave_out": ["graphics"]},
    }
    facts = {"images": 20, "of": 48, "fakes": {"mouth": 6, "expression": 0}}
    found = trained_on(config, {"dataset": dataset.identity(), "training": facts})
    assert found.qualities == ("raw", "c40")
    assert found.share == pytest.approx(20 / 48)
    assert [found.knows_forgery(k) for k in ("mouth", "graphics", "expression", "unknown")] == [
        *(SEEN, UNSEEN, UNSEEN, UNKNOWN)
    ]
    assert found.knows_dataset(dataset.identity()) == SEEN
    assert found.knows_dataset({**dataset.identity(), "manifest": "other"}) == UNSEEN
    both = {"name": "x", "parts": [{"name": "y"}, dataset.identity()]}
    assert found.knows_dataset(both) == SEEN
    of_two = trained_on(config, {"dataset": both})
    assert of_two.knows_dataset({"name": "y"}) == SEEN


def test_what_its_teacher_saw_is_not_unseen():
    teacher = trained(forgeries=("swap", "mouth"))
    found = trained(teachers=(teacher,))
    assert [found.knows_forgery(k) for k in ("swap", "mouth", "graphics")] == [
        *(SEEN, TAUGHT, UNSEEN)
    ]
    # of a teacher's teacher too; one that cannot be looked at may have seen anything
    assert trained(teachers=(found,)).knows_forgery("mouth") == TAUGHT
    assert trained(teachers=(teacher, None)).knows_forgery("mouth") == TAUGHT
    assert trained(teachers=(teacher, None)).knows_forgery("graphics") == UNKNOWN
    other = trained(datasets=({"name": "b"},), teachers=(teacher,))
    assert [other.knows_dataset({"name": n}) for n in "bac"] == [SEEN, TAUGHT, UNSEEN]
    (note,) = protocol_notes("forgeries", [measured(teachers=(teacher,))])
    assert "no kind of forgery is known to be unseen" in note


def test_teachers_are_looked_up_in_the_configuration(tmp_path):
    facts = {"images": 4, "of": 8, "fakes": {"mouth": 2}}
    (tmp_path / "config.json").write_text(json.dumps({"method": {"name": "kd"}}))
    (tmp_path / "inputs.json").write_text(json.dumps({"training": facts}))
    runs = {"teacher": {"runs": [str(tmp_path)]}}
    for config, known in (
        (runs, TAUGHT),
        ({"student": {"weights": str(tmp_path)}}, TAUGHT),
        ({"student": {"weights": "imagenet"}}, UNSEEN),
        ({"teacher": {"runs": [str(tmp_path / "gone")]}}, UNKNOWN),
        ({"teacher": {"weights": ["net.pth"]}}, UNKNOWN),
    ):
        found = trained_on(config, {"training": {**facts, "fakes": {"swap": 2}}})
        assert found.knows_forgery("mouth") == known, config
    # a run that names itself as its teacher
    (tmp_path / "config.json").write_text(json.dumps(runs))
    assert trained_on(runs, {}).knows_forgery("swap") == UNKNOWN


def test_of_an_older_run_its_data_set_is_looked_at(forged_dataset, tmp_path):
    identity = open_dataset(forged_dataset).identity()
    config = {"data": {"path": str(forged_dataset), "subset": 8, "subset_seed": 1}}
    found = trained_on(config, {"dataset": identity})
    assert (found.images, found.of) == (8, 48)
    ids = open_dataset(forged_dataset).labels("train")
    assert 0 < len(found.forgeries) <= 3
    assert set(found.forgeries) <= {"mouth", "graphics", "expression"}
    whole = trained_on({"data": {"path": str(forged_dataset)}}, {"dataset": identity})
    assert len(whole.forgeries) == len(np.unique(ids["forgery"])) - 1
    # the data set lies elsewhere, or is another one now
    for path, recorded in ((tmp_path, identity), (forged_dataset, {**identity, "manifest": "x"})):
        gone = trained_on({"data": {"path": str(path)}}, {"dataset": recorded})
        assert gone.forgeries is None
        assert gone.images == 48
        assert gone.knows_forgery("mouth") == UNKNOWN
    nothing = trained_on({}, {})
    assert nothing.images is nothing.share is None
    assert nothing.knows_dataset(identity) == UNKNOWN


def test_what_is_not_defined_is_empty():
    evaluation = made(("c40",))
    columns = {**evaluation.columns, "labels": np.ones(COUNT, int)}
    with pytest.warns(Warning, match="are fake"):
        fakes = summarize({"c40": evaluation.scores["c40"]}, columns)
    (row,) = protocol_rows("datasets", [measured(evaluation=fakes)])
    assert math.isnan(row.cells[ALONE]["auc"].estimate)
    assert "  -  " in format_table(protocol_tables([row])[0][1])
