"""What a user adds without editing the library: trained, resumed, evaluated, taught by, swept."""

import copy
import json
import pickle
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from kdjax import configs
from kdjax.checks import UserError
from kdjax.cli import main
from kdjax.configs import base
from kdjax.data_pipeline.own import Sources
from kdjax.extensions import METRIC_COLUMNS, NOTHING, Extensions
from kdjax.methods import Network
from kdjax.methods.base import teach
from kdjax.models import create
from kdjax.train import checkpoint, saving
from kdjax.train.calls import check_direction
from kdjax.train.evaluation import evaluate_run
from kdjax.train.initial import initial_state
from kdjax.train.loop import train
from kdjax.train.networks import variable_shapes
from kdjax.train.run import Run
from kdjax.train.setup import make_plan
from kdjax.train.sweeps import sweep
from kdjax.types import Outputs

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


@pytest.fixture(
    params=[
        "closeness",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("small", "memory")),
    ]
)
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
    save = saving.Checkpoints.save_latest

    def stop(self, state, *rest):
        save(self, state, *rest)
        raise KeyboardInterrupt

    monkeypatch.setattr(saving.Checkpoints, "save_latest", stop)
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
        "class_weights": (1.0, 1.0),
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
    with pytest.raises(UserError, match=r"data set 'squares' fails: ValueError"):
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
        r"is inf at the first step already \(mine\), before anything was trained",
    ),
    "metric's shape": (
        part(lambda outputs, params, inputs: ({"mine": outputs.logits.sum()}, (), {"seen": outputs.logits})),
        "compare of part mine must return scalars; its metric 'seen' has the shape",
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


def failing(error):
    def fails(*arguments, **keywords):
        raise error

    return fails


def misread(student, teachers):
    """A method that asks a teacher for a feature that it lacks."""
    from kdjax.methods import Part

    def targets(variables, batch):
        return teach(teachers, variables, batch, "raw")[0].features["rgb"]

    return Part("mine", lambda outputs, params, inputs: ({}, (), {}), targets)


def late(outputs, params, inputs):
    return {"mine": outputs.features["stage9"].mean()}, inputs.aux, {}


def returning(value):
    return lambda *arguments, **keywords: value


class Returns(nn.Module):
    """A network whose call is given."""

    call: object

    @nn.compact
    def __call__(self, x, train=False):
        return self.call(x)


class Fixed(nn.Module):
    """A network that takes images of one size."""

    size: int = 24

    @nn.compact
    def __call__(self, x, train=False):
        if x.shape[1] != self.size:
            raise KeyError(f"images of {x.shape[1]} pixels")
        maps = {f"stage{stage}": x[:, ::stage, ::stage] for stage in range(1, 5)}
        flat = nn.Dense(4)(x.reshape(len(x), -1))
        return Outputs(nn.Dense(2, name="classifier")(flat), {**maps, "pooled": flat})


KEYS = {
    "methods": "method.name",
    "networks": "student.network",
    "augmentations": "data.augmentation",
    "optimizers": "optimizer.name",
    "schedules": "optimizer.schedule",
    "datasets": "data.path",
}


def with_own(settings, kind, factory, **changed):
    """Returns a configuration that names the user's own `mine` of a kind, and the extensions."""
    own = Extensions(**{kind: {"mine": factory}})
    method = "mine" if kind == "methods" else "supervised"
    config = base.get_config(method, "resnet_tiny", extensions=own)
    taught = {} if method == "mine" else {"teacher.runs": ""}
    cheap = {"train.balance": "none", "train.gradient_ratio_every": "0"}
    named = {"datasets": "own:mine"}.get(kind, "mine")
    for key, value in {**settings, **taught, **cheap, KEYS[kind]: named, **changed}.items():
        if key != "method.name":
            configs.override(config, key, value)
    return config, own


FAILS = {
    "method's factory": ("methods", failing(KeyError("depth")), "method 'mine' fails: KeyError: 'depth'"),
    "method's exit": ("methods", failing(SystemExit(3)), "method 'mine' fails: SystemExit: 3"),
    "compare": (
        "methods", part(late),
        r"method 'mine' fails: KeyError: 'stage9' \(the student has the features .*stage1, stage2.*; teacher 0 has ",
    ),
    "targets": ("methods", misread, r"method 'mine' fails: KeyError: 'rgb' \(teacher 0 has pooled, stage1, "),
    "compare divides": (
        "methods", part(lambda outputs, params, inputs: 1 / 0),
        "method 'mine' fails: ZeroDivisionError: division by zero",
    ),
    "init": ("methods", part(late, init=failing(IndexError("2"))), "method 'mine' fails: IndexError: 2"),
    "wrap": ("methods", part(late, wrap=failing(AttributeError("no"))), "method 'mine' fails: AttributeError: no"),
    "wrapped": (
        "methods", part(late, wrap=returning(failing(AttributeError("no")))), "method 'mine' fails: AttributeError: no",
    ),
    "augmentation's factory": ("augmentations", lambda: 1 / 0, "augmentation 'mine' fails: ZeroDivisionError"),
    "no augmentation": ("augmentations", returning(None), "augmentation 'mine' must return a function .* None"),
    "augmentation": ("augmentations", returning(failing(KeyError("a"))), "augmentation 'mine' fails: KeyError: 'a'"),
    "augmentation's shape": (
        "augmentations", returning(lambda image, key, step: image[:4]),
        "augmentation 'mine' fails: ValueError: the augmentation must return an image as it was given",
    ),
    "optimizer's factory": ("optimizers", lambda learning_rate: 1 / 0, "optimizer 'mine' fails: ZeroDivisionError"),
    "no optimizer": ("optimizers", lambda learning_rate: None, "optimizer 'mine' must return an optax.* None"),
    "optimizer's tuple": ("optimizers", lambda: (1, 2), "optimizer 'mine' must return an optax.* a tuple"),
    "a climbing optimizer": (
        "optimizers", lambda: optax.sgd(0.05), "optimizer 'mine' takes no learning_rate, .* would climb: let it take",
    ),
    "an optimizer without an end": (
        "optimizers", lambda learning_rate: optax.scale_by_adam(), "optimizer 'mine' takes learning_rate, but .* climb",
    ),
    "a schedule": (
        "optimizers", lambda: optax.constant_schedule(1.0), "optimizer 'mine' must return an optax.* a function",
    ),
    "lbfgs": ("optimizers", optax.lbfgs, "optimizer 'mine' fails: "),
    "schedule's factory": ("schedules", lambda steps: 1 / 0, "schedule 'mine' fails: ZeroDivisionError"),
    "no schedule": ("schedules", lambda steps: None, "schedule 'mine' must return a function .* None"),
    "schedule": ("schedules", lambda steps: failing(KeyError("a")), "schedule 'mine' fails: KeyError: 'a'"),
    "a climbing schedule": (
        "schedules", lambda steps: lambda step: -1.0, "schedule 'mine' .* 0 or more; at step 0 it is -1",
    ),
    "a schedule without a number": (
        "schedules", lambda steps: lambda step: step / 0.0, "schedule 'mine' .* 0 or more; at step 0 it is nan",
    ),
    "outputs in a dict": (
        "networks", lambda: Returns(lambda x: Outputs({"l": x}, {})),
        "network mine: logits must be an array; it is a dict",
    ),
    "schedule's shape": ("schedules", lambda steps: lambda step: jnp.ones(3), r"schedule 'mine' .* of shape \(3,\)"),
    "schedule's text": ("schedules", lambda steps: lambda step: "much", "schedule 'mine' must return a number"),
    "network's factory": ("networks", failing(SystemExit()), "network 'mine' fails: SystemExit"),
    "network's call": (
        "networks", lambda: Returns(failing(KeyError("conv"))), "network mine fails on images .*: KeyError: 'conv'",
    ),
    "no outputs": ("networks", lambda: Returns(lambda x: x), "network mine must return kdjax.types.Outputs"),
    "normalisation": (
        "networks", lambda: Network(create("resnet_tiny"), (0.5, 0.5), (1.0, 1.0)),
        "normalisation of network 'mine': mean must be three numbers",
    ),
    "mean of 8 bits": (
        "networks", lambda: Network(create("resnet_tiny"), (123.0, 117.0, 104.0), (58.0, 57.0, 57.0)),
        r"normalisation of network 'mine': its mean is \[123.*images are in \[0, 1\]; divide mean and std by 255",
    ),
    "no deviation": (
        "networks", lambda: Network(create("resnet_tiny"), (0.5,) * 3, (0.0,) * 3),
        "normalisation of network 'mine': std must be three numbers above 0",
    ),
    "no dtype": (
        "networks", lambda: Fixed(32), "student.network='mine': student.dtype=bfloat16, but it takes no argument dtype",
    ),
    "data": ("datasets", lambda: 1 / 0, "data set 'mine' fails: ZeroDivisionError"),
    "data's exit": ("datasets", failing(SystemExit(1)), "data set 'mine' fails: SystemExit: 1"),
    "no data": ("datasets", returning(None), "data set 'mine' must return a data set.*lacks where.* None"),
    "data's tuple": ("datasets", returning((1, 2)), "data set 'mine' must return a data set.* a tuple"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILS)
def test_what_fails_in_a_users_own_is_one_line_that_names_it(case, settings, tmp_path):
    kind, factory, message = FAILS[case]
    changed = {"student.dtype": "bfloat16"} if case == "no dtype" else {}
    config, own = with_own(settings, kind, factory, **changed)
    with pytest.raises(UserError, match=message) as caught:
        train(config, tmp_path / "run", own)
    assert "\n" not in str(caught.value)
    assert "cannot be built" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_the_line_of_the_program_is_named(settings, tmp_path):
    program = tmp_path / "mine.py"
    text = (PROGRAMS / "closeness.py").read_text()
    program.write_text(text.replace('outputs.features["pooled"]', 'outputs.features["stage9"]'))
    config, own = configs.read(f"{program}:resnet_tiny", settings)
    (line,) = (n for n, each in enumerate(program.read_text().split("\n"), 1) if "stage9" in each)
    with pytest.raises(UserError, match=rf"'closeness' fails: .*\(mine\.py, line {line}\)"):
        train(config, tmp_path / "run", own)
    program.write_text((PROGRAMS / "small.py").read_text().replace("{}\n", "{}[0]\n"))
    config, own = configs.read(str(program), settings)
    with pytest.raises(UserError, match=r"network small fails .*KeyError: 0 \(mine\.py, line 17"):
        make_plan(config, own)


def test_a_combination_names_the_part_that_fails(settings, tmp_path):
    own = Extensions(methods={"mine": part(late)})
    config = base.get_config("combine", "resnet_tiny", extensions=own)
    for key, value in {**settings, "method.parts": "kd,mine", "train.balance": "none"}.items():
        configs.override(config, key, value)
    with pytest.raises(UserError, match=r"method 'mine' fails: KeyError: 'stage9'"):
        train(config, tmp_path / "run", own)


def test_a_network_is_checked_at_the_size_of_the_images(settings):
    config, own = with_own(settings, "networks", Fixed, **{"data.image_size": "24"})
    initial_state(make_plan(config, own))
    config, own = with_own(settings, "networks", lambda: Fixed(16), **{"data.image_size": "24"})
    with pytest.raises(UserError, match=r"network mine fails .*KeyError: 'images of 24 pixels'"):
        make_plan(config, own)
    net = Network(Fixed(), (0.5,) * 3, (0.5,) * 3)
    assert variable_shapes(net, 24)["params"]["Dense_0"]["kernel"].shape == (24 * 24 * 3, 4)
    with pytest.raises(UserError, match=r"network Fixed fails on images"):
        variable_shapes(net, 32)


class Normed(nn.Module):
    """A network whose statistics are averaged over the devices."""

    axis_name: str | None = None

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not train, axis_name=self.axis_name)(x)
        pooled = x.mean(axis=(1, 2))
        maps = {f"stage{stage}": x for stage in range(1, 5)}
        return Outputs(nn.Dense(2, name="classifier")(pooled), {**maps, "pooled": pooled})


def test_a_network_of_several_devices_is_checked_as_of_one(settings):
    def normed(*, axis_name):
        return Normed(axis_name)

    config, own = with_own(settings, "networks", normed, **{"train.devices": "2"})
    assert make_plan(config, own).student.module.axis_name is not None


def test_data_that_fail_when_they_are_counted_are_named(settings):
    class Broken(Sources):
        def labels(self, split):
            raise KeyError("identity")

    image, label = np.zeros((16, 32, 32, 3), np.uint8), np.arange(16) % 2
    rows = {"image": image, "label": label}

    def broken():
        return Broken(train=rows, validation=rows, test=rows, name="mine", quality="raw")

    config, own = with_own(settings, "datasets", broken)
    with pytest.raises(UserError, match=r"data set 'mine' fails: KeyError: 'identity'"):
        make_plan(config, own)


def test_extensions_are_copied_and_pickled():
    own = Extensions(metrics={"spread": np.ptp})
    for each in (NOTHING, own):
        assert copy.deepcopy(each) == each
        assert pickle.loads(pickle.dumps(each)) == each


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"methods": [1]}, "methods must be a dict of functions by name, .* not a list"),
        ({"networks": {"mine": 3}}, "networks: 'mine' must be a function, not a int"),
        ({"networks": {"a.b": Fixed}}, "networks: the name 'a.b' must begin with a letter"),
        ({"schedules": {"a b": Fixed}}, "schedules: the name 'a b' must begin with a letter"),
        ({"methods": {3: Fixed}}, "methods: the name 3 must"),
        ({"metrics": {"auc": np.ptp}}, "metrics: 'auc' is a column of every run's log"),
        ({"metrics": {"step": np.ptp}}, "metrics: 'step' is a column of every run's log"),
    ],
)
def test_extensions_say_what_they_cannot_be(given, message):
    with pytest.raises(UserError, match=message):
        Extensions(**given)


