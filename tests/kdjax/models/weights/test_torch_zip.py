import argparse
import collections
import datetime
import enum
import io
import pickle
import struct
import sys
import zipfile
from pathlib import PurePosixPath
from types import ModuleType, SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest

from kdjax.checks import UserError
from kdjax.models.weights import tensor_pickle
from kdjax.models.weights.read import read_tensors

REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
ORDERED = b"ccollections\nOrderedDict\n"


def encoded(value):
    """Pickles plain values at protocol 2, without header and end."""
    return pickle.dumps(value, 2)[2:-1]


def storage(key, kind, size):
    described = [b"(", encoded("storage"), f"ctorch\n{kind}\n".encode(), encoded(key)]
    return b"".join([*described, encoded("cpu"), encoded(size), b"tQ"])


def tensor(key, kind, size, shape, strides, offset=0):
    view = encoded(offset) + encoded(shape) + encoded(strides)
    return REBUILD + b"(" + storage(key, kind, size) + view + b"\x89" + ORDERED + b")RtR"


def state_dict(**entries):
    items = b"".join(encoded(name) + value for name, value in entries.items())
    return ORDERED + b")R(" + items + b"u}" + encoded("_metadata") + ORDERED + b")Rsb"


def write(path, body, storages=(), order=b"little", packing=zipfile.ZIP_STORED, root="archive"):
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr(f"{root}/data.pkl", b"\x80\x02" + body + b".")
        if order is not None:
            archive.writestr(f"{root}/byteorder", order)
        for key, data in dict(storages).items():
            archive.writestr(f"{root}/data/{key}", data)
    return path


NUMBERS = np.arange(12, dtype="<f4")
WEIGHT = tensor("0", "FloatStorage", 12, (3, 4), (4, 1))
DATA = {"0": NUMBERS.tobytes()}


def test_views_of_one_storage_are_cut_out_by_offset_and_strides(tmp_path):
    body = state_dict(
        whole=WEIGHT,
        turned=tensor("0", "FloatStorage", 12, (4, 3), (1, 4)),
        part=tensor("0", "FloatStorage", 12, (2, 2), (4, 1), offset=5),
        spread=tensor("0", "FloatStorage", 12, (2, 3), (0, 1)),
        scalar=tensor("0", "FloatStorage", 12, (), (), offset=7),
        empty=tensor("0", "FloatStorage", 12, (0, 3), (3, 1)),
    )
    arrays = read_tensors(write(tmp_path / "a.pth", body, DATA, order=None)).arrays
    assert list(arrays) == ["whole", "turned", "part", "spread", "scalar", "empty"]
    np.testing.assert_array_equal(arrays["whole"], [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]])
    np.testing.assert_array_equal(arrays["turned"], arrays["whole"].T)
    np.testing.assert_array_equal(arrays["part"], [[5, 6], [9, 10]])
    np.testing.assert_array_equal(arrays["spread"], [[0, 1, 2], [0, 1, 2]])
    assert arrays["scalar"].shape == ()
    assert arrays["scalar"] == 7
    assert arrays["empty"].shape == (0, 3)
    assert all(array.dtype == np.float32 for array in arrays.values())


