"""Recorded teachers: found by index, whatever the order; refused in one line."""

import io
import zipfile

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from kdjax import configs
from kdjax.checks import UserError
from kdjax.train.initial import initial_state
from kdjax.train.loop import train
from kdjax.train.records import read_records
from kdjax.train.setup import make_plan


def table(count=5, **changed):
    draw = np.random.default_rng(0)
    index = draw.permutation(count)
    logits = np.stack([index, -index], axis=1).astype(np.float32)
    return {"index": index, "logits": logits, "pooled": np.float16(logits[:, :1]), **changed}


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_outputs_are_found_by_index(tmp_path, suffix):
    path = tmp_path / f"teacher.{suffix}"
    if suffix == "npz":
        np.savez(path, **table())
    else:
        save_file(table(), path)
    records = read_records([str(path)], first=1)
    batch = records.attach({"index": np.array([3, 0, 4])})
    np.testing.assert_array_equal(batch["recorded"]["1"]["logits"][:, 0], [3, 0, 4])
    assert batch["recorded"]["1"]["pooled"].dtype == np.float32
    assert records.teachers()[0].shapes == {"logits": (2,), "pooled": (1,)}


def test_without_records_a_batch_stays_as_it_is():
    batch = {"index": np.arange(2)}
    assert read_records([], 0).attach(batch) is batch


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"index": None}, "no integer array `index`"),
        ({"index": np.arange(5.0)}, "no integer array `index`"),
        ({"index": np.array([0, 1, 2, 3, 3])}, "names an index twice"),
        ({"logits": None}, "no array `logits`"),
        ({"logits": np.zeros((5, 3))}, r"logits of shape \(5, 3\)"),
        ({"logits": np.full((5, 2), np.nan)}, "not finite"),
        ({"logits": np.full((5, 2), 1e39)}, "not finite in float32"),
        ({"pooled": np.zeros((5, 0))}, r"pooled of shape \(5, 0\), which is empty"),
        ({"index": np.zeros(0, int)}, "holds no image"),
        ({"pooled": np.zeros((4, 2))}, "4 rows of pooled for 5"),
        ({"pooled": np.zeros(5)}, "holds pooled as float64"),
        ({"pooled": np.zeros((5, 2), int)}, "holds pooled as int64"),
        ({"pooled": np.array([["a"]] * 5)}, "holds pooled as"),
        ({"pooled": np.array([[{}]] * 5, object)}, "cannot be read"),
    ],
)
def test_an_unusable_file_is_refused_in_one_line(tmp_path, changed, message):
    path = tmp_path / "teacher.npz"
    np.savez(path, **{k: v for k, v in table(**changed).items() if v is not None})
    with pytest.raises(UserError, match=message) as caught:
        read_records([str(path)], 0)
    assert "teacher.recorded" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors", "a.pt", "missing.npz"])
def test_what_is_no_such_file_is_refused(tmp_path, name):
    path = tmp_path / name
    if name != "missing.npz":
        path.write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(UserError, match=r"teacher\.recorded"):
        read_records([str(path)], 0)


def test_what_is_no_table_is_refused(tmp_path):
    array, text, bomb = (tmp_path / f"{name}.npz" for name in ("array", "text", "bomb"))
    with array.open("wb") as opened:
        np.save(opened, np.zeros(3))
    with zipfile.ZipFile(text, "w") as archive:
        archive.writestr("index", "no array")
    huge = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        huge, {"descr": "<f4", "fortran_order": False, "shape": (10**14,)}
    )
    with zipfile.ZipFile(bomb, "w") as archive:
        archive.writestr("index.npy", huge.getvalue())
    plain, objects = tmp_path / "plain.npz", tmp_path / "objects.npz"
    plain.write_text("index,logits")
    np.savez(objects, index=np.array([{}]))
    for path in (plain, objects):
        with pytest.raises(UserError, match="something else than arrays of numbers") as caught:
            read_records([str(path)], 0)
        assert "pickle" not in str(caught.value)
    for path in (array, text, bomb):
        with pytest.raises(UserError, match=rf"teacher\.recorded: \S+{path.name}") as caught:
            read_records([str(path)], 0)
        assert "\n" not in str(caught.value)


def settings(data, path, **changed):
    own = {
        "data.path": str(data),
        "data.batch_size": "8",
        "train.steps": "2",
        "train.devices": "1",
        "train.gradient_ratio_every": "0",
        "teacher.recorded": str(path),
    }
    return configs.load("kd:resnet_tiny", {**own, **changed})


@pytest.mark.slow
def test_a_student_learns_from_recorded_logits_as_from_the_network(tiny_dataset, tmp_path):
    plan_size = make_plan(
        configs.load(
            "supervised:resnet_tiny", {"data.path": str(tiny_dataset), "data.batch_size": "8"}
        )
    ).dataset.sizes["train"]
    path = tmp_path / "teacher.npz"
    np.savez(path, index=np.arange(plan_size), logits=np.eye(2)[np.arange(plan_size) % 2])
    config = settings(tiny_dataset, path)
    plan = make_plan(config)
    # no image is read for a teacher who needs none
    assert plan.qualities == ("c40",)
    assert plan.teacher_variables == ((),)
    assert initial_state(plan).params["student"]
    result = train(config, tmp_path / "run")
    assert result["step"] == 2
    before = plan.inputs()
    np.savez(path, index=np.arange(plan_size), logits=np.zeros((plan_size, 2)))
    assert make_plan(config).inputs() != before
    assert all(
        np.isfinite(leaf).all()
        for leaf in jax.tree.leaves(before["teachers"])
        if not isinstance(leaf, str)
    )


def test_records_must_cover_the_training_images(tiny_dataset, tmp_path):
    path = tmp_path / "teacher.npz"
    np.savez(path, index=np.arange(3), logits=np.zeros((3, 2)))
    with pytest.raises(UserError, match=r"lacks \d+ of \d+ training images, the first has index 3"):
        make_plan(settings(tiny_dataset, path))


def test_recorded_maps_do_not_follow_flips(tiny_dataset, tmp_path):
    path = tmp_path / "teacher.npz"
    np.savez(
        path,
        index=np.arange(1000),
        logits=np.zeros((1000, 2)),
        stage4=np.zeros((1000, 1, 1, 2), np.float32),
    )
    with pytest.raises(UserError, match=r"set data\.flip=false and data\.random_crop=false"):
        make_plan(settings(tiny_dataset, path))
    still = {"data.flip": "false", "data.random_crop": "false"}
    assert make_plan(settings(tiny_dataset, path, **still))


def test_a_feature_that_was_not_recorded_is_named(tiny_dataset, tmp_path):
    path = tmp_path / "teacher.npz"
    np.savez(path, index=np.arange(1000), logits=np.zeros((1000, 2)))
    own = {
        "data.path": str(tiny_dataset),
        "data.batch_size": "8",
        "train.devices": "1",
        "teacher.recorded": str(path),
        "method.loss": "pkt",
    }
    plan = make_plan(configs.load("baselines:resnet_tiny", own))
    with pytest.raises(UserError, match="teacher 1 has no 'pooled'; it has logits"):
        initial_state(plan)
