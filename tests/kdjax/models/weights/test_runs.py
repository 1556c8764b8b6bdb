import json

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from kdjax import models
from kdjax.checks import UserError
from kdjax.models.weights import load_weights


def variables(seed, **options):
    network = models.create("resnet_tiny", **options)
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: np.float32(rng.uniform(size=leaf.shape)), shapes)


def write_config(folder, **student):
    folder.mkdir(exist_ok=True)
    student = {"network": "resnet_tiny", "width": 1.0, **student}
    (folder / "config.json").write_text(json.dumps({"student": student}))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with two best checkpoints, of which the later one counts."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    write_config(folder, layout="torch")
    with ocp.CheckpointManager((folder / "best").absolute()) as manager:
        for step, seed in ((3, 5), (12, 1)):
            manager.save(step, args=ocp.args.StandardSave(variables(seed)))
    return folder


def refusal(name, folder, ours, **options):
    with pytest.raises(UserError) as caught:
        load_weights(name, folder, ours, **options)
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_a_runs_best_checkpoint_is_taken_whole(run):
    said = []
    found = load_weights("resnet_tiny", run, variables(0), say=said.append)
    wanted = variables(1)
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    jax.tree.map(np.testing.assert_array_equal, found, wanted)
    assert said == []


def test_a_run_from_before_there_were_layouts_is_of_torchs(run):
    write_config(run)
    found = load_weights("resnet_tiny", run, variables(0))
    jax.tree.map(np.testing.assert_array_equal, found, variables(1))


@pytest.mark.parametrize("layout", [{}, {"layout": ""}, {"layout": "torch"}])
def test_a_run_of_another_layout_is_told(tmp_path, layout):
    write_config(tmp_path, network="efficientnet_tiny", **layout)
    line = refusal("efficientnet_tiny", tmp_path, variables(0), layout="keras")
    assert "student.layout=torch, not keras" in line


def test_a_run_of_another_network_or_width_is_told(run):
    assert "student.network=resnet_tiny, not resnet18" in refusal("resnet18", run, variables(0))
    line = refusal("resnet_tiny", run, variables(0, width=2.0))
    assert f"{run}/best/12 does not fit: batch_stats/" in line
    assert "(8,) there, (16,) here; the run has student.width=1.0" in line


def test_a_folder_that_is_no_run_or_has_no_checkpoint_is_told(tmp_path):
    assert "is not a run" in refusal("resnet_tiny", tmp_path, variables(0))
    (tmp_path / "config.json").write_text('{"student": 3}')
    assert "names no student.network" in refusal("resnet_tiny", tmp_path, variables(0))
    write_config(tmp_path)
    assert "has no checkpoint yet" in refusal("resnet_tiny", tmp_path, variables(0))
    (tmp_path / "best").mkdir()
    assert "has no checkpoint yet" in refusal("resnet_tiny", tmp_path, variables(0))


def test_a_damaged_checkpoint_is_told(tmp_path):
    write_config(tmp_path)
    with ocp.CheckpointManager((tmp_path / "best").absolute()) as manager:
        manager.save(2, args=ocp.args.StandardSave({"params": {"x": np.zeros(3)}}))
    for path in (tmp_path / "best" / "2" / "default").iterdir():
        if path.is_file():
            path.write_text("{")
    line = refusal("resnet_tiny", tmp_path, variables(0))
    assert f"{tmp_path}/best/2 cannot be read" in line


def test_a_runs_head_of_other_classes_is_left_and_said(run):
    write_config(run, layout="torch")
    said, ours = [], variables(0, num_classes=3)
    found = load_weights("resnet_tiny", run, ours, say=said.append)
    head = found["params"]["classifier"]
    jax.tree.map(np.testing.assert_array_equal, head, ours["params"]["classifier"])
    stem = found["params"]["stem_conv"]["kernel"]
    np.testing.assert_array_equal(stem, variables(1)["params"]["stem_conv"]["kernel"])
    assert len(said) == 1
    assert "classifier (the run's has 2 classes, ours 3)" in said[0]
