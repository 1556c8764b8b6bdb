"""`kdjax explain`: several runs, and the one that taught them, look at the same images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdjax.checks import UserError
from kdjax.data_pipeline.dataset import Dataset
from kdjax.evaluate.explain.cam import METHODS
from kdjax.evaluate.explain.cards import Card
from kdjax.evaluate.explain.findings import confident_errors
from kdjax.evaluate.explain.gallery import write_gallery
from kdjax.evaluate.runs import short_names
from kdjax.evaluate.samples import pick_samples
from kdjax.extensions import NOTHING, Extensions
from kdjax.train.data import open_data
from kdjax.train.looking import BATCH, Looking, centre, look_at, read_batch, ready
from kdjax.train.run import Run
from kdjax.types import STAGES

LIMIT = 512
"""Images that are looked at unless more are asked for."""

REALS = 2
"""Real images that are shown; of each kind of forgery there are as many."""


def explain_runs(
    runs: Sequence[str | Path],
    output: str | Path,
    *,
    teacher: str | Path | None = None,
    stage: str = STAGES[-1],
    method: str = "gradcam",
    split: str = "test",
    data: str | Path = "",
    limit: int = LIMIT,
    qualities: Sequence[str] = (),
    extensions: Extensions = NOTHING,
) -> Path:
    """Writes what runs look at into a folder, and returns its page.

    `explain.json` has the numbers, `heat/` the pictures, `index.html` all of it.

    Args:
      runs: folders of runs; heat inside masks is compared with the first one's.
      output: the folder.
      teacher: the run that the others are compared with; by default the first that taught one of them, if it is
        still there.
      stage: the map whose heat is shown.
      method: kind of heat that the pictures show, `gradcam` or `gradcam++`; numbers are of both.
      split: whose images.
      data: another data set than the first run's.
      limit: images at most, spread over the split; 0 for all.
      qualities: of these alone; none: all that are stored.
      extensions: the user's own.

    Raises:
      UserError: when a run or the data set cannot be used.
    """
    if limit < 0:
        raise UserError(f"--limit={limit} must be at least 0")
    if method not in METHODS:
        raise UserError(f"--method={method} must be {' or '.join(METHODS)}")
    if Path(output).is_file():
        raise UserError(f"--output={output} is a file; give it a folder")
    opened = [Run(folder, extensions) for folder in runs]
    taught = Run(teacher, extensions) if teacher else find_teacher(opened, extensions)
    students: list[Run] = []
    for run in opened:
        others = [*students, *([taught] if taught else [])]
        if not any(run.folder.resolve() == other.folder.resolve() for other in others):
            students.append(run)
    if not students:
        raise UserError("the only RUN is the teacher itself; name a student beside it")
    dataset = open_data(students[0].config, extensions, data)
    chosen = _qualities(dataset, qualities)
    indices = _indices(dataset, split, limit)
    everyone = [*([taught] if taught else []), *students]
    names = short_names([run.folder for run in everyone])
    looking = [
        ready(run, name, dataset, stage, chosen, is_teacher=run is taught)
        for run, name in zip(everyone, names, strict=True)
    ]
    columns, notes = look_at(looking, dataset, split, indices, chosen)
    return write_gallery(
        [each.seen for each in looking],
        columns,
        _cards(looking, dataset, split, columns, chosen, method),
        Path(output),
        forgeries=dataset.forgeries,
        notes=notes,
        facts={
            "data": dataset.name,
            "split": split,
            "stage": stage,
            "method": method,
            "qualities": list(chosen),
        },
    )


def find_teacher(runs: Sequence[Run], extensions: Extensions = NOTHING) -> Run | None:
    """Returns the first run that taught one of some runs and is still there, None without any."""
    for run in runs:
        for folder in run.config.teacher.runs:
            try:
                return Run(folder, extensions)
            except UserError:
                continue
    return None


def _qualities(dataset: Dataset, wanted: Sequence[str]) -> tuple[str, ...]:
    """Returns the qualities to look at.

    Raises:
      UserError: for one that is not stored, or named twice.
    """
    for name in wanted:
        if name not in dataset.qualities:
            stored = ", ".join(dataset.qualities)
            raise UserError(f"--qualities names {name!r}; {dataset.where} stores: {stored}")
    if len(set(wanted)) < len(wanted):
        raise UserError(f"--qualities={','.join(wanted)} names a quality twice")
    return tuple(wanted) or tuple(dataset.qualities)


def _indices(dataset: Dataset, split: str, limit: int) -> np.ndarray:
    """Returns which images are looked at, spread over the split, in an order drawn once: a batch holds many videos.

    Raises:
      UserError: when the split is empty.
    """
    size = dataset.sizes.get(split, 0)
    if not size:
        raise UserError(f"{dataset.where} has no image in {split}; choose another --split")
    count = min(limit or size, size)
    spread = np.linspace(0, size - 1, count).round().astype(int)
    return np.random.default_rng(0).permutation(spread)


def _cards(
    looking: Sequence[Looking],
    dataset: Dataset,
    split: str,
    columns: dict[str, np.ndarray],
    qualities: Sequence[str],
    method: str,
) -> dict[str, list[Card]]:
    """Returns cards of images picked evenly (`""`), and of each network's most confident errors by its name."""
    # the order of the split, whatever the order of looking was
    order = np.argsort(columns["index"])
    picked = order[
        pick_samples(columns["label"][order], columns["forgery"][order], real=REALS, per_kind=REALS)
    ]
    wanted = {"": [(int(position), tuple(qualities)) for position in picked]}
    for each in looking:
        errors = confident_errors(each.seen, columns["label"], columns["video"])
        wanted[each.seen.name] = [(position, (quality,)) for position, quality, _ in errors]
    return {
        title: _shown(looking, dataset, split, columns, entries, method)
        for title, entries in wanted.items()
    }


def _shown(
    looking: Sequence[Looking],
    dataset: Dataset,
    split: str,
    columns: dict[str, np.ndarray],
    entries: Sequence[tuple[int, Sequence[str]]],
    method: str,
) -> list[Card]:
    """Returns a card for each image, in the qualities that are wanted of it."""
    cards: list[Card] = []
    size = min(each.size for each in looking)
    for start in range(0, len(entries), BATCH):
        part = entries[start : start + BATCH]
        indices = columns["index"][[position for position, _ in part]]
        batch = read_batch(dataset, split, indices)
        looks = {
            (each.seen.name, quality): each.look(batch["image"][quality])
            for each in looking
            for quality in dict.fromkeys(name for _, names in part for name in names)
        }
        for row, (_, names) in enumerate(part):
            mine = {key: look for key, look in looks.items() if key[1] in names}
            mask = batch["forgery_mask"]
            cards.append(
                Card(
                    index=int(batch["index"][row]),
                    label=int(batch["label"][row]),
                    forgery=int(batch["forgery"][row]),
                    video=int(batch["video"][row]),
                    images={
                        name: _bytes(centre(batch["image"][name][row : row + 1], size)[0])
                        for name in names
                    },
                    mask=None if mask is None else centre(mask[row : row + 1], size)[0],
                    heat={
                        key: centre(np.asarray(look.heat[method][row : row + 1]), size)[0]
                        for key, look in mine.items()
                    },
                    scores={key: float(look.score[row]) for key, look in mine.items()},
                )
            )
    return cards


def _bytes(image: np.ndarray) -> np.ndarray:
    return image if image.dtype == np.uint8 else np.round(image * 255).astype(np.uint8)
