"""Weights that a run begins with: the student's first ones, and teachers from files."""

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from kdjax import configs
from kdjax.checks import UserError
from kdjax.models.weights.resnet_names import schemes
from kdjax.train.initial import check_plan, initial_state
from kdjax.train.loop import train
from kdjax.train.setup import make_plan
from kdjax.train.state import student_variables

SETTINGS = {"data.batch_size": "8", "train.steps": "1", "train.devices": "1"}
ROLES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def write(path, variables, classes=2):
    """Writes variables of resnet_tiny as PyTorch names and orders them, and other values than theirs."""
    names, arrays = schemes("resnet_tiny")["torchvision"], {}
    draw = np.random.default_rng(0)
    for collection in variables.values():
        for place, leaf in jax.tree_util.tree_leaves_with_path(collection):
            *layer, role = (part.key for part in place)
            shape = leaf.shape
            if layer == ["classifier"]:
                shape = (*shape[:-1], classes)
            axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(len(shape))
            value = draw.uniform(0.5, 1.5, shape).astype(np.float32)
            name = f"{names['/'.join(layer)]}.{ROLES[role]}"
            arrays[name] = np.ascontiguousarray(value if axes is None else value.transpose(axes))
    save_file(arrays, path)
    return path, arrays


def config_for(data, spec="supervised:resnet_tiny", **changed):
    own = {key.replace("__", "."): str(value) for key, value in changed.items()}
    return configs.load(spec, {**SETTINGS, "data.path": str(data), **own})


@pytest.fixture(scope="module")
def blank(tiny_dataset):
    return initial_state(make_plan(config_for(tiny_dataset)))


def test_a_student_begins_with_the_weights_of_the_file(tiny_dataset, blank, tmp_path):
    path, arrays = write(tmp_path / "w.safetensors", student_variables(blank))
    plan = make_plan(config_for(tiny_dataset, student__weights=path))
    state = initial_state(plan)
    kernel = state.params["student"]["stage2_block1"]["conv1"]["kernel"]
    expected = arrays["layer2.0.conv1.weight"].transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(kernel, expected)
    np.testing.assert_array_equal(state.batch_stats["stem_norm"]["var"], arrays["bn1.running_var"])
    assert jax.tree.structure(state) == jax.tree.structure(blank)
    # a run that goes on has its own
    again = initial_state(plan, pretrained=False)
    jax.tree.map(np.testing.assert_array_equal, again.params, blank.params)


@pytest.mark.slow
def test_a_run_that_goes_on_needs_the_file_no_more(tiny_dataset, blank, tmp_path):
    path, _ = write(tmp_path / "w.safetensors", student_variables(blank))
    config = config_for(tiny_dataset, student__weights=path)
    result = train(config, tmp_path / "run")
    path.unlink()
    assert train(config, tmp_path / "run") == result
    with pytest.raises(UserError, match=r"^student\.weights: .* does not exist"):
        train(config, tmp_path / "other")


def test_a_head_of_other_classes_stays_as_drawn(tiny_dataset, blank, tmp_path, capsys):
    path, arrays = write(tmp_path / "w.safetensors", student_variables(blank), classes=1000)
    state = initial_state(make_plan(config_for(tiny_dataset, student__weights=path)))
    for name, leaf in blank.params["student"]["classifier"].items():
        np.testing.assert_array_equal(state.params["student"]["classifier"][name], leaf)
    np.testing.assert_array_equal(
        state.params["student"]["stem_norm"]["scale"], arrays["bn1.weight"]
    )
    assert "classifier" in capsys.readouterr().err


def test_a_file_that_does_not_fit_ends_the_run_before_it_begins(tiny_dataset, tmp_path):
    path = tmp_path / "w.safetensors"
    save_file({"a.weight": np.zeros(3, np.float32)}, path)
    config = config_for(tiny_dataset, student__weights=path)
    with pytest.raises(UserError, match=r"^student\.weights: .*w\.safetensors is not of resnet"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_sweep_is_told_of_weights_that_do_not_fit_before_it_begins(tiny_dataset, tmp_path, blank):
    path, _ = write(tmp_path / "w.safetensors", student_variables(blank))
    check_plan(config_for(tiny_dataset, student__weights=path))
    wide = config_for(tiny_dataset, student__weights=path, student__width=2.0)
    with pytest.raises(UserError, match=r"^student\.weights: .*w\.safetensors does not fit"):
        check_plan(wide)


def test_a_file_is_a_teacher(tiny_dataset, blank, tmp_path):
    path, arrays = write(tmp_path / "w.safetensors", student_variables(blank))
    options = {"teacher__weights": path, "teacher__network": "resnet_tiny"}
    plan = make_plan(config_for(tiny_dataset, "kd:resnet_tiny", **options))
    (variables,) = plan.teacher_variables
    np.testing.assert_array_equal(
        variables["params"]["classifier"]["kernel"], arrays["fc.weight"].T
    )
    assert len(plan.inputs()["teachers"]) == 1


def test_a_teacher_without_a_head_for_two_classes_is_refused(tiny_dataset, blank, tmp_path):
    path, _ = write(tmp_path / "w.safetensors", student_variables(blank), classes=1000)
    options = {"teacher__weights": path, "teacher__network": "resnet_tiny"}
    with pytest.raises(
        UserError, match=r"^teacher\.weights: .* no detector that can teach as it is"
    ):
        make_plan(config_for(tiny_dataset, "kd:resnet_tiny", **options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teacher__weights": "x.pth"}, "teacher.weights is set without teacher.network"),
        ({"teacher__network": "resnet18"}, "teacher.network is set without teacher.weights"),
        ({"teacher__weights": "x.pth", "teacher__network": "resnet81"}, "did you mean 'resnet18'"),
        ({"teacher__weights": "x.pth", "teacher__network": "resnet18"}, "x.pth"),
        ({"student__layout": "keras"}, "resnet_tiny has no layout 'keras'"),
        ({"student__weights": "absent.pth"}, "absent.pth"),
    ],
)
def test_what_does_not_go_together_is_named(tiny_dataset, tmp_path, options, message):
    spec = (
        "kd:resnet_tiny" if any("teacher" in key for key in options) else "supervised:resnet_tiny"
    )
    with pytest.raises(UserError) as caught:
        train(config_for(tiny_dataset, spec, **options), tmp_path / "run")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
