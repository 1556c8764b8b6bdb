"""Evaluating a finished run: its best weights on a split, in every quality."""

import contextlib
from pathlib import Path

import jax
import numpy as np

from kdjax.checks import UserError
from kdjax.data_pipeline import augment
from kdjax.data_pipeline.dataset import Dataset
from kdjax.data_pipeline.loader import evaluation_batches
from kdjax.evaluate.evaluation import Evaluation
from kdjax.evaluate.evaluator import evaluate
from kdjax.extensions import NOTHING, Extensions
from kdjax.folder import RunFolder
from kdjax.train import checkpoint
from kdjax.train.data import open_data
from kdjax.train.log import Progress
from kdjax.train.predict import make_predict


def evaluate_run(
    run: str | Path,
    *,
    split: str = "test",
    data: str | Path = "",
    limit: int = 0,
    extensions: Extensions = NOTHING,
) -> Evaluation:
    """Evaluates a run's best weights in all qualities and saves the result in `RUN/evaluation`.

    Args:
      run: folder of a run.
      split: the split to read.
      data: another prepared data set than the run's own.
      limit: at most this many images, spread over the split; 0 for all.
      extensions: the user's own, for a run whose network is not shipped.

    Raises:
      UserError: when the run or the data set cannot be used.
    """
    if limit < 0:
        raise UserError(f"--limit={limit} must be at least 0")
    folder = Path(run)
    config = checkpoint.read_config(folder)
    network, variables, step = checkpoint.load_best(folder, extensions=extensions)
    dataset = open_data(config, extensions, data)
    image_size = evaluation_size(config.data.image_size, dataset)
    total = min(dataset.sizes.get(split, 0), limit or dataset.sizes.get(split, 0))
    progress = Progress(f"evaluate {folder.name} on {split}", total)
    done = 0

    def count(examples: int) -> None:
        nonlocal done
        progress.advance(examples - done)
        done = examples

    try:
        result = evaluate(
            make_predict(network, jax.tree.map(jax.numpy.asarray, variables), image_size),
            evaluation_batches(
                dataset,
                dataset.qualities,
                split=split,
                batch_size=config.evaluation.batch_size,
                limit=limit,
                threads=config.data.threads,
            ),
            dataset.qualities,
            step=step,
            parameters=sum(int(np.size(leaf)) for leaf in jax.tree.leaves(variables["params"])),
            dataset={"name": dataset.name, "split": split, "images": total},
            forgeries=dataset.forgeries,
            progress=count,
        )
    finally:
        progress.close()
    result.save(RunFolder(folder).evaluation, evaluation_name(split, data, limit))
    return result


def evaluated(run: Path, split: str = "test", extensions: Extensions = NOTHING) -> Evaluation:
    """Returns a run's evaluation: the stored one when it is of the best checkpoint, else a new one."""
    files = RunFolder(run)
    if files.has_evaluation(split):
        with contextlib.suppress(UserError):
            stored = Evaluation.load(files.evaluation, split)
            if stored.step == checkpoint.best_step(run):
                return stored
    return evaluate_run(run, split=split, extensions=extensions)


def evaluation_name(split: str, data: str | Path = "", limit: int = 0) -> str:
    """Returns the name an evaluation is kept under; part of a split, or other data, has its own."""
    name = f"{split}-on-{Path(data).resolve().name}" if str(data) else split
    return f"{name}-limit{limit}" if limit else name


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
