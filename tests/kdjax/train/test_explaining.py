"""`kdjax explain` on small runs of the tiny data set, whose fakes have a bright square."""

import json

import numpy as np
import pytest

from kdjax import cli, configs
from kdjax.checks import UserError
from kdjax.data_pipeline.prepared import open_dataset
from kdjax.train.explaining import explain_runs, find_teacher
from kdjax.train.loop import train
from kdjax.train.run import Run

SETTINGS = {
    "data.batch_size": "16",
    "train.steps": "30",
    "train.validation_interval": "10",
    "train.devices": "1",
    "train.log_every": "5",
    "train.gradient_ratio_every": "0",
    "train.balance": "none",
    "optimizer.learning_rate": "1e-2",
    "optimizer.schedule": "one_cycle",
}


@pytest.fixture(scope="module")
def runs(tiny_dataset, tmp_path_factory):
    """A teacher of two branches on raw images, a student by TOKD and one alone."""
    folder = tmp_path_factory.mktemp("explained")
    common = {**SETTINGS, "data.path": str(tiny_dataset)}
    train(
        configs.load(
            "supervised:dual_resnet_tiny",
            {**common, "student.qualities": "raw", "train.steps": "4"},
        ),
        folder / "teacher",
    )
    own = {"student.qualities": "c23", "teacher.runs": str(folder / "teacher"), "train.steps": "4"}
    train(
        configs.load("tokd:resnet_tiny", {**common, **own}),
        folder / "taught",
    )
    alone = {"student.qualities": "c23"}
    train(configs.load("supervised:resnet_tiny", {**common, **alone}), folder / "alone")
    return folder


@pytest.mark.slow
def test_a_folder_of_numbers_pictures_and_a_page(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [
        "explain",
        str(runs / "alone"),
        str(runs / "taught"),
        "--stage=stage2",
        "--output=seen",
    ]
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "seen/index.html"
    found = json.loads((tmp_path / "seen" / "explain.json").read_text())
    assert found["teacher"] == "teacher"
    assert list(found["networks"]) == ["teacher", "alone", "taught"]
    assert found["images"] == {"real": 10, "fake": 10}
    assert set(found["cka"]) == {"alone", "taught"}
    assert found["cka"]["taught"]["raw"]["cka"][0][0] <= 1
    assert set(found["frequency_gap"]) == {"alone", "taught"}
    assert "before" in found["gradient_cosine"]["taught"]
    assert {row["network"] for row in found["heat_differences"]} == {"teacher", "taught"}
    assert len(list((tmp_path / "seen" / "heat").glob("*.png"))) >= 4
    # the square is all that tells a fake from a real image
    heat = found["networks"]["alone"]["heat_in_mask"]["raw"]["gradcam"]
    assert found["networks"]["alone"]["results"]["raw"]["auc"] > 0.9
    assert heat["area"] == pytest.approx(0.25)
    assert heat["lift"][1] > 0


@pytest.mark.slow
def test_a_split_a_limit_qualities_and_another_network(runs, tiny_dataset, tmp_path):
    page = explain_runs(
        [runs / "alone"],
        tmp_path,
        split="validation",
        limit=7,
        qualities=("c40",),
        method="gradcam++",
    )
    found = json.loads((page.parent / "explain.json").read_text())
    assert found["teacher"] is None
    assert found["qualities"] == ["c40"]
    assert sum(found["images"].values()) == 7


@pytest.mark.slow
def test_what_cannot_be_is_one_line_and_leaves_nothing(runs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    alone = str(runs / "alone")
    for words, said in (
        (["absent"], "absent is not a run"),
        ([alone, "--teacher=absent"], "absent is not a run"),
        (
            [alone, "--stage=stage9"],
            "alone (resnet_tiny) cannot be explained: no feature 'stage9'; did you mean",
        ),
        ([alone, "--stage=pooled"], "cannot be explained: 'pooled' is no map"),
        ([alone, "--qualities=c99"], "--qualities names 'c99'"),
        ([alone, "--qualities=raw,raw"], "names a quality twice"),
        ([alone, "--limit=-1"], "--limit=-1 must be at least 0"),
        ([alone, "--data=absent"], "no data set at absent"),
        (
            [str(runs / "teacher"), f"--teacher={runs / 'teacher'}"],
            "the only RUN is the teacher itself",
        ),
    ):
        assert cli.main(["explain", *words, "--output=out"]) == 2
        (line,) = [
            x for x in capsys.readouterr().err.splitlines() if x.startswith("kdjax: error: ")
        ]
        assert said in line
        assert list(tmp_path.iterdir()) == []
    (tmp_path / "page.html").write_text("")
    assert cli.main(["explain", alone, "--output=page.html"]) == 2
    assert "--output=page.html is a file" in capsys.readouterr().err


@pytest.mark.slow
def test_the_teacher_is_found_in_the_configuration_and_may_be_gone(runs):
    taught, alone = Run(runs / "taught"), Run(runs / "alone")
    assert find_teacher([alone, taught]).folder == runs / "teacher"
    assert find_teacher([alone]) is None
    taught.config.teacher.runs = (str(runs / "gone"),)
    assert find_teacher([taught]) is None


@pytest.mark.slow
def test_a_run_gives_its_heat(runs):
    run = Run(runs / "alone")
    dataset = open_dataset(run.config.data.path)
    source = dataset.source("test")
    images = np.stack([dataset.read(n, source[n], ("raw",))["image"]["raw"] for n in range(5)])
    heat = run.heat_maps(images, "stage2")
    assert (heat.shape, heat.dtype) == ((5, 32, 32), np.float32)
    np.testing.assert_allclose(
        run.heat_maps(images, "stage2", batch_size=2), heat, rtol=1e-4, atol=1e-6
    )
    assert not np.allclose(run.heat_maps(images, "stage2", method="gradcam++"), heat)
    against = run.heat_maps(images, "stage2", label=0)
    assert not np.allclose(against, heat)
    with pytest.raises(ValueError, match="method='cam' is not one of"):
        run.heat_maps(images, method="cam")
    with pytest.raises(ValueError, match="images holds no image"):
        run.heat_maps(images[:0])
    with pytest.raises(UserError, match="has no averaged weights"):
        run.variables(kind="averaged")
