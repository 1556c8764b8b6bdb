"""PyTorch's format before 1.6: what is read of it, and that hostile files end in one line."""

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from kdjax.checks import UserError
from kdjax.models.weights import torch_legacy
from kdjax.models.weights.read import read_tensors

TOY = Path(__file__).parents[1] / "recorded" / "toy_legacy.pth"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
ORDERED = b"ccollections\nOrderedDict\n"
RAN = b"cos\nsystem\n" + b"X\x02\x00\x00\x00id\x85R"
MACHINE = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
NUMBERS = np.arange(12, dtype="<f4")


def encoded(value):
    """Pickles plain values at protocol 2, without header and end."""
    return pickle.dumps(value, 2)[2:-1]


def whole(body):
    return b"\x80\x02" + body + b"."


def storage(key="0", kind="FloatStorage", size=12, view=b"N"):
    described = [b"(", encoded("storage"), f"ctorch\n{kind}\n".encode(), encoded(key)]
    return b"".join([*described, encoded("cpu"), encoded(size), view, b"tQ"])


def tensor(stored, shape=(3, 4), strides=(4, 1), offset=0):
    view = encoded(offset) + encoded(shape) + encoded(strides)
    return REBUILD + b"(" + stored + view + b"\x89" + ORDERED + b")RtR"


def entries(**values):
    return b"}(" + b"".join(encoded(name) + value for name, value in values.items()) + b"u"


WEIGHT = tensor(storage())
STATE = entries(w=WEIGHT)


def stored(array, count=None):
    return struct.pack("<q", array.size if count is None else count) + array.tobytes()


def legacy(
    body=STATE,
    keys=("0",),
    data=stored(NUMBERS),  # noqa: B008
    magic=encoded(torch_legacy.MAGIC),  # noqa: B008
    version=encoded(torch_legacy.VERSION),  # noqa: B008
    machine=MACHINE,
):
    """The bytes of a file; keys and machine may be pickled already."""
    listed = keys if isinstance(keys, bytes) else encoded(list(keys))
    machine = machine if isinstance(machine, bytes) else encoded(machine)
    return b"".join([*map(whole, (magic, version, machine, body, listed)), data])


def write(folder, data):
    path = folder / "weights.pth"
    path.write_bytes(data)
    return path


def arrays(folder, data):
    tensors = read_tensors(write(folder, data))
    assert tensors.kind == "torch"
    return tensors.arrays


def test_views_of_one_storage_are_cut_out_by_offset_and_strides(tmp_path):
    body = entries(
        whole=WEIGHT,
        turned=tensor(storage(), (4, 3), (1, 4)),
        part=tensor(storage(), (2, 2), (4, 1), offset=5),
        empty=tensor(storage(), (0, 3), (3, 1)),
    )
    read = arrays(tmp_path, legacy(body))
    np.testing.assert_array_equal(read["whole"], NUMBERS.reshape(3, 4))
    np.testing.assert_array_equal(read["turned"], NUMBERS.reshape(3, 4).T)
    np.testing.assert_array_equal(read["part"], [[5, 6], [9, 10]])
    assert read["empty"].shape == (0, 3)


def test_storages_lie_in_the_order_of_the_keys_and_are_as_long_as_their_numbers(tmp_path):
    body = entries(
        a=tensor(storage("one", "DoubleStorage", 2), (2,), (1,)),
        b=tensor(storage("two", "BFloat16Storage", 3), (3,), (1,)),
        c=tensor(storage("three", "LongStorage", 1), (), ()),
    )
    parts = {
        "two": np.array([0x3FC0, 0xC000, 0], "<u2"),
        "three": np.array([2**40], "<i8"),
        "one": np.array([1.5, -2], "<f8"),
    }
    read = arrays(tmp_path, legacy(body, parts, b"".join(map(stored, parts.values()))))
    assert {name: array.dtype for name, array in read.items()} == {
        "a": np.float64,
        "b": np.float32,
        "c": np.int64,
    }
    np.testing.assert_array_equal(read["a"], [1.5, -2])
    np.testing.assert_array_equal(read["b"], [1.5, -2, 0])
    assert read["c"] == 2**40


