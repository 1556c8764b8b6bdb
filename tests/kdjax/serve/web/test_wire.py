import io
import json

import numpy as np
import pytest

from kdjax.data_pipeline.faces import Box
from kdjax.serve.looking import Ended, Face, Sight
from kdjax.serve.web import wire

SIDE = 8
CROP = np.arange(SIDE * SIDE * 3, dtype=np.uint8).reshape(SIDE, SIDE, 3)
SIGHT = Sight(
    3,
    True,
    25.0,
    (Face(1, Box(1, 2, 30, 40), 29.5, CROP), Face(2, Box(0, 0, 9, 9), 9.0, None)),
    2.0,
)
ENDED = Ended("video", 10, 11, 2, 1, "h264", False, 31.5, 25.0, (640, 480), ("rotated",), "cut off")


def written(message):
    file = io.BytesIO()
    wire.write(file, message)
    return file.getvalue()


def take(data):
    file = io.BytesIO(data)

    def read(count):
        found = file.read(count)
        if len(found) < count:
            raise EOFError
        return found

    return read


def header(data):
    return json.loads(data[4 : 4 + int.from_bytes(data[:4], "big")])


def message(values, rest=b""):
    text = json.dumps(values).encode()
    return len(text).to_bytes(4, "big") + text + rest


def test_a_frame_arrives_as_it_was():
    found = wire.read(take(written(SIGHT)), SIDE)
    np.testing.assert_array_equal(found.faces[0].crop, CROP)
    assert found.faces[1].crop is None
    assert found._replace(faces=()) == SIGHT._replace(faces=())
    assert [face[:3] for face in found.faces] == [face[:3] for face in SIGHT.faces]


@pytest.mark.parametrize("ended", [ENDED, Ended(), Ended(problem="no video", quantizer=None)])
def test_an_end_arrives_as_it_was(ended):
    assert wire.read(take(written(ended)), SIDE) == ended


def test_numpys_numbers_are_numbers():
    sight = SIGHT._replace(number=np.int64(4), scale=np.float32(2.0), faces=())
    assert wire.read(take(written(sight)), SIDE) == sight


@pytest.mark.parametrize(
    "change",
    [
        {"number": -1},
        {"number": 1 << 60},
        {"number": "1"},
        {"rate": float("nan")},
        {"scale": 1e999},
        {"faces": 3},
        {"faces": [{}]},
        {"faces": [{"name": 1, "box": [1, 2, 3], "side": 1.0, "crop": False}]},
        {"faces": [{"name": 1, "box": [1, 2, 3, "4"], "side": 1.0, "crop": False}]},
        {"faces": [{}] * 300},
        {"kind_of_message": "Ended"},
    ],
)
def test_what_is_no_frame_is_refused(change):
    values = header(written(SIGHT)) | {"faces": []} | change
    with pytest.raises(wire.BrokenMessageError):
        wire.read(take(message(values)), SIDE)


@pytest.mark.parametrize(
    "change",
    [{"size": [1]}, {"codec": 3}, {"frames": 1.5}, {"quantizer": "high"}, {"oddities": [1]}],
)
def test_what_is_no_end_is_refused(change):
    with pytest.raises(wire.BrokenMessageError):
        wire.read(take(message(header(written(ENDED)) | change)), SIDE)


@pytest.mark.parametrize("data", [b"\xff" * 64, message([1, 2]), message("Ended"), message(None)])
def test_noise_is_refused(data):
    with pytest.raises(wire.BrokenMessageError):
        wire.read(take(data), SIDE)


def test_long_texts_are_cut():
    found = wire.read(take(written(ENDED._replace(problem="x" * 10_000))), SIDE)
    assert len(found.problem) == wire.TEXT
