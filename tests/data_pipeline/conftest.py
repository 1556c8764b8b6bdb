"""Media made on the spot: moving pictures, and containers to put them in."""

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest


def moving_frames(count: int, height: int = 64, width: int = 96, seed: int = 0) -> np.ndarray:
    """Returns uint8 frames of a smooth random picture that moves a pixel a frame."""
    noise = np.random.default_rng(seed).uniform(0, 255, (height, width + count, 3))
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    smooth = cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    return np.stack([smooth[:, k : k + width] for k in range(count)])


def write_video(path: Path, frames: np.ndarray, movflags: str = "", **options: str) -> Path:
    """Writes H.264 at 25 frames a second into the container that the name's ending says."""
    with av.open(str(path), "w", options={"movflags": movflags} if movflags else {}) as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_image(path: Path, pixels: np.ndarray, *options: int) -> Path:
    """Writes uint8 RGB pixels in the format that the name's ending says."""
    done, encoded = cv2.imencode(path.suffix, pixels[..., ::-1], options)
    assert done
    path.write_bytes(encoded.tobytes())
    return path


class Media:
    """The writers above, as one fixture: test modules cannot import each other here."""

    moving_frames = staticmethod(moving_frames)
    write_video = staticmethod(write_video)
    write_image = staticmethod(write_image)


@pytest.fixture(scope="session")
def make() -> type[Media]:
    return Media


@pytest.fixture(scope="session")
def members() -> Callable[[int], list[int]]:
    """A function that gives the processes of a session that still run."""

    def running(session: int) -> list[int]:
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] not in "ZX":
                found.append(int(path.parent.name))
        return found

    return running
