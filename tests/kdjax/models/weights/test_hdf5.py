import io
import os
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from kdjax.checks import UserError
from kdjax.models.weights.keras_names import legacy_name
from kdjax.models.weights.read import read_tensors

CONV = np.arange(54, dtype=np.float32).reshape(3, 3, 3, 2)
PAIR = np.array([1.0, 2.0], np.float32)


def legacy(group, layers):
    """Writes {layer: {weight name: array}} as Keras' old files have it."""
    group.attrs["layer_names"] = [layer.encode() for layer in layers]
    for layer, weights in layers.items():
        inner = group.create_group(layer)
        inner.attrs["weight_names"] = [name.encode() for name in weights]
        for name, array in weights.items():
            inner[name] = array


def numbered(root, path, arrays, name=None):
    """Writes the variables of a layer as Keras 3 does."""
    group = root.create_group(f"{path}/vars")
    if name is not None:
        group.attrs["name"] = name
    for number, array in enumerate(arrays):
        group[str(number)] = array


LAYERS = {
    "input_1": {},
    "conv1": {"conv1_1/kernel:0": CONV, "conv1_1/bias:0": PAIR},
    "bn": {f"model/bn/{role}_2:0": PAIR for role in ("gamma", "beta", "moving_mean")},
    "inner": {"inner/head/kernel": CONV[0, 0], "inner/head/bias": PAIR},
}
NAMES = ["conv1/kernel", "conv1/bias", "bn/gamma", "bn/beta", "bn/moving_mean", "head/kernel"]


@pytest.mark.parametrize("place", ["/", "model_weights"])
def test_old_files_give_layers_in_their_order(tmp_path, place):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        legacy(file.require_group(place), LAYERS)
    tensors = read_tensors(tmp_path / "a.h5")
    assert tensors.kind == "keras"
    assert list(tensors.arrays) == [*NAMES, "head/bias"]
    np.testing.assert_array_equal(tensors.arrays["conv1/kernel"], CONV)


def test_a_list_of_names_cut_into_pieces_is_put_together(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        legacy(file, {"a": {"a/bias:0": PAIR}, "b": {"b/bias:0": PAIR}})
        del file.attrs["layer_names"]
        file.attrs["layer_names0"] = ["a"]
        file.attrs["layer_names1"] = ["b"]
    assert list(read_tensors(tmp_path / "a.h5").arrays) == ["a/bias", "b/bias"]


@pytest.mark.parametrize(
    ("layer", "weight", "name"),
    [
        ("conv2d_5", "conv2d_5/kernel:0", "conv2d_5/kernel"),
        ("conv2d_5", "conv2d_5_1/kernel_1:0", "conv2d_5/kernel"),
        ("model", "conv2d_5/kernel:0", "conv2d_5/kernel"),
        ("sep", "a/b/sep/depthwise_kernel", "sep/depthwise_kernel"),
        ("norm", "count:0", "norm/count"),
    ],
)
def test_old_names_lose_scopes_and_the_numbers_of_tensorflow(layer, weight, name):
    assert legacy_name(layer, weight) == name


STATISTICS = ["moving_mean", "moving_variance"]
CLASSES = {
    "conv2d_3": [["kernel"], ["kernel", "bias"]],
    "dense": [["kernel"], ["kernel", "bias"]],
    "depthwise_conv2d_12": [["depthwise_kernel"], ["depthwise_kernel", "bias"]],
    "separable_conv2d": [
        ["depthwise_kernel", "pointwise_kernel"],
        ["depthwise_kernel", "pointwise_kernel", "bias"],
    ],
    "batch_normalization_1": [
        STATISTICS,
        ["beta", *STATISTICS],
        ["gamma", "beta", *STATISTICS],
    ],
    "normalization": [["mean", "variance", "count"]],
    "embedding": [["0", "1"]],
}


@pytest.mark.parametrize("given", [None, "mine"])
@pytest.mark.parametrize("top", ["layers", "_layer_checkpoint_dependencies", "layers/model/layers"])
def test_numbered_variables_get_the_roles_of_their_class(tmp_path, given, top):
    wanted = {}
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        for group, choices in CLASSES.items():
            for number, roles in enumerate(choices):
                layer = f"{given}_{group}_x{number}" if given else group
                if given or number == 0:
                    arrays = [np.float32(len(wanted) + n) for n in range(len(roles))]
                    at = f"{top}{number}/{group}" if given else f"{top}/{group}"
                    numbered(file, at, arrays, layer if given else None)
                    wanted |= {f"{layer}/{r}": a for r, a in zip(roles, arrays, strict=True)}
        numbered(file, "optimizer", [PAIR], "adam")
        numbered(file, f"{top}/dropout/seed_generator", [PAIR])
    assert read_tensors(tmp_path / "a.weights.h5").arrays == wanted


def test_more_than_ten_variables_keep_their_order(tmp_path):
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        numbered(file, "layers/cell", [np.float32(n) for n in range(12)])
    arrays = read_tensors(tmp_path / "a.weights.h5").arrays
    assert list(arrays.items()) == [(f"cell/{n}", n) for n in range(12)]


def test_an_attribute_of_a_models_own_class_is_known_by_its_layers_name(tmp_path):
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        numbered(file, "block/bn", [PAIR] * 4, "batch_normalization_6")
    wanted = [f"batch_normalization_6/{role}" for role in ("gamma", "beta", *STATISTICS)]
    assert list(read_tensors(tmp_path / "a.weights.h5").arrays) == wanted


def test_halves_are_widened_and_whole_numbers_kept(tmp_path):
    bits = np.array([0x3FC0, 0xC000], np.uint16)
    with h5py.File(tmp_path / "a.weights.h5", "w") as file:
        numbered(file, "layers/cell", [PAIR.astype(np.float16), PAIR.astype(">f4"), np.int32(3)])
        file["layers/cell/vars/3"] = bits.view("V2")
        file["layers/cell/vars/3"].attrs["dtype"] = "bfloat16"
    arrays = list(read_tensors(tmp_path / "a.weights.h5").arrays.values())
    assert [array.dtype for array in arrays] == [np.float32, np.float32, np.int32, np.float32]
    assert all(array.dtype.isnative for array in arrays)
    np.testing.assert_array_equal(arrays[0], PAIR)
    np.testing.assert_array_equal(arrays[1], PAIR)
    np.testing.assert_array_equal(arrays[3], [1.5, -2])


def test_an_archive_of_keras_gives_its_weights_and_nothing_else_is_read(tmp_path):
    inner = io.BytesIO()
    with h5py.File(inner, "w") as file:
        numbered(file, "layers/conv2d", [CONV, PAIR], "stem")
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("config.json", b"no JSON {")
        archive.writestr("model.weights.h5", inner.getvalue())
    tensors = read_tensors(tmp_path / "a.keras")
    assert (tensors.kind, list(tensors.arrays)) == ("keras", ["stem/kernel", "stem/bias"])


def external_link(group):
    group["0"] = h5py.ExternalLink("/etc/passwd", "/")


def soft_link(group):
    group["0"] = h5py.SoftLink("/layers")


def external_numbers(group):
    other = [(os.devnull, 0, 8)]
    group.create_dataset("0", (2,), "f4", external=other)


def virtual_numbers(group):
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (2,))
    group.create_virtual_dataset("0", layout)