KINDS = {
    "FloatStorage": (struct.pack("<2f", 1.5, -2), np.float32, [1.5, -2]),
    "DoubleStorage": (struct.pack("<2d", 1.5, -2), np.float64, [1.5, -2]),
    "HalfStorage": (struct.pack("<2e", 1.5, -2), np.float32, [1.5, -2]),
    "BFloat16Storage": (struct.pack("<2H", 0x3FC0, 0xC000), np.float32, [1.5, -2]),
    "LongStorage": (struct.pack("<2q", 2**40, -2), np.int64, [2**40, -2]),
    "IntStorage": (struct.pack("<2i", 7, -2), np.int32, [7, -2]),
    "ShortStorage": (struct.pack("<2h", 7, -2), np.int16, [7, -2]),
    "CharStorage": (struct.pack("<2b", 7, -2), np.int8, [7, -2]),
    "ByteStorage": (struct.pack("<2B", 7, 200), np.uint8, [7, 200]),
    "BoolStorage": (b"\x01\x00", np.bool_, [True, False]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_numbers_is_read_and_half_precision_widened(tmp_path, kind):
    data, dtype, values = KINDS[kind]
    body = state_dict(w=tensor("5", kind, 2, (2,), (1,)))
    array = read_tensors(write(tmp_path / "a.pt", body, {"5": data})).arrays["w"]
    assert array.dtype == dtype
    np.testing.assert_array_equal(array, values)


def checkpoint(*entries):
    return b"}(" + b"".join(encoded(name) + value for name, value in entries) + b"u"


def test_a_checkpoint_gives_its_state_dict_alone(tmp_path):
    inner = state_dict(**{"module.model.conv.weight": WEIGHT, "module.model.fc.bias": WEIGHT})
    optimizer = checkpoint(("state", WEIGHT), ("betas", encoded((0.9, 0.999))))
    rest = encoded({"lr": [0.1, 10**12, None, True, -3]})
    entries = [("epoch", encoded(3)), ("optimizer", optimizer), ("rest", rest)]
    body = checkpoint(*entries, ("state_dict", inner))
    tensors = read_tensors(write(tmp_path / "a.pth", body, DATA))
    assert tensors.kind == "torch"
    assert list(tensors.arrays) == ["conv.weight", "fc.bias"]


def test_parameters_and_pickles_of_protocol_4_are_read(tmp_path):
    parameter = b"ctorch._utils\n_rebuild_parameter\n(" + WEIGHT + b"\x89" + ORDERED + b")RtR"
    named = parameter.replace(ORDERED, b"\x8c\x0bcollections\x8c\x0bOrderedDict\x93")
    body = b"\x95" + bytes(8) + state_dict(w=named)
    arrays = read_tensors(write(tmp_path / "a.pth", body, DATA)).arrays
    np.testing.assert_array_equal(arrays["w"], NUMBERS.reshape(3, 4))


class Kind(enum.Enum):
    BEST = "best"


class ByKeywords:
    def __new__(cls, *, x):
        return super().__new__(cls)

    def __getnewargs_ex__(self):
        return (), {"x": 1}


LEFT = {
    "best_acc": np.float64(0.93),
    "losses": [np.float32(0.5), np.int64(3)],
    "args": argparse.Namespace(lr=0.1, layers=[1, 2], nested=argparse.Namespace(x=None)),
    "when": datetime.datetime(2024, 5, 1, tzinfo=datetime.UTC),
    "where": PurePosixPath("runs/a"),
    "seen": {1, 2},
    "fixed": frozenset("ab"),
    "counts": collections.Counter("aab"),
    "kind": Kind.BEST,
    "state": np.random.RandomState(0).get_state(),
    "text": b"\x00\xff",
    "value": 1 + 2j,
    "keywords": ByKeywords(x=1),
    "large": 3**700,
    ("raw", 40): 0.5,
    Kind.BEST: 1,
    None: 2.0,
}
"""What training loops leave beside the tensors."""


class Saved(NamedTuple):
    """A tensor that is pickled as `torch.save` does it."""

    name: str

    def __reduce__(self):
        storage = SimpleNamespace(saved=("storage", _float_storage(), "0", "cpu", NUMBERS.size))
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        return rebuild, (storage, 0, (3, 4), (4, 1), False, collections.OrderedDict())


def _float_storage():
    return sys.modules["torch"].FloatStorage


class TorchPickler(pickle.Pickler):
    """Storages by persistent ids; all else as Python does it."""

    def persistent_id(self, value):
        return getattr(value, "saved", None) if isinstance(value, SimpleNamespace) else None


@pytest.fixture
def torch_names(monkeypatch):
    """Modules of PyTorch's names, so that Python's pickler can refer to them."""
    torch, utils = ModuleType("torch"), ModuleType("torch._utils")
    exec("def _rebuild_tensor_v2(): pass", utils.__dict__)
    exec("class FloatStorage: pass", torch.__dict__)
    torch.FloatStorage.__module__ = "torch"
    utils._rebuild_tensor_v2.__module__ = "torch._utils"
    torch._utils = utils
    for module in (torch, utils):
        monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_training_loops_leave_beside_the_tensors_is_passed_over(
    tmp_path, torch_names, protocol
):
    def saved(content):
        stream = io.BytesIO()
        TorchPickler(stream, protocol).dump(content)
        # `write` adds what stands before and behind
        return stream.getvalue()[2:-1]

    weights = collections.OrderedDict({"fc.weight": Saved("fc.weight"), "count": 7})
    path = write(tmp_path / "a.pth", saved({**LEFT, "model": weights}), DATA)
    arrays = read_tensors(path).arrays
    assert list(arrays) == ["fc.weight"]
    np.testing.assert_array_equal(arrays["fc.weight"], NUMBERS.reshape(3, 4))
    for name, value in LEFT.items():
        if isinstance(value, np.generic | argparse.Namespace | set | Kind):
            weights[f"layer.{name}"] = value
            inside = write(tmp_path / "b.pth", saved({"model": weights}), DATA)
            with pytest.raises(UserError, match=f"among its tensors, as 'layer.{name}'"):
                read_tensors(inside)
            del weights[f"layer.{name}"]


LARGE = 2**31
HOSTILE = {
    "a call": (
        b"cos\nsystem\n" + encoded("id") + b"\x85R",
        "no state dict but an object of type 'os.system'",
    ),
    "a call by stack": (b"\x8c\x02os\x8c\x06system\x93)R", "an object of type 'os.system'"),
    "a call of what was called": (b"cos\nsystem\n)R)R", "an object of type 'os.system'"),
    "a call for a tensor": (
        state_dict(w=WEIGHT, x=b"cos\nsystem\n" + encoded("id") + b"\x85R"),
        "has an object of 'os.system' among its tensors, as 'x'",
    ),
    "a function for a tensor": (
        state_dict(w=WEIGHT, x=b"cos\nsystem\n"),
        "has an object of 'os.system' among its tensors, as 'x'",
    ),
    "a call for the state dict": (
        checkpoint(("state_dict", b"cos\nsystem\n)R"), ("epoch", encoded(3))),
        "(it has 'state_dict', an object of 'os.system', 'epoch')",
    ),
    "a name with a line": (b"cos\nx\x1b[31m\n)R", r"an object of type 'os.x\x1b[31m'"),
    "a long name": (b"cos\n" + b"x" * 9999 + b"\n)R", "xxx...'"),
    "an object": (ORDERED + b")\x81", "an object of type 'collections.OrderedDict'"),
    "an object of a number": (encoded(3) + b")\x81", "damaged pickle"),
    "a tensor of what was called": (
        state_dict(w=WEIGHT).replace(b"torch._utils\n_rebuild_tensor_v2", b"a\nb"),
        "(it has 'w', an object of 'a.b')",
    ),
    "an instance": (b"(ios\nsystem\n", "instruction INST"),
    "an extension": (b"\x82\x01", "instruction EXT1"),
    "a call of a storage": (b"ctorch\nFloatStorage\n)R", "damaged pickle"),
    "a call of a number": (encoded(3) + b")R", "damaged pickle"),
    "a state for a list": (b"]}b", "damaged pickle"),
    "an empty stack": (b"0R", "instruction POP"),
    "nothing": (b"", "damaged pickle"),
    "no mark": (b"u", "damaged pickle"),
    "no such memo": (b"h\x07", "damaged pickle"),
    "an unknown instruction": (b"\xff", "damaged pickle"),
    "marks without end": (b"(" * 2000, "nested too deeply"),
    "a key that cannot be hashed": (b"}]Ns", "damaged pickle"),
    "a key of tuples": (b"})" + b"\x85" * 100_000 + b"Ns", "(it has 'tuple')"),
    "a dict in itself": (b"}q\x00X\x05\x00\x00\x00modelh\x00s", "no tensors by name"),
    "a list": (b"]" + WEIGHT + b"a", "no state dict but an object of type 'list'"),
    "a negative view": (
        state_dict(a=WEIGHT.removesuffix(b"tR") + b"}" + encoded("neg") + b"\x88stR"),
        "marks a tensor in a way that is not read",
    ),
    "a tensor": (WEIGHT, "no state dict but an object of type 'Tensor'"),
    "no tensor": (b"}", "it has nothing"),
    "an unknown storage": (state_dict(w=tensor("0", "X", 1, (1,), (1,))), "'torch.X'"),
    "a missing storage": (
        state_dict(w=tensor("9", "FloatStorage", 1, (1,), (1,))),
        "lacks its member 'archive/data/9'",
    ),
    "another folder's file": (
        state_dict(w=tensor("../../x", "FloatStorage", 1, (1,), (1,))),
        "lacks its member",
    ),
    "a long storage": (state_dict(w=tensor("0", "FloatStorage", 13, (1,), (1,))), "is cut off"),
    "a negative storage": (state_dict(w=tensor("0", "FloatStorage", -1, (1,), (1,))), "damaged"),
    "a far offset": (state_dict(w=tensor("0", "FloatStorage", 12, (1,), (1,), 12)), "beyond"),
    "a negative offset": (state_dict(w=tensor("0", "FloatStorage", 12, (1,), (1,), -1)), "damaged"),
    "a long stride": (state_dict(w=tensor("0", "FloatStorage", 12, (2,), (12,))), "beyond"),
    "a huge stride": (state_dict(w=tensor("0", "FloatStorage", 12, (2,), (2**900,))), "beyond"),
    "a negative stride": (state_dict(w=tensor("0", "FloatStorage", 12, (2,), (-1,))), "damaged"),
    "a negative side": (state_dict(w=tensor("0", "FloatStorage", 12, (-2,), (1,))), "damaged"),
    "a missing stride": (state_dict(w=tensor("0", "FloatStorage", 12, (2, 2), (1,))), "damaged"),
    "a truth as a side": (state_dict(w=tensor("0", "FloatStorage", 12, (True,), (1,))), "damaged"),
    "a spread beyond all memory": (
        state_dict(w=tensor("0", "FloatStorage", 12, (LARGE,), (0,))),
        "more than 4 GiB",
    ),
    "nothing, spread": (
        state_dict(w=tensor("0", "FloatStorage", 12, (0, LARGE), (0, 0))),
        "more than 4 GiB",
    ),
    "many axes": (
        state_dict(w=tensor("0", "FloatStorage", 12, (1,) * 65, (1,) * 65)),
        "65 axes",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_pickle_is_refused_in_one_line(tmp_path, case):
    body, reason = HOSTILE[case]
    path = write(tmp_path / "bad.pth", body, DATA)
    with pytest.raises(UserError) as caught:
        read_tensors(path)
    line = str(caught.value)
    assert reason in line
    assert line.startswith(str(path))
    assert line.isprintable()
    assert len(line) < 500 + len(str(path))


def test_a_pickle_of_too_many_instructions_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tensor_pickle, "MAX_INSTRUCTIONS", 100)
    with pytest.raises(UserError, match="too long"):
        read_tensors(write(tmp_path / "a.pth", b"N" * 200))


def test_too_many_tensors_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tensor_pickle, "MAX_TENSORS", 1)
    with pytest.raises(UserError, match="more than 4 tensors"):
        read_tensors(write(tmp_path / "a.pth", state_dict(**{f"w{n}": WEIGHT for n in range(5)})))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"order": b"big"}, "big-endian"),
        ({"packing": zipfile.ZIP_DEFLATED}, "packed numbers"),
        ({"root": "other"}, "one is expected"),
    ],
)
def test_an_archive_torch_did_not_write_like_this_is_refused(tmp_path, options, reason):
    path = write(tmp_path / "a.pth", state_dict(w=WEIGHT), DATA, **options)
    if "root" in options:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("second/data.pkl", b"")
    with pytest.raises(UserError, match=reason):
        read_tensors(path)


