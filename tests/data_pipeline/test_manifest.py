"""The manifest: what it says, that it is whole, and that a foreign one is not believed."""

import json
import re
import shutil

import pytest
from array_record.python import array_record_module as array_record

from kdjax import checks
from kdjax.data_pipeline import manifest, prepared

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


def rewrite(folder, change):
    """Writes the test records anew, each through `change(position, record)`."""
    (path,) = folder.glob("*-test.*")
    reader = array_record.ArrayRecordReader(str(path))
    records = [change(place, reader.read([place])[0]) for place in range(reader.num_records())]
    reader.close()
    writer = array_record.ArrayRecordWriter(str(path), "group_size:2,zstd:9")
    for record in records:
        writer.write(record)
    writer.close()


@pytest.fixture
def copied(tiny_dataset, tmp_path):
    return shutil.copytree(tiny_dataset, tmp_path / "copy")


def test_a_checksum_is_of_what_the_data_says_and_not_of_how_it_lies(tiny_dataset, copied):
    expected = manifest.checksum(tiny_dataset)
    assert re.fullmatch("[0-9a-f]{64}", expected)
    (path,) = copied.glob("*-test.*")
    before = path.read_bytes()
    rewrite(copied, lambda place, record: record)
    assert path.read_bytes() != before
    manifest.write(copied, OLD)
    assert manifest.checksum(copied) == expected


def test_a_checksum_changes_when_one_record_does(tiny_dataset, copied):
    (path,) = copied.glob("*-test.*")
    other = array_record.ArrayRecordReader(str(path)).read([4])[0]
    rewrite(copied, lambda place, record: other if place == 3 else record)
    assert manifest.checksum(copied) != manifest.checksum(tiny_dataset)


@pytest.mark.parametrize("field", ["label", "video", "identity", "frame", "forgery", "raw", "mask"])
def test_a_checksum_changes_with_every_field(tiny_dataset, monkeypatch, field):
    expected = manifest.checksum(tiny_dataset)
    original = prepared.decode_record

    def altered(index, *arguments, **options):
        example = original(index, *arguments, **options)
        if index == 7 and field == "raw":
            example["image"]["raw"][0, 0, 0] ^= 1
        elif index == 7 and field == "mask":
            example["forgery_mask"][0, 0, 0] ^= 1
        elif index == 7:
            example[field] = example[field] + 1
        return example

    monkeypatch.setattr(prepared, "decode_record", altered)
    assert manifest.checksum(tiny_dataset) != expected