def test_a_checkpoint_gives_its_state_dict_and_passes_over_the_other_storages(tmp_path):
    inner = entries(**{"module.w": WEIGHT})
    other = tensor(storage("moments", "DoubleStorage", 2), (2,), (1,))
    body = entries(epoch=encoded(3), optimizer=entries(moments=other), state_dict=inner)
    data = stored(np.ones(2)) + stored(NUMBERS)
    read = arrays(tmp_path, legacy(body, ("moments", "0"), data))
    assert list(read) == ["w"]
    np.testing.assert_array_equal(read["w"], NUMBERS.reshape(3, 4))


def test_tensors_as_pytorch_before_0_4_rebuilds_them_are_read(tmp_path):
    view = encoded(0) + encoded((3, 4)) + encoded((4, 1))
    old = b"ctorch._utils\n_rebuild_tensor\n(" + storage() + view + b"tR"
    read = arrays(tmp_path, legacy(entries(w=old)))
    np.testing.assert_array_equal(read["w"], NUMBERS.reshape(3, 4))


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_the_format_is_known_in_every_protocol_of_pickle(protocol):
    head = pickle.dumps(torch_legacy.MAGIC, protocol) + pickle.dumps(1001, protocol)
    assert torch_legacy.is_torch_legacy(head[:32])
    assert not torch_legacy.is_torch_legacy(head[1:33])


