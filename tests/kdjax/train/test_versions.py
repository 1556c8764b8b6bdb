"""What a run notes of versions and devices: once, again where they change, and never of steps that are lost."""

import json
from importlib import metadata

import jax
import pytest

from kdjax.folder import RunFolder
from kdjax.train import versions


def noted(run):
    return [(each["step"], each["versions"]["devices"]) for each in RunFolder(run).read_versions()]


def test_versions_are_what_is_installed_and_the_devices_in_use():
    found = versions.present(2)
    assert found["jax"] == metadata.version("jax") == jax.__version__
    assert found["devices"] == f"2 x {jax.devices()[0].device_kind}"
    assert {"kdjax", "Python", "flax", "optax", "numpy"} <= found.keys()


def test_other_versions_are_noted_with_their_first_step(tmp_path):
    kind = jax.devices()[0].device_kind
    versions.note(tmp_path, 0, 4)
    versions.note(tmp_path, 10, 4)
    assert noted(tmp_path) == [(0, f"4 x {kind}")]
    versions.note(tmp_path, 20, 1)
    assert noted(tmp_path) == [(0, f"4 x {kind}"), (20, f"1 x {kind}")]


def test_what_was_noted_of_lost_steps_is_dropped(tmp_path):
    kind = jax.devices()[0].device_kind
    versions.note(tmp_path, 0, 4)
    versions.note(tmp_path, 20, 1)
    versions.note(tmp_path, 10, 2)
    assert noted(tmp_path) == [(0, f"4 x {kind}"), (10, f"2 x {kind}")]
    versions.note(tmp_path, 0, 1)
    assert noted(tmp_path) == [(0, f"1 x {kind}")]


@pytest.mark.parametrize("text", ["{", "{}", "[1, {}]", '[{"step": "0", "versions": {}}]'])
def test_what_is_no_note_is_passed_over(tmp_path, text):
    files = RunFolder(tmp_path)
    files.versions.write_text(text)
    if text != "{":
        assert files.read_versions() == []
    versions.note(tmp_path, 0, 1)
    assert len(json.loads(files.versions.read_text())) == 1
