"""The report of runs, with samples taken from the data set they were evaluated on."""

from collections.abc import Sequence
from pathlib import Path

from data_pipeline.loader import open_dataset, read_examples, read_labels
from kdjax.checks import UserError
from kdjax.evaluate.report import write_report
from kdjax.evaluate.samples import Sample, pick_samples
from kdjax.train import checkpoint


def collect_samples(run: Path, split: str) -> list[Sample]:
    """Returns a few reals and fakes of every kind from the split of a run's data set."""
    dataset = open_dataset(checkpoint.read_config(run).data.path)
    labels = read_labels(dataset, split)
    picked = pick_samples(labels["label"], labels["forgery"])
    return [
        Sample(
            index=int(example["index"]),
            label=int(example["label"]),
            forgery=int(example["forgery"]),
            images=example["image"],
            mask=example["forgery_mask"],
        )
        for example in read_examples(dataset, split, [int(index) for index in picked])
    ]


def report(runs: Sequence[Path], output: Path, *, split: str = "test") -> Path:
    """Writes the HTML report of some runs; without their data set it has no samples."""
    samples = None
    if runs:
        try:
            samples = collect_samples(runs[0], split)
        except UserError:
            samples = None
    return write_report(runs, output, split=split, samples=samples)
