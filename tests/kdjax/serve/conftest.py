"""A tiny run, trained once for all tests of what uses detectors; clips of heads, and a detector to judge them."""

import functools

import av
import numpy as np
import pytest

from kdjax import configs
from kdjax.data_pipeline.builders.synthfaces.performance import Performance
from kdjax.evaluate.calibration import Calibration, Threshold
from kdjax.serve.detector import Detector
from kdjax.serve.spec import Spec
from kdjax.train.evaluation import evaluate_run
from kdjax.train.loop import train

CHEAP = {
    "data.batch_size": "8", "data.image_size": "24", "train.steps": "2", "train.devices": "1",
    "train.balance": "none", "train.gradient_ratio_every": "0", "student.qualities": "c40",
}  # fmt: skip


@pytest.fixture(scope="session")
def trained(tiny_dataset, tmp_path_factory):
    """The folder of a finished run of two steps; whoever changes it copies it."""
    folder = tmp_path_factory.mktemp("serve") / "run"
    train(configs.load("supervised:resnet_tiny", {**CHEAP, "data.path": str(tiny_dataset)}), folder)
    return folder


@pytest.fixture(scope="session")
def evaluated(trained):
    """Its evaluation on test data."""
    return evaluate_run(trained)


SIZE = 96
"""Side of a rendered head; its face has about 75 pixels, which HOG finds."""

BORDER = ((0, 0), (8, 8), (16, 16), (0, 0))


@pytest.fixture(scope="session")
def heads():
    """A function that gives a rendered talking head, uint8 `[length, 112, 128, 3]`."""

    @functools.cache
    def render(number, length=30):
        frames = Performance(7, number, 0, length=length, size=SIZE).frames
        return np.pad(frames, BORDER, "reflect")

    return render


@pytest.fixture(scope="session")
def write_clip():
    """A function that writes H.264 at 25 frames a second."""

    def write(path, frames, **options):
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"crf": "37", **options})
            stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
            for pixels in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
        return path

    return write


def brightness(images):
    """Log-odds that grow with the mean: a detector that a test can reckon with."""
    return (images.reshape(len(images), -1).mean(axis=1) / 16 - 8).astype(np.float32)


@pytest.fixture(scope="session")
def make_detector():
    """A function that gives a detector by brightness, calibrated unless asked otherwise."""

    def make(value=0.8, *, qualities=("c40",), calibrated=True, scorer=brightness, **changes):
        chosen = Threshold(value, 0.01, 0.01, 0.001, 0.05, 100, 100, 0.6)
        calibration = Calibration(1.0, "", chosen, chosen, 100, 100, qualities, 1, "")
        spec = Spec(
            *(
                "net",
                56,
                64,
                ("real", "fake"),
                qualities,
                None,
                calibration if calibrated else None,
            ),
            *("", "0", 10, 1, "data", None),
        )
        return Detector(spec._replace(**changes), scorer)

    return make