LARGE = 2**62
DAMAGED = "is a damaged file of PyTorch's format before 1.6"
HOSTILE = {
    "a call for the number": (
        legacy(magic=encoded(torch_legacy.MAGIC) + b"0" + RAN),
        "instruction POP",
    ),
    "a call for the version": (legacy(version=RAN), "unknown version"),
    "a call for the machine": (legacy(machine=RAN), DAMAGED),
    "a call for the object": (legacy(RAN), "no state dict but an object of type 'os.system'"),
    "a call beside the tensors": (
        legacy(entries(w=WEIGHT, x=RAN)),
        "has an object of 'os.system' among its tensors, as 'x'",
    ),
    "a call for the keys": (legacy(keys=RAN), "lists no storages"),
    "a whole module": (
        legacy(b"(" + encoded("module") + b"cnets\nNet\n" + encoded("net.py") + b"NtQ"),
        "holds a whole module, 'nets.Net'",
    ),
    "an object": (legacy(ORDERED + b")\x81"), "an object of type 'collections.OrderedDict'"),
    "another version": (legacy(version=encoded(1000)), "unknown version"),
    "a version of truth": (legacy(version=encoded([])), "unknown version"),
    "no machine": (legacy(machine=encoded(None)), DAMAGED),
    "big-endian": (legacy(machine={**MACHINE, "little_endian": False}), "big-endian"),
    "no byte order": (legacy(machine={}), "big-endian"),
    "another number": (
        legacy(magic=encoded(torch_legacy.MAGIC) + encoded(1)),
        DAMAGED,
    ),
    "a list": (legacy(b"]" + WEIGHT + b"a"), "no state dict but an object of type 'list'"),
    "no tensor": (legacy(b"}", (), b""), "it has nothing"),
    "an unknown storage": (legacy(entries(w=tensor(storage(kind="X")))), "'torch.X'"),
    "a view of another storage": (
        legacy(entries(w=tensor(storage(view=encoded(("1", 0, 2)))))),
        "has a part of a storage",
    ),
    "a seventh thing": (legacy(entries(w=tensor(storage(view=b"NN")))), "damaged pickle"),
    "keys that are no list": (legacy(keys=encoded(("0",))), "lists no storages"),
    "keys that are no texts": (legacy(keys=[0]), "lists no storages"),
    "keys of tuples": (legacy(keys=b"])" + b"\x85" * 9999 + b"a"), "lists no storages"),
    "a key twice": (legacy(keys=("0", "0"), data=2 * stored(NUMBERS)), "a storage twice"),
    "a key of nothing": (
        legacy(keys=("0", "1\n"), data=2 * stored(NUMBERS)),
        r"no tensor is of its storage '1\n'",
    ),
    "a storage not listed": (
        legacy(entries(w=WEIGHT, x=tensor(storage("1")))),
        "lacks its storage '1'",
    ),
    "no storages": (legacy(keys=(), data=b""), "lacks its storage '0'"),
    "a storage of two sizes": (
        legacy(entries(w=WEIGHT, x=tensor(storage(size=11)))),
        "declares its storage '0' in two ways",
    ),
    "a storage of two kinds": (
        legacy(entries(w=WEIGHT, x=tensor(storage(kind="IntStorage")))),
        "declares its storage '0' in two ways",
    ),
    "another count": (
        legacy(data=stored(NUMBERS, 11)),
        "'0' is of 11 numbers, declared are 12",
    ),
    "a negative count": (legacy(data=stored(NUMBERS, -1)), "is of -1 numbers"),
    "a long storage": (
        legacy(entries(w=tensor(storage(size=13))), data=stored(NUMBERS, 13)),
        "is cut off",
    ),
    "a huge storage": (
        legacy(entries(w=tensor(storage(size=LARGE))), data=stored(NUMBERS, LARGE)),
        "is cut off",
    ),
    "a storage beyond all numbers": (
        legacy(entries(w=tensor(storage(size=2**900))), data=stored(NUMBERS)),
        "is cut off",
    ),
    "a negative storage": (legacy(entries(w=tensor(storage(size=-1)))), "damaged pickle"),
    "bytes at the end": (legacy() + b"PK", "2 bytes follow its last storage"),
    "a negative offset": (legacy(entries(w=tensor(storage(), offset=-1))), "damaged pickle"),
    "a far offset": (legacy(entries(w=tensor(storage(), offset=12))), "reaches beyond"),
    "a negative stride": (legacy(entries(w=tensor(storage(), (2,), (-1,)))), "damaged pickle"),
    "a long stride": (legacy(entries(w=tensor(storage(), (2,), (12,)))), "reaches beyond"),
    "a spread beyond all memory": (
        legacy(entries(w=tensor(storage(), (2**31,), (0,)))),
        "more than 4 GiB",
    ),
    "many spreads": (
        legacy(entries(**{f"w{n}": tensor(storage(), (2**26,), (0,)) for n in range(17)})),
        "more than 4 GiB",
    ),
    "numbers that are not finite": (
        legacy(data=stored(np.full(12, np.nan, "<f4"))),
        "layer 'w' holds values that are not finite",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_in_one_line(tmp_path, case):
    data, reason = HOSTILE[case]
    path = write(tmp_path, data)
    with pytest.raises(UserError) as caught:
        read_tensors(path)
    line = str(caught.value)
    assert reason in line
    assert line.startswith(str(path))
    assert line.isprintable()
    assert len(line) < 500 + len(str(path))


def test_a_file_that_was_cut_off_anywhere_is_refused(tmp_path):
    data = legacy()
    # less than this is no more than the beginning of some pickle
    for length in range(14, len(data)):
        with pytest.raises(UserError, match=r"cut off|fetch it again"):
            read_tensors(write(tmp_path, data[:length]))


def outcome(path):
    """What is said of a file, empty when it is read."""
    try:
        read_tensors(path)
    except UserError as error:
        return str(error)
    return ""


def test_a_changed_byte_is_refused_or_changes_numbers_and_names_alone(tmp_path):
    data, draw, lines = TOY.read_bytes(), np.random.default_rng(0), []
    for place in draw.choice(len(data), 400, replace=False):
        changed = bytearray(data)
        changed[place] ^= int(draw.integers(1, 256))
        lines.append(outcome(write(tmp_path, changed)))
    assert all(line.isprintable() for line in lines)
    assert 50 < lines.count("") < 350


def test_pickles_longer_than_allowed_are_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_legacy, "MAX_PICKLES", 100)
    with pytest.raises(UserError, match="damaged pickle"):
        read_tensors(write(tmp_path, legacy(entries(w=WEIGHT, long=encoded("x" * 999)))))
