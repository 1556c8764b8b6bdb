"""Configurations: closed keys, one place for every default, the same after a trip through JSON."""

import json

import numpy as np
import pytest

from kdjax import configs, methods
from kdjax.checks import UserError


@pytest.mark.parametrize("name", configs.NAMES)
def test_every_configuration_loads_and_survives_json(name):
    config = configs.load(f"{name}:resnet18_thin")
    assert config.student.network == "resnet18_thin"
    assert config.method.name == name
    again = configs.from_json(json.loads(json.dumps(configs.to_json(config))))
    assert again == config


def test_every_method_has_a_configuration():
    assert set(configs.NAMES) == set(methods.names())


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("optimizer.learning_rate", "1e-4", 1e-4),
        ("optimizer.learning_rate", "1", 1.0),
        ("data.batch_size", "16", 16),
        ("data.flip", "false", False),
        ("teacher.runs", "a,b", ("a", "b")),
        ("teacher.runs", "", ()),
        ("method.view_layers", "0,1,2,3", (0.0, 1.0, 2.0, 3.0)),
        ("student.network", "resnet50", "resnet50"),
        # as ml_collections' config_flags takes them
        ("student.qualities", "('raw','c40')", ("raw", "c40")),
        ("student.qualities", "('raw',)", ("raw",)),
        ("student.qualities", "'raw','c40'", ("raw", "c40")),
        ("student.qualities", "[raw, c40]", ("raw", "c40")),
        ("student.qualities", "(raw)", ("raw",)),
        ("teacher.runs", "('a,b','c d')", ("a,b", "c d")),
        ("teacher.runs", "'a'", ("a",)),
        ("teacher.runs", "()", ()),
        ("teacher.runs", "None", ()),
        ("teacher.runs", "007,1e3", ("007", "1e3")),
        ("method.view_layers", "(0,1,1,1)", (0.0, 1.0, 1.0, 1.0)),
        ("method.view_layers", "[0, 1e-1, 1, 1]", (0.0, 0.1, 1.0, 1.0)),
        ("data.path", "None", ""),
        ("data.flip", "yes", True),
        ("data.flip", "0", False),
        ("data.batch_size", "1e3", 1000),
        ("data.batch_size", "0x10", 16),
    ],
)
def test_override_takes_the_type_of_the_default(key, text, expected):
    config = configs.load("add", {key: text})
    value = dict(configs.flatten(config))[key]
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("optimizer.learning_rat", "1", "did you mean 'optimizer.learning_rate'"),
        ("train.learning_rate", "1", "did you mean 'optimizer.learning_rate'"),
        # nothing is like it: its neighbours, and not what begins alike
        ("seed.tau", "1", "known: seed.data, seed.student"),
        ("data.batch_size", "1.5", "must be of type int"),
        ("data.batch_size", "many", "must be of type int"),
        ("data.batch_size", "True", "must be of type int"),
        ("data.flip", "perhaps", "must be of type bool"),
        ("optimizer.learning_rate", "__import__('os')", "must be of type float"),
        ("method.view_layers", "0,x", "must be of type float"),
        ("optimizer.learning_rate", "nan", "must be a finite number, like "),
        ("student.qualities", "None", "student.qualities cannot be empty; it is "),
        ("student.qualities", "('raw',1)", "must be of type tuple"),
        ("student.qualities", "(raw", "must be of type tuple"),
        ("train.steps", "-inf", "must be a finite number, like "),
        ("method.view_layers", "(0,None,1,1)", "must be of type float"),
        ("method.view_layers", "(0,(1,2),1,1)", "must be of type float"),
        ("method.name", "kd", "start from --config=kd"),
        ("data.batch_size", "None", "must be of type int"),
        ("optimizer.name", "None", "optimizer.name cannot be empty; it is 'adam'"),
        ("optimizer.learning_rate", "(" * 999, "must be of type float"),
        ("optimizer", "adam", "unknown configuration key"),
        ("optimizer.name", "lion", "optimizer.name='lion' must be one of: adam, adamw, sgd"),
        ("optimizer.schedule", "triangle", "must be one of: one_cycle, constant, cosine, step"),
        ("train.selection", "loss", "train.selection='loss' must be one of: accuracy, auc"),
    ],
)
def test_wrong_override_is_refused_in_one_line(key, text, message):
    with pytest.raises(UserError, match=message) as caught:
        configs.load("add", {key: text})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [np.int64(16), np.float32(16), 16.0])
def test_numbers_of_numpy_are_numbers(number):
    config = configs.load("add")
    configs.override(config, "data.batch_size", number)
    assert type(config.data.batch_size) is int
    configs.override(config, "optimizer.learning_rate", number)
    assert config.optimizer.learning_rate == 16.0


def test_unknown_configuration_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'supervised'"):
        configs.load("supervized")


def test_key_of_another_version_is_refused_when_read_back():
    values = configs.to_json(configs.load("kd"))
    values["data"]["colour"] = "red"
    with pytest.raises(UserError, match=r"unknown configuration key 'data\.colour'"):
        configs.from_json(values)


@pytest.mark.parametrize("values", [[1], {"method": 3}, {}, {"method": {"name": 4}}])
def test_damaged_configuration_is_one_line(values):
    with pytest.raises(UserError):
        configs.from_json(values)


def test_own_program_is_a_configuration(tmp_path):
    program = tmp_path / "mine.py"
    program.write_text(
        "from kdjax.configs import add\n"
        "def get_config(network):\n"
        "    config = add.get_config(network)\n"
        "    config.optimizer.learning_rate = 0.5\n"
        "    return config\n"
    )
    config = configs.load(f"{program}:resnet34_thin")
    assert config.optimizer.learning_rate == 0.5
    assert config.student.network == "resnet34_thin"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "does not define get_config"),
        ("1 / 0\n", "fails when it is imported"),
        ("def get_config(network):\n    1 / 0\n", "ZeroDivisionError"),
        ("def get_config(network):\n    return {}\n", "must return a ConfigDict"),
    ],
)
def test_broken_program_is_one_line(tmp_path, text, message):
    program = tmp_path / "mine.py"
    program.write_text(text)
    with pytest.raises(UserError, match=message):
        configs.load(str(program))


@pytest.mark.parametrize("wrong", [None, {}, "kd", 3])
def test_what_is_no_configuration_is_said(wrong):
    with pytest.raises(UserError, match=r"a configuration is a ConfigDict"):
        configs.checked(wrong)


def test_a_pattern_is_named_with_what_is_wrong_with_it():
    with pytest.raises(
        UserError, match=r"^optimizer\.freeze='\(\[' is no regular expression: unterm"
    ):
        configs.load("supervised:resnet_tiny", {"optimizer.freeze": "(["})
    with pytest.raises(
        UserError, match=r"^optimizer\.freeze='a\)' is no regular expression: unbalan"
    ):
        configs.load("supervised:resnet_tiny", {"optimizer.freeze": "stem,a)"})
    # a bracket at the beginning is a list's or a pattern's
    for text, found in (
        ("(stem|stage1)/kernel", ("(stem|stage1)/kernel",)),
        ("[ab]c,d", ("[ab]c", "d")),
        ("(stem,stage1)", ("stem", "stage1")),
        ("['stem', 'stage1']", ("stem", "stage1")),
    ):
        config = configs.load("supervised:resnet_tiny", {"optimizer.freeze": text})
        assert tuple(config.optimizer.freeze) == found


def test_a_log_of_no_steps_is_refused():
    with pytest.raises(UserError, match=r"^train\.log_every=0 must be greater than 0$"):
        configs.load("supervised:resnet_tiny", {"train.log_every": "0"})
