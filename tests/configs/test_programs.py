"""Programs of the user's own: what they may import, return and leave open, and what is said when they may not."""

import subprocess
import sys
import textwrap

import ml_collections
import numpy as np
import pytest
from ml_collections import config_dict

from kdjax import configs
from kdjax.checks import UserError
from kdjax.configs import add, base
from kdjax.train.sweeps import read_sweep

START = "from kdjax.configs import add\n"


@pytest.fixture
def program(tmp_path):
    """The function that writes a program and returns what it is called by."""

    def write(text, name="mine.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(START + textwrap.dedent(text))
        return str(path)

    return write


def test_get_config_may_take_no_argument_or_have_a_default(program):
    none = program("def get_config(): return add.get_config('resnet_tiny')", "none.py")
    assert configs.load(none).student.network == "resnet_tiny"
    with pytest.raises(UserError, match=r"takes no argument, but .*:resnet18 gives it one"):
        configs.load(f"{none}:resnet18")
    default = "def get_config(network='resnet_tiny'): return add.get_config(network)"
    assert configs.load(program(default, "default.py")).student.network == "resnet_tiny"
    assert configs.load(program(default, "default.py") + ":mat").student.network == "mat"


def test_references_follow_the_overrides(program):
    name = program("""
        def get_config():
            config = add.get_config()
            config.data.batch_size = 32
            config.evaluation.batch_size = config.data.get_oneway_ref("batch_size") * 2
            return config
    """)
    assert configs.load(name).evaluation.batch_size == 64
    config = configs.load(name, {"data.batch_size": "16"})
    assert (config.data.batch_size, config.evaluation.batch_size) == (16, 32)
    assert configs.load(name, {"evaluation.batch_size": "7"}).evaluation.batch_size == 7


def test_a_placeholder_is_filled_later_or_named(program):
    name = program("""
        from ml_collections import config_dict
        def get_config():
            config = add.get_config()
            with config.ignore_type():
                config.data.batch_size = config_dict.required_placeholder(int)
            return config
    """)
    with pytest.raises(UserError, match=r"data\.batch_size is a placeholder that nobody filled in"):
        configs.load(name)
    assert configs.load(name, {"data.batch_size": "16"}).data.batch_size == 16


def test_numbers_of_numpy_and_lists_are_values(program):
    name = program("""
        import numpy as np
        def get_config():
            config = add.get_config()
            with config.ignore_type():
                config.data.batch_size = np.int64(16)
                config.optimizer.learning_rate = np.float32(0.5)
                config.student.qualities = ["raw", "c40"]
            return config
    """)
    config = configs.load(name)
    assert type(config.data.batch_size) is int
    assert config.optimizer.learning_rate == 0.5
    assert config.student.qualities == ("raw", "c40")


def test_a_configuration_is_locked_and_its_notes_are_free():
    config = configs.load("add", {"notes.why": "a trial"})
    with pytest.raises((KeyError, AttributeError), match="learning_rate"):
        config.optimizer.learning_rte = 1.0
    config.notes.cluster = ml_collections.ConfigDict({"node": 3})
    again = configs.from_json(configs.to_json(config))
    assert again.notes.to_dict() == {"why": "a trial", "cluster": {"node": 3}}
    assert again == config


def test_a_slip_of_an_unlocked_configuration_is_found_before_training():
    config = add.get_config("resnet_tiny")
    with config.unlocked():
        config.optimizer.learning_rte = 1.0
    with pytest.raises(UserError, match=r"did you mean 'optimizer\.learning_rate'"):
        configs.checked(config)


def test_what_is_no_value_is_named():
    config = base.get_config("kd")
    with config.ignore_type():
        config.data.path = object()
    with pytest.raises(UserError, match=r"data\.path=<object .* is no number, text, boolean"):
        configs.checked(config)


def test_copies_with_resolved_references_are_configurations():
    config = add.get_config("resnet_tiny")
    config.evaluation.batch_size = config.data.get_oneway_ref("batch_size") * 2
    config.data.batch_size = 8
    copy = config.copy_and_resolve_references()
    config.data.batch_size = 4
    copy.update({"optimizer": {"learning_rate": 0.5}})
    assert configs.checked(copy).evaluation.batch_size == 16
    assert configs.checked(copy).optimizer.learning_rate == 0.5
    assert config_dict.FrozenConfigDict(copy).data.batch_size == 8


def test_a_program_imports_what_lies_beside_it(tmp_path, program):
    name = program("""
        import helper
        from parts.more import RATE
        def get_config():
            config = add.get_config(helper.NETWORK)
            config.optimizer.learning_rate = RATE
            return config
        def sweep():
            yield {"seed.student": helper.SEED}
    """)
    (tmp_path / "helper.py").write_text("NETWORK, SEED = 'resnet_tiny', 3\n")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "more.py").write_text("RATE = 0.25\n")
    assert configs.load(name).optimizer.learning_rate == 0.25
    assert read_sweep(name).rows == [{"seed.student": 3}]


