"""Evaluating a finished run: its best weights on a split, in every quality."""

import contextlib
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kdjax.checks import UserError, nearest
from kdjax.data_pipeline import augment, made
from kdjax.data_pipeline.corruptions import KINDS, corrupted_batches, names
from kdjax.data_pipeline.dataset import Dataset
from kdjax.data_pipeline.mixture import Mixture
from kdjax.evaluate.evaluation import Evaluation
from kdjax.evaluate.evaluator import evaluate
from kdjax.evaluate.metrics import warn_of_one_class
from kdjax.evaluate.parts import Part, summarize_groups
from kdjax.extensions import NOTHING, Extensions
from kdjax.folder import RunFolder
from kdjax.train import checkpoint, programs
from kdjax.train.data import open_data
from kdjax.train.log import Progress
from kdjax.train.predict import make_predict


def evaluate_run(
    run: str | Path,
    *,
    split: str = "test",
    data: str | Path | Dataset = "",
    limit: int = 0,
    qualities: Sequence[str] = (),
    corruptions: Sequence[str] = (),
    extensions: Extensions = NOTHING,
) -> Evaluation:
    """Evaluates a run's best weights and saves the result in `RUN/evaluation`.

    Args:
      run: folder of a run.
      split: the split to read.
      data: another data set than the run's own: a prepared one's folder, or one in memory.
      limit: at most this many images, spread over the split; 0 for all.
      qualities: what to evaluate on, of the stored qualities and those that `data_pipeline.made` makes; none: all
        that are stored, and those that were made for the student.
      corruptions: kinds of `data_pipeline.corruptions`: instead of qualities, the best one and these in five severities
        each are evaluated, without R@1.
      extensions: the user's own, for a run whose network is not shipped.

    Raises:
      UserError: when the run or the data set cannot be used, or both qualities and corruptions are named.
    """
    check_corruptions(corruptions, qualities)
    if limit < 0:
        raise UserError(f"--limit={limit} must be at least 0")
    folder = Path(run)
    config = checkpoint.read_config(folder)
    network, variables, step = checkpoint.load_best(folder, extensions=extensions)
    dataset = open_data(config, extensions, data)
    if not data:
        check_same_data(folder, dataset)
    image_size = evaluation_size(config.data.image_size, dataset)
    chosen = evaluated_qualities(qualities, config.student.qualities, dataset)
    if corruptions:
        chosen = (dataset.qualities[0], *(n for kind in corruptions for n in names(kind)))
    total = min(dataset.sizes.get(split, 0), limit or dataset.sizes.get(split, 0))
    progress = Progress(f"evaluate {folder.name} on {split}", total)
    done = 0
    if config.student.network in extensions.networks and (
        told := programs.changes(folder, extensions)
    ):
        progress.say(f"{told}: what is evaluated is its network as it is now")

    def count(examples: int) -> None:
        nonlocal done
        progress.advance(examples - done)
        done = examples

    read = {
        "split": split,
        "batch_size": config.evaluation.batch_size,
        "limit": limit,
        "threads": config.data.threads,
    }
    predict = make_predict(network, jax.tree.map(jax.numpy.asarray, variables), image_size)
    try:
        result = evaluate(
            (lambda images: (predict(images)[0], None)) if corruptions else predict,
            corrupted_batches(dataset, corruptions, **read)
            if corruptions
            else made.seen_batches(dataset, chosen, **read),
            chosen,
            step=step,
            parameters=sum(int(np.size(leaf)) for leaf in jax.tree.leaves(variables["params"])),
            dataset={"name": dataset.name, "split": split, "images": total},
            forgeries=dataset.forgeries,
            progress=count,
        )
    finally:
        progress.close()
    if isinstance(dataset, Mixture):
        result = by_dataset(result, dataset, split)
    name = evaluation_name(split, data, limit, qualities, corruptions)
    result.save(RunFolder(folder).evaluation, name)
    return result


def by_dataset(result: Evaluation, dataset: Mixture, split: str) -> Evaluation:
    """Returns an evaluation of several data sets as one with the metrics of each."""
    columns = {**result.columns, "dataset": dataset.parts(split)[result.columns["index"]]}
    parts = {quality: Part(scores, columns) for quality, scores in result.scores.items()}
    names = [f"{number + 1}: {each.name}" for number, each in enumerate(dataset.datasets)]
    for number in np.unique(columns["dataset"]):
        own = columns["labels"][columns["dataset"] == number]
        warn_of_one_class(own, f"examples of data set {names[number]}")
    return dataclasses.replace(result, per_dataset=summarize_groups(parts, "dataset", names))


