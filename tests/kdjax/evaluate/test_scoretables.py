"""Tables of scores against the metrics of their arrays; several tables against each other."""

import math

import numpy as np
import pytest

from kdjax.checks import UserError
from kdjax.evaluate.aligned import align
from kdjax.evaluate.delong import delong_test
from kdjax.evaluate.intervals import metric_intervals
from kdjax.evaluate.metrics import binary_metrics
from kdjax.evaluate.paired import compare_scores
from kdjax.evaluate.scorefile import read_scores
from kdjax.evaluate.scoretables import qualities, score_tables
from kdjax.evaluate.scoretext import comparison_rows, group_rows, metric_rows, size_rows
from kdjax.evaluate.statistics import holm, paired_bootstrap
from kdjax.evaluate.tables import format_table
from kdjax.evaluate.videos import video_metrics

rng = np.random.default_rng(0)
FEW = {"resamples": 60, "comparison_resamples": 300}


def content(videos=30, frames=4, gain=1.0, seed=0, names=("raw", "c40")):
    """Returns rows of a detector: id, label, score, video, generator, quality."""
    draw = np.random.default_rng(seed)
    rows = []
    for video in range(videos):
        label, shared = video % 2, draw.standard_normal()
        kind = ("swap", "mouth")[video // 2 % 2] if label else ""
        for frame in range(frames):
            for rank, quality in enumerate(names):
                score = gain * label * (2 - rank) + shared + draw.standard_normal()
                image = f"v{video}/{frame}.png"
                rows.append((image, label, 1 / (1 + math.exp(-score)), f"v{video}", kind, quality))
    return rows


def write(path, rows, columns=("id", "label", "score", "video", "generator", "quality")):
    lines = [columns, *(row[: len(columns)] for row in rows)]
    path.write_text("".join(",".join(map(str, line)) + "\n" for line in lines))
    return path


def arrays(rows, quality=None):
    kept = [row for row in rows if quality in (None, row[5])]
    labels, scores = np.array([row[1] for row in kept]), np.array([row[2] for row in kept])
    videos = np.array([int(row[3][1:]) for row in kept])
    return scores, labels, videos


def test_metrics_and_intervals_are_those_of_the_arrays(tmp_path):
    rows = content()
    tables = score_tables([read_scores(write(tmp_path / "a.csv", rows))], **FEW)
    assert qualities(tables.aligned) == ["raw", "c40", "overall"]
    evaluation = tables.evaluations["a.csv"]
    for quality in ("raw", "c40"):
        scores, labels, videos = arrays(rows, quality)
        found = evaluation.metrics[quality]
        for name, value in binary_metrics(scores, labels).items():
            assert found[name] == pytest.approx(value), name
        assert found["video_auc"] == pytest.approx(video_metrics(scores, labels, videos)["auc"])
        interval = tables.intervals["a.csv"][quality]["auc"]
        assert interval == pytest.approx(
            metric_intervals(scores, labels, videos, ("auc",), resamples=60)["auc"]
        )
        assert list(evaluation.scores) == ["raw", "c40"]
        np.testing.assert_allclose(np.sort(evaluation.scores[quality]), np.sort(scores), rtol=1e-6)
    scores, labels, videos = arrays(rows)
    assert evaluation.metrics["overall"]["auc"] == pytest.approx(
        binary_metrics(scores, labels)["auc"]
    )
    overall = tables.intervals["a.csv"]["overall"]
    # an image in two qualities is two rows, whose video is drawn with both
    twice = videos + 1000 * np.array([row[5] == "c40" for row in rows])
    expected = metric_intervals(
        scores, labels, twice, ("auc", "video_auc"), clusters=videos, resamples=60
    )
    assert overall["auc"] == pytest.approx(expected["auc"])
    assert overall["video_auc"] == pytest.approx(expected["video_auc"])
    assert overall["video_auc"].estimate == pytest.approx(
        evaluation.metrics["overall"]["video_auc"]
    )


def test_each_forgery_is_compared_with_all_reals_of_the_table(tmp_path):
    rows = content(names=("raw",))
    tables = score_tables([read_scores(write(tmp_path / "a.csv", rows))], **FEW)
    found = tables.evaluations["a.csv"].per_forgery["raw"]
    assert set(found) == {"swap", "mouth"}
    for kind, values in found.items():
        kept = [row for row in rows if row[1] == 0 or row[4] == kind]
        scores, labels, _ = arrays(kept)
        assert values["auc"] == pytest.approx(binary_metrics(scores, labels)["auc"])
        assert values["count"] == labels.sum()
        _, _, videos = arrays(kept)
        expected = metric_intervals(scores, labels, videos, ("auc", "video_auc"), resamples=60)
        for name, interval in tables.by_forgery["a.csv"]["raw"][kind].items():
            assert interval == pytest.approx(expected[name])
    shown = group_rows(tables, "forgery")
    assert [row["images"] for row in shown] == [values["count"] for values in found.values()]
    for row, (kind, values) in zip(shown, found.items(), strict=True):
        assert row["forgery"] == kind
        assert row["a.csv AUC"].startswith(f"{values['auc']:.3f} [")
        assert "[" in row["a.csv video AUC"]


def test_data_sets_are_told_apart(tmp_path):
    rows = [(*row, ("one", "two")[int(row[3][1:]) % 4 > 1]) for row in content(names=("raw",))]
    columns = ("id", "label", "score", "video", "generator", "quality", "dataset")
    tables = score_tables([read_scores(write(tmp_path / "a.csv", rows, columns))], **FEW)
    found = tables.evaluations["a.csv"].per_dataset["overall"]
    for name in ("one", "two"):
        scores, labels, _ = arrays([row for row in rows if row[6] == name])
        assert found[name]["auc"] == pytest.approx(binary_metrics(scores, labels)["auc"])
        assert found[name]["count"] == len(labels)
        interval = tables.by_dataset["a.csv"]["raw"][name]["auc"]
        assert interval.low < interval.estimate == pytest.approx(found[name]["auc"])
    assert [row["data set"] for row in group_rows(tables, "dataset")] == ["one", "two"]


def test_logits_are_ranked_as_they_are_and_judged_as_probabilities(tmp_path):
    rows = content(names=("raw",))
    logits = [(*row[:2], 40 + math.log(row[2] / (1 - row[2])), *row[3:]) for row in rows]
    plain = score_tables([read_scores(write(tmp_path / "a.csv", rows))], **FEW)
    found = score_tables([read_scores(write(tmp_path / "b.csv", logits))], **FEW)
    expected, metrics = (
        t.evaluations[n].metrics["raw"] for t, n in ((plain, "a.csv"), (found, "b.csv"))
    )
    assert metrics["auc"] == pytest.approx(expected["auc"])
    assert metrics["accuracy_fake"] == 1.0
    assert metrics["accuracy_real"] == 0.0
    assert any("taken as logits" in note for note in found.notes)


def test_without_videos_images_stand_alone(tmp_path):
    rows = content(frames=1, names=("raw",))
    path = write(tmp_path / "a.csv", rows, ("id", "label", "score"))
    tables = score_tables([read_scores(path)], **FEW)
    assert qualities(tables.aligned) == ["overall"]
    scores, labels, _ = arrays(rows)
    assert tables.evaluations["a.csv"].metrics["overall"]["auc"] == pytest.approx(
        binary_metrics(scores, labels)["auc"]
    )
    assert tables.evaluations["a.csv"].per_forgery == {}
    shown = format_table(metric_rows(tables, "overall"))
    assert "TPR at 1 % FPR" in shown
    assert "video" not in shown
    assert size_rows([read_scores(path)], tables)[0]["videos"] is None


def test_qualities_may_have_other_images(tmp_path):
    rows = content()
    rows = [row for row in rows if row[5] == "raw" or int(row[3][1:]) < 20]
    tables = score_tables([read_scores(write(tmp_path / "a.csv", rows))], **FEW)
    evaluation = tables.evaluations["a.csv"]
    assert list(evaluation.scores) == ["overall"]
    for quality, count in (("raw", 120), ("c40", 80)):
        scores, labels, _ = arrays(rows, quality)
        assert len(scores) == count
        assert evaluation.metrics[quality]["auc"] == pytest.approx(
            binary_metrics(scores, labels)["auc"]
        )


def test_several_are_compared_on_what_they_share(tmp_path):
    first, second = content(names=("raw",)), content(gain=0.5, names=("raw",))
    missing = [(*row[:2], "" if n in (3, 8) else row[2], *row[3:]) for n, row in enumerate(second)]
    files = [
        read_scores(write(tmp_path / "a.csv", first[:100])),
        read_scores(write(tmp_path / "b.csv", missing[::-1])),
    ]
    tables = score_tables(files, **FEW)
    kept = [n for n in range(100) if n not in (3, 8)]
    scores, labels, videos = arrays([first[n] for n in kept])
    others, _, _ = arrays([second[n] for n in kept])
    (found,) = tables.compared
    expected = paired_bootstrap([others], [scores], labels, videos, resamples=300)
    assert found.paired.difference == pytest.approx(expected.bootstrap)
    assert found.paired.p_value == pytest.approx(expected.p_value)
    assert found.corrected == found.paired.p_value
    assert found.paired.delong == delong_test(others, scores, labels)
    sizes = size_rows(files, tables)
    assert [row["without a score"] for row in sizes] == [0, 2]
    assert [row["not in all tables"] for row in sizes] == [2, 20]
    assert any(
        "the 98 rows that all tables have a score of: a.csv has 2 more, b.csv has 20" in note
        for note in tables.notes
    )
    (row,) = comparison_rows(tables)
    assert row["difference"] == pytest.approx(row["AUC"] - row["a.csv AUC"])


def test_the_first_named_is_the_baseline_and_holm_counts_the_others(tmp_path):
    files = [
        read_scores(write(tmp_path / f"{name}.csv", content(gain=gain)))
        for name, gain in (("a", 1.0), ("b", 0.7), ("c", 0.2))
    ]
    tables = score_tables(files, **FEW)
    assert [(each.name, each.quality) for each in tables.compared] == [
        (name, quality) for quality in ("raw", "c40", "overall") for name in ("b.csv", "c.csv")
    ]
    for start in (0, 2, 4):
        pair = tables.compared[start : start + 2]
        assert [each.corrected for each in pair] == holm([each.paired.p_value for each in pair])


def test_without_videos_delong_decides():
    labels = rng.integers(0, 2, 80)
    first, second = rng.standard_normal((2, 80)) + labels
    found = compare_scores(first, second, labels)
    expected = delong_test(first, second, labels)
    assert (found.difference, found.p_value) == (expected.difference, expected.p_value)


def test_tables_of_one_name_are_told_apart(tmp_path):
    (tmp_path / "x").mkdir()
    paths = [write(tmp_path / "a.csv", content()), write(tmp_path / "x/a.csv", content(seed=1))]
    assert align([read_scores(path) for path in paths]).names == ("a.csv", "a.csv (2)")


def test_one_class_alone_is_said_and_gives_no_number(tmp_path):
    rows = [row for row in content(names=("raw",)) if row[1]]
    tables = score_tables([read_scores(write(tmp_path / "a.csv", rows))], **FEW)
    assert any(note.startswith("all 60 examples are fake") for note in tables.notes)
    shown = {row["metric"]: row["a.csv"] for row in metric_rows(tables, "raw")}
    assert sum("are fake" in note for note in tables.notes) == 1
    assert shown["AUC"] == shown["log loss"] == shown["video AUC"] == ""
    assert shown["acc"].startswith("0.")


def test_a_quality_or_data_set_of_one_class_is_said(tmp_path):
    rows = [(*row, ("two", "one")[row[1]]) for row in content() if row[5] == "raw" or row[1]]
    columns = ("id", "label", "score", "video", "generator", "quality", "dataset")
    tables = score_tables([read_scores(write(tmp_path / "a.csv", rows, columns))], **FEW)
    said = [note.split(":")[0] for note in tables.notes if note.startswith("all ")]
    assert said == [
        "all 60 rows of quality c40 are fake",
        "all 60 rows of data set two are real",
        "all 120 rows of data set one are fake",
    ]
    assert math.isnan(tables.by_dataset["a.csv"]["overall"]["two"]["auc"].estimate)
    assert all(row["a.csv AUC"] == "" for row in group_rows(tables, "dataset"))


def test_scores_that_mean_the_reverse_are_asked_about(tmp_path):
    rows = [(*row[:2], 1 - row[2], *row[3:]) for row in content()]
    notes = score_tables([read_scores(write(tmp_path / "a.csv", rows))], **FEW).notes
    assert any("is worse than chance; do its scores, or its labels, mean real?" in n for n in notes)


def test_tables_that_do_not_go_together_are_refused(tmp_path):
    rows = content()
    first = read_scores(write(tmp_path / "a.csv", rows))
    renamed = write(tmp_path / "b.csv", [(f"other/{row[0]}", *row[1:]) for row in rows])
    with pytest.raises(
        UserError, match=r"share no image: a\.csv has 'v0/0\.png', b\.csv has 'other/v0"
    ):
        align([first, read_scores(renamed)])
    bare = write(tmp_path / "c.csv", content(names=("raw",)), ("id", "label", "score"))
    with pytest.raises(UserError, match=r"a\.csv has a column quality and c\.csv has none"):
        align([first, read_scores(bare)])
    turned = write(tmp_path / "d.csv", [(row[0], 1 - row[1], *row[2:]) for row in rows])
    with pytest.raises(
        UserError,
        match=r"'v0/0.png' is real in a\.csv, line 2, and fake in d\.csv, line 2 \(240 such\)",
    ):
        align([first, read_scores(turned)])
    with pytest.raises(UserError, match="no scores named"):
        align([])


def test_one_name_in_several_forgeries_is_that_of_several_videos(tmp_path):
    draw = np.random.default_rng(3)
    columns = ("id", "label", "score", "video", "generator", "dataset")
    rows = []
    # as FaceForensics++ has them: a target of each forgery has one name; here the reals share names with the fakes too
    for dataset in ("one", "two"):
        for kind in ("", "swap", "mouth"):
            for video in range(8):
                shared = draw.standard_normal() + bool(kind)
                for frame in range(3):
                    score = 1 / (1 + math.exp(-shared - draw.standard_normal()))
                    image = f"{dataset}/{kind}/{video}/{frame}.png"
                    rows.append((image, int(bool(kind)), score, f"{video:03}", kind, dataset))
    apart = [(*row[:3], f"{row[5]}-{row[4]}-{row[3]}", *row[4:]) for row in rows]
    found = [
        score_tables([read_scores(write(tmp_path / name, kept, columns))], **FEW)
        for name, kept in (("shared.csv", rows), ("apart.csv", apart))
    ]
    shared, named = (next(iter(each.evaluations.values())).metrics["overall"] for each in found)
    assert shared == named
    assert shared["video_auc"] != pytest.approx(
        video_metrics(
            *(np.array([row[place] for row in rows]) for place in (2, 1)),
            np.array([int(row[3]) for row in rows]),
        )["auc"]
    )
    assert found[0].by_forgery["shared.csv"]["overall"].keys() == {"swap", "mouth"}
    assert (
        "8 names of videos are found in several data sets or forgeries, and counted as a video in each"
        in found[0].notes
    )
    assert not [note for note in found[1].notes if "names of videos" in note]


def test_a_real_and_a_fake_of_one_name_are_no_namesakes(tmp_path):
    rows = content(names=("raw",))
    rows = [(*row[:3], f"v{int(row[3][1:]) // 2}", *row[4:]) for row in rows]
    tables = score_tables([read_scores(write(tmp_path / "a.csv", rows))], **FEW)
    assert tables.aligned.namesakes == 0