def strings(group):
    group["0"] = ["a", "b"]


def references(group):
    group.create_dataset("0", data=[group.ref], dtype=h5py.ref_dtype)


def compound(group):
    group["0"] = np.zeros(2, [("a", "f4")])


def nothing(group):
    group["0"] = h5py.Empty("f4")


def a_group(group):
    group.create_group("0")


def never_written(group):
    group.create_dataset("0", (1 << 20,), "f4")


def packed_bomb(group):
    group.create_dataset("0", (1 << 28,), "f4", chunks=(1 << 20,), compression="gzip")[:1] = 1


def beyond_memory(group):
    group.create_dataset("0", (1 << 40,), "f4")


def odd_numbers(group):
    group["1"] = PAIR


def itself(group):
    group.parent["again"] = group.parent


def twice(group):
    group["0"] = PAIR
    group.attrs["name"] = "same"
    numbered(group.file, "layers/dense_1", [PAIR], "same")


def not_finite(group):
    group["0"] = np.array([1, np.inf], np.float32)


HOSTILE = {
    external_link: "link to another place",
    soft_link: "link to another place",
    external_numbers: "in another file",
    virtual_numbers: "in another file",
    strings: "else than numbers",
    references: "else than numbers",
    compound: "else than numbers",
    nothing: "no numbers",
    a_group: "no numbers",
    never_written: "more numbers",
    packed_bomb: "more numbers",
    beyond_memory: "more than 4 GiB",
    odd_numbers: "numbers the variables",
    itself: "in itself",
    twice: "'same/kernel' twice",
    not_finite: "'dense/kernel' holds values that are not finite",
}


@pytest.mark.parametrize("spoil", HOSTILE, ids=lambda spoil: spoil.__name__)
def test_a_hostile_file_is_refused_in_one_line(tmp_path, spoil):
    path = tmp_path / "bad.h5"
    with h5py.File(path, "w") as file:
        spoil(file.create_group("layers/dense/vars"))
    with pytest.raises(UserError, match=HOSTILE[spoil]) as caught:
        read_tensors(path)
    assert str(caught.value).startswith(str(path))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["../a", "/a", "a//b", ".", "missing", "x\n" * 99])
def test_an_old_file_that_lists_what_it_lacks_is_refused(tmp_path, name):
    path = tmp_path / "bad.h5"
    with h5py.File(path, "w") as file:
        legacy(file, {"a": {"a/kernel:0": PAIR}})
        file.attrs["layer_names"] = [name]
    with pytest.raises(UserError, match="lacks") as caught:
        read_tensors(path)
    assert str(caught.value).isprintable()


def test_an_old_file_whose_list_holds_no_names_is_refused(tmp_path):
    with h5py.File(tmp_path / "bad.h5", "w") as file:
        file.attrs["layer_names"] = [1, 2]
    with pytest.raises(UserError, match="else than names"):
        read_tensors(tmp_path / "bad.h5")


def test_a_file_of_something_else_and_one_cut_off_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = CONV
    with pytest.raises(UserError, match="without weights"):
        read_tensors(tmp_path / "a.h5")
    whole = Path(tmp_path / "a.h5").read_bytes()
    Path(tmp_path / "cut.h5").write_bytes(whole[:300])
    with pytest.raises(UserError, match="damaged HDF5"):
        read_tensors(tmp_path / "cut.h5")