@pytest.mark.parametrize("member", ["constants.pkl", "code/__torch__.py"])
def test_a_program_of_torchscript_is_refused_with_its_way_out(tmp_path, member):
    path = write(tmp_path / "a.pt", state_dict(w=WEIGHT), DATA)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"archive/{member}", b"")
    with pytest.raises(UserError, match=r"torch\.jit\.load"):
        read_tensors(path)


@pytest.mark.parametrize("kept", [0.3, 0.9, 0.99])
def test_an_archive_that_was_cut_off_is_refused(tmp_path, kept):
    whole = write(tmp_path / "a.pth", state_dict(w=WEIGHT), DATA).read_bytes()
    path = tmp_path / "cut.pth"
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(UserError, match="cut off"):
        read_tensors(path)


def test_an_archive_with_changed_numbers_is_refused(tmp_path):
    path = write(tmp_path / "a.pth", state_dict(w=WEIGHT), DATA)
    path.write_bytes(path.read_bytes().replace(NUMBERS.tobytes()[4:], bytes(44)))
    with pytest.raises(UserError, match="damaged zip"):
        read_tensors(path)


def test_an_archive_whose_directory_is_huge_is_refused_before_it_is_listed(tmp_path):
    end = b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 9, 9, 2**30, 0, 0)
    path = tmp_path / "a.pth"
    path.write_bytes(b"PK\x03\x04" + io.BytesIO(bytes(64)).read() + end)
    with pytest.raises(UserError, match="too many files"):
        read_tensors(path)
