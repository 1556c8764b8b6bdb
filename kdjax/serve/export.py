"""A finished run as files for elsewhere: models, weights, what they need, and a card, checked before they are kept."""

import contextlib
import hashlib
import importlib.util
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kdjax.checks import UserError, nearest
from kdjax.extensions import NOTHING, Extensions
from kdjax.files import write_json, write_text
from kdjax.folder import RunFolder
from kdjax.serve.card import model_card, training_facts
from kdjax.serve.exports import CARD, EXTRA, FILES, NAME
from kdjax.serve.models import Models, make_models
from kdjax.serve.spec import Spec, spec_of_run
from kdjax.train import checkpoint

DEFAULT = ("stablehlo", "weights")
"""What needs nothing that is not installed."""


class Exported(NamedTuple):
    """What an export has become.

    Attributes:
      folder: where it is.
      spec: what stands in its `export.json`.
      files: of each format: file, bytes, sha256, and the largest difference of its log-odds from the run's own.
      notes: sentences for the user on what is missing or has changed.
    """

    folder: Path
    spec: Spec
    files: dict[str, dict[str, Any]]
    notes: tuple[str, ...]


def export_run(
    run: str | Path,
    output: str | Path = "",
    *,
    formats: Sequence[str] = DEFAULT,
    licence: str = "",
    limit: int = 2000,
    extensions: Extensions = NOTHING,
) -> Exported:
    """Exports the best weights of a finished run: the student alone.

    All is made in a folder beside `output`, which gets its name at the end.

    Args:
      run: folder of the run.
      output: an absent or empty folder; empty: `export` in the run's.
      formats: of `exports.FILES`; `int8` brings `onnx` too, whose accuracy it is compared with.
      licence: of the weights, for the card.
      limit: at most so many validation images, spread over the split, to compare the AUC of `int8` on.
      extensions: the user's own, for a run whose network or data are not shipped.

    Raises:
      UserError: when the run is none or not trained to its end, the folder holds something, a package is missing,
        or an exported model computes something else than the run.
    """
    wanted = _check_formats(formats)
    files = RunFolder(run)
    checkpoint.read_config(run)
    if not files.is_finished:
        raise UserError(
            f"{run} is not trained to its end; run its `kdjax train` again to finish it, then export it"
        )
    folder = Path(output) if str(output) else files.export
    _check_free(folder)
    spec = spec_of_run(run, metrics=True, licence=licence)
    models = make_models(run, wanted, spec, limit=limit, extensions=extensions)
    with _replacing(folder) as temporary:
        said = {
            name: _write(temporary, name, content, models) for name, content in models.files.items()
        }
        card = model_card(
            spec, facts=training_facts(run), files=said, notes=models.notes, same=models.same
        )
        write_text(temporary / CARD, card)
        document = {**spec.to_json(), "files": said, "preprocessing": models.preprocessing}
        write_json(temporary / NAME, document)
    return Exported(folder, spec, said, (*_missing(spec, str(run)), *models.notes))


def _check_formats(formats: Sequence[str]) -> tuple[str, ...]:
    for name in formats:
        if name not in FILES:
            raise UserError(f"--format names {name!r}; {nearest(name, FILES)}")
    wanted = {*formats, *(("onnx",) if "int8" in formats else ())}
    if not wanted:
        raise UserError(f"--format names nothing; known: {', '.join(FILES)}")
    needed = {"onnx": ("onnx", "onnxruntime"), "stablehlo": ("flatbuffers",)}
    for package in (each for name in wanted for each in needed.get(name, ())):
        if importlib.util.find_spec(package) is None:
            how = "pip install flatbuffers brings it" if package == "flatbuffers" else EXTRA
            raise UserError(
                f"--format={','.join(formats)} takes {package}, which is not installed; {how}"
            )
    return tuple(name for name in FILES if name in wanted)


def _check_free(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        problem = "is not empty" if folder.is_dir() else "is a file"
        raise UserError(f"{folder} {problem}; remove it, or give --output a new folder")


def _missing(spec: Spec, run: str) -> Iterator[str]:
    if spec.calibration is None:
        yield f"no thresholds: `kdjax evaluate {run} --calibrate` before the export chooses them"
    if spec.metrics is None:
        yield f"no metrics: `kdjax evaluate {run}` before the export measures them"


@contextlib.contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """Gives a folder to write into, which gets its name when all went well, and is removed otherwise."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        # over an empty folder too; one that was filled meanwhile stays
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(folder: Path, name: str, content: bytes, models: Models) -> dict[str, Any]:
    file = models.names.get(name) or FILES[name]
    with (folder / file).open("wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    return {
        "file": file,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        **models.said.get(name, {}),
    }


def size_text(count: int) -> str:
    """Returns a number of bytes as people read it."""
    return f"{count / 1e6:.1f} MB"


def rows(exported: Exported) -> list[dict[str, Any]]:
    """Returns a row for each file, for `tables.format_table`."""
    return [
        {
            "format": name,
            "file": said["file"],
            "size": size_text(said["bytes"]),
            "difference": f"{said['difference']:.1e}" if "difference" in said else None,
            "AUC": said.get("auc", np.nan),
        }
        for name, said in exported.files.items()
    ]
