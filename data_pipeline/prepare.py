"""Makes a data set on disk, whole or not at all, and goes on where an interrupted run was."""

import contextlib
import logging
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from kdjax import checks
from kdjax.data_pipeline import manifest, prepared
from kdjax.data_pipeline.builders.schema import FaceDataset
from kdjax.data_pipeline.records import records_written
from kdjax.data_pipeline.work import Work, default_workers

DATASETS = (
    *("folder", "synthfaces", "synthfaces/benchmark"),
    *("faceforensics", "celebdf", "ffiw", "dfdc", "deepfakebench", "videos"),
)
"""Names of the data sets that can be prepared.

After a slash stands what is fixed in size and seed, or the part of a data set, as `faceforensics/deepfakes`.
"""

SOURCES = {
    "folder": "the folder with real/ and fake/ images and videos",
    "videos": "a table, .csv or .jsonl, with columns path and label",
}
"""What a source is, where it is not simply the folder that holds the data set."""

LATER = ("encoding", "splits", "part", "test_share")
"""Options that matter only after items have been worked on: results are kept as PNG, and know no splits."""

MARK = ".kdjax-partial"
"""A file that tells a folder of ours, which may be removed, from one of the user's."""


def prepare(
    dataset: str,
    output: str | Path,
    *,
    source: str | Path | None = None,
    forge: bool = False,
    image_size: int | None = None,
    frames_per_video: int | None = None,
    detector: str | None = None,
    workers: int | None = None,
    overwrite: bool = False,
    max_skipped: float = 1.0,
    beam_options: str = "",
    seed: int | None = None,
    **options: Any,
) -> Path:
    """Prepares a data set and returns its folder, which `tfds.builder_from_directory` reads.

    The work lies in `OUTPUT.partial` until the data set is whole, manifest and all; then it is
    renamed to `OUTPUT`. What is there already with the same options is kept as it is.

    Args:
      dataset: one of `DATASETS`, or one with its part after a slash.
      output: the folder to make.
      source: of what is made of files: their folder; for `videos` their table.
      forge: for `folder`: make self-blended fakes from the real items.
      image_size: side of the stored faces in pixels; `None` takes the data set's own default.
      frames_per_video: of what is made of files: how many frames to take from a video.
      detector: of what is made of files: `hog`, `blazeface`, `centerface`, or the path of a YuNet model file (`.onnx`).
      workers: processes; 0 works in this one; `None` takes one a processor.
      overwrite: replace a data set of other options that lies in `output`.
      max_skipped: share of the items that may be left out; with more, nothing is stored.
      beam_options: of what is made of files: options of an Apache Beam runner that does the work, in one text; the
        folder of `output` must be one that all of its machines see. Empty: this machine does.
      seed: decides splits, motion and forgeries; `None` takes the data set's own default.
      **options: further fields of the data set's configuration.

    Raises:
      checks.UserError: an unknown data set or option, an unusable source, nothing left to store, or
        an output that holds something else.
    """
    if not 0 <= max_skipped <= 1:
        raise checks.UserError(f"--max_skipped={max_skipped} must be a share, from 0 to 1")
    if workers is not None and workers < 0:
        raise checks.UserError(f"--workers={workers} must be at least 0; 0 works in this process")
    try:
        beam = tuple(shlex.split(beam_options))
    except ValueError as error:
        raise checks.UserError(f"--beam_options={beam_options}: {error}") from error
    output = Path(os.path.abspath(Path(output).expanduser()))
    given = {"source": source, "forge": forge or None, "frames_per_video": frames_per_video}
    given |= {"detector": detector, "image_size": image_size, "seed": seed, **options}
    partial = output.with_name(output.name + ".partial")
    builder = _make_builder(dataset, partial / "tfds", output, given)
    builder.max_skipped = max_skipped
    described = manifest.describe(builder)
    _recover(output)
    if _is_there(output, described, overwrite):
        _check_left_out(output, builder.items, max_skipped)
        print(f"{output} holds this data set already; it is kept as it is", file=sys.stderr)
        return output
    try:
        with _lock(partial):
            _build(builder, described, partial, workers, beam)
            _commit(Path(builder.data_dir), output)
            shutil.rmtree(partial)
    except OSError as error:
        reason = error.strerror or error
        raise checks.UserError(
            f"cannot write {partial}: {reason}; the same command goes on from there"
        ) from error
    return output


def _builder_class(dataset: str) -> type[FaceDataset]:
    if dataset == "synthfaces":
        from kdjax.data_pipeline.builders.synthfaces import SynthFaces

        return SynthFaces
    from kdjax.data_pipeline.builders.distributed import BUILDERS

    return BUILDERS[dataset]


