"""The manifest: what it says, that it is whole, and that a foreign one is not believed."""

import json
import re

import pytest

from data_pipeline import manifest
from kdjax import checks

OLD = {"format": 1, "options": {"seed": 0, "forge": False}, "source": {"files": 3}, "counts": {}}


def test_what_was_written_is_read(tmp_path):
    manifest.write(tmp_path, OLD)
    assert manifest.read(tmp_path) == OLD
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_folder_without_one_has_none(tmp_path):
    assert manifest.read(tmp_path) is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 2}', "not json", "[" * 100_000, '{"format": NaN}']
)
def test_what_is_not_ours_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(checks.UserError, match=r"manifest\.json"):
        manifest.read(tmp_path)


def test_a_name_that_is_not_unicode_can_be_written(tmp_path):
    odd = {"format": 1, "skipped": [{"item": "b\udce9.jpg"}]}
    manifest.write(tmp_path, odd)
    assert manifest.read(tmp_path) == odd


def test_differences_name_the_option_and_both_values():
    new = {"format": 1, "options": {"seed": 1, "margin": 1.3}, "source": {"files": 3}}
    assert manifest.differences(OLD, new) == [
        "options.seed: 0 -> 1",
        "options.forge: False -> absent",
        "options.margin: absent -> 1.3",
    ]
    assert manifest.differences({**new, "counts": {"train": 5}}, new) == []


def test_versions_name_every_tool_and_nothing_of_the_machine():
    versions = manifest.tool_versions()
    assert {"kdjax", "av", "libavcodec", "libx264", "dlib-bin", "tensorflow-datasets"} <= set(
        versions
    )
    assert all(re.fullmatch(r"[0-9a-z][0-9a-z. +]*", version) for version in versions.values())
    assert "/" not in json.dumps(versions)
