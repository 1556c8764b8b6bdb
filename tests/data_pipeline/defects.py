"""Clips of our own renderer, and everything that can be wrong with a video, as files."""

import functools
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np

from kdjax.data_pipeline.builders.synthfaces.forgeries import forge
from kdjax.data_pipeline.builders.synthfaces.performance import Performance

FACE, HEIGHT, WIDTH, LENGTH = 96, 112, 128, 16
BORDER = ((0, 0), (8, 8), (16, 16))
RATE = 25
TICK = 512
"""A frame at that rate in an MP4's own clock."""


FOUND = (
    0,
    3,
    5,
    6,
    9,
    10,
    14,
    15,
    16,
    19,
    21,
    27,
    31,
    32,
    36,
    37,
    38,
    39,
    40,
    42,
    43,
    44,
    46,
    47,
    48,
)
"""Scenes whose face HOG finds in every frame, also after compression, real and forged."""


@functools.cache
def performance(number: int) -> Performance:
    return Performance(7, number, 0, length=LENGTH, size=FACE)


@functools.cache
def real(number: int) -> np.ndarray:
    """Returns a scene, uint8 `[16, 112, 128, 3]`, whose face has about 75 pixels."""
    return np.pad(performance(number).frames, (*BORDER, (0, 0)), "reflect")


@functools.cache
def fake(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the same scene with another's face, and where it was changed, grey as video `[16, 112, 128, 3]`."""
    rng = np.random.default_rng(number)
    forged = forge("autoencoder", performance(number), performance(number + 1), rng)
    masks = np.pad(forged.masks, BORDER)
    return np.pad(forged.frames, (*BORDER, (0, 0)), "reflect"), np.stack([masks] * 3, axis=-1)


def clip(label: int, number: int) -> np.ndarray:
    return fake(number)[0] if label else real(number)


def write(
    path: Path,
    frames: np.ndarray,
    *,
    kind: str = "mp4",
    codec: str = "libx264",
    form: str = "yuv420p",
    rate: int = RATE,
    times: list[int] | None = None,
    pixel: Fraction | None = None,
    muxing: dict[str, str] | None = None,
    **options: str,
) -> None:
    """Writes a video of any kind under any name."""
    with av.open(str(path), "w", format=kind, options=muxing or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], form
        if pixel:
            stream.codec_context.sample_aspect_ratio = pixel
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if times:
                frame.pts, frame.time_base = times[number], Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def patched(path: Path, change: Callable[[bytearray], None], frames: np.ndarray) -> None:
    write(path, frames)
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)


def turned(path: Path, frames: np.ndarray) -> None:
    """As a phone stores it that was held upright."""
    patched(path, lambda content: display(content, (0, 1, -1, 0)), np.rot90(frames, 1, (1, 2)))


def mirrored(path: Path, frames: np.ndarray) -> None:
    """As a phone's front camera stores it: turned, and mirrored."""
    stored = frames[:, ::-1, ::-1].swapaxes(1, 2)
    patched(path, lambda content: display(content, (0, -1, -1, 0)), stored)


