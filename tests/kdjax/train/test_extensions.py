"""What a user adds without editing the library: trained, resumed, evaluated, taught by, swept."""

import json
from pathlib import Path

import numpy as np
import pytest

from kdjax import configs
from kdjax.checks import UserError
from kdjax.cli import main
from kdjax.configs import base
from kdjax.extensions import Extensions
from kdjax.train import checkpoint
from kdjax.train.evaluation import evaluate_run
from kdjax.train.loop import train
from kdjax.train.sweep import sweep

PROGRAMS = Path(__file__).resolve().parents[2] / "programs"
SETTINGS = {
    "data.batch_size": "8",
    "train.steps": "6",
    "train.validation_interval": "3",
    "train.devices": "1",
    "train.log_every": "1",
    "train.balance_steps": "2",
    "train.gradient_ratio_every": "1",
    "student.qualities": "raw",
    "evaluation.batch_size": "8",
}


@pytest.fixture(scope="module")
def teacher(tiny_dataset, tmp_path_factory):
    """A finished run of a shipped network."""
    run = tmp_path_factory.mktemp("runs") / "teacher"
    settings = {**SETTINGS, "data.path": str(tiny_dataset)}
    train(configs.load("supervised:resnet_tiny", settings), run)
    return run


@pytest.fixture
def settings(tiny_dataset, teacher):
    return {**SETTINGS, "data.path": str(tiny_dataset), "teacher.runs": str(teacher)}


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(params=["closeness", "small", "memory"])
def own(request, settings):
    """Configuration and extensions of a program, as the command line reads them."""
    if request.param == "memory":
        settings = {**SETTINGS, "student.qualities": "c40"}
    return configs.read(str(PROGRAMS / f"{request.param}.py"), settings)


def test_programs_are_as_short_as_promised():
    for path in PROGRAMS.glob("*.py"):
        lines = [line for line in path.read_text().splitlines() if line.strip()]
        assert len(lines) <= 30, path.name


def test_a_program_trains_is_continued_and_evaluated(own, tmp_path, monkeypatch):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    result = train(own.config, whole, own.extensions)
    assert result["step"] == 6
    save = checkpoint.Checkpoints.save_latest

    def stop(self, state, *rest):
        save(self, state, *rest)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint.Checkpoints, "save_latest", stop)
    with pytest.raises(KeyboardInterrupt):
        train(own.config, cut, own.extensions)
    monkeypatch.undo()
    assert train(own.config, cut, own.extensions) == result
    assert rows(cut) == rows(whole)
    evaluation = evaluate_run(whole, extensions=own.extensions)
    assert np.isfinite(evaluation.metrics["overall"]["auc"])
    # the configuration is read again without the program
    config = checkpoint.read_config(whole)
    assert dict(configs.flatten(config)) == dict(configs.flatten(own.config))


def test_a_methods_options_are_the_configurations(settings):
    program = str(PROGRAMS / "closeness.py")
    config = configs.load(f"{program}:resnet18_thin", settings)
    assert config.student.network == "resnet18_thin"
    assert config.method.to_dict() == {
        "name": "closeness", "weight": 1.0, "power": 2, "shares": {"closeness": 0.3},
        "cross_entropy_weight": 1.0, "classification": "cross_entropy", "classification_temperature": 1.0,
    }  # fmt: skip
    changed = configs.load(program, {"method.weight": "3", "method.shares.closeness": "0.5"})
    assert (changed.method.weight, changed.method.shares.closeness) == (3.0, 0.5)
    with pytest.raises(UserError, match=r"did you mean 'method\.power'"):
        configs.load(program, {"method.powr": "3"})
    with pytest.raises(UserError, match=r"method\.power='x' must be of type int"):
        configs.load(program, {"method.power": "x"})


def test_a_method_is_logged_measured_and_balanced_like_any_other(settings, tmp_path):
    config, extensions = configs.read(str(PROGRAMS / "closeness.py"), settings)
    train(config, tmp_path / "run", extensions)
    (first, *_) = rows(tmp_path / "run")
    assert {"term/closeness", "distance", "balance/closeness"} <= first.keys()
    np.testing.assert_allclose(first["gradient_ratio/closeness"], 0.3, rtol=0.01)


def test_a_run_of_another_weight_is_refused(settings, tmp_path):
    program = str(PROGRAMS / "closeness.py")
    config, extensions = configs.read(program, settings)
    train(config, tmp_path / "run", extensions)
    other, _ = configs.read(program, {**settings, "method.power": "3"})
    with pytest.raises(UserError, match=r"holds a run with method\.power=2, asked for 3"):
        train(other, tmp_path / "run", extensions)


def test_a_method_is_combined_with_shipped_ones(settings, tmp_path):
    _, extensions = configs.read(str(PROGRAMS / "closeness.py"), settings)
    config = base.get_config("combine", "resnet_tiny", extensions=extensions)
    for key, value in {**settings, "method.parts": "kd,closeness"}.items():
        configs.override(config, key, value)
    config.method.closeness.power = 3
    run = tmp_path / "run"
    result = train(config, run, extensions)
    assert {"term/kd.kd", "term/closeness.closeness"} <= rows(run)[0].keys()
    # read, evaluated and gone on with, the first two without the program
    read = checkpoint.read_config(run)
    assert dict(configs.flatten(read)) == dict(configs.flatten(config))
    assert np.isfinite(evaluate_run(run).metrics["overall"]["auc"])
    assert train(config, run, extensions) == result


