import json
import os
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from kdjax.checks import UserError
from kdjax.models.weights import guard
from kdjax.models.weights.read import read_tensors, without_prefixes


def safetensors(path, **entries):
    """Writes {name: (kind, shape, bytes)} as the format's description has it."""
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (kind, shape, part) in entries.items():
        place = [len(data), len(data) + len(part)]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": place}
        data += part
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def test_safetensors_are_read_and_halves_widened(tmp_path):
    path = safetensors(
        tmp_path / "weights",
        **{
            "model.a": ("F32", [2, 1], struct.pack("<2f", 1.5, -2)),
            "model.half": ("F16", [2], struct.pack("<2e", 1.5, -2)),
            "model.brain": ("BF16", [2], struct.pack("<2H", 0x3FC0, 0xC000)),
            "model.count": ("I64", [], struct.pack("<q", 2**40)),
            "model.none": ("F32", [0, 3], b""),
        },
    )
    tensors = read_tensors(str(path))
    assert tensors.kind == "torch"
    arrays = tensors.arrays
    assert set(arrays) == {"a", "half", "brain", "count", "none"}
    for name, shape in {"a": (2, 1), "half": (2,), "brain": (2,)}.items():
        assert arrays[name].dtype == np.float32
        np.testing.assert_array_equal(arrays[name], np.reshape([1.5, -2], shape))
    assert arrays["count"].dtype == np.int64
    assert arrays["count"] == 2**40
    assert arrays["none"].shape == (0, 3)


@pytest.mark.parametrize(
    ("names", "stripped"),
    [
        (["module.a", "module.b"], ["a", "b"]),
        (["module.model.net.a"], ["a"]),
        (["model.module.a", "model.module.b"], ["a", "b"]),
        (["module.a", "b"], ["module.a", "b"]),
        (["backbone.a", "backbone."], ["backbone.a", "backbone."]),
        (["net." * 2000 + "a"], ["a"]),
        ([], []),
    ],
)
def test_prefixes_go_where_all_names_have_them(names, stripped):
    assert list(without_prefixes({name: np.zeros(1) for name in names})) == stripped


NAN = {"layer.weight": ("F32", [1], struct.pack("<f", float("nan")))}
OLD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
FILES = {
    "empty": (b"", "is empty"),
    "a web page": (b"<!DOCTYPE html><html>" * 20, "starts with '<!DOCTYPE html><html><!D'"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\n", "starts with 'version https"),
    "noise": (bytes(range(256)) * 3, "of no known format"),
    "old PyTorch cut off": (OLD + bytes(99), "damaged pickle"),
    "older PyTorch": (bytes(257) + b"ustar" + bytes(300), "torch.save in PyTorch >= 1.6"),
    "a pickle": (b"\x80\x04cos\nsystem\n.", "is a pickle, which is a program"),
    "a lone zip header": (b"PK\x03\x04" + bytes(30), "cut off"),
    "a short HDF5 file": (b"\x89HDF\r\n\x1a\n", "damaged HDF5"),
    "safetensors cut off": (struct.pack("<Q", 99) + b"{", "damaged safetensors"),
    "safetensors of a huge header": (b"\xff" * 8 + b"{", "damaged safetensors"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_is_no_weights_is_refused_in_one_line(tmp_path, case):
    data, reason = FILES[case]
    path = tmp_path / "weights.pth"
    path.write_bytes(data)
    with pytest.raises(UserError) as caught:
        read_tensors(path)
    assert reason in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert str(caught.value).isprintable()


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (("none\n.pth", "does not exist"), ("", "no file"), ("pipe", "no file")):
        with pytest.raises(UserError, match=reason) as caught:
            read_tensors(tmp_path / name)
        assert str(caught.value).isprintable()


def test_an_archive_of_something_else_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", w=np.zeros(3))
    with pytest.raises(UserError, match="neither PyTorch nor Keras"):
        read_tensors(tmp_path / "a.npz")


def test_a_packed_bomb_in_an_archive_of_keras_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("kdjax.models.weights.archive.read_member.__defaults__", (1000,))
    with zipfile.ZipFile(tmp_path / "a.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(100_000))
    with pytest.raises(UserError, match="declares 100,000 bytes"):
        read_tensors(tmp_path / "a.keras")


def test_values_that_are_not_finite_are_refused_by_layer(tmp_path):
    with pytest.raises(UserError, match=r"layer 'layer\.weight' holds values that are not finite"):
        read_tensors(safetensors(tmp_path / "a.safetensors", **NAN))


def test_numbers_of_an_unknown_kind_are_refused(tmp_path):
    path = safetensors(tmp_path / "a.safetensors", w=("F8_E4M3", [1], b"\0"))
    with pytest.raises(UserError, match="'w' as 'F8_E4M3'"):
        read_tensors(path)


def test_too_many_tensors_and_bytes_are_refused(tmp_path, monkeypatch):
    one = ("F32", [3], bytes(12))
    path = safetensors(tmp_path / "a.safetensors", a=one, b=one)
    monkeypatch.setattr(guard, "MAX_TENSORS", 1)
    with pytest.raises(UserError, match="more than 1 tensors"):
        read_tensors(path)
    monkeypatch.setattr(guard, "MAX_TENSORS", 2)
    monkeypatch.setattr(guard, "MAX_BYTES", 23)
    with pytest.raises(UserError, match="of tensors, up to 'b'"):
        read_tensors(path)


@pytest.mark.slow
def test_h5py_and_safetensors_are_imported_when_a_file_needs_them():
    code = (
        "import sys, kdjax.models.weights.read; print({'h5py', 'safetensors'} & set(sys.modules))"
    )
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert result.stdout.strip() == "set()"
