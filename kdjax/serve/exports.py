"""Exports on disk: what files they have, and how one is loaded. Nothing here trains, and ONNX needs no JAX."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kdjax.checks import UserError, check_choice, first_line
from kdjax.data_pipeline.work import default_workers
from kdjax.files import read_json
from kdjax.serve.spec import Scorer, Spec

NAME = "export.json"
CARD = "README.md"

FILES = {
    "stablehlo": "model.stablehlo",
    "onnx": "model.onnx",
    "int8": "model-int8.onnx",
    "weights": "weights.safetensors",
}
"""Formats, and the file of each."""

MODELS = ("stablehlo", "onnx", "int8")
"""Formats that give scores, the first that is there being the one that is loaded."""

BATCH = 64
"""Images that are scored at once, at most."""

EXTRA = "pip install onnx onnxruntime, or kdjax with its extra `onnx`, brings it"


def is_export(folder: str | Path) -> bool:
    """Returns whether a folder holds an export."""
    return (Path(folder) / NAME).is_file()


def read_export(folder: str | Path) -> tuple[Spec, dict[str, Any]]:
    """Returns what stands in an export's `export.json`: the spec, and what is said of each format's file.

    Raises:
      UserError: when there is none, or it is damaged or of a newer version.
    """
    path = Path(folder) / NAME
    if not path.is_file():
        problem = "does not exist" if not path.parent.exists() else f"has no {NAME}"
        raise UserError(
            f"{folder} {problem}: it is no export, or one that was cut off; `kdjax export RUN` makes one"
        )
    found = read_json(path, "an export")
    spec = Spec.from_json(found, str(path))
    files = found.get("files")
    if not isinstance(files, dict) or not all(isinstance(each, dict) for each in files.values()):
        raise UserError(f"{path} is damaged (it names no files); export the run again")
    return spec, files


def load_export(folder: str | Path, *, format: str = "") -> tuple[Spec, Scorer]:
    """Returns what an export's detector needs and its function of images.

    Args:
      folder: of the export.
      format: `stablehlo`, run by JAX, or `onnx` or `int8`, run by ONNX Runtime; empty: the first that is there.

    Returns:
      The spec, and `score(images) -> log-odds of fake`, of which `kdjax.evaluate.calibrated(log_odds, temperature,
      logits=True)` makes probabilities.

    Raises:
      UserError: when the folder holds no whole export, or none that can be run here.
    """
    spec, files = read_export(folder)
    there = [name for name in MODELS if name in files]
    if format:
        check_choice("format", format, MODELS)
    if not there or (format and format not in there):
        raise UserError(
            f"{folder} has no model {f'in {format}' if format else ''}, only {', '.join(files) or 'nothing'}; "
            f"export the run with --format={format or MODELS[0]}"
        )
    chosen = format or there[0]
    content = _read(Path(folder) / FILES[chosen], files[chosen])
    if chosen == "stablehlo":
        return spec, scorer(from_stablehlo(content), spec.image_size, padded=True)
    return spec, scorer(from_onnx(content), spec.image_size)


def _read(path: Path, said: dict[str, Any]) -> bytes:
    """Returns a file's content; UserError unless it is the one that was written."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; export the run again") from error
    if hashlib.sha256(content).hexdigest() != said.get("sha256"):
        raise UserError(f"{path} is not the file that was exported; copy or export it again")
    return content


def scorer(
    score: Callable[[np.ndarray], np.ndarray], image_size: int, *, padded: bool = False
) -> Scorer:
    """Returns a function of stored images: it cuts out their centre and takes as many at once as fit.

    Args:
      score: from uint8 `[B, S, S, 3]` to log-odds `[B]`.
      image_size: S.
      padded: whether batches are filled up to a power of two, for a function that compiles for each size.
    """

    def run(images: np.ndarray) -> np.ndarray:
        cropped = centre(images, image_size)
        found = [np.zeros(0, np.float32)]
        for start in range(0, len(cropped), BATCH):
            batch = cropped[start : start + BATCH]
            missing = (1 << (len(batch) - 1).bit_length()) - len(batch) if padded else 0
            filled = np.pad(batch, ((0, missing), (0, 0), (0, 0), (0, 0)))
            found.append(np.asarray(score(filled), np.float32)[: len(batch)])
        return np.concatenate(found)

    return run


def centre(images: np.ndarray, size: int) -> np.ndarray:
    """Returns the central `[B, size, size, 3]` of uint8 squares, as a run is evaluated on.

    Raises:
      TypeError: for another dtype.
      ValueError: for images that are not square, or smaller.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise TypeError(f"images must be uint8, not {images.dtype}")
    if images.ndim != 4 or images.shape[-1] != 3 or images.shape[1] != images.shape[2]:
        raise ValueError(f"images must be square, [B, S, S, 3]; they are {list(images.shape)}")
    if images.shape[1] < size:
        raise ValueError(f"images are {images.shape[1]} px; the detector takes {size} px or more")
    start = (images.shape[1] - size) // 2
    return np.ascontiguousarray(images[:, start : start + size, start : start + size])


def from_stablehlo(content: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a serialised `jax.export.Exported` as a function, which compiles for each number of images.

    Raises:
      UserError: for content that is none, of a newer JAX, or not for the platform that JAX runs on.
    """
    import jax
    from jax import export

    try:
        exported = export.deserialize(bytearray(content))
    # a damaged file raises anything
    except Exception as error:
        raise UserError(
            f"the StableHLO cannot be read by JAX {jax.__version__}, it may be of a newer one: {first_line(error)}; "
            "update JAX, or export the run again"
        ) from error
    here = {"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend())
    if here not in exported.platforms:
        raise UserError(
            f"the StableHLO is for {', '.join(exported.platforms)} and JAX runs on {here} here; set JAX_PLATFORMS=cpu"
        )
    call = jax.jit(exported.call)
    return lambda images: np.asarray(call(images))


def from_onnx(content: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """Returns an ONNX model of one input and one output as a function, run by ONNX Runtime on the CPU.

    Raises:
      UserError: without ONNX Runtime, or for content that it cannot read.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f"ONNX Runtime is not installed; {EXTRA}") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # its own default are all cores of the machine
    options.intra_op_num_threads = default_workers()
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    # its own kinds of errors are not public
    except Exception as error:
        raise UserError(f"ONNX Runtime cannot read the model: {first_line(error)}") from error
    (given,) = session.get_inputs()
    return lambda images: session.run(None, {given.name: images})[0]