def test_own_network_needs_its_program_and_says_so(settings, tmp_path, teacher, capsys):
    program = str(PROGRAMS / "small.py")
    config, extensions = configs.read(program, settings)
    run = tmp_path / "run"
    train(config, run, extensions)
    with pytest.raises(UserError, match=r"has a network of its own, 'small'") as caught:
        evaluate_run(run)
    assert f"--program={program}" in str(caught.value)
    assert main(["evaluate", str(run), f"--program={program}"]) == 0
    assert json.loads((run / "program.json").read_text())["own"]["networks"] == ["small"]
    assert (run / "program.txt").read_text() == Path(program).read_text()
    assert main(["report", str(run), "--output", str(tmp_path / "report.html")]) == 0
    capsys.readouterr()
    # as a teacher, and of a shipped method
    taught = {**settings, "teacher.runs": str(run)}
    loaded = configs.read("kd:resnet_tiny", taught, configs.program(program))
    assert train(loaded.config, tmp_path / "student", loaded.extensions)["step"] == 6


def test_options_of_everything_else_are_at_own(settings):
    config = configs.load(str(PROGRAMS / "small.py"), {"own.small.channels": "4"})
    assert config.own.small.channels == 4
    assert config.own.lion.b1 == 0.9
    assert config.own.linear.end == 0.1
    assert config.own.noise.strength == 0.05


def test_a_program_in_a_sweep(settings, tmp_path):
    program = str(PROGRAMS / "closeness.py")
    table = [{"method": {"power": 1}}, {"config": "kd"}]
    flat = [dict(configs.flatten_mapping(row)) for row in table]
    done = sweep(flat, f"{program}:resnet_tiny", settings, tmp_path / "sweep")
    assert all(evaluation is not None for _, evaluation in done)
    assert checkpoint.read_config(done[0][0]).method.power == 1


def test_own_data_is_checked_against_the_configuration(tmp_path, teacher):
    program = str(PROGRAMS / "memory.py")

    def run(**changed):
        own = {key.replace("__", "."): value for key, value in changed.items()}
        config, extensions = configs.read(program, {**SETTINGS, "student.qualities": "c40", **own})
        return train(config, tmp_path / "run", extensions)

    with pytest.raises(UserError, match=r"student\.qualities names 'raw'; the data set has: c40"):
        run(student__qualities="raw")
    with pytest.raises(
        UserError, match=r"no data set of your own is called 'square'; did you mean"
    ):
        run(data__path="own:square")
    with pytest.raises(UserError, match=r"making it fails: ValueError"):
        run(own__squares__side="-1")
    with pytest.raises(UserError, match=r"'squares'; the program that makes it is not given"):
        train(configs.load("supervised", {"data.path": "own:squares"}), tmp_path / "run")
    config, extensions = configs.read(
        "kd:resnet_tiny",
        {
            **SETTINGS,
            "student.qualities": "c40",
            "data.path": "own:squares",
            "teacher.runs": str(teacher),
        },
        configs.program(program),
    )
    with pytest.raises(UserError, match=r"teacher\.quality names 'raw'; the data set has: c40"):
        train(config, tmp_path / "run", extensions)
    config.teacher.quality = "c40"
    assert train(config, tmp_path / "run", extensions)["step"] == 6
    report = ["report", str(tmp_path / "run"), f"--output={tmp_path / 'report.html'}"]
    assert main(["evaluate", str(tmp_path / "run"), f"--program={program}"]) == 0
    assert main([*report, f"--program={program}"]) == 0


def test_python_hands_them_in_without_a_program(settings, tmp_path):
    own = Extensions(metrics={"first": lambda scores, labels: float(scores[0])})
    config = configs.load("kd:resnet_tiny", {**settings, "train.selection": "auc"})
    config.train.selection = "first"
    train(config, tmp_path / "run", own)
    assert any("first" in row for row in rows(tmp_path / "run") if row["kind"] == "validation")


def part(compare, **facts):
    from kdjax.methods import Part

    return lambda student, teachers: Part("mine", compare, term_names=("mine",), **facts)


WRONG = {
    "no part": (lambda student, teachers: 3, "must return a kdjax.methods.Part or Method; it returned a int"),
    "no option": (lambda student, teachers, *, depth: None, "argument 'depth' has no default"),
    "shared name": (lambda student, teachers, *, classification="x": None, "'classification' has the name of one"),
    "a tuple less": (part(lambda outputs, params, inputs: {}), "must return \\(terms by name"),
    "unannounced": (
        part(lambda outputs, params, inputs: ({"other": outputs.logits.sum()}, (), {})),
        "returns the term 'other'; its term_names are: mine",
    ),
    "no scalar": (
        part(lambda outputs, params, inputs: ({"mine": outputs.logits}, (), {})),
        "its term 'mine' is float32 of shape",
    ),
    "an integer": (
        part(lambda outputs, params, inputs: ({"mine": outputs.logits.argmax()}, (), {})),
        "must return scalars of floating point numbers",
    ),
    "other state": (
        part(
            lambda outputs, params, inputs: ({"mine": outputs.logits.sum()}, outputs.logits, {}),
            init=lambda rng, example: ({}, np.zeros(3, np.float32)),
        ),
        "must return its auxiliary state with the structure, shapes and dtypes",
    ),
    "infinite": (
        part(lambda outputs, params, inputs: ({"mine": outputs.logits.sum() / 0.0}, (), {})),
        "training diverged",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_method_is_one_line_that_names_it(case, settings, tmp_path):
    factory, message = WRONG[case]
    own = Extensions(methods={"mine": factory})

    def build_and_train():
        config = base.get_config("mine", "resnet_tiny", extensions=own)
        for key, value in {**settings, "teacher.runs": ""}.items():
            configs.override(config, key, value)
        train(config, tmp_path / "run", own)

    with pytest.raises(UserError, match=message) as caught:
        build_and_train()
    assert "\n" not in str(caught.value)
    assert "mine" in str(caught.value)