def test_no_metric_takes_a_column_of_the_log(teacher):
    columns = {name for row in rows(teacher) for name in row}
    own = {name for name in columns if name.isidentifier()}
    assert own <= METRIC_COLUMNS, sorted(own - METRIC_COLUMNS)


def test_the_first_loss_that_is_not_finite_is_no_divergence(settings, tmp_path):
    def call(x):
        return Outputs(
            nn.Dense(2, name="classifier")(x.mean((1, 2))) / 0.0,
            {**{f"stage{k}": x for k in range(1, 5)}, "pooled": x.mean((1, 2))},
        )

    config, own = with_own(settings, "networks", lambda: Returns(call))
    with pytest.raises(UserError, match=r"at the first step already \(cross_entropy\), before"):
        train(config, tmp_path / "run", own)


def test_a_gradient_that_is_not_finite_is_found_in_its_term(settings, tmp_path, capsys):
    def compare(outputs, params, inputs):
        gap = outputs.logits - jax.lax.stop_gradient(outputs.logits)
        return {"mine": jnp.sqrt(jnp.sum(gap**2))}, (), {}

    changed = {"train.gradient_ratio_every": "1"}
    config, own = with_own(settings, "methods", part(compare), **changed)
    with pytest.raises(UserError, match="training diverged"):
        train(config, tmp_path / "run", own)
    assert "a gradient is not finite at step 1, of mine; where the loss" in capsys.readouterr().err


