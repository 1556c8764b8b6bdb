"""`kdjax evaluate --protocol`, as it is called, on runs of two steps."""

import csv
import shutil

import pytest

from kdjax import cli, configs
from kdjax.evaluate.evaluation import Evaluation
from kdjax.evaluate.protocols import ALONE
from kdjax.folder import RunFolder
from kdjax.train import evaluate_protocol
from kdjax.train.loop import train

CHEAP = {
    "data.batch_size": "8", "train.steps": "2", "train.devices": "1", "train.balance": "none",
    "train.gradient_ratio_every": "0",
}  # fmt: skip

RUNS = {
    "whole": {"student.qualities": "c40"},
    "without": {"student.qualities": "raw", "data.leave_out": "mouth"},
    "few": {"student.qualities": "c40", "data.subset": "8"},
}


@pytest.fixture(scope="module")
def runs(forged_dataset, tmp_path_factory):
    """Three runs: on everything, without a kind of forgery, on few images."""
    folder = tmp_path_factory.mktemp("protocols")
    for name, changes in RUNS.items():
        config = {**CHEAP, "data.path": str(forged_dataset), **changes}
        train(configs.load("supervised:resnet_tiny", config), folder / name)
    return [str(folder / name) for name in RUNS]


@pytest.fixture
def say(capsys):
    """Evaluates, and returns status, the lines on standard output by their words, and those of errors."""

    def command(*words):
        status = cli.main(["evaluate", *map(str, words)])
        shown = capsys.readouterr()
        return status, [line.split() for line in shown.out.splitlines()], shown.err.splitlines()

    return command


def rows(lines, *begin):
    return [line for line in lines if tuple(line[: len(begin)]) == begin]


def test_one_network_for_all_qualities(runs, say):
    status, lines, _ = say(*runs[:2], "--protocol=quality-agnostic")
    assert status == 0
    assert " ".join(lines[0]).startswith("quality-agnostic: one network for every video compr")
    (head, *_) = rows(lines, "run")
    assert head == ["run", "trained", "on", "raw", "c23", "c40", "mean", "pooled"]
    stored = Evaluation.load(RunFolder(runs[0]).evaluation, "test-in-raw-c23-c40")
    auc, video = rows(lines, "whole", "c40")
    assert auc[2] == f"{stored.metrics['raw']['auc']:.3f}"
    assert video[2] == f"{stored.metrics['raw']['video_auc']:.3f}"
    assert len(rows(lines, "without", "raw")) == 2


def test_random_jpeg(runs, say):
    status, lines, _ = say(runs[0], "--protocol=quality-agnostic-jpeg")
    assert status == 0
    assert rows(lines, "run")[0] == ["run", "trained", "on", "jpeg"]
    assert "test-in-jpeg" in RunFolder(runs[0]).evaluations()


def test_a_network_for_each_quality(runs, say):
    status, lines, _ = say(*runs[:2], "--protocol=quality-aware")
    assert status == 0
    assert len(rows(lines, "supervised:resnet_tiny,", "one", "each")) == 2


def test_left_out_forgeries_stand_apart(runs, say):
    status, lines, errors = say(*runs[:2], "--protocol=cross-manipulation")
    assert status == 0
    assert sorted(line[1:3] for line in rows(lines, "without")) == [
        *(["all", "seen"], ["expression", "seen"], ["graphics", "seen"], ["mouth", "unseen"])
    ]
    assert sorted(line[1:3] for line in rows(lines, "whole"))[-1] == ["mouth", "seen"]
    (note,) = [line for line in errors if line.startswith("note: ")]
    assert note.startswith("note: whole on own: no kind of forgery is known to be unseen")


def test_other_data_sets_stand_apart(runs, say, forged_dataset, tiny_dataset, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(forged_dataset, again)
    output = tmp_path / "cross.csv"
    status, lines, errors = say(
        *(runs[0], "--protocol=cross-dataset", f"--data={tiny_dataset}", f"--data={again}"),
        f"--output={output}",
    )
    assert status == 0
    assert [line[1:3] for line in rows(lines, "whole")] == [
        *(["own", "seen"], ["tiny_1.0.0", "unseen"], ["again", "seen"])
    ]
    assert any("was trained on again: it is no other data set" in line for line in errors)
    assert lines[-1] == [str(output)]
    with output.open() as file:
        table = list(csv.DictReader(file))
    assert len(table) == 3 * 4
    assert {row["metric"] for row in table} == {"auc", "video_auc", "accuracy", "eer"}
    for row in table:
        if row["low"]:
            assert float(row["low"]) <= float(row["high"])


def test_corruptions_by_severity(runs, say):
    status, lines, _ = say(runs[0], "--protocol=corruptions", "--corruptions=blur", "--limit=12")
    assert status == 0
    assert rows(lines, "run")[0] == ["run", "corruption", *"012345", "mean"]
    assert len(rows(lines, "whole", "blur")) == 2


def test_the_few_sample_curve(runs):
    found = evaluate_protocol([runs[0], runs[2]], "few-samples", limit=12)
    assert [row.facts["training images"] for row in found] == [8, 48]
    assert [row.facts["share"] for row in found] == pytest.approx([8 / 48, 1])
    assert [row.facts["run"] for row in found] == ["few", "whole"]
    assert all("auc" in row.cells[ALONE] for row in found)


def test_several_data_sets_in_one_plain_call(runs, say, tiny_dataset, forged_dataset, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(forged_dataset, again)
    status, lines, _ = say(runs[0], f"--data={tiny_dataset}", f"--data={again}", "--qualities=c40")
    assert status == 0
    assert [line[1] for line in rows(lines, "on")] == [f"{tiny_dataset}:", f"{again}:"]
    assert len(rows(lines, "whole", "supervised")) == 2


def test_one_run_that_cannot_be_used_stops_none_of_the_others(runs, say, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(runs[0], broken)
    shutil.rmtree(RunFolder(broken).best)
    for words in ((), ("--protocol=quality-aware",)):
        status, lines, errors = say(broken, runs[1], *words)
        assert status == 2
        assert rows(lines, "without")
        assert not rows(lines, "broken")
        told = [line for line in errors if line.startswith("kdjax: error: ")]
        assert len(told) == 2
        assert told[1] == "kdjax: error: 1 of 2 evaluations could not be made, as said above"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--protocol=quality",), "no protocol is called 'quality'; did you mean 'quality-"),
        (("--protocol=cross-dataset",), "name one or more: --data=FOLDER"),
        (("--protocol=quality-aware", "--calibrate"), "--calibrate is no protocol's"),
        (
            ("--protocol=quality-aware", "--corruptions=all"),
            "--corruptions goes with --protocol=corruptions",
        ),
        (("--protocol=corruptions", "--qualities=raw"), "give them without --qualities"),
        (("--data=a/x", "--data=b/x"), "both called 'x', which their evaluations are kept by"),
        (("--data=a", "--data=b", "--calibrate"), "--calibrate takes one data set"),
    ],
)
def test_mistakes_are_one_line(runs, say, words, message):
    status, lines, errors = say(runs[0], *words)
    assert status == 2
    assert not lines
    (line,) = errors
    assert message in line
