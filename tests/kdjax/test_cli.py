"""The command: help everywhere, one line for each mistake, the whole path on the tiny data set."""

import json
import tempfile

import pytest

from kdjax import cli, commands

COMMANDS = (
    *("demo", "prepare", "train", "evaluate", "report", "explain", "predict", "export"),
    *("sweep", "info"),
)


def fails(capsys, *arguments):
    """Runs a command that must fail with one line; returns the line."""
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1, error
    assert error[0].startswith("kdjax: error: ")
    return error[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    assert end.value.code == 0
    assert f"kdjax {command}" in capsys.readouterr().out


def test_general_help_lists_every_command(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert all(command in text for command in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--config=adds", "--workdir=x"), "did you mean 'add'"),
        (("train", "--config=add", "--workdir=x", "--config.trains.steps=3"), "did you mean 'train.steps'"),
        (("train", "--config=add", "--workdir=x", "--config.train.steps"), "needs a value"),
        (("train", "--config=add", "--workdir=x", "--stpes=3"), "unknown argument '--stpes=3'"),
        (("train", "--config=add", "--workdir=x"), "data.path is empty"),
        (("train", "--config=add", "--workdir=x", "--config.data.path=absent"), "no data set at absent"),
        (("evaluate", "absent"), "is not a run"),
        (("report", "absent"), "absent"),
        (("explain", "absent"), "absent is not a run"),
        (("explain", "absent", "--limit=-1"), "--limit=-1 must be at least 0"),
        (("info", "absent"), "no data set at absent"),
        (("prepare", "--output=x"), "--source is missing"),
        (("prepare", "--output=x", "--source=absent"), "absent"),
        (("prepare", "--dataset=synthfaces/benchmark", "--output=x", "--seed=0"), "is fixed, seed=0 cannot be given"),
        (("prepare", "--dataset=synthfaces/benchmark", "--output=x", "--identities=9"), "is fixed, identities=9"),
        (("prepare", "--dataset=synthfaces/benchmark", "--output=x", "--image_size=64"), "is fixed, image_size=64"),
        (("sweep", "absent.py", "--config=add", "--workdir=x"), "no file absent.py"),
        (("demo", "--config.train.steps=3"), "takes no --config.train.steps"),
        (("info", "--config.train.steps=3"), "takes no --config.train.steps"),
        (("info", "--network=resnet81"), "did you mean 'resnet18'"),
        (("info", "--network=resnet18", "--image_size=0"), "--image_size=0 must be greater than 0"),
        (("info", "--image_size=64"), "--image_size goes with --network"),
        (("info", "x", "--network=resnet18"), "one thing at a time: path or network"),
    ],
)  # fmt: skip
def test_mistake_is_one_line_and_leaves_nothing(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in fails(capsys, *arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes\nat x")],
)
def test_no_memory_left_is_one_line(error, capsys, monkeypatch):
    def run(options):
        raise error

    monkeypatch.setattr("kdjax.commands.run", run)
    assert "out of memory; lower data.batch_size" in fails(capsys, "info")


def test_a_defect_is_not_hidden(monkeypatch):
    def run(options):
        raise RuntimeError("a defect")

    monkeypatch.setattr("kdjax.commands.run", run)
    with pytest.raises(RuntimeError, match="a defect"):
        cli.main(["info"])


def test_configuration_is_listed_with_overrides(capsys):
    assert cli.main(["info", "--config=add:resnet18_thin", "--config.data.batch_size=7"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "student.network=resnet18_thin" in lines
    assert "data.batch_size=7" in lines


def test_installation_is_described(capsys):
    assert cli.main(["info"]) == 0
    text = capsys.readouterr().out
    assert "resnet50" in text
    assert "methods, each with a configuration: supervised, kd, ckd, add, tokd, qad" in text


@pytest.mark.slow
def test_train_evaluate_report_and_sweep(tiny_dataset, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    common = [
        f"--config.data.path={tiny_dataset}",
        "--config.data.batch_size=8",
        "--config.train.epochs=1",
        "--config.train.validations_per_epoch=1",
        "--config.train.validation_interval=1",
        "--config.train.devices=1",
    ]
    train = ["train", "--config=supervised:resnet_tiny", "--workdir=teacher", *common]
    assert cli.main(train) == 0
    assert "next: kdjax evaluate teacher" in capsys.readouterr().out

    assert cli.main(["evaluate", "teacher"]) == 0
    assert "c40 AUC" in capsys.readouterr().out
    stored = json.loads((tmp_path / "teacher/evaluation/test.json").read_text())
    assert stored["dataset"]["images"] == 20

    program = tmp_path / "seeds.py"
    program.write_text("def sweep():\n    for s in (1, 2):\n        yield {'seed.student': s}\n")
    sweep = ["sweep", "seeds.py", "--config=supervised:resnet_tiny", "--workdir=sweep", *common]
    assert cli.main(sweep) == 0
    table = (tmp_path / "sweep/results.csv").read_text().splitlines()
    assert len(table) == 3
    assert table[0].startswith("run,row,config,seed.student,state,raw/accuracy")
    runs = sorted(path.name for path in (tmp_path / "sweep").glob("000-*"))
    assert len(runs) == 2

    assert cli.main(["report", "teacher", *(f"sweep/{run}" for run in runs), "--latency"]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "seed.student=2" in page
    costs = page[page.index('<section id="costs"') : page.index('<section id="configuration"')]
    assert costs.count('data-head="latency, ms" data-value=') == 3
    assert costs.count('data-head="GMACs an image" data-value=') == 3

    rows = (
        "    yield {'name': 'plain'}\n    yield {'name': 'slow', 'optimizer.learning_rate': 1e-6}\n"
    )
    (tmp_path / "rows.py").write_text(f"def sweep():\n{rows}")
    many = ["sweep", "rows.py", "--config=supervised:resnet_tiny", "--workdir=many", *common]
    capsys.readouterr()
    assert cli.main([*many, "--seeds=2", "--baseline=plain"]) == 0
    assert "AUC on test, c40, compared with plain:" in capsys.readouterr().out
    assert cli.main(["report", "many"]) == 0
    assert '<section id="seeds"' in (tmp_path / "many/report.html").read_text()
    assert cli.main(["report", "many", "teacher"]) == 2
    assert cli.main(["info", "teacher"]) == 0
    assert cli.main(["info", str(tiny_dataset)]) == 0
    made = {"many", "report.html", "rows.py", "seeds.py", "sweep", "teacher", "temporary"}
    assert {path.name for path in tmp_path.iterdir()} == made
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def sweep():\n    yield {3: 4}\n", "must yield dicts"),
        ("def sweep():\n    raise SystemExit(0)\n", "fails"),
        ("def sweep():\n    return ()\n", "yields no row"),
        (
            "def sweep():\n    yield {}\n    yield {}\n",
            "rows 0 and 1 of the sweep come to the same settings",
        ),
        ("def sweep():\n    yield {'teacher.runs': 3}\n", "must be of type tuple"),
    ],
)
def test_broken_sweep_is_one_line(text, message, tmp_path, capsys):
    program = tmp_path / "rows.py"
    program.write_text(text)
    out = f"--workdir={tmp_path / 'out'}"
    assert message in fails(capsys, "sweep", str(program), "--config=kd", out)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--config=kd", "--shard=0/4"), "--shard=0/4: shares count from 1, the last is 4/4"),
        (("--config=kd", "--jobs=0"), "--jobs=0 must be at least 1"),
        ((), "kdjax sweep needs --config=METHOD[:NETWORK]; --status alone does without"),
        (("--status",), "is not a sweep that has begun; give --config too to see its plan"),
    ],
)
def test_wrong_words_of_a_sweep_are_one_line_and_write_nothing(words, message, tmp_path, capsys):
    out = f"--workdir={tmp_path / 'out'}"
    assert message in fails(capsys, "sweep", "tokd_table6", *words, out)
    assert not (tmp_path / "out").exists()


def test_workdir_that_cannot_be_made_is_one_line(tiny_dataset, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    data = f"--config.data.path={tiny_dataset}"
    line = fails(
        capsys, "train", "--config=supervised:resnet_tiny", data, "--config.data.batch_size=8",
        "--config.train.devices=1", f"--workdir={tmp_path / 'file' / 'run'}",
    )  # fmt: skip
    assert "cannot write" in line


@pytest.mark.slow
def test_sweep_leaves_out_at_once_what_cannot_be_built(tiny_dataset, tmp_path, capsys):
    program = tmp_path / "rows.py"
    rows = "def sweep():\n    yield {}\n    yield {'student.qualities': ()}\n"
    program.write_text(rows)
    command = [
        *("sweep", str(program), "--config=supervised:resnet_tiny"),
        *(f"--config.data.path={tiny_dataset}", "--config.data.batch_size=8"),
        *("--config.train.steps=1", "--config.train.devices=1"),
    ]
    assert cli.main([*command, f"--workdir={tmp_path / 'out'}"]) == 2
    said = capsys.readouterr().err
    refused = "student.qualities= cannot be built and is left out: student.qualities is empty"
    assert said.index(refused) < said.index("step 1: validation")
    table = (tmp_path / "out" / "results.csv").read_text().splitlines()
    assert "student.qualities is empty" in table[2]
    program.write_text(rows.replace("{}", "{'data.batch_size': 1000}"))
    line = fails(capsys, *command, f"--workdir={tmp_path / 'none'}")
    assert "data.batch_size=1000" in line
    assert not (tmp_path / "none").exists()


def test_sweep_checks_every_row_before_the_first_run(tiny_dataset, tmp_path, capsys):
    program = tmp_path / "rows.py"
    program.write_text("def sweep():\n    yield {}\n    yield {'seed.students': 1}\n")
    line = fails(
        capsys, "sweep", str(program), "--config=supervised:resnet_tiny",
        f"--workdir={tmp_path / 'out'}", f"--config.data.path={tiny_dataset}",
    )  # fmt: skip
    assert "did you mean 'seed.student'" in line
    assert not (tmp_path / "out").exists()


def test_info_shows_what_a_network_costs(capsys):
    assert cli.main(["info", "--network=resnet18_thin", "--image_size=299"]) == 0
    out = capsys.readouterr().out
    assert "parameters 2,799,394" in out
    assert "GMACs 0.901" in out
    assert "stage4    10 x 10 x 256" in out
    assert "layouts torch" in out


def test_a_flagfile_stands_for_its_lines(tmp_path, capsys):
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    inner.write_text("# the paper's\n\n--config.optimizer.learning_rate=1e-3\n")
    outer.write_text(f"--config=add:resnet18\n// more\n--flagfile={inner}\n")
    assert cli.main(["info", f"--flagfile={outer}", "--config.seed.data=3"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert {"optimizer.learning_rate=0.001", "seed.data=3", "student.network=resnet18"} <= set(out)


def test_a_flagfile_may_be_the_next_word_and_begin_with_a_mark_of_its_encoding(tmp_path, capsys):
    path = tmp_path / "flags"
    path.write_text("--config=add:resnet18\n", "utf-8-sig")
    assert cli.main(["info", "--flagfile", str(path)]) == 0
    assert "student.network=resnet18" in capsys.readouterr().out
    assert cli.main(["info", "--flagfile"]) == 2
    assert "--flagfile=. cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("text", [None, "--flagfile={path}\n"])
def test_a_flagfile_that_cannot_be_used_is_one_line(tmp_path, capsys, text):
    path = tmp_path / "flags"
    if text is not None:
        path.write_text(text.format(path=path))
    assert cli.main(["info", f"--flagfile={path}"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(path) in error


def test_a_value_with_a_space_is_the_configurations(capsys):
    for change in ("--config.method.frequency_layers=(0, 1, 1, 1)", "--config.data.path=a b"):
        assert cli.main(["info", "--config=add", change]) == 0
    assert "data.path=a b\n" in capsys.readouterr().out
    words = ["info", "--config=add", "--config.method.frequency_layers", "0, 1, 1, 1"]
    assert cli.main(words) == 0
    assert "method.frequency_layers=0.0,1.0,1.0,1.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("train", "what was saved is kept, and the same command goes on from there"),
        ("export", "nothing is half written, and the same command begins again"),
    ],
)
def test_ctrl_c_promises_what_is_true(command, told, monkeypatch, capsys):
    def stop(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "run", stop)
    words = {"train": ["--config=kd", "--workdir=run"], "export": ["run"]}[command]
    assert cli.main([command, *words]) == 130
    assert capsys.readouterr().err == f"kdjax: interrupted; {told}\n"