def test_a_term_without_gradient_is_said_once(settings, tmp_path, capsys):
    compare = part(lambda outputs, params, inputs: ({"mine": jnp.float32(0.5)}, (), {}))
    config, own = with_own(settings, "methods", compare, **{"train.gradient_ratio_every": "1"})
    train(config, tmp_path / "run", own)
    said = "the term mine has no gradient on the student at the first step"
    assert capsys.readouterr().err.count(said) == 1


def test_updates_that_go_the_right_way_are_taken():
    own = {"plain": lambda: optax.scale_by_lion(), "rated": optax.adamw, "lbfgs": optax.lbfgs}
    for name in own:
        check_direction(name, Extensions(optimizers=own), {})


def test_a_method_that_fails_without_a_teacher_says_that_it_has_none(settings, tmp_path):
    def mine(student, teachers):
        made = part(late)(student, teachers)
        return made._replace(targets=lambda variables, batch: teachers[0])

    config, own = with_own(settings, "methods", mine, **{"teacher.runs": ""})
    with pytest.raises(UserError, match=r"method 'mine' fails: IndexError: .* \(it has no teacher"):
        train(config, tmp_path / "run", own)

    def zero(student, teachers):
        return part(late)(student, teachers)._replace(targets=lambda variables, batch: 1 / 0)

    config, own = with_own(settings, "methods", zero, **{"teacher.runs": ""})
    with pytest.raises(UserError, match=r"ZeroDivisionError: division by zero(?!.*no teacher)"):
        train(config, tmp_path / "other", own)