def test_a_module_of_the_current_folder_is_a_program(tmp_path, monkeypatch):
    (tmp_path / "own_package").mkdir()
    text = START + "def get_config(network='resnet_tiny'): return add.get_config(network)\n"
    (tmp_path / "own_package" / "my_config.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert configs.load("own_package.my_config").student.network == "resnet_tiny"
    assert configs.load("own_package.my_config:mat").student.network == "mat"
    with pytest.raises(UserError, match=r"no module own_package\.other is installed"):
        configs.load("own_package.other")


def test_a_program_imports_what_lies_in_the_current_folder_after_its_own_and_all_else(
    tmp_path, monkeypatch, program
):
    name = program("""
        import json
        from shared_of_project import NETWORK
        from beside_and_here import HERE
        def get_config(): return add.get_config(NETWORK)
    """)
    here = tmp_path / "project"
    here.mkdir()
    (here / "shared_of_project.py").write_text("NETWORK = 'resnet_tiny'\n")
    (here / "json.py").write_text("raise ValueError\n")
    (here / "beside_and_here.py").write_text("HERE = 'current'\n")
    (tmp_path / "beside_and_here.py").write_text("HERE = 'beside'\n")
    monkeypatch.chdir(here)
    assert configs.load(name).student.network == "resnet_tiny"
    assert sys.path.index(str(tmp_path)) < sys.path.index(str(here)) == len(sys.path) - 1
    assert sys.modules.pop("beside_and_here").HERE == "beside"
    del sys.modules["shared_of_project"]


def test_a_package_that_an_installed_one_hides_is_said(tmp_path, monkeypatch):
    installed, project = tmp_path / "installed" / "hidden_of_project", tmp_path / "project"
    for folder in (installed, project / "hidden_of_project"):
        folder.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    (project / "hidden_of_project" / "exp.py").write_text("def get_config(): return 3\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(installed.parent)])
    monkeypatch.chdir(project)
    with pytest.raises(UserError) as caught:
        configs.load("hidden_of_project.exp")
    assert str(caught.value) == (
        f"no module hidden_of_project.exp: hidden_of_project was found in {installed}, not in this folder; "
        "give hidden_of_project/exp.py, or add hidden_of_project/__init__.py"
    )
    del sys.modules["hidden_of_project"]


def test_a_program_that_another_imports_is_run_once(program):
    text = "NETWORKS = {'small': lambda channels=8: None}\n"
    sibling = program(text, "sibling_net.py")
    first = program("from sibling_net import NETWORKS", "sibling_data.py")
    both = configs.program(first).join(configs.program(sibling))
    assert list(both.networks) == ["small"]
    program("NETWORKS = {'other': lambda: None}", "sibling_net.py")
    assert list(configs.program(sibling).networks) == ["other"]


def test_two_programs_of_one_name_are_told(program):
    first, second = (program("def get_config(): return 3", f"{at}/same.py") for at in "ab")
    with pytest.raises(UserError, match="must return a ConfigDict"):
        configs.load(first)
    with pytest.raises(UserError, match=r"two programs are called same\.py: .*a/same\.py and .*b/"):
        configs.load(second)


def test_an_edited_program_is_read_again(program):
    assert configs.load(program("def get_config(): return add.get_config('mat')"))
    changed = program("def get_config(): return add.get_config('resnet_tiny')")
    assert configs.load(changed).student.network == "resnet_tiny"


def test_a_program_may_be_called_as_a_module_that_is_there(program):
    name = program("def get_config(): return add.get_config('resnet_tiny')", "json.py")
    assert configs.load(name).student.network == "resnet_tiny"
    import json

    assert json.loads("3") == 3


@pytest.mark.parametrize("called", ["to_be_imported.py", "json.py", "my-own.py"])
def test_a_program_is_run_once_and_leaves_a_modules_name_alone(
    tmp_path, monkeypatch, program, called
):
    installed = tmp_path / "installed"
    installed.mkdir()
    (installed / "to_be_imported.py").write_text("WHOSE = 'installed'\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(installed)])
    name = program("NETWORKS = {'small': lambda: None}", called)
    assert configs.program(name).join(configs.program(name)).networks.keys() == {"small"}
    import to_be_imported

    assert to_be_imported.WHOSE == "installed"
    del sys.modules["to_be_imported"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("METHODS = [3]\n", r"METHODS of .* must be a dict of functions by name"),
        ("NETWORKS = {'a': 3}\n", r"NETWORKS of .* must be a dict of functions by name"),
        ("import nowhere\n", r"fails when it is imported: ModuleNotFoundError"),
        ("raise SystemExit('bye')\n", r"fails when it is imported: SystemExit: bye"),
        ("raise ValueError('two\\nlines')\n", r"fails when it is imported: ValueError: two$"),
        (
            "AUGMENTATIONS = {'a': lambda x: x}\n",
            r"augmentation a: its argument 'x' has no default",
        ),
        ("METHODS = {'kd': lambda s, t: 3}\n", r"the method 'kd' is shipped with kdjax"),
    ],
)
def test_a_wrong_program_is_one_line(program, text, message):
    name = program(text + "def get_config(): return add.get_config('resnet_tiny')\n")
    with pytest.raises(UserError, match=message) as caught:
        configs.load(name)
    assert "\n" not in str(caught.value)


FLAGS = """\
import sys
from absl import app, flags
from ml_collections import config_flags
from kdjax import configs

CONFIG = config_flags.DEFINE_config_file("config")

def main(argv):
    config = configs.checked(CONFIG.value)
    print(config.student.qualities, config.optimizer.learning_rate, config.student.network)

app.run(main)
"""


@pytest.mark.parametrize("text", ["raw,c40", "('raw','c40')"])
def test_shipped_files_work_with_config_flags(tmp_path, text):
    (tmp_path / "main.py").write_text(FLAGS)
    words = [f"--config={add.__file__}:resnet_tiny", f"--config.student.qualities={text}"]
    words += ["--config.optimizer.learning_rate=1e-3"]
    command = [sys.executable, str(tmp_path / "main.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "('raw', 'c40') 0.001 resnet_tiny"


def test_numpy_arrays_are_no_surprise():
    config = add.get_config()
    with config.ignore_type():
        config.method.view_layers = np.array([0.0, 1.0, 1.0, 1.0])
    assert configs.checked(config).method.view_layers == (0.0, 1.0, 1.0, 1.0)


def test_a_configuration_of_something_else_is_refused(tmp_path):
    program = tmp_path / "foreign.py"
    program.write_text(
        "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({'a': 1})\n"
    )
    with pytest.raises(
        UserError, match=r"foreign\.py must return a configuration of kdjax.*no method\.name"
    ):
        configs.load(str(program))


def test_an_argument_that_is_no_option_says_why(tmp_path):
    program = tmp_path / "mine.py"
    program.write_text(
        "from kdjax.configs import base\n"
        "def mine(student, teachers, *, alpha=None, table={}): pass\n"
        "def noise(strength=None): pass\n"
        "METHODS, AUGMENTATIONS = {'mine': mine}, {'noise': noise}\n"
        "def get_config():\n"
        "    from kdjax.extensions import Extensions\n"
        "    return base.get_config('mine', extensions=Extensions(methods=METHODS, augmentations=AUGMENTATIONS))\n"
    )
    reason = "is no option, since its default is None; options have a number"
    with pytest.raises(
        UserError, match=rf"method\.alpha: the argument 'alpha' of method mine {reason}"
    ):
        configs.load(str(program), {"method.alpha": "3"})
    with pytest.raises(UserError, match=f"'strength' of augmentation noise {reason}"):
        configs.load(str(program), {"own.noise.strength": "3"})
    with pytest.raises(UserError, match=r"unknown configuration key 'method\.beta'"):
        configs.load(str(program), {"method.beta": "3"})