def display(content: bytearray, matrix: tuple[int, ...]) -> None:
    form = struct.Struct(">9i")
    plain = form.pack(1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    a, b, c, d = (value << 16 for value in matrix)
    place = content.index(plain, content.index(b"tkhd"))
    content[place : place + form.size] = form.pack(a, b, 0, c, d, 0, 0, 0, 1 << 30)


def edited(path: Path, frames: np.ndarray) -> None:
    """Shows 8 frames from the fifth on, as a phone's trimming leaves it: the others are there and not shown."""

    def trim(content: bytearray) -> None:
        place = content.index(b"elst") + 8
        start = struct.unpack_from(">i", content, place + 8)[0] + 5 * TICK
        struct.pack_into(">IIi", content, place, 1, 8 * 1000 // RATE, start)

    patched(path, trim, frames)


def without_times(path: Path, frames: np.ndarray) -> None:
    """An MPEG transport stream whose pictures but the first do not say when they are shown."""
    write(path, frames, kind="mpegts", bf="0")
    content = bytearray(path.read_bytes())
    place = content.index(b"\0\0\1\xe0")
    while (place := content.find(b"\0\0\1\xe0", place + 1)) > 0:
        content[place + 7] &= 0x3F
    path.write_bytes(content)


def negative_times(path: Path, frames: np.ndarray) -> None:
    times = [number - 8 for number in range(len(frames))]
    muxing = {"avoid_negative_ts": "disabled"}
    write(path, frames, kind="matroska", times=times, muxing=muxing, bf="0")


def without_face(path: Path, frames: np.ndarray) -> None:
    noise = np.random.default_rng(0).uniform(0, 255, frames.shape[1:])
    still = cv2.GaussianBlur(noise, (0, 0), 9).astype(np.uint8)
    write(path, np.stack([still] * len(frames)))


def two_faces(path: Path, frames: np.ndarray) -> None:
    write(path, np.concatenate([frames, real(90)], axis=2))


def cut_scenes(path: Path, frames: np.ndarray) -> None:
    dark = (frames[8:] * 0.4).astype(np.uint8)
    write(path, np.concatenate([frames[:8], dark]))


def truncated(path: Path, frames: np.ndarray) -> None:
    write(path, frames, muxing={"movflags": "faststart"})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])


def corrupt(path: Path, frames: np.ndarray) -> None:
    """Its index is whole, its pictures are not."""
    write(path, frames)
    content = bytearray(path.read_bytes())
    place = content.index(b"mdat")
    size = struct.unpack_from(">I", content, place - 4)[0]
    half = size // 2
    content[place + half : place + size - 4] = np.random.default_rng(0).bytes(size - 4 - half)
    path.write_bytes(content)


def sound(path: Path, frames: np.ndarray) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux([*stream.encode(frame), *stream.encode()])


def playlist(path: Path, frames: np.ndarray) -> None:
    path.write_text(f"ffconcat version 1.0\nfile {path.name}.hidden\n")


class Defect(NamedTuple):
    """What is wrong with a clip, and what has to become of it.

    Attributes:
      write: writes frames as such a file.
      reason: a pattern of why it is left out; empty: it is stored.
      note: the count of the manifest that it adds to.
    """

    write: Callable[[Path, np.ndarray], None]
    reason: str = ""
    note: str = ""


UNKNOWN = "not an image or video of a known format"

DEFECTS = {
    "variable rate": Defect(
        functools.partial(write, times=[k + 6 * (k // 4) for k in range(LENGTH)]),
        note="videos_of_variable_rate",
    ),
    "turned": Defect(turned),
    "mirrored": Defect(mirrored),
    "wide pixels": Defect(
        functools.partial(write, pixel=Fraction(16, 15)), note="videos_with_non_square_pixels"
    ),
    "ten bits": Defect(functools.partial(write, form="yuv420p10le")),
    "grey": Defect(functools.partial(write, form="gray")),
    "transparent": Defect(
        functools.partial(write, kind="mov", codec="qtrle", form="argb"),
        note="videos_with_transparency",
    ),
    "interlaced": Defect(
        functools.partial(write, **{"x264-params": "tff=1:interlaced=1"}), note="videos_interlaced"
    ),
    "odd": Defect(lambda path, frames: write(path, frames[:, :111, :127], form="yuv444p")),
    "edited": Defect(edited),
    "negative times": Defect(negative_times),
    "without times": Defect(without_times),
    "two faces": Defect(two_faces, note="videos_with_several_faces"),
    "cut": Defect(cut_scenes, note="videos_with_cuts"),
    "without face": Defect(without_face, "no face was found"),
    "truncated": Defect(truncated, "truncated"),
    "corrupt": Defect(corrupt, "damaged or truncated"),
    "empty": Defect(lambda path, frames: path.touch(), r"empty \(zero bytes\)"),
    "text": Defect(lambda path, frames: path.write_text("no video\n" * 99) and None, UNKNOWN),
    "sound": Defect(sound, "has no video stream"),
    "playlist": Defect(playlist, UNKNOWN),
}
"""By name; all have the face of a sound clip where they have one."""