def fixed():
    return Fixed(32)


def turned():
    """Another network of the same shapes."""
    return Fixed(32)


def test_a_network_or_data_that_have_changed_are_not_evaluated_in_silence(
    settings, tmp_path, capsys, images_in_memory
):
    config, own = with_own(settings, "networks", fixed)
    train(config, tmp_path / "run", own)
    capsys.readouterr()
    evaluate_run(tmp_path / "run", extensions=own)
    assert "changed" not in capsys.readouterr().err
    evaluate_run(tmp_path / "run", extensions=Extensions(networks={"mine": turned}))
    assert "has changed since" in capsys.readouterr().err
    inputs = tmp_path / "run/inputs.json"
    facts = json.loads(inputs.read_text())
    facts["dataset"]["manifest"] = "another"
    inputs.write_text(json.dumps(facts))
    with pytest.raises(
        UserError, match=r"is not as it was when .*run was trained on it; name it, --data="
    ):
        evaluate_run(tmp_path / "run", extensions=own)
    named = evaluate_run(tmp_path / "run", extensions=own, data=config.data.path)
    in_memory = Run(tmp_path / "run", own).evaluate(images_in_memory)
    assert in_memory.counts["real"] == 2
    assert named.counts["real"] > 2
    assert "test-on-in_memory" in Run(tmp_path / "run", own).evaluations


@pytest.fixture
def images_in_memory():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 32, 32, 3), np.uint8)
    return Sources({"test": {"image": images, "label": np.arange(4) % 2}}, name="in memory")


def test_extensions_that_are_none_are_refused(settings, tmp_path):
    config = configs.load("supervised:resnet_tiny", {"data.path": settings["data.path"]})
    with pytest.raises(
        UserError, match=r"extensions must be kdjax\.Extensions\(methods=.*, not a dict"
    ):
        train(config, tmp_path / "run", {"methods": {}})
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match=r"extensions must be kdjax\.Extensions"):
        Run(tmp_path / "run", {"networks": {}})


def test_numpys_numbers_are_options(settings):
    half, one = np.float32(0.5), np.int64(1)

    def noise(strength=half, steps=(one, 2)):
        return None

    own = Extensions(augmentations={"noise": noise})
    assert own.other_options() == {"noise": {"strength": 0.5, "steps": (1, 2)}}
    assert type(own.other_options()["noise"]["strength"]) is float