def _make_builder(dataset: str, data_dir: Path, output: Path, given: dict[str, Any]) -> FaceDataset:
    kind, _, part = dataset.partition("/")
    parted = kind in DATASETS and kind not in ("folder", "synthfaces")
    if dataset not in DATASETS and not (part and parted):
        raise checks.UserError(f"unknown data set {dataset!r}; {checks.nearest(dataset, DATASETS)}")
    builder_class = _builder_class(kind)
    extra: dict[str, Any] = {}
    source = given.pop("source")
    fixed = "" if parted else part
    if kind == "synthfaces":
        if source is not None:
            raise checks.UserError(f"--source belongs to data sets made of files, not to {dataset}")
    elif source is None:
        wanted = SOURCES.get(kind, "the folder of the data set as its owners lay it out")
        raise checks.UserError(f"--source is missing: {wanted}")
    else:
        extra = {"source": Path(source).expanduser(), "output": output}
    known = builder_class.option_names()
    chosen = {name: value for name, value in given.items() if value is not None}
    if part and parted:
        chosen["part"] = part
    for name in chosen:
        if fixed:
            raise checks.UserError(
                f"{dataset} is fixed, {name}={chosen[name]!r} cannot be given; "
                f"--dataset={kind} takes it"
            )
        if name not in known:
            raise checks.UserError(
                f"{dataset} has no option {name!r}; {checks.nearest(name, known)}"
            )
    try:
        config = builder_class.builder_configs[fixed] if fixed else builder_class.CONFIG(**chosen)
        with _quiet():
            return builder_class(data_dir=str(data_dir), config=config, **extra)
    except (TypeError, ValueError) as error:
        raise checks.UserError(f"{dataset}: {error}") from error


def _build(
    builder: FaceDataset,
    described: manifest.Manifest,
    partial: Path,
    workers: int | None,
    beam: tuple[str, ...],
) -> None:
    """Builds into `partial`, from results kept there if the same work was begun before."""
    shutil.rmtree(partial / "tfds", ignore_errors=True)
    recipe = {key: described[key] for key in ("dataset", "version")}
    recipe["options"] = {k: v for k, v in described["options"].items() if k not in LATER}
    kept = manifest.fingerprint([recipe, manifest.tool_versions()])
    count = default_workers() if workers is None else workers
    builder.work = Work(partial / f"work-{kept}", count, progress=True, beam=beam)
    for line in builder.prospect():
        print(line, file=sys.stderr)
    written = records_written(compressed=builder.encoding() != "raw")
    with _quiet(), written, _writing_errors():
        builder.download_and_prepare(download_dir=str(partial / "downloads"))
    folder = Path(builder.data_dir)
    prepared.keep_ids(folder)
    manifest.write(folder, manifest.complete(described, folder, builder))


def _is_there(output: Path, described: manifest.Manifest, overwrite: bool) -> bool:
    """Returns whether this very data set lies in `output`; raises where it may not be replaced."""
    if not output.exists():
        return False
    if not output.is_dir():
        raise checks.UserError(f"{output} is a file; give --output a folder")
    found = manifest.read(output)
    if found is None:
        if any(output.iterdir()):
            raise checks.UserError(
                f"{output} is not empty and holds no prepared data set; give another --output"
            )
        return False
    changed = manifest.differences(found, described)
    if changed and not overwrite:
        raise checks.UserError(
            f"{output} holds another data set ({'; '.join(changed)}); "
            "give another --output, or --overwrite to replace it"
        )
    return not changed


def _check_left_out(output: Path, items: int, most: float) -> None:
    """Raises UserError when a data set that is there has left out more than it may now."""
    found = manifest.read(output) or {}
    lost = found.get("skipped", {}).get("total", 0)
    if lost > most * items:
        raise checks.UserError(
            f"{output} holds this data set already, and {lost} of {items} items are left out of it, more than "
            f"--max_skipped={most:g}; remove it to prepare it anew"
        )


def _replaced(output: Path) -> Path:
    return output.with_name(output.name + ".replaced")


def _commit(folder: Path, output: Path) -> None:
    """Renames the whole data set to its place; what was there stays until the new one is."""
    old = _replaced(output)
    if output.exists() and any(output.iterdir()):
        os.rename(output, old)
    elif output.exists():
        output.rmdir()
    os.rename(folder, output)
    if old.exists():
        shutil.rmtree(old)


def _recover(output: Path) -> None:
    """Ends a replacement that was cut off between its two renames."""
    old = _replaced(output)
    if not old.is_dir() or manifest.read(old) is None:
        return
    if output.exists():
        shutil.rmtree(old)
    else:
        os.rename(old, output)


@contextlib.contextmanager
def _lock(partial: Path) -> Iterator[None]:
    """Holds `partial` for this process alone, and refuses a folder that is not of our making."""
    if partial.exists() and not (partial / MARK).exists() and any(partial.iterdir()):
        raise checks.UserError(f"{partial} is in the way; move it or give another --output")
    partial.mkdir(parents=True, exist_ok=True)
    with (partial / MARK).open("a") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass
        except BlockingIOError as error:
            raise checks.UserError(f"another kdjax prepare is at work in {partial}") from error
        yield


@contextlib.contextmanager
def _writing_errors() -> Iterator[None]:
    """Makes an OSError of what ArrayRecord says when a disk is full: a RuntimeError, with the system's words in it."""
    try:
        yield
    except RuntimeError as error:
        failed = re.search(r"(?:open|write|fsync|close)\w*\(\) failed: ([^;]+)", str(error))
        if failed is None:
            raise
        raise OSError(failed[1]) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps TFDS' own bars, prints and hints about its community data sets away from the user."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    finally:
        tfds.enable_progress_bar()
        logger.setLevel(level)