def check_same_data(run: Path, dataset: Dataset) -> None:
    """Raises UserError when a run's own data set is not what it was trained on."""
    files = RunFolder(run)
    recorded = files.read_inputs().get("dataset") if files.inputs.exists() else None
    if recorded is not None and recorded != dataset.identity():
        raise UserError(
            f"{dataset.where} is not as it was when {run} was trained on it; name it, --data={dataset.where}, to "
            "evaluate on it as on other data"
        )


def evaluated(
    run: Path,
    split: str = "test",
    extensions: Extensions = NOTHING,
    *,
    limit: int = 0,
    qualities: Sequence[str] = (),
    corruptions: Sequence[str] = (),
) -> Evaluation:
    """Returns a run's evaluation on its own data: the stored one when it is of the best checkpoint, else a new one.

    Args:
      run: folder of the run.
      split: see `evaluate_run`.
      extensions: likewise.
      limit: likewise.
      qualities: likewise.
      corruptions: likewise.
    """
    files = RunFolder(run)
    how: dict[str, Any] = {"limit": limit, "qualities": qualities, "corruptions": corruptions}
    name = evaluation_name(split, **how)
    if files.has_evaluation(name):
        with contextlib.suppress(UserError):
            stored = Evaluation.load(files.evaluation, name)
            if stored.step == checkpoint.best_step(run):
                return stored
    return evaluate_run(run, split=split, extensions=extensions, **how)


def evaluated_qualities(
    wanted: Sequence[str], trained: Sequence[str], dataset: Dataset
) -> tuple[str, ...]:
    """Returns the qualities to evaluate on; see `evaluate_run`.

    Raises:
      UserError: for one that is neither stored nor made, or named twice.
    """
    stored = tuple(dataset.qualities)
    if not wanted:
        return (*stored, *(name for name in trained if made.is_made(name, stored)))
    for name in wanted:
        if name not in stored and not made.is_made(name, stored):
            raise UserError(
                f"--qualities names {name!r}; {dataset.where} has: {', '.join(stored)}; "
                f"{made.FORM} is made from {stored[0]}"
            )
    if len(set(wanted)) < len(wanted):
        raise UserError(f"--qualities={','.join(wanted)} names a quality twice")
    return tuple(wanted)


def check_corruptions(kinds: Sequence[str], qualities: Sequence[str]) -> None:
    """Raises UserError for a corruption that is none or named twice, or one beside qualities."""
    for kind in kinds:
        if kind not in KINDS:
            raise UserError(f"--corruptions names {kind!r}; {nearest(kind, KINDS)}")
    if len(set(kinds)) < len(kinds):
        raise UserError(f"--corruptions={','.join(kinds)} names one twice")
    if kinds and qualities:
        raise UserError("--corruptions are of the best quality; give them without --qualities")


def evaluation_name(
    split: str,
    data: str | Path | Dataset = "",
    limit: int = 0,
    qualities: Sequence[str] = (),
    corruptions: Sequence[str] = (),
) -> str:
    """Returns the name an evaluation is kept under: what is not of a whole split in all qualities has its own."""
    name = split
    if str(data):
        name = f"{split}-on-{data_name(data)}"
    name = f"{name}-limit{limit}" if limit else name
    name = f"{name}-under-{'-'.join(corruptions)}" if corruptions else name
    return f"{name}-in-{'-'.join(qualities)}" if qualities else name


def data_name(data: str | Path | Dataset) -> str:
    """Returns what evaluations on another data set are kept under: its folder's name, after that above of a version."""
    if isinstance(data, str | Path):
        *_, above, own = ("", "", *Path(data).resolve().parts)
        name = f"{above}_{own}" if re.fullmatch(r"\d+\.\d+\.\d+", own) else own
    else:
        name = data.name
    return re.sub("[^A-Za-z0-9_.-]+", "_", name)


def check_distinct(data: Sequence[str | Path]) -> None:
    """Raises UserError where evaluations on two data sets would be kept under one name."""
    names = [data_name(each) for each in data]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise UserError(
                f"--data names {data[names.index(name)]} and {data[place]}, both called {name!r}, which their "
                "evaluations are kept by; rename one of the folders"
            )


def evaluation_size(configured: int, dataset: Dataset) -> int:
    """Returns the side of the crop: the configured one, or the stored images' when it is 0.

    Raises:
      UserError: when the stored images are smaller.
    """
    size = configured or dataset.image_size
    try:
        augment.check_crop(dataset.image_size, size)
    except ValueError as error:
        raise UserError(str(error)) from error
    return size
